"""Everything goes wrong at once, and the end is as if nothing had.

A thousand webhooks, a third of them lost, the others sent one to five times in any order, with forged and oversize ones
between; tracker and forge that answer 429, 500, a login page, late, or not at all; the daemon killed with -9 before and
after each commit that its ledger makes.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.faults.chaos import CHEAP, CHEAP_USD, DAY_USD, TASK_USD, Forge, World, environment_of, settle, told
from tests.faults.delivered import SECRET

from millpond.delivery.ledger.books import Point
from millpond.testing.planeserver import PlaneServer

DELIVERIES = environment_of("MILLPOND_TEST_DELIVERIES", 1000)
ISSUES = environment_of("MILLPOND_TEST_ISSUES", 30)
SEED = environment_of("MILLPOND_TEST_SEED", 1)
MET = (
    Point.NUDGE, Point.TAKE_NUDGES, Point.END_NUDGE, Point.APPLY, Point.CLAIM, Point.HEARTBEAT, Point.FINISH,
    Point.REAP, Point.RETAKE, Point.TAKE_OUTBOX, Point.CONFIRM, Point.RETRY_OUTBOX,
)  # fmt: skip
"""Commits that this story makes; people's orders are commits of their own."""
REACH_S = 20.0
SETTLE_S = 180.0


@asynccontextmanager
async def world(folder: Path) -> AsyncIterator[World]:
    plane = PlaneServer(hook_secret=SECRET, limit_per_minute=10**9)
    plane.now = 1_000_000_000.0  # long ago, so that no grace period is waited for
    async with plane, Forge(hook_secret=SECRET) as gitea:
        made = World(folder, plane, gitea, ISSUES, random.Random(SEED))
        made.begin()
        try:
            yield made
        finally:
            if made.process is not None:
                made.kill()


async def without_faults(folder: Path) -> dict[str, Any]:
    async with world(folder) as made:
        made.more(ISSUES)
        made.start("-")
        await settle(made, SETTLE_S)
        return made.summary()


async def with_faults(folder: Path) -> tuple[dict[str, Any], World, set[str]]:
    async with world(folder) as made:
        hooks = asyncio.create_task(made.hooks(DELIVERIES))
        outages = asyncio.create_task(made.outages())
        killed: set[str] = set()
        try:
            for _ in range(3):
                for kind in [f"{point}:{moment}" for point in MET for moment in ("before", "after")]:
                    if kind not in killed and await dies(made, f"{kind}:{made.rng.randint(1, 3)}"):
                        killed.add(kind)
                    assert not hooks.done(), hooks.exception()
            outages.cancel()
            made.more(ISSUES)
            made.age()
            made.start("-")
            until = asyncio.get_running_loop().time() + SETTLE_S
            while made.taken < DELIVERIES and asyncio.get_running_loop().time() < until:
                made.answer()
                await asyncio.sleep(0.05)
            for server in (made.plane, made.gitea):
                server.faults.clear()
            await settle(made, SETTLE_S)
        finally:
            for task in (hooks, outages):
                task.cancel()
            await asyncio.gather(hooks, outages, return_exceptions=True)
        made.kill()
        return made.summary(), made, killed


async def dies(made: World, kill: str) -> bool:
    """Start a daemon that kills itself at a commit; whether it got there. Else it is killed wherever it is."""
    made.more()
    made.age()
    made.start(kill)
    until = asyncio.get_running_loop().time() + REACH_S
    while made.running and asyncio.get_running_loop().time() < until:
        made.answer()
        if not made.rng.randrange(5):
            made.chatter()
        await asyncio.sleep(0.05)
    reached = not made.running
    assert made.kill() == -9, (made.folder / "log").read_text(errors="replace")[-3000:]
    return reached


@pytest.mark.fault
@pytest.mark.timeout(1500)
async def test_whatever_gets_lost_doubled_forged_or_killed_the_end_is_the_same(tmp_path: Path):
    wanted = await without_faults(tmp_path / "without")
    cheap = sum(number % 7 == CHEAP for number in range(ISSUES))
    assert [state for _, state in wanted["columns"]].count("Done") == ISSUES - cheap
    got, made, killed = await with_faults(tmp_path / "with")
    assert got["columns"] == wanted["columns"], told(made)
    assert got == wanted
    assert len(got["tasks"]) == ISSUES, "one task of each issue"
    assert set(got["merged"].values()) == {1}, "one merge of each task"
    assert got["deploys"] == [1] * (ISSUES - cheap), "one deploy of each commit"
    spent = dict(made.tables("SELECT task, sum(usd) FROM delivery_costs GROUP BY task"))
    limits = made.tables("SELECT id, options FROM delivery_tasks")
    assert all(
        spent.get(task, 0) <= (CHEAP_USD if str(CHEAP_USD) in options else TASK_USD) + 1e-9 for task, options in limits
    )
    assert sum(spent.values()) <= DAY_USD
    assert made.taken >= DELIVERIES, told(made)
    assert {word.split()[0] == word.split()[1] for word in made.statuses} == {True}, told(made)
    assert {"202 202", "401 401", "413 413"} <= set(made.statuses), told(made)
    missed = {f"{point}:{moment}" for point in MET for moment in ("before", "after")} - killed
    assert not missed, sorted(missed)
