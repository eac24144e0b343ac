from __future__ import annotations

import asyncio
import os
import signal
import time
from pathlib import Path

import pytest

from millpond.delivery.runs import procfs
from millpond.delivery.workspaces import gitrun
from millpond.delivery.workspaces.gitrun import Git, GitFailed

pytestmark = pytest.mark.process


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Put a script in the place of git."""

    def make(script: str) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / "git").write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / "git").chmod(0o755)
        monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:{os.environ['PATH']}")

    return make


async def test_it_gives_what_git_wrote(tmp_path: Path):
    await Git()("init", "--quiet", "--bare", "--", str(tmp_path / "x.git"))
    sha = await Git(git_dir=str(tmp_path / "x.git"))("hash-object", "-w", "--stdin", stdin=b"hello\n")
    assert sha == "ce013625030ba8dba906f756967f9e9ca394464a"


async def test_a_fault_is_told_without_the_secret(program):
    program('echo "fatal: refused $GIT_CONFIG_VALUE_0 by\nhost" >&2; exit 128')
    git = Git(secret={"http.extraHeader": "Authorization: token canary-123456"})
    assert "canary" not in repr(git)
    with pytest.raises(GitFailed) as failed:
        await git("fetch")
    assert str(failed.value) == "git fetch: fatal: refused ******** by host"
    assert failed.value.rc == 128


async def test_one_that_takes_too_long_is_ended_with_its_children(program, tmp_path: Path):
    program(f"sleep 1000 & echo $! > {tmp_path}/child; sleep 1000")
    with pytest.raises(GitFailed, match="longer than 5 s"):
        await Git(timeout_s=5)("fetch")
    child = int((tmp_path / "child").read_text())
    until = time.monotonic() + 30
    while (found := procfs.look(child)) is not None and found.state != "Z":
        assert time.monotonic() < until
        time.sleep(0.02)


async def test_one_that_is_ended_may_tidy_up_first(program, tmp_path: Path):
    program(f"trap 'rm {tmp_path}/lock; exit 1' TERM; touch {tmp_path}/lock {tmp_path}/began; sleep 1000 & wait")
    with pytest.raises(GitFailed, match="longer than 5 s"):
        await Git(timeout_s=5)("fetch")
    assert (tmp_path / "began").exists()
    assert not (tmp_path / "lock").exists()


async def test_one_that_hears_no_word_is_killed(program, tmp_path: Path):
    program(f"trap '' TERM; echo $$ > {tmp_path}/pid; sleep 1000 & wait; sleep 1000")
    async with asyncio.timeout(60):
        with pytest.raises(GitFailed, match="longer than 5 s"):
            await Git(timeout_s=5)("fetch")
    found = procfs.look(int((tmp_path / "pid").read_text()))
    assert found is None or found.state == "Z"


async def test_one_that_writes_too_much_is_ended(program, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(gitrun, "MAX_OUT", 10_000)
    program("exec cat /dev/zero")
    with pytest.raises(GitFailed, match="more than 10000 bytes"):
        await Git(timeout_s=60)("log")


async def test_what_it_wrote_and_nobody_reads_holds_up_no_end(program, monkeypatch: pytest.MonkeyPatch):
    """As on a machine with much to do: more than is taken unread has come before the program is ended."""
    talk = gitrun._talk

    async def slowly(process: asyncio.subprocess.Process, stdin: bytes | None) -> tuple[bytes, bytes]:
        try:
            return await talk(process, stdin)
        except GitFailed:
            await asyncio.sleep(0.5)
            raise

    monkeypatch.setattr(gitrun, "_talk", slowly)
    monkeypatch.setattr(gitrun, "MAX_OUT", 10_000)
    program("exec cat /dev/zero")
    async with asyncio.timeout(30):
        with pytest.raises(GitFailed, match="more than 10000 bytes"):
            await Git(timeout_s=60)("log")


async def test_an_orphan_that_holds_the_outputs_holds_up_no_end(program, tmp_path: Path):
    program(f"setsid sleep 1000 & echo $! > {tmp_path}/orphan; sleep 1000")
    try:
        async with asyncio.timeout(30):
            with pytest.raises(GitFailed, match="longer than 5 s"):
                await Git(timeout_s=5)("fetch")
    finally:
        os.kill(int((tmp_path / "orphan").read_text()), signal.SIGKILL)


async def test_git_that_is_not_there_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(GitFailed, match="can't be started"):
        await Git()("version")
