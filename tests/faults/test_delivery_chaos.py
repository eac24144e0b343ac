"""Everything goes wrong at once, and the end is as if nothing had.

A thousand webhooks, a third of them lost, the others sent one to five times in any order, with forged and oversize ones
between; tracker and forge that answer 429, 500, a login page, late, or not at all; people who order by the API; a day's
budget that does not suffice; the daemon killed with -9 before and after each commit that its ledger makes, amid runs of
agents and amid deploys, and when these are done and nobody has written it down.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from tests.faults.chaos import (
    CHEAP_USD,
    DAY_USD,
    LITTLE_USD,
    TASK_USD,
    Forge,
    World,
    environment_of,
    settle,
    told,
)
from tests.faults.delivered import SECRET
from tests.faults.people import LAST, PROJECTS, is_cheap, is_taken_back

from millpond.delivery.ledger.books import Point
from millpond.testing.nursery import IMPORTED, Nursery
from millpond.testing.planeserver import PlaneServer
from millpond.testing.wire import Fails, Fault

DELIVERIES = environment_of("MILLPOND_TEST_DELIVERIES", 1000)
ISSUES = environment_of("MILLPOND_TEST_ISSUES", 24)
SEED = environment_of("MILLPOND_TEST_SEED", 1)
OFTEN = (
    Point.NUDGE, Point.TAKE_NUDGES, Point.END_NUDGE, Point.APPLY, Point.CLAIM, Point.FINISH,
    Point.TAKE_OUTBOX, Point.CONFIRM,
)  # fmt: skip
"""Commits that the story of one more issue makes several times: one of the first three is died at."""
ORDERS = {Point.VERDICT: "verdict", Point.CANCEL: "cancel", Point.RELEASE: "release", Point.HURRY: "retry"}
"""Commits that a person's order makes; it is given as long as one is to die there."""
NOT_MET = {Point.CREATE, Point.PARK, Point.DROP_OUTBOX}
"""Left to `test_delivery_killed`: no order, and no person within a moment, makes them here."""
AGENTS = (("agent", "after"), (Point.NOTE_RUN, "before"), (Point.NOTE_RUN, "after"))
"""An agent's work is done and pushed, and not told; its run has begun, and nobody knows which process it is; and so on.
Each takes an issue of the last project, for which agents work."""
DEPLOYS = (("deploy", "amid"), ("deploy", "after"))
"""The hosts run it, and it is no release yet; it is one, and nobody was told."""
MET = (
    Point.HEARTBEAT, Point.RETAKE, Point.REAP, *OFTEN, Point.RETRY_OUTBOX, Point.PRUNE, *ORDERS,
)  # fmt: skip
NEW = {*OFTEN, Point.HEARTBEAT, Point.RETRY_OUTBOX} - {Point.NUDGE, Point.TAKE_NUDGES, Point.END_NUDGE}
"""Commits for which an issue is made; for the others polls and people's chatter are enough."""
AMID = {Point.RETAKE, Point.REAP}
"""Commits about jobs amid which somebody died."""
KINDS = (*AGENTS, *DEPLOYS, *((point, moment) for point in MET for moment in ("before", "after")))
"""In this order: agents work as long as the day's budget lasts, and who dies at a heartbeat leaves a job that is taken
up again, or given up."""
REACH_S = 20.0
REACHED_S = 600.0
SETTLE_S = 180.0


@asynccontextmanager
async def world(folder: Path, nursery: Nursery, last_day_usd: float) -> AsyncIterator[World]:
    plane = PlaneServer(hook_secret=SECRET, limit_per_minute=10**9)
    plane.now = 1_000_000_000.0  # long ago, so that no grace period is waited for
    async with plane, Forge(hook_secret=SECRET) as gitea, aiohttp.ClientSession() as session:
        rng = random.Random(SEED)
        made = World(folder, plane, gitea, session, nursery, ISSUES, rng, last_day_usd=last_day_usd)
        made.begin()
        try:
            yield made
        finally:
            if made.process is not None:
                made.kill()


async def without_faults(folder: Path, nursery: Nursery) -> dict[str, Any]:
    async with world(folder, nursery, DAY_USD) as made:
        made.people.orders = {"cancel", "verdict"}
        made.more(ISSUES)
        made.start("-")
        await settle(made, SETTLE_S)
        return made.summary()


async def with_faults(folder: Path, nursery: Nursery) -> tuple[dict[str, Any], World, int]:
    """Give the end, the world, and how many tasks had to wait for another day."""
    async with world(folder, nursery, LITTLE_USD) as made:
        hooks = asyncio.create_task(made.hooks(DELIVERIES))
        outages = asyncio.create_task(made.outages())
        try:
            await killed_everywhere(made, hooks)
            outages.cancel()
            held = await to_the_end(made)
        finally:
            for task in (hooks, outages):
                task.cancel()
            await asyncio.gather(hooks, outages, return_exceptions=True)
        made.kill()
        return made.summary(), made, held


async def killed_everywhere(made: World, hooks: asyncio.Task[None]) -> None:
    """Let daemons die, each at another commit; one that did not get there is tried again, at the first chance."""
    left = dict.fromkeys(KINDS, 3)
    until = asyncio.get_running_loop().time() + REACHED_S
    while left:
        for (point, moment), most in list(left.items()):
            nth = made.rng.randint(1, most) if point in OFTEN else 1
            if await dies(made, point, f"{point}:{moment}:{nth}"):
                del left[point, moment]
            else:
                left[point, moment] = 1
            assert not hooks.done(), hooks.exception()
        assert asyncio.get_running_loop().time() < until, sorted(left)


async def dies(made: World, point: str, kill: str) -> bool:
    """Start a daemon that kills itself at a commit; whether it got there. Else it is killed wherever it is."""
    if point in AMID and not made.amid():
        await dies(made, Point.HEARTBEAT, f"{Point.HEARTBEAT}:after:1")
    refused = arranged(made, point)
    made.age()
    made.start(kill)
    until = asyncio.get_running_loop().time() + REACH_S
    while made.running and asyncio.get_running_loop().time() < until:
        made.people.answer()
        await made.people.order()
        if not made.rng.randrange(5):
            made.people.chatter()
        await asyncio.sleep(0.05)
    reached = not made.running
    assert made.kill() == -9, (made.folder / "log").read_text(errors="replace")[-3000:]
    made.people.orders, refused.times = (), 0
    return reached


def arranged(made: World, point: str) -> Fault:
    """See to it that there is something for a commit to do; gives what goes wrong until the daemon is dead."""
    refused = Fault(Fails.ERROR, 1000 if point is Point.RETRY_OUTBOX else 0, "PATCH ")
    made.plane.faults.insert(0, refused)
    if point in ORDERS:
        made.people.orders = {ORDERS[point]}
    elif point in {one for one, _ in AGENTS}:
        made.more(len(PROJECTS))
    elif point in NEW:
        made.more()
    assert point not in AMID or made.amid(), "nobody died amid a job"
    if point is Point.REAP:
        made.orphan()
    return refused


async def to_the_end(made: World) -> int:
    """Let a daemon live; gives how many tasks had to wait for another day before it was over."""
    made.people.orders = {"cancel", "verdict"}
    made.more(ISSUES)
    made.age()
    made.start("-")
    until = asyncio.get_running_loop().time() + SETTLE_S
    while (made.taken < DELIVERIES or made.bag) and asyncio.get_running_loop().time() < until:
        made.people.answer()
        await made.people.order()
        await asyncio.sleep(0.05)
    for server in (made.plane, made.gitea):
        server.faults.clear()
    await settle(made, SETTLE_S)
    waited = set[str]()
    made.people.orders = {"cancel", "verdict", "tomorrow"}
    while held := set(made.held()):
        assert not held <= waited, f"another day brings nothing: {held}"
        waited |= held
        made.kill()
        made.midnight()
        made.start("-")
        await released(made, held)
        await settle(made, SETTLE_S)
    return len(waited)


async def released(made: World, held: set[str]) -> None:
    """Wait until none of these is held any more as it was."""
    until = asyncio.get_running_loop().time() + SETTLE_S
    while held & set(made.held()):
        await made.people.order()
        assert asyncio.get_running_loop().time() < until, held
        await asyncio.sleep(0.05)


def never_exceeded(made: World) -> None:
    """See that each task, and each day of each project, cost no more than it may."""
    spent = dict(made.tables("SELECT task, sum(usd) FROM delivery_costs GROUP BY task"))
    for task, options in made.tables("SELECT id, options FROM delivery_tasks"):
        assert spent.get(task, 0) <= (CHEAP_USD if str(CHEAP_USD) in options else TASK_USD) + 1e-9
    days = made.tables("SELECT project, day, sum(usd) FROM delivery_costs GROUP BY project, day")
    for project, _, usd in days:
        assert usd <= (LITTLE_USD if project == LAST else DAY_USD) + 1e-6, days


def agents_are_paid(made: World) -> None:
    """See that each run of an agent is on the books, by its own word or, where that was lost, at its worst."""
    agents = "SELECT r.job, r.fence FROM delivery_runs r JOIN delivery_jobs j ON j.id = r.job WHERE j.step = 'agent'"
    done = made.tables(f"{agents} AND j.state = 'succeeded'")
    paid = {job for (job,) in made.tables("SELECT job FROM delivery_costs WHERE usd > 0")}
    assert {job for job, _ in done}
    assert {job for job, _ in done} <= paid


@pytest.mark.fault
@pytest.mark.timeout(1500)
async def test_whatever_gets_lost_doubled_forged_or_killed_the_end_is_the_same(tmp_path: Path):
    with Nursery("tests.faults.delivered", (*IMPORTED, "tests.faults.delivered")) as nursery:
        wanted = await without_faults(tmp_path / "without", nursery)
        got, made, held = await with_faults(tmp_path / "with", nursery)

    done = sum(not (is_cheap(number) or is_taken_back(number)) for number in range(ISSUES))
    assert [state for _, state in wanted["columns"]].count("Done") == done
    assert got["columns"] == wanted["columns"], told(made)
    assert got == wanted
    assert len(got["tasks"]) == ISSUES, "one task of each issue"
    assert set(got["merged"].values()) == {1}, "one merge of each task"
    assert got["out"] == done
    assert set(made.deploys().values()) == {1}, "one deploy of each commit"
    told_out, begun = made.brought_out()
    assert len(begun) == len(made.deploys())
    assert told_out <= begun, "a host is told once in each release, and one that is out is told no more"
    never_exceeded(made)
    agents_are_paid(made)
    assert held, "the day's budget sufficed"
    assert made.taken >= DELIVERIES, told(made)
    assert {word.split()[0] == word.split()[1] for word in made.statuses} == {True}, told(made)
    assert {"202 202", "401 401", "413 413"} <= set(made.statuses), told(made)
    assert set(Point) == {*MET, *NOT_MET, Point.NOTE_RUN}
