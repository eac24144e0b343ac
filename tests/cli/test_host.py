"""`millpond host`, beside a running daemon and without one; a machine whose docker is a script."""

from __future__ import annotations

import json
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.sshd import Impossible, Sshd

from millpond.testing.pond import PondProcess

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]
DOCKER = """#!/bin/sh
echo "$*" >>{folder}/asked
case "$*" in
version*) echo '{{"Client": {{"Version": "28"}}, "Server": {{"Version": "20"}}}}' ;;
info*) echo '{{"ServerVersion": "20", "DockerRootDir": "{folder}", "Swarm": {{"LocalNodeState": "inactive"}}}}' ;;
"system df"*) echo '[{{"Size": "3GB", "InUse": "false"}}]' ;;
"builder prune"*) echo 'Total reclaimed space: 1.5GB' ;;
"image ls"* | "container ls"*) ;;
*) echo "docker: unknown command" >&2; exit 1 ;;
esac
"""
CONFIG = """
[repositories.local]
package = "generic"
type = "local"
[upkeep.disk]
high_percent = 100
high_inodes_percent = 100
[hosts.here]
ssh = "local"
labels = ["a", "b"]
[hosts.dead]
ssh = "u@127.0.0.1:9"
connect_timeout_s = 20
"""


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A folder with a `docker` in it."""
    folder = tmp_path / "bin"
    folder.mkdir()
    (folder / "docker").write_text(DOCKER.format(folder=folder))
    (folder / "docker").chmod(0o755)
    return folder


@pytest.fixture
def pond(machine: Path, make_pond: Callable[..., PondProcess]) -> PondProcess:
    return make_pond(CONFIG, environ={"PATH": f"{machine}:{os.environ['PATH']}"})


def said(pond: PondProcess, *words: str, code: int = 0) -> object:
    done = pond.command("host", *words, "--json", check=False)
    assert done.returncode == code, done.stderr
    return json.loads(done.stdout)


def waited(pond: PondProcess, name: str) -> dict[str, object]:
    """Give a host's block of the queue once its first run is over."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        block = pond.get("/queue").json()["build_cache_prune"]
        if block["hosts"][name]["last_run_ts"] is not None:
            return block
        time.sleep(0.05)
    raise AssertionError("it did not prune")


def test_the_daemon_prunes_by_itself_and_a_dead_host_is_a_line(pond: PondProcess):
    waited(pond, "here")
    block = waited(pond, "dead")
    assert block["hosts"]["here"]["last_reclaimed_bytes"] == 1_500_000_000
    assert block["last_error"].startswith("dead: rc=255: ")
    assert "refused" in block["last_error"]
    listed = {row["name"]: row for row in said(pond, "ls")}
    assert listed["here"]["labels"] == ["a", "b"]
    assert "refused" in listed["dead"]["last_error"]
    assert "here" in pond.command("host", "ls").stdout


def test_check_says_what_is_missing_and_what_to_do(pond: PondProcess):
    checks = {row["what"]: row for row in said(pond, "check", "here", code=1)["checks"]}
    assert [checks[what]["ok"] for what in ("local", "docker", "disk", "swarm")] == [True] * 4
    assert "install Docker Compose" in checks["compose"]["advice"] or checks["compose"]["ok"]
    dead = said(pond, "check", "dead", code=1)["checks"]
    assert [row["what"] for row in dead] == ["ssh"]
    assert "sshd" in dead[0]["advice"]
    unknown = pond.command("host", "check", "nope", check=False)
    assert (unknown.returncode, "millpond host ls" in unknown.stderr) == (1, True)


def test_prune_by_hand_and_its_plan(pond: PondProcess, machine: Path):
    planned = said(pond, "prune", "here", "--dry-run")
    assert planned["hosts"][0]["at_most_bytes"] == 3 * 10**9
    assert "builder prune -f --filter until=24h" in pond.command("host", "prune", "here", "--dry-run").stdout
    assert "reclaimed 1.5GB" in pond.command("host", "prune", "here").stdout
    assert said(pond, "prune", code=1)["hosts"][1]["error"].startswith("rc=255")
    asked = (machine / "asked").read_text()
    assert "builder prune -f --filter until=24h\n" in asked


def test_disk_measures_every_place_and_plans(pond: PondProcess):
    places = {row["name"]: row for row in said(pond, "disk", code=1)["places"]}
    assert set(places) == {"here", "dead", "pond"}
    assert places["here"]["bytes_percent"] > 0
    planned = said(pond, "disk", "here", "--dry-run")["places"][0]
    assert [rung["rung"] for rung in planned["rungs"]] == ["build_cache", "dangling", "images"]
    told = pond.command("host", "disk", "here", "--dry-run").stdout
    assert "no room is needed" in told
    assert "at most" in told
    assert "pond: " in pond.command("host", "disk", "pond").stdout


def test_without_a_daemon_it_is_the_same_and_what_ran_is_remembered(pond: PondProcess):
    waited(pond, "here")
    pond.stop()
    assert said(pond, "prune", "here")["hosts"][0]["reclaimed"] == "1.5GB"
    assert said(pond, "ls")[0]["build_cache_prune"]["last_reclaimed"] == "1.5GB"


def test_a_wrong_setting_of_the_pruner_s_starts_all_the_same_and_check_tells(make_pond, machine: Path):
    pond = make_pond(CONFIG + "[upkeep.build_cache]\ninterval_s = -1\nuntil = 'soon'\n")
    block = pond.get("/queue").json()["build_cache_prune"]
    assert (block["interval_s"], block["until"]) == (21600, "24h")
    assert pond.log.read_text().count("a setting is ignored") == 2
    told = pond.command("check", check=False)
    assert told.returncode == 1, "of the hosts one is dead"
    assert "[upkeep.build_cache] interval_s: must be more than 0" in told.stdout
    assert "ok    host here: local: Linux" in told.stdout
    assert "FAIL  host dead: rc=255" in told.stdout


@pytest.fixture
def sshd(machine: Path) -> Iterator[Sshd]:
    """The far side's shell finds the script first, as if its engine were there."""
    try:
        with Sshd(f"{machine}:/usr/bin:/bin") as made:
            yield made
    except Impossible as reason:
        pytest.skip(str(reason))


def processes_with(text: str) -> list[str]:
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(path.read_bytes().replace(b"\0", b" ").decode("utf-8", "replace"))
        except OSError:
            continue
    return [line for line in found if text in line]


@pytest.mark.parametrize("workers", [1, 2])
def test_over_ssh_there_is_one_connection_and_nothing_is_left_of_it(
    make_pond, sshd: Sshd, workers: int, tmp_path: Path
):
    config = CONFIG.partition("[hosts.here]")[0] + sshd.toml("web1")
    pond = make_pond(config, workers=workers)
    assert waited(pond, "web1")["last_error"] is None
    assert said(pond, "prune", "web1")["ok"]
    assert said(pond, "disk", "web1")["ok"]
    assert sshd.logins() == 1
    masters = processes_with(f"{pond.data}/ssh") or processes_with("ControlPersist")
    assert masters
    folder = pond.data / "ssh" / "0"
    if folder.exists():
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert pond.stop() == 0
    until = time.monotonic() + 30
    while processes_with(str(sshd.folder)) != [] and time.monotonic() < until:
        rest = [line for line in processes_with(str(sshd.folder)) if "sshd" not in line.split()[0]]
        if not rest:
            break
        time.sleep(0.05)
    else:
        raise AssertionError("ssh is left running")


@pytest.mark.parametrize("command", ["ls", "check", "prune", "disk"])
def test_every_command_has_help_with_an_example(pond: PondProcess, command: str):
    told = pond.command("host", command, "--help", check=False)
    assert f"Example: millpond host {command}" in told.stdout
