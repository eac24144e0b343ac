"""The real ledger and the real engine, with a fake tracker and forge, a worker of small steps, and people who answer.

`drive` takes every issue from the board to its end. What is outside the ledger can be saved to a file, so that a
process that was killed at a commit is followed by another one that finds the world as it was.
"""

from __future__ import annotations

import pickle
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from tests.delivery.conftest import Aging

from millpond.delivery.board.states import StatesCache
from millpond.delivery.engine import Engine, Surroundings
from millpond.delivery.ledger.books import Books, Hook
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.ledger.tables import TASKS
from millpond.delivery.model import OPEN, Done, Evidence, Failed, Job, Json, Outcome, Project, Retry, State, Task
from millpond.delivery.pipeline import DEFAULT, Pipeline
from millpond.delivery.ports import Merge
from millpond.delivery.runs.runfolder import Who
from millpond.testing.forge import FakeForge
from millpond.testing.tracker import FakeTracker

SHOP = Project("shop", "p1", "team/shop", "SH", app="shop")
NAMES = ("Backlog", "To Analyse", "Analysis", "In Progress", "Code Review", "Awaiting Deploy", "Deploying")
MORE = ("Monitoring after Deploy", "Approved", "Rejected", "Needs Input", "Blocked", "Done", "Cancelled")
COLUMNS = [State(name.lower().replace(" ", "-"), name, "started") for name in (*NAMES, *MORE)]
QUICK = replace(DEFAULT, stages=tuple(replace(stage, attempts=50) for stage in DEFAULT.stages))


@dataclass
class Outside:
    """What is not the ledger's."""

    tracker: FakeTracker = field(default_factory=lambda: FakeTracker({"shop": list(COLUMNS)}))
    forge: FakeForge = field(default_factory=FakeForge)
    deploys: Counter[str] = field(default_factory=Counter)
    reviews: Counter[int] = field(default_factory=Counter)
    answered: set[str] = field(default_factory=set)
    alerts: list[str] = field(default_factory=list)
    by_command: set[str] = field(default_factory=set)
    """The issues of which nobody says anything on the board."""

    def save(self, path: Path) -> None:
        path.with_suffix(".new").write_bytes(pickle.dumps(self))
        path.with_suffix(".new").rename(path)

    def answer(self) -> None:
        """Approve what asks for it, once each."""
        for key, issue in list(self.tracker.keys.items()):
            if key.endswith(":gate") and key not in self.answered and issue not in self.by_command:
                self.answered.add(key)
                self.tracker.put(SHOP, issue, state="approved")

    def summary(self) -> list[object]:
        return [
            sorted((name, one.state) for (_, name), one in self.tracker.issues.items()),
            {branch: len(shas) for branch, shas in self.forge.merged.items()},
            sorted(self.deploys.values()),
            len(self.answered),
            len(self.alerts),
        ]


class Driven:
    """One process's view of it all."""

    def __init__(self, db: Any, outside: Outside, *, hook: Hook | None = None, pipeline: Pipeline = QUICK) -> None:
        self.db, self.outside, self.projects = db, outside, {"shop": SHOP}
        self.ledger = Ledger(Books(db, hook=hook) if hook else Books(db))
        self.engine = self.new_engine(pipeline)
        self.age = Aging(db)
        self.claims = 0

    def new_engine(self, pipeline: Pipeline) -> Engine:
        async def pipeline_of(project: Project) -> Pipeline:
            return pipeline

        async def alert(text: str) -> None:
            self.outside.alerts.append(text)

        tracker, forge = self.outside.tracker, self.outside.forge
        states = StatesCache(tracker.states, time.monotonic)
        around = Surroundings(tracker, forge, states, self.projects, pipeline_of, alert)
        return Engine(self.ledger, around, time.monotonic)

    async def drive(self, rounds: int = 80) -> None:
        """Go on until no task is open and nothing is left to send.

        What a killed process had is taken up again, if its worker was the first; else it is reaped, and tried again.
        """
        for job in await self.ledger.jobs.retake("w0", 60):
            await self.ledger.jobs.finish(job, await self.work(job))
        for _ in range(rounds):
            await self.round()
            if await self.idle():
                return
        raise AssertionError(f"it does not end: {await self.tasks()}")

    async def round(self) -> None:
        await self.age(400)  # leases of the dead are over, and so is every back-off
        await self.ledger.jobs.reap()
        await self.engine.poll()
        while await self.engine.look(10):
            pass
        await self.people()
        while await self.engine.send(10):
            pass
        while claimed := await self.ledger.jobs.claim(f"w{self.claims % 2}", 60, most=4):
            self.claims += 1
            for job in claimed:
                await self.ledger.runs.note(job, "n", "log", Who(1, 2, "b"))
                await self.ledger.jobs.heartbeat(job, 60)
                await self.ledger.jobs.finish(job, await self.work(job))
        self.outside.answer()

    async def people(self) -> None:
        """Nobody orders anything here; see `ordered`."""

    async def idle(self) -> bool:
        tasks = await self.tasks()
        done = bool(tasks) and not any(task.open for task in tasks)
        return done and not await self.ledger.outbox.pending() and not await self.ledger.nudges.all()

    async def tasks(self) -> list[Task]:
        query = sa.select(TASKS.c.id).order_by(TASKS.c.id)
        ids: Sequence[int] = await self.db.read(lambda connection: connection.execute(query).scalars().all())
        return [task for one in ids if (task := await self.ledger.task(one))]

    async def work(self, job: Job) -> Outcome:
        """Do what a step does; harmless when it is done twice."""
        task = await self.ledger.task(job.task)
        assert task
        assert task.phase in OPEN
        forge, name = self.outside.forge, f"{SHOP.repo}:{task.branch}"
        match job.step, job.stage:
            case "agent", "review":
                self.outside.reviews[task.id] += 1
                forge.files.setdefault(job.sha, {})[f"docs/reviews/{task.key}.md"] = "approved"
                return Done()
            case "agent", stage:
                sha = f"{task.key}-{stage}".ljust(40, "0")
                forge.heads[name] = sha
                forge.files.setdefault(sha, {})[f"docs/tasks/{task.key}.md"] = ""
                return Retry(1.0, "the network was away") if job.attempt == 1 else Done(sha)
            case "command", _:
                return Done(evidence=(self.fact("tests", job, {"passed": 3, "failed": 0}),))
            case "merge", _:
                change = await forge.open_change(SHOP, task.branch, task.title)
                merged = await forge.merge(SHOP, change.number, job.sha)
                return Done() if merged is Merge.MERGED else Failed(str(merged))
            case "deploy", _:
                self.outside.deploys[job.sha] = 1
                return Done(evidence=(self.fact("deploy", job, {"converged": True}),))
        return Done(evidence=(self.fact("health", job, {"state": "HEALTHY"}),))

    @staticmethod
    def fact(kind: str, job: Job, facts: dict[str, Json]) -> Evidence:
        return Evidence(kind, facts, job.sha)
