"""A reload, or a stop, amid what the engine does: who comes next need not wait for the end of a lease."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from tests.delivery.driven import SHOP, Driven, Outside

from millpond.delivery.ledger.nudging import Nudges
from millpond.delivery.model import Nudge, Phase
from millpond.testing.tracker import FakeTracker


@pytest.fixture
def driven(db: Any) -> Driven:
    made = Driven(db, Outside())
    made.outside.tracker.put(SHOP, "i1", state="to-analyse")
    return made


async def broken_off(work: Any, reached: asyncio.Event) -> None:
    """Begin something, and cancel it once it has come to a point."""
    doing = asyncio.create_task(work)
    await asyncio.wait_for(reached.wait(), 30)
    doing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await doing


def hangs(monkeypatch: pytest.MonkeyPatch, what: str) -> asyncio.Event:
    """Have the tracker never answer; gives what is set when it is asked."""
    reached = asyncio.Event()

    async def for_ever(*_: Any) -> None:
        reached.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(FakeTracker, what, for_ever)
    return reached


async def test_a_look_that_is_broken_off_is_left_to_others_at_once(driven: Driven, monkeypatch: pytest.MonkeyPatch):
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    with monkeypatch.context() as patched:
        await broken_off(driven.engine.look(1), hangs(patched, "get"))
    assert await driven.engine.look(1) == 1
    assert (await driven.tasks())[0].phase is Phase.WORKING


async def test_a_nudge_that_was_just_taken_is_left_to_others_too(driven: Driven, monkeypatch: pytest.MonkeyPatch):
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    reached, take = asyncio.Event(), Nudges.take

    async def slowly(nudges: Nudges, *rest: Any) -> list[Nudge]:
        taken = await take(nudges, *rest)
        reached.set()
        await asyncio.sleep(0.1)
        return taken

    with monkeypatch.context() as patched:
        patched.setattr(Nudges, "take", slowly)
        await broken_off(driven.engine.look(1), reached)
    assert len(await driven.ledger.nudges.take(60)) == 1


async def test_what_somebody_else_took_meanwhile_is_theirs(driven: Driven):
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    (mine,) = await driven.ledger.nudges.take(60)
    await driven.age(100)
    (theirs,) = await driven.ledger.nudges.take(60)
    await driven.ledger.nudges.give_back(mine)
    assert await driven.ledger.nudges.take(60) == []
    await driven.ledger.nudges.give_back(theirs)
    assert len(await driven.ledger.nudges.take(60)) == 1


async def test_a_write_that_is_broken_off_is_sent_again_soon(driven: Driven, monkeypatch: pytest.MonkeyPatch):
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    while await driven.engine.look(10):
        pass
    (item,) = await driven.ledger.outbox.pending()
    with monkeypatch.context() as patched:
        await broken_off(driven.engine.send(1), hangs(patched, "move"))
    assert [one.attempts for one in await driven.ledger.outbox.pending()] == [1]
    await driven.age(30)  # less than a lease
    assert await driven.engine.send(1) == 1
    assert driven.outside.tracker.moves == [("i1", item.payload["state"])]


async def test_what_somebody_told_before_the_branch_was_there_waits_for_no_grace_period(driven: Driven):
    """The issue was moved just now; it was held back by us alone."""
    driven.outside.forge.empty = True
    driven.outside.tracker.put(SHOP, "i1", state="to-analyse")
    now = await driven.ledger.now()
    found = driven.outside.tracker.issues["shop", "i1"]
    driven.outside.tracker.issues["shop", "i1"] = replace(found, updated_at=now)
    await driven.ledger.nudges.add("shop", "i1", urgent=True)
    assert await driven.engine.look(1) == 1
    assert await driven.tasks() == []
    driven.outside.forge.empty = False
    await driven.age(90)  # the prober's turn has come, the grace period would not be over
    assert await driven.engine.look(1) == 1
    assert (await driven.tasks())[0].phase is Phase.WORKING
