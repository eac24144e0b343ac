"""What the delivery costs: polls of a large board, from a nudge to a claimed job, and claims.

- A poll of 10 projects with 10,000 issues through Plane's API, by the fake server in another process: our processor
  time and the requests, of a poll that lists everything and of one that finds nothing new.
- From a nudge to a claimed job: engine, ledger, embedded board and local git in one process, without the daemon's own
  loops; and from the board's API to a started job in a whole daemon (`starting`).
- Claims of queued jobs, each of a repo of its own, by eight claimers at once, every one a durable transaction.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from bench import machine
from bench.loads import starting
from bench.loads.base import Group, Setting
from bench.model import Sample
from bench.servers import plane, postgres
from millpond.adapters.localboard import LocalBoard
from millpond.adapters.localgit import LocalGit
from millpond.adapters.plane import Plane, PlaneOptions
from millpond.clock import SystemClock
from millpond.db import Database
from millpond.db.postgres import PostgresDatabase
from millpond.delivery.board.states import StatesCache
from millpond.delivery.board.store import BoardStore, Draft
from millpond.delivery.engine import Engine, Surroundings
from millpond.delivery.ledger.books import Books
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.ledger.tables import JOBS, RUNS
from millpond.delivery.model import Project
from millpond.delivery.pipeline import DEFAULT, Pipeline
from millpond.delivery.ports import Forge, Tracker
from millpond.delivery.ratebudget import RateBudget
from millpond.delivery.rates import Rate
from millpond.delivery.workspaces.gitrun import Git
from millpond.testing.forge import FakeForge
from millpond.testing.planeserver import KEY, WORKSPACE

GROUP = "delivery"
WHO = {f"GIT_{role}_{what}": "bench" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
SQLITE, POSTGRES, OURS = "sqlite", "postgresql", "millpond-1"
PROJECTS, ISSUES, JOBS_QUEUED, CLAIMERS, NUDGES = 10, 1000, 2000, 8, 30
CPU, REQUESTS, WAIT, CLAIMS = "processor time of a poll", "requests of a poll", "nudge to claimed job", "claims"
MOVED = "an issue is moved to To Analyse"
STARTED = "board to started job"
SWEEP, NOTHING_NEW = "10 projects, 10,000 issues: all listed", "10 projects, 10,000 issues: nothing new"


def run(setting: Setting) -> Iterator[Sample]:
    """Measure all three."""
    folder = setting.folder / GROUP
    folder.mkdir()
    reason = postgres.missing()
    if reason:
        machine.say(f"{POSTGRES} is left out: {reason}")
    kinds = [name for name in (SQLITE, POSTGRES) if setting.wants(name) and not (reason and name == POSTGRES)]
    for turn in range(setting.rounds):
        if setting.wants(OURS):
            yield from setting.attempt("polls", partial(_polled, folder / f"polls-{turn}"))
            yield from setting.attempt("start", partial(_started, folder / f"start-{turn}"))
        for name in kinds:
            place = folder / f"{name}-{turn}"
            # A new database for each round: what the one before left there would be looked at, too.
            with postgres.running() if name == POSTGRES else contextlib.nullcontext("") as url:
                yield from setting.attempt(f"{name}: claims", partial(_run, _claims, name, url, place))
                yield from setting.attempt(f"{name}: nudges", partial(_run, _nudges, name, url, place))


def _run(measure: Callable[[Any, Path], Awaitable[Sample]], name: str, url: str, folder: Path) -> list[Sample]:
    async def measured() -> Sample:
        async with _opened(url, folder) as db:
            return await measure(db, folder)

    found = asyncio.run(measured())
    machine.say(f"{name}: {found.metric} {found.value:,.1f} {found.unit}")
    return [Sample(GROUP, found.case, name, found.metric, found.unit, found.value, found.more_is_better)]


@contextlib.asynccontextmanager
async def _opened(url: str, folder: Path) -> AsyncIterator[Any]:
    await asyncio.to_thread(folder.mkdir, exist_ok=True)
    db: Any = PostgresDatabase.open(url) if url else Database.open(folder / "catalog.sqlite", ballast_bytes=0)
    try:
        yield db
    finally:
        await db.close()


def _started(folder: Path) -> list[Sample]:
    """Measure a whole daemon: the median of its issues."""
    waits = sorted(starting.waits(folder))
    median = waits[len(waits) // 2]
    machine.say(f"a whole daemon: {STARTED} {median:.1f} ms (at most {waits[-1]:.1f})")
    return [Sample(GROUP, MOVED, OURS, STARTED, "ms", median, more_is_better=False)]


def _polled(folder: Path) -> list[Sample]:
    return asyncio.run(_polls(folder))


async def _polls(folder: Path) -> list[Sample]:
    """Poll twice: everything is listed, then nothing is new."""
    found = []
    clock = SystemClock()
    with plane.running(PROJECTS, ISSUES) as url:
        budget = RateBudget(Rate(1_000_000), clock.monotonic)
        tracker = Plane(PlaneOptions(url, WORKSPACE, KEY), clock, budget=budget)
        projects = {f"p{n}": Project(f"p{n}", f"p{n}", f"team/p{n}", f"P{n}") for n in range(PROJECTS)}
        async with _opened("", folder) as db:
            engine = _engine(Ledger(Books(db)), tracker, FakeForge(), projects)
            for case in (SWEEP, NOTHING_NEW):
                before, began = sum(_drawn(budget)), time.process_time()
                await engine.poll()
                spent, asked = time.process_time() - began, sum(_drawn(budget)) - before
                machine.say(f"{case}: {spent:.2f} s of processor time, {asked:.0f} requests")
                found.append(Sample(GROUP, case, OURS, CPU, "s", spent, more_is_better=False))
                found.append(Sample(GROUP, case, OURS, REQUESTS, "", asked, more_is_better=False))
        await tracker.close()
    return found


def _drawn(budget: RateBudget) -> list[float]:
    return [count for name, count in budget.status().items() if name.startswith("drawn_")]


async def _nudges(db: Any, folder: Path) -> Sample:
    """Make issues one by one, and see how long each takes until its first job is claimed (median, ms)."""
    project = Project("shop", "", "team/shop", "SH")
    store, ledger = BoardStore(db), Ledger(Books(db))
    forge = LocalGit(folder / "git", SystemClock())
    await _first_commit(await forge.ensure(project))
    engine = _engine(ledger, LocalBoard(store), forge, {"shop": project})
    waits = []
    for number in range(NUDGES):
        card = await store.new(project, Draft(f"Issue {number}"), "bench")
        while await engine.look(10):
            pass
        began = time.perf_counter()
        await store.move(project, card.issue.number, "to-analyse")
        jobs: list[Any] = []
        while not jobs:
            await engine.look(1)
            jobs = await ledger.jobs.claim("bench", 60, most=1_000_000)
        waits.append((time.perf_counter() - began) * 1000)
        await _end_all(db)
    return Sample(GROUP, MOVED, "", WAIT, "ms", sorted(waits)[len(waits) // 2], False)


async def _end_all(db: Any) -> None:
    """Free the repos for what comes next."""

    def write(connection: sa.Connection) -> None:
        for rows in (RUNS, JOBS):
            connection.execute(sa.delete(rows))

    await db.write(write)


async def _claims(db: Any, folder: Path) -> Sample:
    """Queue jobs, and claim all of them."""
    del folder
    rows = [_job(number) for number in range(JOBS_QUEUED)]
    await db.write(lambda connection: connection.execute(sa.insert(JOBS), rows))
    jobs = Ledger(Books(db)).jobs

    async def claimer(name: str) -> int:
        count = 0
        while found := await jobs.claim(name, 60, most=1_000_000):
            count += len(found)
        return count

    began = time.perf_counter()
    counts = await asyncio.gather(*(claimer(f"w{n}") for n in range(CLAIMERS)))
    took = time.perf_counter() - began
    await _end_all(db)
    if sum(counts) != JOBS_QUEUED:
        raise RuntimeError(f"{sum(counts)} of {JOBS_QUEUED} jobs were claimed")
    return Sample(GROUP, f"{CLAIMERS} claimers", "", CLAIMS, "jobs/s", JOBS_QUEUED / took)


def _job(number: int) -> dict[str, Any]:
    """Write a queued job of a repo of its own."""
    texts = {"stage": "build", "step": "command", "state": "queued", "settings": "{}", "project": "p"}
    kinds: dict[type, Any] = {str: "", int: 0, float: 0.0, bool: False}
    made = {one.name: None if one.nullable else kinds[one.type.python_type] for one in JOBS.c if one.name != "id"}
    own = {"task": number + 1, "issue": str(number), "repo": f"team/r{number}", "dedup_key": str(number + 1)}
    return {**made, **texts, **own, "visit": 1, "attempt": 1}


async def _first_commit(bare: Path) -> None:
    """Give a repository its base branch, without which no task begins."""
    git = Git(git_dir=str(bare), variables=WHO)
    commit = await git("commit-tree", await git("mktree", stdin=b""), "-m", "first")
    await git("update-ref", "refs/heads/main", commit)


def _engine(ledger: Ledger, tracker: Tracker, forge: Forge, projects: dict[str, Project]) -> Engine:
    async def pipeline(_: Project) -> Pipeline:
        return DEFAULT

    async def alert(text: str) -> None:
        raise RuntimeError(text)

    states = StatesCache(tracker.states, time.monotonic)
    return Engine(ledger, Surroundings(tracker, forge, states, projects, pipeline, alert), time.monotonic)


DELIVERY = Group(GROUP, "the delivery: polls of 10 projects with 10,000 issues, nudge to job, claims", run)
