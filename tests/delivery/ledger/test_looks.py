"""A monitor looks for a day, and what is kept of it does not grow."""

from __future__ import annotations

from typing import Any

import pytest
import sqlalchemy as sa
from tests.delivery.driven import SHOP, Driven, Outside

from millpond.delivery.ledger.tables import COSTS, EVENTS, JOBS, RUNS
from millpond.delivery.model import Done, JobState, Outcome, Phase, Retry, Spent
from millpond.delivery.pipeline import Pipeline, Stage

WATCH = Pipeline((Stage("watch", "monitor", {"for_s": 86400, "every_s": 5}, attempts=3),))
WELL = Retry(5.0, "well so far", not_yet=True)


@pytest.fixture
async def driven(db: Any) -> Driven:
    made = Driven(db, Outside(), pipeline=WATCH)
    made.outside.tracker.put(SHOP, "i1", state="to-analyse")
    await made.ledger.nudges.add("shop", "i1", urgent=True)
    return made


async def looked(driven: Driven, outcome: Outcome) -> None:
    """Have one look done, and what came of it taken in."""
    await driven.age(20)
    while await driven.engine.look(10):
        pass
    (job,) = await driven.ledger.jobs.claim("w", 60, most=4)
    await driven.ledger.jobs.finish(job, outcome)
    while await driven.engine.look(10):
        pass


async def rows(driven: Driven) -> dict[str, int]:
    def read(connection: sa.Connection) -> dict[str, int]:
        counts = {table.name: sa.select(sa.func.count()).select_from(table) for table in (JOBS, RUNS, EVENTS)}
        return {name: connection.execute(query).scalar_one() for name, query in counts.items()}

    return await driven.db.read(read)


async def test_a_day_of_looks_leaves_the_first_and_the_last(driven: Driven):
    for _ in range(4):
        await looked(driven, WELL)
    before = await rows(driven)
    for _ in range(30):
        await looked(driven, WELL)
    assert await rows(driven) == before
    (task,) = await driven.tasks()
    first, last = await driven.ledger.jobs.of(task.id)
    assert (first.attempt, last.attempt, task.attempts) == (1, 34, 34)
    assert first.state is last.state is JobState.LATER
    (wait,) = await driven.engine.why(SHOP, "i1")
    assert "0 of 3 attempts made" in wait.reason  # type: ignore[union-attr]


async def test_attempts_costs_and_events_stay_right(driven: Driven):
    await looked(driven, Retry(5.0, "well so far", Spent(0.25), not_yet=True))
    for outcome in (*[WELL] * 3, Retry(1.0, "no answer"), *[WELL] * 3, Retry(1.0, "no answer"), *[WELL] * 5):
        await looked(driven, outcome)
    (task,) = await driven.tasks()
    states = [job.state for job in await driven.ledger.jobs.of(task.id)]
    assert states == [JobState.LATER, JobState.RETRY, JobState.RETRY, JobState.LATER]
    (wait,) = await driven.engine.why(SHOP, "i1")
    assert "2 of 3 attempts made" in wait.reason  # type: ignore[union-attr]
    assert (await driven.ledger.spend(task)).task_usd == 0.25
    look, failure = ("job-queued", "job-claimed", "job-later"), ("job-queued", "job-claimed", "job-retry")
    told = [one for one in await driven.ledger.events(task.id) if one != "moved-on-the-board"]
    again = "to-be-tried-again"
    assert told == ["created", *look, again, *failure, again, *failure, again, *look, again]
    await looked(driven, Done())
    assert [one.phase for one in await driven.tasks()] == [Phase.DONE]


async def test_what_a_look_in_between_did_cost_stays(driven: Driven):
    for _ in range(3):
        await looked(driven, Retry(5.0, "well so far", Spent(0.5), not_yet=True))
    await looked(driven, WELL)
    (task,) = await driven.tasks()
    assert len(await driven.ledger.jobs.of(task.id)) == 2
    assert (await driven.ledger.spend(task)).task_usd == 1.5
    count = sa.select(sa.func.count()).select_from(COSTS)
    assert await driven.db.read(lambda connection: connection.execute(count).scalar_one()) == 3
