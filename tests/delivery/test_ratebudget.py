"""The budget in use: who waits, who is sent away, and that the urgent go ahead of the rest."""

from __future__ import annotations

import asyncio

import pytest

from millpond.delivery.ratebudget import BudgetSpent, RateBudget, used_for
from millpond.delivery.rates import Rate, Use


class Time:
    """A clock that sleeping moves."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(0)
        self.now += seconds


@pytest.fixture
def time() -> Time:
    return Time()


@pytest.fixture
def budget(time: Time) -> RateBudget:
    return RateBudget(Rate(60.0), time.monotonic, time.sleep)


async def test_a_listing_of_a_hundred_pages_takes_its_time(budget: RateBudget, time: Time):
    for _ in range(100):
        await budget.draw(Use.LISTING)
    assert time.now - 100.0 == pytest.approx(90 * 1.5, abs=2)
    for _ in range(9):
        await budget.draw(Use.WRITE)
    assert time.now - 100.0 == pytest.approx(90 * 1.5, abs=2)


async def test_who_calls_says_what_it_is_for(budget: RateBudget):
    with used_for(Use.URGENT):
        await asyncio.gather(*(budget.draw(Use.READ) for _ in range(12)))
    await budget.draw(Use.READ)
    status = budget.status()
    assert (status["drawn_urgent"], status["drawn_read"], status["waited_s"]) == (12, 1, 0)


async def test_a_wait_that_is_too_long_is_told(budget: RateBudget):
    budget.refused(300.0)
    with pytest.raises(BudgetSpent) as caught:
        await budget.draw(Use.WRITE)
    assert 300 < caught.value.after_s < 303
    status = budget.status()
    assert (status["closed_s"], status["refusals"], status["left"]) == (300.0, 1, 0.0)


async def test_a_short_refusal_is_waited_for(budget: RateBudget, time: Time):
    budget.refused(10.0)
    await budget.draw(Use.WRITE)
    assert 111 < time.now < 113


async def test_what_is_left_is_believed(budget: RateBudget):
    budget.told(1)
    await budget.draw(Use.WRITE)
    assert budget.status()["left"] == 0.0
