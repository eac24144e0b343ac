"""Never two running jobs of a repo, whatever is decided, claimed, lost and taken up again, in whatever order.

Two guards see to it: a claim looks for a job of the same repo that runs (`queue._alone`), and the database has an index
(`ux_delivery_jobs_running`). The property holds with either of them alone, and with neither it does not. On both
databases: a claim that the index refuses is undone in another way on each.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import pytest
import sqlalchemy as sa
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.delivery.conftest import Aging, empty, open_database

from millpond.delivery.board.board import NAMES, board
from millpond.delivery.deciding.actions import Wait
from millpond.delivery.deciding.decide import decide
from millpond.delivery.deciding.looking import World
from millpond.delivery.ledger import queue
from millpond.delivery.ledger.books import Books
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.ledger.tables import JOBS
from millpond.delivery.model import Done, Failed, Issue, Job, JobState, Key, Outcome, Project, Retry, State
from millpond.delivery.pipeline import Backoff, OnFail, Pipeline, Stage, Then

REPOS = ("a", "b")
WORKERS = ("w0", "w1", "w2")
STAGES = tuple(
    Stage(name, "merge", attempts=9, backoff=Backoff(0.0), on_fail=OnFail(Then.BACK, "one", 9))
    for name in ("one", "two")
)
BOARD = board([State(key.value, name) for key, name in NAMES.items()], NAMES, {})
OUTCOMES: tuple[Outcome, ...] = (Done("c" * 40), Retry(0.0), Retry(0.0, "not yet", not_yet=True), Failed("no"))
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("look"), st.integers(0, 4)),
        st.tuples(st.just("look"), st.integers(0, 4)),
        st.tuples(st.just("claim"), st.integers(0, 11)),
        st.tuples(st.just("claim"), st.integers(0, 11)),
        st.tuples(st.just("finish"), st.integers(0, 30)),
        st.tuples(st.sampled_from(["late", "reap", "retake", "cancel"]), st.integers(0, 11)),
    ),
    min_size=10,
    max_size=40,
)


class Hasty:
    """A database whose commits wait for no disk: nobody cuts the power here."""

    def __init__(self, db: Any) -> None:
        self._db = db
        self.close = db.close

    async def read(self, run: Callable[[sa.Connection], Any]) -> Any:
        return await self._db.read(run)

    async def write(self, run: Callable[[sa.Connection], Any], **more: Any) -> Any:
        return await self._db.write(run, **{**more, "durable": False})


@dataclass
class Serial:
    """Five issues in two repos, three workers, and what these believe to have."""

    db: Any
    ledger: Ledger
    age: Aging
    held: list[Job] = field(default_factory=list)
    met: set[str] = field(default_factory=set)

    async def look(self, number: int) -> None:
        """Decide and apply, until there is nothing to do."""
        project = Project("shop", "p", REPOS[number % 2], "SH")
        issue = Issue(f"i{number}", "shop", number + 1, "x", Key.TO_ANALYSE.value, 0.0)
        for _ in range(30):
            task = await self.ledger.last_task("shop", issue.id)
            jobs = await self.ledger.jobs.of(task.id) if task else []
            world = World(project, BOARD, Pipeline(STAGES), grace_s=0.0)
            actions = decide(issue, task, jobs, [], await self.ledger.now(), world)
            if isinstance(actions[0], Wait):
                return
            await self.ledger.apply(project, issue, task, actions)

    async def do(self, what: str, number: int) -> None:
        worker = WORKERS[number % 3]
        match what:
            case "look":
                await self.look(number)
            case "claim":
                self.held += await self.ledger.jobs.claim(worker, 60, most=4, limit=1 + number // 6)
            case "finish" if self.held:
                job = self.held.pop(number % len(self.held))
                kept = await self.ledger.jobs.finish(job, OUTCOMES[number % len(OUTCOMES)])
                self.met.add("finished" if kept else "refused")
            case "late":
                await self.age(100)  # and they go on to believe that they have their jobs
            case "reap":
                self.met |= {"reaped" for _ in await self.ledger.jobs.reap()}
            case "retake":
                self.held += await self.ledger.jobs.retake(worker, 60)
            case "cancel":
                task = await self.ledger.last_task("shop", f"i{number % 5}")
                if task and task.open:
                    await self.ledger.cancel(task.id, "ada")

    async def check(self) -> None:
        active = await self.ledger.jobs.active()
        running = [job for job in active if job.state is JobState.RUNNING]
        assert len(running) <= len({job.repo for job in running}), "two jobs of a repo run"
        assert len(active) == len({job.task for job in active}), "a task has two active jobs"
        kept = [job for job in self.held if any((job.id, job.fence) == (one.id, one.fence) for one in running)]
        assert len(kept) <= len({job.repo for job in kept}), "two workers have a job of one repo"


async def driven(url: str, steps: list[tuple[str, int]], *, index: bool) -> set[str]:
    """Take the steps in an emptied ledger, and look after each of them; gives what was met."""
    db = Hasty(open_database(url))
    await db.write(empty)
    (rule,) = (one for one in JOBS.indexes if one.name == "ux_delivery_jobs_running")
    try:
        if not index:
            await db.write(rule.drop)
        made = Serial(db, Ledger(Books(db)), Aging(db))
        for number in range(5):
            await made.look(number)
        for what, number in steps:
            await made.do(what, number)
            await made.check()
        return made.met
    finally:
        await db.write(empty)
        await db.write(partial(rule.create, checkfirst=True))  # the server's tables are used again
        await db.close()


def careless(monkeypatch: pytest.MonkeyPatch) -> None:
    """Have claims not look whether a job of the same repo runs, nor whether they have one themselves."""
    line = sa.select(JOBS).where(JOBS.c.state == "queued", JOBS.c.not_before <= sa.bindparam("now"))
    monkeypatch.setattr(queue, "_LINE", line.order_by(JOBS.c.rank, JOBS.c.id).limit(sa.bindparam("limit")))


@pytest.mark.parametrize("guards", ["both", "the look alone", "the index alone"])
def test_never_two_running_jobs_of_a_repo(guards: str, url: str, monkeypatch: pytest.MonkeyPatch):
    if guards == "the index alone":
        careless(monkeypatch)

    @settings(max_examples=10, deadline=None, derandomize=True, database=None)
    @given(STEPS)
    def holds(steps: list[tuple[str, int]]) -> None:
        asyncio.run(driven(url, steps, index=guards != "the look alone"))

    holds()


def test_the_steps_meet_what_they_are_about(url: str):
    steps = [("claim", 0), ("claim", 1), ("late", 0), ("reap", 0), ("look", 0), ("claim", 8), ("retake", 2)]
    met = asyncio.run(driven(url, [*steps, ("finish", 0), ("finish", 4)], index=True))
    assert met == {"reaped", "refused", "finished"}


def test_with_neither_guard_two_jobs_of_a_repo_run(url: str, monkeypatch: pytest.MonkeyPatch):
    careless(monkeypatch)
    with pytest.raises(AssertionError, match="two jobs of a repo run"):
        asyncio.run(driven(url, [("claim", 0), ("claim", 1), ("claim", 2)], index=False))
