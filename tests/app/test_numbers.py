from __future__ import annotations

import asyncio

import pytest
from tests.delivering import COLUMNS, PROJECT

from millpond.app.numbers import KEPT_S, Numbers
from millpond.delivery.board.states import StatesCache
from millpond.errors import NotFound
from millpond.testing.clock import FakeClock
from millpond.testing.tracker import FakeTracker


async def test_a_board_is_listed_seldom_whoever_asks_and_however_often(clock: FakeClock):
    tracker = FakeTracker({"shop": list(COLUMNS)})
    tracker.put(PROJECT, "i1", state="backlog")
    numbers, states = Numbers(clock), StatesCache(tracker.states, clock.monotonic)

    async def find(number: int) -> str:
        return await numbers.find(tracker, states, PROJECT, number)

    def listings() -> int:
        return tracker.asked.count("changed")

    found = await asyncio.gather(*(find(9) for _ in range(5)), return_exceptions=True)
    assert [type(one) for one in found] == [NotFound] * 5
    assert (await find(1), listings()) == ("i1", 1)
    tracker.put(PROJECT, "i2", state="backlog")
    with pytest.raises(NotFound, match="has no issue 2"):
        await find(2)
    clock.advance(KEPT_S + 1)
    assert (await find(2), await find(1), listings()) == ("i2", "i1", 2)


async def test_a_board_that_cannot_be_listed_is_not_asked_again_at_once(clock: FakeClock):
    tracker = FakeTracker({"shop": list(COLUMNS)}, down=True)
    tracker.put(PROJECT, "i1", state="backlog")
    numbers, states = Numbers(clock), StatesCache(tracker.states, clock.monotonic)
    for _ in range(3):
        with pytest.raises(NotFound, match="can't be asked"):
            await numbers.find(tracker, states, PROJECT, 1)
    asked = len(tracker.asked)
    tracker.down = False
    clock.advance(KEPT_S + 1)
    assert await numbers.find(tracker, states, PROJECT, 1) == "i1"
    assert asked <= 3
