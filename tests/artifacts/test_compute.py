"""The process pool: its children work, die, are replaced, and never outlive their parent.

The functions that are called are the standard library's, so that a child needs nothing of the tests.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import operator
import os
import pickle
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from millpond.artifacts.compute import Compute, ComputeFailed
from millpond.errors import MillpondError

PATIENCE_S = 20.0


@asynccontextmanager
async def pool(**options: Any) -> AsyncIterator[Compute]:
    compute = Compute(**options)
    try:
        yield compute
    finally:
        await compute.close()
    assert compute.children == ()


async def until(found: Callable[[], object]) -> None:
    async with asyncio.timeout(PATIENCE_S):
        while not found():
            await asyncio.sleep(0.005)


def gone(pid: int) -> bool:
    try:
        return "\nState:\tZ" in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return True


async def test_a_child_has_none_of_our_secrets_and_is_closed_to_others_of_our_user(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("CANARY", "canary-in-the-environment")
    async with pool() as compute:
        assert await compute.run(os.getenv, "PATH") == os.environ["PATH"]
        assert await compute.run(os.getenv, "CANARY") is None
        (child,) = compute.children
        assert b"canary" not in Path(f"/proc/{child}/environ").read_bytes()
        assert await compute.run(eval, "__import__('ctypes').CDLL(None).prctl(3, 0, 0, 0, 0)") == 0  # PR_GET_DUMPABLE


async def test_a_call_is_made_in_one_child_which_starts_when_it_is_needed():
    async with pool() as compute:
        assert compute.children == ()
        pids = {await compute.run(os.getpid) for _ in range(3)}
        assert pids == set(compute.children)
        assert os.getpid() not in pids


async def test_more_workers_work_side_by_side():
    async with pool(workers=2) as compute:
        calls = [asyncio.create_task(compute.run(time.sleep, 30)) for _ in range(2)]
        await until(lambda: len(compute.children) == 2)
        for call in calls:
            call.cancel()


async def test_what_a_function_raises_is_raised_with_its_traceback():
    async with pool() as compute:
        with pytest.raises(json.JSONDecodeError, match="Expecting value") as caught:
            await compute.run(json.loads, "x")
        assert "Traceback" in caught.value.__notes__[0]
        assert await compute.run(operator.add, 1, 2) == 3


async def test_what_can_not_be_sent_or_answered_is_an_error_and_no_more():
    async with pool() as compute:
        with pytest.raises((pickle.PicklingError, AttributeError)):
            await compute.run(lambda: None)
        with pytest.raises(TypeError, match="pickle"):
            await compute.run(threading.Lock)
        with pytest.raises(TypeError, match="positional"):
            await compute.run(int, "12", base=3)
        assert await compute.run(int, "12", 3) == 5


async def test_what_a_function_prints_does_not_spoil_its_answer():
    async with pool() as compute:
        assert await compute.run(os.write, 1, b"") == 0
        assert await compute.run(print, "printed by a test, on purpose") is None
        assert await compute.run(operator.add, 1, 2) == 3


async def test_a_child_is_nice_and_leaves_signals_to_its_parent():
    async with pool(nice=7) as compute:
        before = os.getpriority(os.PRIO_PROCESS, 0)
        assert await compute.run(os.getpriority, os.PRIO_PROCESS, 0) == min(before + 7, 19)
        [pid] = compute.children
        assert os.getpgid(pid) == pid
        assert os.getsid(pid) == os.getsid(0)  # in another session, niceness would mean nothing
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(pid, number)
        assert await compute.run(os.getpid) == pid


async def test_a_child_holds_none_of_our_descriptors():
    with socket.create_server(("127.0.0.1", 0)) as listening:
        high = fcntl.fcntl(listening.fileno(), fcntl.F_DUPFD, 200)
        os.set_inheritable(high, True)
        try:
            async with pool() as compute:
                assert not await compute.run(os.path.exists, f"/proc/self/fd/{high}")
                assert len(await compute.run(os.listdir, "/proc/self/fd")) <= 6
        finally:
            os.close(high)


async def test_a_killed_child_costs_no_call():
    async with pool() as compute:
        first = await compute.run(os.getpid)
        call = asyncio.create_task(compute.run(time.sleep, 0.3))
        await asyncio.sleep(0.05)
        os.kill(first, signal.SIGKILL)
        await call
        assert compute.children
        assert first not in compute.children


async def test_a_child_that_died_between_calls_is_replaced():
    async with pool() as compute:
        first = await compute.run(os.getpid)
        os.kill(first, signal.SIGKILL)
        assert await compute.run(os.getpid) != first


async def test_a_call_that_kills_its_child_fails_the_second_time():
    async with pool() as compute:
        with pytest.raises(ComputeFailed, match="died twice") as caught:
            await compute.run(os._exit, 3)
        assert isinstance(caught.value, MillpondError)
        assert isinstance(caught.value, OSError)
        assert await compute.run(operator.add, 1, 2) == 3


async def test_a_child_is_replaced_after_its_calls():
    async with pool(calls_per_child=2) as compute:
        pids = [await compute.run(os.getpid) for _ in range(5)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4]


async def test_a_child_that_has_grown_large_is_replaced():
    async with pool() as compute:
        first = await compute.run(os.getpid)
        await compute.run(exec, "import os; os.kept = b'x'")
        assert await compute.run(os.getpid) == first
        await compute.run(exec, "import os; os.kept = b'x' * (300 << 20)")
        assert await compute.run(os.getpid) != first


async def test_a_call_that_takes_too_long_is_ended_and_not_repeated():
    async with pool(timeout_s=0.3) as compute:
        started = time.monotonic()
        with pytest.raises(ComputeFailed, match=r"longer than 0\.3 s"):
            await compute.run(time.sleep, 60)
        assert time.monotonic() - started < PATIENCE_S
        assert compute.children == ()


async def test_no_more_calls_wait_than_may():
    async with pool(max_waiting=2) as compute:
        calls = [asyncio.create_task(compute.run(time.sleep, 30)) for _ in range(2)]
        await until(lambda: compute.children)
        with pytest.raises(ComputeFailed, match="2 calls wait"):
            await compute.run(os.getpid)
        for call in calls:
            call.cancel()


async def test_the_event_loop_goes_on_beside_a_call():
    async with pool() as compute:
        call = asyncio.create_task(compute.run(time.sleep, 1.5))
        turns = 0
        while not call.done():
            await asyncio.sleep(0.001)
            turns += 1
        assert turns > 20


async def test_a_cancelled_caller_spoils_nothing():
    async with pool() as compute:
        call = asyncio.create_task(compute.run(time.sleep, 0.2))
        await until(lambda: compute.children)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        assert await compute.run(operator.add, 1, 2) == 3


async def test_a_call_that_nobody_waits_for_any_more_is_not_begun(tmp_path: Path):
    async with pool() as compute:
        first = asyncio.create_task(compute.run(time.sleep, 0.2))
        dropped = asyncio.create_task(compute.run(os.mkdir, tmp_path / "made"))
        await until(lambda: compute.children)
        dropped.cancel()
        await first
        await compute.run(os.getpid)
        assert not (tmp_path / "made").exists()


async def test_closing_ends_what_runs_and_takes_no_more():
    compute = Compute()
    call = asyncio.create_task(compute.run(time.sleep, 60))
    await until(lambda: compute.children)
    [pid] = compute.children
    started = time.monotonic()
    await compute.close()
    with pytest.raises(ComputeFailed):
        await call
    assert time.monotonic() - started < PATIENCE_S
    assert gone(pid)
    with pytest.raises(ComputeFailed, match="closed"):
        await compute.run(os.getpid)


PARENT = """
import asyncio, os, sys, time
from millpond.artifacts.compute import Compute
async def main():
    compute = Compute()
    print(await compute.run(os.getpid), flush=True)
    if sys.argv[1] == "busy":
        call = asyncio.create_task(compute.run(time.sleep, 60))
    await asyncio.sleep(60)
asyncio.run(main())
"""


@pytest.mark.parametrize("state", ["idle", "busy"])
async def test_a_child_dies_with_a_killed_parent(state: str):
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    parent = subprocess.Popen([sys.executable, "-c", PARENT, state], stdout=subprocess.PIPE, env=environ)
    try:
        assert parent.stdout is not None
        pid = int(await asyncio.to_thread(parent.stdout.readline))
        if state == "busy":
            await asyncio.sleep(0.2)  # whenever the call begins, the child must go
        assert not gone(pid)
    finally:
        parent.kill()
        parent.wait()
        parent.stdout.close()
    await until(lambda: gone(pid))


async def test_a_child_imports_next_to_nothing():
    async with pool() as compute:
        modules = await compute.run(eval, "sorted(__import__('sys').modules)")
    assert not {"asyncio", "aiohttp", "sqlalchemy", "pydantic", "millpond.artifacts.compute"} & set(modules)
