from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millpond.delivery.deciding.gates import overspent
from millpond.delivery.deciding.spending import LEAST_USD, grant, holds
from millpond.delivery.model import Budget, Spend, Task

TASK = Task(1, "SH-1", "shop", "i1", "team/shop", "feature/sh-1", "build")


def left_over(times: int, each: float) -> float:
    """Spend so much so often, as the database adds it up."""
    total = 0.0
    for _ in range(times):
        total += each
    return total


def test_what_fractions_leave_over_begins_no_run():
    spent = left_over(10, 0.3)
    assert 0 < 3.0 - spent < 1e-15  # a day's budget of 3 that ten runs of .3 used up
    assert grant(Budget(1.0, 25.0, 3.0), Spend(0.3, spent)) == 0.0
    assert "today is spent" in overspent(TASK, Budget(1.0, 25.0, 3.0), Spend(0.3, spent))
    assert "task's budget is spent" in overspent(TASK, Budget(1.0, 3.0, None), Spend(spent, spent))


@given(st.integers(1, 50), st.sampled_from([0.1, 0.3, 0.7, 1.1]), st.floats(0.01, 5.0))
def test_a_run_is_granted_something_that_it_can_spend_or_nothing(times: int, each: float, run_usd: float):
    budget, spend = Budget(run_usd, 10.0, 20.0), Spend(left_over(times, each), left_over(times, each))
    usd = grant(budget, spend)
    assert usd is not None
    assert usd == 0.0 or usd > LEAST_USD
    assert (usd == 0.0) == bool(overspent(TASK, budget, spend))
    assert holds(usd, budget, spend)


def test_without_a_limit_there_is_none():
    assert grant(Budget(None, None, None), Spend(1e9, 1e9)) is None
    assert holds(None, Budget(None, None, None), Spend())
