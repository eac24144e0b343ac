from __future__ import annotations

import asyncio
import os
import signal
import stat
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from millpond.delivery.runs import procfs
from millpond.delivery.runs.masks import MASK
from millpond.delivery.runs.runfolder import How, Run
from millpond.delivery.runs.runs import Limits, Runs, Spec

pytestmark = pytest.mark.process

QUICK = Limits(timeout_s=60, grace_s=1, final_grace_s=0.5)
PATH = {"PATH": os.environ["PATH"]}


@pytest.fixture
def runs(tmp_path: Path) -> Runs:
    return Runs(tmp_path / "runs")


def sh(script: str, tmp_path: Path, limits: Limits = QUICK, **more: object) -> Spec:
    return Spec(["sh", "-c", script], tmp_path, PATH, limits, **more)  # type: ignore[arg-type]


async def until(said: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not said():
            await asyncio.sleep(0.02)


def pid_in(file: Path) -> procfs.Process | None:
    return procfs.look(int(file.read_text())) if file.exists() and file.read_text().strip() else None


def gone(process: procfs.Process) -> bool:
    found = procfs.look(process.pid)
    return found is None or found.start != process.start or found.state == "Z"


async def test_it_runs_and_says_how_it_ended(runs: Runs, tmp_path: Path):
    run = await runs.start("r1", sh("echo out; echo err >&2; cat; exit 3", tmp_path, stdin=b"given"))
    ended = await runs.wait(run)
    assert (ended.how, ended.rc, ended.said) == (How.EXITED, 3, 13)
    assert all(word in run.log.read_text() for word in ("out\n", "err\n", "given"))


async def test_files_are_for_their_owner_only_and_what_it_was_given_is_gone(runs: Runs, tmp_path: Path):
    run = await runs.start("r1", sh("true", tmp_path, stdin=b"x", notes={"a": 1}))
    await runs.wait(run)
    assert not (run.folder / "spec.json").exists()
    assert run.notes() == {"a": 1}
    assert stat.S_IMODE(run.folder.stat().st_mode) == 0o700
    assert {stat.S_IMODE(one.stat().st_mode) for one in run.folder.iterdir() if one.is_file()} == {0o600}
    await runs.tidy(run)
    assert not run.home.exists()
    assert not (run.folder / "stdin").exists()


async def test_its_environment_is_what_was_given_and_the_mark(
    runs: Runs, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("CANARY", "of-the-daemon")
    run = await runs.start("r1", Spec(["env"], tmp_path, {**PATH, "A": "b"}, QUICK))
    await runs.wait(run)
    names = {line.partition("=")[0] for line in run.log.read_text().splitlines()}
    assert names == {"PATH", "A", procfs.MARK}


async def test_secrets_are_masked_in_the_log_as_it_is_written(runs: Runs, tmp_path: Path):
    script = 'printf "%s" "mp_canary"; sleep 0.3; printf "%s\\n" "_secret"; echo "$TOKEN" >&2; sleep 30'
    spec = Spec(["sh", "-c", script], tmp_path, {**PATH, "TOKEN": "mp_canary_secret"}, QUICK, ["mp_canary_secret"])
    run = await runs.start("r1", spec)
    await until(lambda: run.log.exists() and run.log.read_bytes().count(MASK) == 2)
    assert b"canary" not in run.log.read_bytes()
    lines = [Path(f"/proc/{one.pid}/cmdline").read_bytes() for one in procfs.everyone() if not gone(one)]
    assert not [line for line in lines if b"mp_canary_secret" in line]
    await runs.end(run)
    for file in run.folder.rglob("*"):
        assert not file.is_file() or b"mp_canary_secret" not in file.read_bytes()


async def test_a_log_is_bounded_keeps_both_ends_and_says_so(runs: Runs, tmp_path: Path):
    limits = Limits(timeout_s=60, grace_s=1, log_bytes=4096)
    run = await runs.start("r1", sh("echo first; head -c 300000 /dev/zero | tr '\\0' x; echo last", tmp_path, limits))
    ended = await runs.wait(run)
    text = run.log.read_text()
    assert ended.left_out > 200_000
    assert text.startswith("first\n")
    assert "the log is cut here" in text
    assert "bytes are left out" in text
    assert text.endswith("last\n")
    assert len(text) < 80_000


async def test_too_long_is_ended_with_its_children_though_they_ignore_term(runs: Runs, tmp_path: Path):
    script = f"trap '' TERM; sh -c 'trap \"\" TERM; echo $$ > {tmp_path}/child; sleep 1000; sleep 1000'"
    run = await runs.start("r1", sh(script, tmp_path, Limits(timeout_s=5, grace_s=0.5)))
    await until(lambda: pid_in(tmp_path / "child"))
    child = pid_in(tmp_path / "child")
    ended = await runs.wait(run)
    assert ended.how is How.TIMEOUT
    assert child
    assert gone(child)


async def test_signals_are_not_ignored_in_it(runs: Runs, tmp_path: Path):
    """A program that ends a server by Ctrl-C in its tests would wait for it for ever."""
    ended = await runs.wait(await runs.start("r1", sh("kill -INT $$; sleep 5; exit 3", tmp_path)))
    assert (ended.how, ended.rc) == (How.EXITED, -2)
    ended = await runs.wait(await runs.start("r2", sh("kill -HUP $$; sleep 5; exit 3", tmp_path)))
    assert (ended.how, ended.rc) == (How.EXITED, -1)


async def test_one_that_says_nothing_has_stalled(runs: Runs, tmp_path: Path):
    run = await runs.start("r1", sh("echo begins; sleep 1000", tmp_path, Limits(stall_s=1, grace_s=1)))
    assert (await runs.wait(run)).how is How.STALLED


async def test_one_that_speaks_has_not_stalled(runs: Runs, tmp_path: Path):
    script = "for i in 1 2 3 4 5 6 7 8 9 10 11 12; do echo $i; sleep 0.5; done"
    run = await runs.start("r1", sh(script, tmp_path, Limits(stall_s=5, grace_s=1)))
    assert (await runs.wait(run)).how is How.EXITED


async def test_what_it_leaves_in_another_session_is_swept(runs: Runs, tmp_path: Path):
    far_one = "setsid env -i sh -c 'echo $$ > far; exec sleep 1000' &"
    run = await runs.start("r1", sh(f"{far_one} while [ ! -s far ]; do sleep 0.1; done", tmp_path))
    ended = await runs.wait(run)
    assert (ended.how, ended.left) == (How.EXITED, 1)
    far = pid_in(tmp_path / "far")
    assert far is None or gone(far)


async def test_it_goes_on_when_who_started_it_is_killed_and_is_taken_up_again(runs: Runs, tmp_path: Path):
    program = (
        "import asyncio, sys, os, signal; from pathlib import Path; from millpond.delivery.runs.runs import *\n"
        f"runs = Runs(Path({str(tmp_path / 'runs')!r}))\n"
        "script = 'echo one; while [ ! -e go ]; do sleep 0.1; done; echo two'\n"
        f"spec = Spec(['sh', '-c', script], Path({str(tmp_path)!r}), {PATH!r}, notes={{'session': 's1'}})\n"
        "asyncio.run(runs.start('r1', spec)); os.kill(os.getpid(), signal.SIGKILL)"
    )
    done = subprocess.run([sys.executable, "-c", program], check=False, start_new_session=True)
    assert done.returncode == -signal.SIGKILL
    run = await runs.find("r1")
    assert run
    assert run.alive()
    assert run.notes() == {"session": "s1"}
    with pytest.raises(ValueError, match="already"):
        await runs.start("r1", sh("true", tmp_path))
    (tmp_path / "go").touch()
    assert (await runs.wait(run)).rc == 0
    assert run.log.read_text() == "one\ntwo\n"


async def test_a_wrapper_that_was_killed_is_noticed_and_what_it_left_is_swept(runs: Runs, tmp_path: Path):
    script = f"setsid sh -c 'echo $$ > {tmp_path}/far; exec sleep 1000' & sleep 1000"
    run = await runs.start("r1", sh(script, tmp_path))
    await until(lambda: pid_in(tmp_path / "far"))
    far, who = pid_in(tmp_path / "far"), run.who()
    assert who
    assert far
    os.kill(who.pid, signal.SIGKILL)
    assert (await runs.wait(run)).how is How.LOST
    assert gone(far)


async def test_a_stranger_with_its_pid_is_left_alone(runs: Runs, tmp_path: Path):
    run = await runs.start("r1", sh("sleep 1000", tmp_path))
    await until(run.who)
    who = run.who()
    assert who
    os.kill(who.pid, signal.SIGKILL)
    await runs.wait(run)
    stranger = subprocess.Popen(["sleep", "1000"], start_new_session=True)
    try:
        text = (run.folder / "wrapper.json").read_text().replace(f'"pid": {who.pid}', f'"pid": {stranger.pid}')
        (run.folder / "wrapper.json").write_text(text)
        await runs.end(run)
        assert not run.alive()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()


async def test_events_are_heard_and_end_it_when_the_listener_says_so(runs: Runs, tmp_path: Path):
    script = """echo '{"type":"a","n":1}'; echo noise; echo '{"type":"b"}'; echo '{"type":"a","n":2}'; sleep 1000"""
    run = await runs.start("r1", sh(script, tmp_path, events=["a"]))
    heard: list[bytes] = []

    def hear(line: bytes) -> str:
        heard.append(line)
        return "enough" if len(heard) == 2 else ""

    ended = await runs.wait(run, hear)
    assert heard == [b'{"type":"a","n":1}', b'{"type":"a","n":2}']
    assert (ended.how, ended.why) == (How.STOPPED, "enough")


async def test_one_that_said_it_is_done_and_hangs_is_ended(runs: Runs, tmp_path: Path):
    script = """trap '' TERM; echo '{"type":"result"}'; sleep 1000; sleep 1000"""
    run = await runs.start("r1", sh(script, tmp_path, finals=["result"]))
    ended = await runs.wait(run, lambda _: "")
    assert (ended.how, ended.final) == (How.FINAL, True)


async def test_a_program_that_is_not_there_is_told(runs: Runs, tmp_path: Path):
    ended = await runs.wait(await runs.start("r1", Spec(["no-such-program"], tmp_path, PATH, QUICK)))
    assert ended.how is How.NOT_STARTED
    assert "no-such-program" in ended.detail


async def test_cancelled_it_is_ended_but_goes_on_when_this_process_leaves(runs: Runs, tmp_path: Path):
    first = await runs.start("r1", sh("sleep 1000", tmp_path))
    waiting = asyncio.create_task(runs.wait(first))
    await asyncio.sleep(0.3)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert not first.alive()
    second = await runs.start("r2", sh("sleep 1000", tmp_path))
    waiting = asyncio.create_task(runs.wait(second))
    await asyncio.sleep(0.3)
    runs.leave()
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    assert second.alive()
    assert await Runs(tmp_path / "runs").others(["r1"]) == ["r2"]
    assert not second.alive()


async def test_old_runs_are_removed_a_few_at_a_time(runs: Runs, tmp_path: Path):
    for name in ("r1", "r2", "r3"):
        await runs.wait(await runs.start(name, sh("true", tmp_path)))
    assert await runs.prune(time.time() - 60) == 0
    assert await runs.prune(time.time() + 60, most=2) == 2
    assert await runs.prune(time.time() + 60) == 1


async def test_what_was_prepared_and_left_is_removed_when_it_is_old(runs: Runs, tmp_path: Path):
    await runs.prepared("r1")
    assert await runs.prune(time.time() - 60) == 0
    assert await runs.prune(time.time() + 60) == 1
    assert list((tmp_path / "runs").iterdir()) == []


@pytest.mark.parametrize("name", ["", "../x", "a/b", "-x", "x" * 101])
async def test_a_name_leads_nowhere_else(runs: Runs, tmp_path: Path, name: str):
    with pytest.raises(ValueError, match="no name"):
        await runs.start(name, sh("true", tmp_path))


def test_a_folder_without_a_run_is_none(tmp_path: Path):
    run = Run(tmp_path)
    assert not run.alive()
    assert run.status() is None
    assert run.who() is None
