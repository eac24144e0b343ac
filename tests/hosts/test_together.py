"""Work side by side that ends together."""

from __future__ import annotations

import asyncio

import pytest

from millpond.hosts.together import together


async def test_it_gives_what_each_came_to_in_order():
    async def one(number: int) -> int:
        await asyncio.sleep(0.001 * (3 - number))
        return number

    assert await together(map(one, range(3))) == [0, 1, 2]
    assert await together([]) == []


@pytest.mark.parametrize("called_off", [False, True])
async def test_when_it_is_over_nothing_of_it_goes_on(called_off: bool):
    began, ended = asyncio.Event(), []

    async def slow() -> None:
        try:
            began.set()
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0.01)  # what is to be ended there takes its time
            ended.append("slow")

    async def broken() -> None:
        await began.wait()
        if called_off:
            await asyncio.sleep(60)
        raise KeyError("a bug")

    work = asyncio.create_task(together([slow(), broken()]))
    await began.wait()
    if called_off:
        work.cancel()
    with pytest.raises(asyncio.CancelledError if called_off else KeyError):
        await work
    assert ended == ["slow"]
