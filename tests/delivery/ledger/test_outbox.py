"""What leaves for the tracker: once, retried, the newest move only; and what a confirmation arms."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from tests.delivery.conftest import Aging

from millpond.delivery.deciding.actions import Acknowledge, Alert, CreateTask, Show, Tell
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.ledger.tables import OUTBOX
from millpond.delivery.model import Input, Issue, Key, Options, Project, Task

SHOP = Project("shop", "p1", "team/shop", "SH")
ISSUE = Issue("i1", "shop", 1, "x", "to_analyse", 0.0)
BOTH = frozenset({Input.START, Input.VERDICT})
ANALYSIS = Show(Key.ANALYSIS, "analysis", "to_analyse", BOTH)
BLOCKED = Show(Key.BLOCKED, "blocked", "analysis", BOTH)


async def begun(ledger: Ledger) -> Task:
    task, _ = await ledger.create_task(SHOP, ISSUE, CreateTask("a", Options(), "to_analyse"))
    return task


async def do(ledger: Ledger, task: Task, *actions: Any) -> Task:
    applied = await ledger.apply(SHOP, ISSUE, task, actions)
    assert applied.task
    return applied.task


async def states(db: Any) -> list[str]:
    return list(await db.read(lambda c: c.execute(sa.select(OUTBOX.c.state).order_by(OUTBOX.c.id)).scalars().all()))


async def test_of_an_issues_moves_only_the_newest_leaves(ledger: Ledger, db: Any):
    task = await do(ledger, await begun(ledger), ANALYSIS)
    task = await do(ledger, task, BLOCKED, Tell("why", "k"))
    assert [item.payload.get("state") for item in await ledger.outbox.pending()] == ["blocked", None]
    assert await states(db) == ["dropped", "pending", "pending"]
    await do(ledger, task, Acknowledge("elsewhere"))
    assert await states(db) == ["dropped", "dropped", "pending"]


async def test_a_key_is_written_once(ledger: Ledger):
    task = await do(ledger, await begun(ledger), Tell("a", "k"), Tell("b", "k"), Alert("c", "k2"))
    await do(ledger, task, Tell("d", "k"), BLOCKED)
    assert [item.payload.get("text") for item in await ledger.outbox.pending()] == ["a", "c", None]


async def test_a_taken_write_is_nobody_elses_until_the_lease_is_over(ledger: Ledger, age: Aging):
    await do(ledger, await begun(ledger), ANALYSIS)
    (item,) = await ledger.outbox.take(60)
    assert await ledger.outbox.take(60) == []
    await age(61)
    (again,) = await ledger.outbox.take(60)
    assert again.id == item.id


async def test_a_failure_is_tried_again_later_and_later_and_the_tracker_s_wish_is_followed(ledger: Ledger, age: Aging):
    await do(ledger, await begun(ledger), ANALYSIS)
    waits = []
    for wish in (None, None, 77.0, 1e12):
        (item,) = await ledger.outbox.take(60)
        await ledger.outbox.retry(item, "HTTP 500", wish)
        (row,) = await ledger.outbox.pending()
        waits.append(round(row.not_before - await ledger.now()))
        await age(1000)
    assert waits == [2, 4, 77, 3600], "what a counterpart wishes has an end"


async def test_a_confirmed_move_arms_what_people_say_and_a_second_confirmation_is_nothing(ledger: Ledger, db: Any):
    task = await do(ledger, await begun(ledger), ANALYSIS)
    (item,) = await ledger.outbox.take(60)
    await ledger.outbox.confirm(item)
    armed = await ledger.task(task.id)
    assert armed
    assert (armed.used, armed.version) == (Input.NONE, task.version + 1)
    await ledger.outbox.confirm(item)
    await ledger.outbox.retry(item, "late")
    await ledger.outbox.drop(item, "late")
    assert await ledger.task(task.id) == armed
    assert await states(db) == ["sent"]


async def test_a_late_confirmation_of_a_move_from_before_an_input_arms_nothing(ledger: Ledger):
    task = await do(ledger, await begun(ledger), ANALYSIS)
    (item,) = await ledger.outbox.take(60)
    late = item.__class__(
        *[{**item.payload, "inputs": 0} if f == "payload" else getattr(item, f) for f in item.__slots__]
    )
    await ledger.outbox.confirm(late)
    after = await ledger.task(task.id)
    assert after == replace(task, version=task.version + 1), "whoever read the board before looks again"


async def test_a_write_that_is_given_up_is_looked_at_again(ledger: Ledger, db: Any):
    task = await do(ledger, await begun(ledger), ANALYSIS)
    (item,) = await ledger.outbox.take(60)
    await ledger.outbox.drop(item, "a person moved it")
    assert await states(db) == ["dropped"]
    assert [one.urgent for one in await ledger.nudges.all()] == [True]
    assert "dropped" in await ledger.events(task.id)


def shows(key: Key, seen: str) -> Show:
    return Show(key, str(key), seen, frozenset())


async def test_a_move_that_is_being_sent_ends_before_the_next_one_leaves(ledger: Ledger):
    task = await do(ledger, await begun(ledger), shows(Key.ANALYSIS, "to_analyse"))
    (first,) = await ledger.outbox.take(60, 10)
    await do(ledger, task, shows(Key.IN_PROGRESS, "to_analyse"))
    assert await ledger.outbox.take(60, 10) == [], "the first could arrive after the second"
    await ledger.outbox.confirm(first)
    (second,) = await ledger.outbox.take(60, 10)
    assert second.payload["state"] == "in_progress"
    assert second.payload["seen"] == ["analysis", "to_analyse"], "what we moved ourselves is no person's doing"


async def test_a_move_that_failed_gives_way_to_a_newer_one(ledger: Ledger):
    task = await do(ledger, await begun(ledger), shows(Key.ANALYSIS, "to_analyse"))
    (first,) = await ledger.outbox.take(60, 10)
    await do(ledger, task, shows(Key.IN_PROGRESS, "to_analyse"))
    await ledger.outbox.retry(first, "500")
    assert [item.payload["state"] for item in await ledger.outbox.pending()] == ["in_progress"]
    (second,) = await ledger.outbox.take(60, 10)
    assert second.payload["seen"] == ["analysis", "to_analyse"], "nobody knows whether the first took effect"


async def test_where_the_board_stands_right_it_is_brought_back_from_a_move_that_is_being_sent(ledger: Ledger):
    task = await do(ledger, await begun(ledger), shows(Key.ANALYSIS, "to_analyse"))
    (first,) = await ledger.outbox.take(60, 10)
    await do(ledger, task, Acknowledge("to_analyse"))
    await ledger.outbox.confirm(first)
    (back,) = await ledger.outbox.take(60, 10)
    assert (back.payload["state"], back.payload["seen"]) == ("to_analyse", ["analysis", "to_analyse"])


async def test_where_the_board_stands_right_what_has_not_left_is_taken_back(ledger: Ledger):
    task = await do(ledger, await begun(ledger), shows(Key.ANALYSIS, "to_analyse"))
    await do(ledger, task, Acknowledge("to_analyse"))
    assert await ledger.outbox.pending() == []
