"""Programs run to their end: bounded, and with nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvloop

from millpond.adapters.processes import environment, run_program

pytestmark = pytest.mark.process

LIMIT = 1 << 20


async def sh(script: str, *, timeout_s: float = 60, limit: int = LIMIT, **more: object):
    return await run_program(["sh", "-c", script], timeout_s=timeout_s, max_output_bytes=limit, **more)


async def gone(pid: int) -> None:
    """Wait until a process is no more (a zombie is none)."""
    async with asyncio.timeout(60):
        while True:
            try:
                state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
            except OSError:
                return
            if state in "ZX":
                return
            await asyncio.sleep(0.02)


async def test_outputs_and_exit_code_are_kept_apart():
    ended = await sh("echo out; echo err >&2; exit 3")
    assert (ended.rc, ended.out, ended.err, ended.truncated) == (3, "out\n", "err\n", False)


async def test_a_signal_is_a_negative_code():
    assert (await sh("kill -9 $$")).rc == -9


async def test_of_too_much_the_head_and_the_tail_are_kept():
    ended = await sh("echo first; head -c 5000000 /dev/zero | tr '\\0' x; echo; echo last", limit=10_000)
    assert ended.truncated
    assert ended.out.startswith("first\n")
    assert ended.out.endswith("x\nlast\n")
    assert "bytes are left out" in ended.out
    assert len(ended.out) < 10_000 + 2 * 65536 + 100


async def test_what_is_no_utf_8_is_text_all_the_same():
    assert (await sh("printf '\\377\\376'")).out == "\ufffd\ufffd"


async def test_it_reads_what_it_is_given_or_nothing():
    assert (await sh("cat")).out == ""
    given = b"x" * 3_000_000
    assert (await sh("wc -c", stdin=given)).out.strip() == str(len(given))
    assert (await sh("true", stdin=given)).rc == 0, "it need not read any of it"


def test_under_the_daemon_s_own_loop_too():
    """uvloop's transports are no instances of asyncio's."""

    async def read() -> str:
        return (await run_program(["cat"], timeout_s=30, max_output_bytes=1000, stdin=b"given")).out

    assert uvloop.run(read()) == "given"


async def test_the_time_out_ends_all_that_was_started(tmp_path: Path):
    pids = tmp_path / "pids"
    with pytest.raises(TimeoutError):
        await sh(f"trap '' TERM; sleep 300 & echo $! $$ >{pids}; wait; sleep 300", timeout_s=5)
    for pid in pids.read_text().split():
        await gone(int(pid))


async def test_a_cancelled_caller_leaves_nothing_running(tmp_path: Path):
    pids = tmp_path / "pids"
    task = asyncio.create_task(sh(f"sleep 300 & echo $! >{pids}; echo $$ >>{pids}; wait"))
    async with asyncio.timeout(60):
        while not pids.exists() or pids.read_text().count("\n") < 2:
            await asyncio.sleep(0.01)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    for pid in pids.read_text().split():
        await gone(int(pid))


@pytest.mark.parametrize("turns", range(6))
async def test_one_who_is_cancelled_while_it_starts_leaves_nothing_running_either(turns: int):
    name = f"{300 + turns}.{os.getpid()}"
    task = asyncio.create_task(sh(f"sleep {name} & wait"))
    for _ in range(turns):
        await asyncio.sleep(0)
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    async with asyncio.timeout(60):
        while any(name in text for text in command_lines()):
            await asyncio.sleep(0.02)


def command_lines() -> Iterator[str]:
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            yield path.read_text(errors="replace")


async def test_a_pipe_that_somebody_keeps_open_does_not_hold_it_up():
    began = asyncio.get_running_loop().time()
    ended = await sh("echo said; (sleep 90 &)")
    assert ended.out == "said\n"
    assert asyncio.get_running_loop().time() - began < 60


async def test_it_is_heard_while_it_runs():
    heard = asyncio.Event()
    pieces: list[bytes] = []

    def hear(piece: bytes) -> None:
        pieces.append(piece)
        heard.set()

    task = asyncio.create_task(sh("echo early; read x; echo late", stdin=b"go\n", heard=hear))
    await asyncio.wait_for(heard.wait(), 30)
    await task
    assert b"".join(pieces) == b"early\nlate\n"


async def test_no_secret_of_the_environment_is_passed_on(monkeypatch):
    monkeypatch.setenv("MILLPOND_CANARY", "hunter2")
    monkeypatch.setenv("DOCKER_HOST", "tcp://elsewhere:1")
    out = (await sh("env")).out
    assert "hunter2" not in out
    assert "DOCKER_HOST" not in out
    assert environment()["PATH"] == os.environ["PATH"]


async def test_a_program_that_is_not_there_is_told():
    with pytest.raises(FileNotFoundError):
        await run_program(["millpond-no-such-program"], timeout_s=5, max_output_bytes=LIMIT)
