"""The commands, beside a running daemon and without one: answers, exit codes, and what they say when something is
wrong."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from millpond.testing.nursery import Nursery
from millpond.testing.pond import PondProcess, free_port
from millpond.testing.upstream import ThreadedUpstream

pytestmark = pytest.mark.process

CONFIG = """
[repositories.up]
package = "generic"
base_url = "{url}"
mutable_ttl_s = 600
password = "canary-secret"

[repositories.releases]
package = "generic"
type = "local"
"""
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def millpond(tmp_path: Path, nursery: Nursery) -> Run:
    """Run a command in an empty folder, with an empty home."""

    def run(*arguments: str, **environ: str) -> subprocess.CompletedProcess[str]:
        passed = {key: os.environ[key] for key in ("PATH", "PYTHONPATH") if key in os.environ}
        env = passed | {"HOME": str(tmp_path)} | environ
        return nursery.run(arguments, environ=env, folder=tmp_path, timeout_s=60)

    return run


@pytest.fixture
def pond(make_pond: Callable[..., PondProcess], upstream: ThreadedUpstream) -> PondProcess:
    upstream.put("/a.txt", b"hello")
    made = make_pond(CONFIG.format(url=upstream.url))
    assert made.get("/up/a.txt").body == b"hello"
    return made


def said(pond: PondProcess, *arguments: str) -> object:
    return json.loads(pond.command(*arguments, "--json").stdout)


def test_repositories_are_listed_with_what_they_hold(pond: PondProcess):
    listed = {row["name"]: row for row in said(pond, "repo", "ls")["repositories"]}
    assert (listed["up"]["entries"], listed["up"]["bytes"]) == (1, 5)
    assert listed["releases"]["type"] == "local"
    assert "NAME" in pond.command("repo", "ls").stdout


def test_one_is_shown_without_its_secrets(pond: PondProcess):
    shown = said(pond, "repo", "show", "up")
    assert [entry["path"] for entry in shown["entries"]] == ["a.txt"]
    assert shown["upstream"]["state"] == "closed"
    assert "canary-secret" not in json.dumps(shown)
    unknown = pond.command("repo", "show", "nope", check=False)
    assert unknown.returncode == 1
    assert "millpond repo ls" in unknown.stderr


def test_why_tells_the_state_and_the_rule(pond: PondProcess, upstream: ThreadedUpstream):
    assert said(pond, "why", "up/a.txt")["verdict"].startswith("fresh: for ")
    assert said(pond, "why", f"{pond.url}/up/b.txt")["verdict"].startswith("not here")
    assert said(pond, "why", "releases/x")["verdict"].startswith("absent (404)")
    del upstream


def test_flush_drops_what_is_cached_and_counts_it(pond: PondProcess, upstream: ThreadedUpstream):
    flushed = said(pond, "repo", "flush", "up")
    assert flushed == {
        "remote": "up",
        "flushed": {"entries": 1, "objects": 1, "bytes": 5, "redis_keys": 1, "s3_objects": 1},
    }
    assert pond.get("/up/a.txt").headers["x-artifact-source"] == "remote"
    assert upstream.count("/a.txt") == 2


def test_usage_says_who_got_what(pond: PondProcess):
    used = said(pond, "usage", "--artifact", "up/a.txt")
    assert [(row["path"], row["outcome"], row["size"]) for row in used] == [("a.txt", "miss", 5)]


def test_a_token_is_made_used_listed_and_revoked(pond: PondProcess):
    token = pond.command("token", "create", "ci", "--scope", "write:releases", "--expires", "1d").stdout.strip()
    headers = {"Authorization": f"Bearer {token}"}
    assert pond.get("/api/v1/remote/releases/x.txt", headers, "PUT", b"x").status == 201
    listed = {row["name"]: row for row in said(pond, "token", "ls")}
    assert listed["ci"]["scopes"] == ["write:releases"]
    assert token not in json.dumps(listed)
    pond.command("token", "revoke", "ci")
    assert pond.get("/api/v1/remote/releases/y.txt", headers, "PUT", b"y").status == 401
    wrong = pond.command("token", "create", "x", "--scope", "reed:releases", check=False)
    assert wrong.returncode == 1
    assert "did you mean read:releases" in wrong.stderr


def test_gc_and_fsck_answer_beside_the_daemon_and_without_it(pond: PondProcess):
    assert said(pond, "gc", "--dry-run")["dry_run"] is True
    assert said(pond, "fsck")["ok"] is True
    pond.stop()
    assert said(pond, "gc")["evicted"] == 0
    assert said(pond, "fsck", "--repair")["ok"] is True


def test_fsck_says_no_when_bytes_are_wrong(pond: PondProcess):
    blob = next(path for path in (pond.data / "storage" / "blobs").rglob("*") if path.is_file())
    blob.chmod(0o640)
    blob.write_bytes(b"jello")
    found = pond.command("fsck", "--json", check=False)
    assert found.returncode == 1
    assert json.loads(found.stdout)["problems"]
    assert said(pond, "fsck", "--repair")["ok"] is True
    assert pond.get("/up/a.txt").body == b"hello", "what was damaged is fetched again"


def test_reload_takes_a_new_repository_and_refuses_a_mistake(pond: PondProcess, upstream: ThreadedUpstream):
    file = pond.folder / "millpond.toml"
    file.write_text(CONFIG.format(url=upstream.url) + '[repositories.more]\npackage = "generic"\ntype = "local"\n')
    pond.command("reload")
    assert "more" in pond.get("/").json()["remotes"]
    file.write_text("[repositories.more]\npackage = 'generic'\ntypo = 1\n")
    refused = pond.command("reload", check=False)
    assert refused.returncode == 2
    assert "typo" in refused.stderr
    assert "up" in pond.get("/").json()["remotes"]


def test_a_live_data_directory_is_locked(pond: PondProcess, millpond: Run):
    second = millpond("serve", "--data", str(pond.data), "--port", "0")
    assert second.returncode == 1
    assert "in use" in second.stderr


def test_a_mistake_in_the_configuration_is_named_with_what_was_meant(millpond: Run, tmp_path: Path):
    (tmp_path / "millpond.toml").write_text(
        '[server]\nprot = 1\n\n[repositories.x]\npackage = "pipy"\nbase_url = "adopt"\n'
    )
    for command in (("serve",), ("check",), ("repo", "ls")):
        told = millpond(*command)
        assert told.returncode == 2
        assert 'millpond.toml: [server] prot: unknown key; did you mean "port"?' in told.stderr
        assert "pypi" in told.stderr
        assert "Traceback" not in told.stderr


def test_check_tells_mistakes_as_json_too(millpond: Run, tmp_path: Path):
    (tmp_path / "millpond.toml").write_text("[server]\nprot = 1\nport = 70000\n")
    told = millpond("check", "--json", MILLPOND_SERVER__WORKERS="none")
    assert told.returncode == 2
    mistakes = json.loads(told.stdout)
    assert [(one["file"], one["key"], one["wrong"], one["meant"]) for one in mistakes] == [
        ("millpond.toml", "[server] port", "must be at most 65535, not 70000", ""),
        ("millpond.toml", "[server] prot", "unknown key", 'did you mean "port"?'),
        ("MILLPOND_SERVER__WORKERS", "[server] workers", "must be a whole number, not text", ""),
    ]
    assert {(one["what"], one["ok"]) for one in mistakes} == {("configuration", False)}
    assert [one["told"] for one in mistakes] == told.stderr.splitlines()
    (tmp_path / "millpond.toml").write_text("[server\n")
    (broken,) = json.loads(millpond("check", "--json").stdout)
    assert broken["file"] == "millpond.toml"
    assert broken["wrong"].startswith("line 1, column 8")


def test_off_loopback_without_tokens_it_does_not_start_unless_told(millpond: Run):
    told = millpond("serve", "--host", "0.0.0.0", "--port", "0")
    assert told.returncode == 2
    assert "allow_open_network" in told.stderr


def test_a_taken_port_is_a_plain_answer(pond: PondProcess, millpond: Run, tmp_path: Path):
    told = millpond("serve", "--port", str(pond.port), "--data", str(tmp_path / "other"))
    assert told.returncode == 2
    assert "--port" in told.stderr


def test_check_tries_each_upstream(millpond: Run, tmp_path: Path, upstream: ThreadedUpstream):
    (tmp_path / "millpond.toml").write_text(CONFIG.format(url=upstream.url))
    assert millpond("check").returncode == 0
    upstream.cut_now()
    told = millpond("check", "--json")
    assert told.returncode == 1
    assert {row["what"]: row["ok"] for row in json.loads(told.stdout)} == {
        "configuration": True,
        "up": False,
        "releases": True,
    }


def test_check_takes_no_missing_index_for_a_good_one(millpond: Run, tmp_path: Path, upstream: ThreadedUpstream):
    (tmp_path / "millpond.toml").write_text(
        f'[repositories.pypi]\npackage = "pypi"\nbase_url = "{upstream.url}/oops"\n'
    )
    told = millpond("check")
    assert told.returncode == 1
    assert "ends in /simple" in told.stdout


def test_init_writes_a_file_that_loads_and_is_not_replaced_by_accident(millpond: Run, tmp_path: Path):
    index = "http://127.0.0.1:9/simple/"
    assert millpond("init", PIP_INDEX_URL=index).returncode == 0
    text = (tmp_path / "millpond.toml").read_text()
    assert 'base_url = "adopt"' in text
    told = millpond("repo", "ls", PIP_INDEX_URL=index)
    assert (told.returncode, "no pond" in told.stderr) == (2, True), "what was adopted makes no pond"
    assert not list((tmp_path / "millpond-data").glob("catalog*"))
    again = millpond("init", PIP_INDEX_URL=index)
    assert again.returncode == 1
    assert "--force" in again.stderr


def test_adoption_is_renewed_only_when_asked(millpond: Run):
    def upstream_of(told: subprocess.CompletedProcess[str]) -> str:
        return {row["what"]: row["told"] for row in json.loads(told.stdout)}["pypi"]

    first, second = "http://127.0.0.1:9/simple", "http://127.0.0.1:10/simple"
    assert "127.0.0.1:9" in upstream_of(millpond("check", "--json", PIP_INDEX_URL=first))
    assert "127.0.0.1:9" in upstream_of(millpond("check", "--json", PIP_INDEX_URL=second))
    assert millpond("init", "--adopt", PIP_INDEX_URL=second).returncode == 0
    assert "127.0.0.1:10" in upstream_of(millpond("check", "--json", PIP_INDEX_URL=second))


def test_connect_prints_writes_and_takes_back(millpond: Run, tmp_path: Path):
    index = "http://127.0.0.1:9/simple"
    (tmp_path / ".config" / "pip").mkdir(parents=True)
    conf = tmp_path / ".config" / "pip" / "pip.conf"
    conf.write_text(f"[global]\nindex-url = {index}\n")
    assert "--index-url http://127.0.0.1:8080/pypi/simple/" in millpond("connect", "pip").stdout
    assert millpond("connect", "pip", "--write", "--url", "http://127.0.0.1:8080").returncode == 0
    assert "127.0.0.1:8080/pypi/simple" in conf.read_text()
    assert millpond("connect", "pip", "--undo").returncode == 0
    assert conf.read_text() == f"[global]\nindex-url = {index}\n"
    assert millpond("connect", "pip", "--undo").returncode == 1
    assert millpond("connect", "gem").returncode == 2
    assert millpond("connect", "pip", "--write", "--undo").returncode == 2


def test_connect_takes_back_all_that_was_connected(millpond: Run, tmp_path: Path):
    assert "nothing to undo" in millpond("connect", "--undo").stderr
    (tmp_path / "millpond.toml").write_text(
        '[repositories.pypi]\npackage = "pypi"\nbase_url = "http://127.0.0.1:9/simple"\n'
    )
    written = millpond(
        "connect", "--write", "--url", "http://127.0.0.1:8080", PIP_INDEX_URL="http://127.0.0.1:9/simple"
    )
    assert written.returncode == 0, written.stderr
    files = [tmp_path / ".config/pip/pip.conf", tmp_path / ".config/uv/uv.toml"]
    assert all(file.exists() for file in files)
    (tmp_path / "millpond.toml").write_text("broken")
    undone = millpond("connect", "--undo")
    assert undone.returncode == 0, undone.stderr
    assert [line.partition(":")[0] for line in undone.stdout.splitlines()] == ["pip", "uv"]
    assert not any(file.exists() for file in files)


def test_a_client_that_cannot_be_taken_back_holds_up_no_other(millpond: Run, tmp_path: Path):
    (tmp_path / "millpond.toml").write_text(
        '[repositories.pypi]\npackage = "pypi"\nbase_url = "http://127.0.0.1:9/simple"\n'
    )
    millpond("connect", "--write", "--url", "http://127.0.0.1:8080", PIP_INDEX_URL="http://127.0.0.1:9/simple")
    conf = tmp_path / ".config/pip/pip.conf"
    conf.write_text(conf.read_text().replace("/simple/", "/simple/changed/"))
    undone = millpond("connect", "--undo")
    assert undone.returncode == 1
    assert "pip is still connected" in undone.stderr
    assert undone.stdout.startswith("uv:")


def test_connect_takes_the_address_of_the_running_daemon(
    make_pond: Callable[..., PondProcess], upstream: ThreadedUpstream
):
    pond = make_pond(f'[repositories.pypi]\npackage = "pypi"\nbase_url = "{upstream.url}/simple"\n')
    conf = pond.folder / ".config" / "pip" / "pip.conf"
    assert f"--index-url {pond.url}/pypi/simple/" in pond.command("connect", "pip").stdout
    pond.command("connect", "pip", "--write")
    assert f"{pond.url}/pypi/simple/" in conf.read_text()
    assert "millpond connect TOOL --write" in pond.log.read_text()


def test_connect_writes_nothing_where_no_pond_answers(millpond: Run, tmp_path: Path):
    port = free_port()
    (tmp_path / "millpond.toml").write_text(
        f'[server]\nport = {port}\n[repositories.pypi]\npackage = "pypi"\nbase_url = "http://127.0.0.1:9/simple"\n'
    )
    refused = millpond("connect", "pip", "--write")
    assert refused.returncode == 1
    assert f"no pond answers at http://127.0.0.1:{port}" in refused.stderr
    assert "--url" in refused.stderr
    assert not (tmp_path / ".config").exists()


@pytest.mark.parametrize(
    "command",
    ["serve", "init", "check", "connect", "why", "usage", "gc", "fsck", "reload", "repo ls", "repo show", "repo flush",
     "token create", "token ls", "token revoke"],
)  # fmt: skip
def test_every_command_has_help_with_an_example(command: str, millpond: Run):
    told = millpond(*command.split(), "--help")
    assert told.returncode == 0
    assert f"Example: millpond {command.split(maxsplit=1)[0]}" in told.stdout
