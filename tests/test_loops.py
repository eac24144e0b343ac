"""Background loops: they go on whatever happens, and stop when told."""

from __future__ import annotations

import asyncio
import itertools

from structlog.testing import capture_logs

from millpond.errors import OutOfSpace
from millpond.loops import Loops


async def enough(times: list[float], count: int) -> None:
    while len(times) < count:
        await asyncio.sleep(0.001)


async def test_a_tick_repeats_at_its_interval():
    loops, times = Loops(jitter=lambda: 0.0), []

    async def tick():
        times.append(asyncio.get_running_loop().time())

    began = asyncio.get_running_loop().time()
    loops.every(0.02, tick, "t")
    await asyncio.wait_for(enough(times, 3), 30)
    await loops.close()
    assert times[0] - began >= 0.019
    assert all(late - early >= 0.019 for early, late in itertools.pairwise(times))


async def test_one_that_is_wanted_at_once_does_not_wait():
    loops, ran = Loops(), asyncio.Event()

    async def tick():
        ran.set()

    loops.every(3600, tick, "t", at_once=True)
    await asyncio.wait_for(ran.wait(), 30)
    await loops.close()


async def test_workers_do_not_move_in_step():
    loops, times = Loops(jitter=lambda: 1.0), []

    async def tick():
        times.append(asyncio.get_running_loop().time())

    began = asyncio.get_running_loop().time()
    loops.every(0.2, tick, "t")
    await asyncio.wait_for(enough(times, 1), 30)
    await loops.close()
    assert times[0] - began >= 0.179, "up to a tenth earlier, no more"


async def test_a_tick_that_fails_is_not_the_last():
    loops, times = Loops(), []

    async def tick():
        times.append(0.0)
        raise RuntimeError("broken")

    loops.every(0.005, tick, "t")
    await asyncio.wait_for(enough(times, 3), 30)
    await loops.close()


async def test_what_fails_again_and_again_is_told_when_it_begins_and_when_it_is_over():
    loops, times = Loops(), []

    async def tick():
        times.append(0.0)
        if len(times) < 4:
            raise OutOfSpace("the disk is full")

    with capture_logs() as said:
        loops.every(0.005, tick, "t")
        await asyncio.wait_for(enough(times, 6), 30)
        await loops.close()
    assert [(one["log_level"], one.get("error")) for one in said] == [("error", "the disk is full"), ("info", None)]


async def test_closing_ends_them_all_a_tick_under_way_too():
    loops, entered, cancelled = Loops(), asyncio.Event(), asyncio.Event()

    async def stuck():
        entered.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    loops.every(0.001, stuck, "stuck")
    await asyncio.wait_for(entered.wait(), 30)
    before = len(asyncio.all_tasks())
    await loops.close()
    assert cancelled.is_set()
    assert len(asyncio.all_tasks()) == before - 1
    await loops.close()
