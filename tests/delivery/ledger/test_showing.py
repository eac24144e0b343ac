"""What the ledger shows people and loops; the rows that it forgets."""

from __future__ import annotations

from typing import Any

import pytest
from tests.delivery.driven import COLUMNS, SHOP, Driven, Outside
from tests.delivery.ledger.test_queue import queued

from millpond.delivery.ledger.books import Books
from millpond.delivery.ledger.pruning import prune
from millpond.delivery.ledger.showing import Showing
from millpond.delivery.model import Done, Park, Phase, Retry
from millpond.errors import Conflict


@pytest.fixture
def driven(db: Any) -> Driven:
    outside = Outside()
    outside.tracker.columns["shop"] = COLUMNS
    return Driven(db, outside)


async def begun(driven: Driven, *issues: str) -> None:
    for one in issues:
        driven.outside.tracker.put(SHOP, one, state="to-analyse")
        await driven.ledger.nudges.add("shop", one, urgent=True)
    while await driven.engine.look(10):
        pass


async def test_an_empty_ledger_shows_empty_things(db: Any):
    shows = Showing(Books(db))
    waiting = await shows.waiting(4)
    assert (waiting.nudge, waiting.outbox, waiting.job) == (None, None, None)
    assert set((await shows.phases()).values()) == {0}
    assert await shows.backlog() == {"nudges": 0, "outbox": 0, "outbox_failing": 0}
    assert await shows.recent() == []
    assert await shows.spent_today() == {}


async def test_what_is_queued_and_due_is_told(db: Any, driven: Driven):
    await begun(driven, "a", "b")
    shows = Showing(Books(db))
    waiting = await shows.waiting(4)
    assert waiting.job is not None
    assert waiting.job <= waiting.now
    assert waiting.outbox is not None
    assert waiting.outbox <= waiting.now
    assert (await shows.phases())["working"] == 2
    assert await shows.active(("agent",)) == 2
    tasks = await shows.tasks(project="shop", ended=False)
    assert [task.key for task in tasks] == ["SH-2", "SH-1"]
    events = await shows.events(tasks[1].id)
    assert events
    assert [one.id for one in await shows.events(tasks[1].id, after=events[0].id)] == [one.id for one in events[1:]]


async def test_a_job_that_waits_for_its_repo_or_for_room_is_not_due(db: Any, driven: Driven):
    await begun(driven, "a", "b")
    shows = Showing(Books(db))
    (job,) = await driven.ledger.jobs.claim("w", 60, most=4, limit=4)
    assert (await shows.waiting(4)).job is None, "the other one is of the same repo"
    await queued(driven.ledger, 77, "team/other")
    assert (await shows.waiting(4)).job == 0.0
    assert (await shows.waiting(4, ["nobody"])).job is None
    assert (await shows.waiting(1)).job is None
    await driven.ledger.jobs.finish(job, Done())
    assert (await shows.waiting(1)).job == 0.0


async def test_a_move_behind_one_that_is_being_sent_is_not_due(db: Any, driven: Driven):
    await begun(driven, "a")
    (sent,) = [one for one in await driven.ledger.outbox.take(60, 10) if one.kind == "move"]
    (job,) = await driven.ledger.jobs.claim("w", 60, most=4)
    await driven.ledger.jobs.finish(job, Park("what now?"))
    await driven.engine.look(1)
    assert [one.kind for one in await driven.ledger.outbox.pending()].count("move") == 2
    for other in await driven.ledger.outbox.take(60, 10):
        await driven.ledger.outbox.confirm(other)
    shows = Showing(Books(db))
    waiting = await shows.waiting(4)
    assert waiting.outbox is not None
    assert waiting.outbox > waiting.now + 30
    await driven.ledger.outbox.confirm(sent)
    waiting = await shows.waiting(4)
    assert waiting.outbox is not None
    assert waiting.outbox <= waiting.now


async def test_ends_of_jobs_say_whether_they_may_pass(db: Any, driven: Driven):
    await begun(driven, "a")
    (job,) = await driven.ledger.jobs.claim("w", 60, most=1)
    await driven.age(100)
    assert await driven.ledger.jobs.reap()
    shows = Showing(Books(db))
    (ended,) = await shows.ended(("agent",))
    assert (ended.task, ended.passing) == (job.task, True)
    assert await shows.reaped() == 1
    assert len(await shows.runs(job.task)) == 1


async def test_an_end_that_says_nothing_of_the_world_is_left_out(db: Any, driven: Driven):
    await begun(driven, "a")
    (job,) = await driven.ledger.jobs.claim("w", 60, most=1)
    await driven.ledger.jobs.finish(job, Retry(30.0, "somebody else deploys it", not_yet=True))
    assert await Showing(Books(db)).ended((job.step,)) == []


async def test_a_task_that_backs_off_is_hurried_by_a_person(driven: Driven):
    await begun(driven, "a")
    task = await driven.ledger.by_key("SH-1")
    assert task
    with pytest.raises(Conflict, match="SH-1 is working"):
        await driven.ledger.hurry(task.id, "ada")
    await driven.ledger.jobs.claim("w", 60, most=1)
    await driven.age(100)
    await driven.ledger.jobs.reap()
    while await driven.engine.look(10):
        pass
    assert not await driven.ledger.jobs.active()
    await driven.ledger.hurry(task.id, "ada")
    while await driven.engine.look(10):
        pass
    assert len(await driven.ledger.jobs.active()) == 1


async def test_what_ended_long_ago_is_forgotten_but_for_an_issue_s_last_task(db: Any, driven: Driven):
    await begun(driven, "a", "b")
    for key in ("SH-1", "SH-2"):
        task = await driven.ledger.by_key(key)
        assert task
        await driven.ledger.cancel(task.id, "ada")
    while await driven.engine.look(10):
        pass
    while await driven.engine.send(10):
        pass
    shows = Showing(Books(db))
    assert (await shows.phases())["cancelled"] == 2
    assert await prune(Books(db), 1000) == 0, "it has just ended"
    await driven.age(2000)
    while await prune(Books(db), 1000, at_once=1):
        pass
    kept = await shows.tasks()
    assert {task.phase for task in kept} == {Phase.CANCELLED}
    assert len(kept) == 2, "they say that the issues were acted upon"
    assert [await shows.events(task.id) for task in kept] == [[], []]
    driven.outside.tracker.put(SHOP, "a", state="backlog")
    await driven.ledger.nudges.add("shop", "a", urgent=True)
    while await driven.engine.look(10):
        pass
    await begun(driven, "a")
    again = await driven.ledger.by_key("SH-1")
    assert again
    assert again.open


async def test_a_paused_circuit_starts_nothing_and_says_so(db: Any, driven: Driven):
    async def paused() -> tuple[float, str]:
        return await driven.ledger.now() + 60, "no job is started for 60 s"

    around = driven.engine._around
    driven.engine._around = type(around)(
        around.tracker, around.forge, around.states, around.projects, around.pipeline, around.alert, paused
    )
    await begun(driven, "a")
    assert not await driven.ledger.jobs.active()
    (action,) = await driven.engine.why(SHOP, "a")
    assert "no job is started for 60 s" in action.reason


async def test_a_poll_can_be_tried_without_a_trace(driven: Driven):
    driven.outside.tracker.put(SHOP, "a", state="to-analyse")
    (found,) = await driven.engine.poll(dry_run=True)
    assert (found.issues, found.complete) == (("a",), True)
    assert await driven.ledger.nudges.all() == []
    driven.outside.tracker.down = True
    (found,) = await driven.engine.poll(dry_run=True)
    assert "the tracker is down" in found.error
