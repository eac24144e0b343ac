"""Argument lists as values, and what is read of real programs' output."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.hosts import commands
from millpond.hosts.commands import Docker, Unreadable
from millpond.hosts.model import Completed, Engine, Filled, Kind, Reclaimed

ID = "sha256:" + "0f" * 32
docker = Docker()
NOW = 1_700_000_000.0


def test_the_pruner_s_command_is_the_contract_s():
    assert docker.prune_cache("24h") == ("docker", "builder", "prune", "-f", "--filter", "until=24h")
    assert docker.prune_cache("7d", all_=True) == ("docker", "builder", "prune", "-f", "-a", "--filter", "until=168h")


@given(st.text(max_size=12), st.booleans())
def test_all_stands_only_beside_the_filter(until: str, all_: bool):
    try:
        argv = docker.prune_cache(until, all_=all_)
    except ValueError:
        return
    assert argv[-2] == "--filter"
    assert argv[-1].startswith("until=")
    assert argv.count("-a") == all_
    assert len(argv) == 6 + all_


def test_another_socket_is_named_before_the_command():
    assert Docker("unix:///run/user/1000/docker.sock").info()[:3] == (
        "docker",
        "-H",
        "unix:///run/user/1000/docker.sock",
    )


@pytest.mark.parametrize(
    "socket", ["tcp://h:1", "ssh://h", "unix://", "unix://x", "/x", "-H", "unix:///a b", "unix:///a\n", "unix:///$(id)"]
)
def test_an_engine_is_reached_by_a_socket_of_its_host_only(socket: str):
    with pytest.raises(ValueError, match="socket"):
        Docker(socket)


def test_what_comes_from_a_host_stands_behind_two_dashes():
    assert docker.remove_image("nginx:1")[-2:] == ("--", "nginx:1")
    assert docker.inspect_images([ID])[-2:] == ("--", ID)
    assert docker.images_of(["0f" * 32])[-2:] == ("--", "0f" * 32)
    assert docker.remove_nameless([ID])[:4] == ("docker", "image", "rm", "--")
    assert commands.blocks_of("/var/lib/docker") == ("df", "-P", "-k", "--", "/var/lib/docker")


@pytest.mark.parametrize("word", ["--help", "-f", "", "nginx;id", "$(id)", "a b", "../x", "sha256:z z", "\n"])
def test_what_is_no_name_or_id_reaches_no_command(word: str):
    for build in (docker.remove_image, lambda w: docker.inspect_images([w]), lambda w: docker.remove_nameless([w])):
        with pytest.raises(ValueError, match=r"no id|no image reference"):
            build(word)
    with pytest.raises(ValueError, match="absolute"):
        commands.blocks_of(word)


@pytest.mark.parametrize(
    ("out", "read"),
    [
        ("Deleted build cache objects:\nabc\n\nTotal reclaimed space: 11.05GB\n", Reclaimed("11.05GB", 11_050_000_000)),
        (
            "ID\tRECLAIMABLE\tSIZE\tLAST ACCESSED\nx\ttrue\t1GB\t3 days ago\nTotal:\t11.05GB\n",
            Reclaimed("11.05GB", 11_050_000_000),
        ),
        ("Total:   1.5GiB\r\n", Reclaimed("1.5GiB", 1_610_612_736)),
        ("Total reclaimed space: 0B", Reclaimed("0B", 0)),
        ("Total: 1GB\nTotal reclaimed space: 2GB\n", Reclaimed("2GB", 2 * 10**9)),
        ("", None),
        ("nothing\n", None),
        ("Total reclaimed space:\n", None),
        ("Total: many\n", None),
        ("  Total: 1GB\n", None),
    ],
)
def test_what_was_reclaimed_is_read_in_both_forms(out: str, read: Reclaimed | None):
    assert commands.read_reclaimed(out.replace("\r", "")) == read


@given(st.text(max_size=200))
def test_no_output_of_a_prune_breaks_its_reader(out: str):
    found = commands.read_reclaimed(out)
    assert found is None or found.bytes >= 0


def test_df_is_read():
    out = (
        "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/vda   1000  600 300      67% /var/lib docker\n"
    )
    assert commands.read_df(out, 1024) == Filled(1000 * 1024, 600 * 1024, 300 * 1024)
    assert round(Filled(1000, 600, 300).percent) == 67, "as df itself rounds: root's reserve is nobody's"
    inodes = "Filesystem Inodes IUsed IFree IUse% Mounted on\na b 100 40 60 40% /\n"
    assert commands.read_df(inodes) == Filled(100, 40, 60)
    btrfs = "Filesystem Inodes IUsed IFree IUse% Mounted on\n/dev/sda 0 0 0 - /\n"
    assert commands.read_df(btrfs) is None
    full = "Filesystem 1024-blocks Used Available Capacity Mounted on\n/dev/loop0 100 100 -5 105% /\n"
    assert commands.read_df(full) == Filled(100, 100, 0)


@pytest.mark.parametrize(
    "out", ["", "df: no such file", "Filesystem\n", "a b\nc d\n", "H\n/dev/x 1 2 3 4% relative\n", "H\n" + "x" * 9999]
)
def test_what_is_no_df_is_told(out: str):
    with pytest.raises(Unreadable, match="df said"):
        commands.read_df(out)


def test_versions_and_engines_are_read():
    told = {"Client": {"Version": "28.2.2"}, "Server": {"Version": "20.10.24"}}
    assert commands.read_versions(json.dumps(told)) == ("28.2.2", "20.10.24")
    assert commands.read_versions('{"Client": {"Version": "1"}, "Server": null}') == ("1", "")
    info = {
        "ServerVersion": "20",
        "DockerRootDir": "/d",
        "Swarm": {"LocalNodeState": "active", "ControlAvailable": True},
    }
    assert commands.read_engine(json.dumps(info)) == Engine("20", "/d", "active", manager=True)


@pytest.mark.parametrize(
    "out",
    [
        "",
        "{",
        "[]",
        "null",
        "5",
        '"x"',
        "{}",
        '{"DockerRootDir": "relative"}',
        '{"DockerRootDir": "/a\\nb"}',
        '{"DockerRootDir": 5}',
        '{"DockerRootDir": "/x", "ServerErrors": ["Cannot connect to the Docker daemon"]}',
        "[" * 100_000,
    ],
)
def test_what_is_no_engine_is_told(out: str):
    with pytest.raises(Unreadable):
        commands.read_engine(out)


def test_a_record_in_use_is_a_running_build():
    idle = {"ID": "a", "Size": "1.5MB", "InUse": "false", "CreatedSince": "1 hour ago"}
    held = {"ID": "b", "Size": "2kB", "InUse": "true", "CreatedSince": "About a minute ago", "LastUsedSince": ""}
    assert commands.builds_by_engine(json.dumps([idle, held]), NOW) is True
    assert commands.builds_by_engine(json.dumps([idle]), NOW) is False
    assert commands.builds_by_engine(json.dumps([held | {"InUse": True}]), NOW) is True
    assert commands.builds_by_engine("null", NOW) is commands.builds_by_engine("[]", NOW) is False
    assert commands.cache_size(json.dumps([idle, held])) == 1_500_000
    buildx = "ID:\t\tx\nReclaimable:\ttrue\nCreated at:\t2023-11-14 22:00:00.123 +0000 UTC\n\n"
    buildx += "ID:\t\ty\nCreated at:\t2023-11-14 22:00:00 +0000 UTC\nReclaimable:\tfalse\nLast used:\t3 weeks ago\n"
    assert commands.builds_by_buildx(buildx, NOW) is True
    assert commands.builds_by_buildx(buildx.replace("false", "true"), NOW) is False
    with pytest.raises(Unreadable):
        commands.builds_by_engine('{"a": 1}', NOW)


@pytest.mark.parametrize(
    ("created", "used", "runs"),
    [
        ("3 weeks ago", "2 days ago", False),
        ("3 weeks ago", "47 hours ago", True),
        ("5 seconds ago", "", True),
        ("", "", False),
        ("2 months ago", "1 years ago", False),
        ("Less than a second ago", "", True),
    ],
)
def test_a_record_that_nobody_counts_down_any_more_is_no_build(created: str, used: str, runs: bool):
    record = {"InUse": "true", "CreatedSince": created, "LastUsedSince": used}
    assert commands.builds_by_engine(json.dumps([record]), NOW) is runs
    dates = {"3 weeks ago": "2023-10-20 10:00:00 +0000 UTC", "5 seconds ago": "2023-11-14 22:13:15 +0000 UTC"}
    told = f"ID:\tx\nReclaimable:\tfalse\nCreated at:\t{dates.get(created, created)}\nLast used:\t{used}\n"
    assert commands.builds_by_buildx(told, NOW) is runs


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("manifest for x:1 not found: manifest unknown: manifest unknown", Kind.PERMANENT),
        ("no matching manifest for linux/arm64 in the manifest list entries", Kind.PERMANENT),
        ("pull access denied for x, repository does not exist or may require 'docker login'", Kind.CREDENTIALS),
        ("unauthorized: authentication required", Kind.CREDENTIALS),
        ("toomanyrequests: You have reached your pull rate limit", Kind.WAIT),
        ("failed to register layer: write /x: no space left on device", Kind.DISK),
        ("filesystem layer verification failed for digest sha256:aa", Kind.CORRUPT),
        ("net/http: TLS handshake timeout", Kind.TRANSIENT),
        ("unexpected EOF", Kind.TRANSIENT),
        ("x509: certificate signed by unknown authority", Kind.PERMANENT),
        ("", Kind.TRANSIENT),
    ],
)
def test_pull_failures_are_classed_by_their_text(said: str, kind: Kind):
    assert commands.pull_failure(f"Error response from daemon: {said}") is kind


def test_what_failed_is_one_line_without_control_characters():
    assert commands.failure_text(Completed(1, "out", "a\nb\x1b[31mc\x9b")) == "a b [31mc"
    assert commands.failure_text(Completed(1, "only out")) == "only out"
    assert commands.failure_text(Completed(1)) == "it said nothing"
    assert len(commands.failure_text(Completed(1, "", "x" * 9999))) <= 303
