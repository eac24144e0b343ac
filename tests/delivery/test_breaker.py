"""The circuit breaker of the jobs."""

from __future__ import annotations

from millpond.delivery.breaker import Circuit, Ended, Limits, State, judge

LIMITS = Limits(failures=3, open_s=60, most_s=200)


def failures(count: int, *, at: float = 1000.0, tasks: int = 2) -> list[Ended]:
    return [Ended(index % tasks, at - index, passing=True, reason=f"no {index}") for index in range(count)]


def test_few_failures_leave_it_closed():
    assert judge([], 0, 1000, LIMITS) == Circuit()
    assert judge(failures(2), 0, 1000, LIMITS) == Circuit(failures=2)


def test_many_in_a_row_open_it_and_say_why():
    found = judge(failures(3), 0, 1010, LIMITS)
    assert (found.state, found.until, found.failures) == (State.OPEN, 1060, 3)
    assert found.reason == "no job is started for 50 s: 3 jobs failed in a row, the last one: no 0"


def test_one_that_went_well_or_failed_for_good_breaks_the_row():
    row = [*failures(2), Ended(7, 990, passing=False), *failures(5, at=980)]
    assert judge(row, 0, 1000, LIMITS).state is State.CLOSED


def test_one_task_alone_does_not_open_it():
    assert judge(failures(9, tasks=1), 0, 1000, LIMITS).state is State.CLOSED


def test_afterwards_one_tries_and_the_others_wait_for_it():
    free = judge(failures(3), 0, 1060, LIMITS)
    assert (free.state, free.until) == (State.HALF_OPEN, 0)
    waiting = judge(failures(3), 1, 1060, LIMITS)
    assert waiting.state is State.HALF_OPEN
    assert waiting.until > 1060


def test_each_further_failure_doubles_the_pause_up_to_a_limit():
    until = [judge(failures(count), 0, 1000, LIMITS).until - 1000 for count in (3, 4, 5, 200)]
    assert until == [60, 120, 200, 200]
