"""Reasons to look: one row for each issue, nothing lost while somebody looks."""

from __future__ import annotations

import asyncio

from tests.delivery.conftest import Aging

from millpond.delivery.ledger.ledger import Ledger


async def test_reasons_are_gathered_in_one_row(ledger: Ledger):
    await ledger.nudges.add("shop", "i1", after_s=100)
    await ledger.nudges.add("shop", "i1", urgent=True)
    await ledger.nudges.add("shop", "i1", after_s=500)
    (one,) = await ledger.nudges.all()
    assert (one.dirty, one.urgent) == (3, True)
    (taken,) = await ledger.nudges.take(60)  # the soonest holds
    assert taken.issue == "i1"


async def test_what_is_taken_is_nobody_else_s_until_the_lease_is_over(ledger: Ledger, age: Aging):
    await ledger.nudges.add_all("shop", ["i1", "i2"])
    first, second = await ledger.nudges.take(60), await ledger.nudges.take(60, 9)
    assert len(first) == len(second) == 1
    assert await ledger.nudges.take(60) == []
    await age(61)
    again = await ledger.nudges.take(60, 9)
    assert len(again) == 2
    assert not await ledger.nudges.done(first[0])  # it was lost
    assert await ledger.nudges.done(again[0])


async def test_many_who_take_at_once_get_each_one_once(ledger: Ledger):
    await ledger.nudges.add_all("shop", [f"i{n}" for n in range(20)])
    found = await asyncio.gather(*(ledger.nudges.take(60, 3) for _ in range(10)))
    issues = [one.issue for some in found for one in some]
    assert len(issues) == len(set(issues))
    rest = await ledger.nudges.take(60, 99)
    assert len(issues) + len(rest) == 20


async def test_a_look_that_is_done_ends_it_and_a_new_reason_meanwhile_has_another(ledger: Ledger):
    await ledger.nudges.add("shop", "i1")
    (taken,) = await ledger.nudges.take(60)
    await ledger.nudges.add("shop", "i1", urgent=True)
    assert await ledger.nudges.take(60) == []
    assert await ledger.nudges.done(taken)
    (again,) = await ledger.nudges.take(60)
    assert again.urgent
    assert await ledger.nudges.done(again)
    assert await ledger.nudges.all() == []


async def test_a_look_may_ask_for_another_one_later(ledger: Ledger, age: Aging):
    await ledger.nudges.add("shop", "i1", urgent=True)
    (taken,) = await ledger.nudges.take(60)
    assert await ledger.nudges.done(taken, until=await ledger.now() + 100)
    assert await ledger.nudges.take(60) == []
    await age(101)
    (later,) = await ledger.nudges.take(60)
    assert not later.urgent
    assert later.seen_at <= taken.seen_at  # when it was first noticed stays


async def test_a_look_that_failed_comes_again_later_and_later(ledger: Ledger, age: Aging):
    await ledger.nudges.add("shop", "i1")
    waits = []
    for _ in range(4):
        (taken,) = await ledger.nudges.take(60)
        assert await ledger.nudges.failed(taken)
        (row,) = await ledger.nudges.all()
        waits.append(round(row.not_before - await ledger.now()))
        assert await ledger.nudges.take(60) == []
        await age(1000)
    assert waits == [5, 10, 20, 40]
    (taken,) = await ledger.nudges.take(60)
    assert taken.attempts == 4
    assert await ledger.nudges.failed(taken, after_s=1000)
    (row,) = await ledger.nudges.all()
    assert round(row.not_before - await ledger.now()) == 1000
    await age(1001)
    (taken,) = await ledger.nudges.take(60)
    assert await ledger.nudges.failed(taken, after_s=1e12)
    (row,) = await ledger.nudges.all()
    assert round(row.not_before - await ledger.now()) == 3600


async def test_what_comes_while_a_look_fails_is_a_first_try(ledger: Ledger, age: Aging):
    await ledger.nudges.add("shop", "i1")
    for _ in range(6):
        (taken,) = await ledger.nudges.take(60)
        assert await ledger.nudges.failed(taken)
        await age(1000)
    (taken,) = await ledger.nudges.take(60)
    await ledger.nudges.add("shop", "i1", urgent=True)
    assert await ledger.nudges.failed(taken)
    (row,) = await ledger.nudges.all()
    assert (row.urgent, row.attempts, round(row.not_before - await ledger.now())) == (True, 1, 5)


async def test_the_urgent_go_first(ledger: Ledger):
    await ledger.nudges.add("shop", "old")
    await ledger.nudges.add("shop", "urgent", urgent=True)
    assert [one.issue for one in await ledger.nudges.take(60, 9)] == ["urgent", "old"]
