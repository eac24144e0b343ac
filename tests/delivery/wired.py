"""The real ledger and engine between a Plane and a Gitea that are real HTTP servers; steps are a few lines.

Nothing waits: time passes for the ledger by `age`, and webhooks are delivered by the test (or lost).
"""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import sqlalchemy as sa
from tests.delivery.conftest import Aging

from millpond.adapters.gitea import Gitea, GiteaOptions
from millpond.adapters.plane import Plane, PlaneOptions
from millpond.clock import SystemClock
from millpond.delivery.board.states import StatesCache
from millpond.delivery.engine import Engine, Surroundings
from millpond.delivery.ledger.books import Books
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.ledger.tables import TASKS
from millpond.delivery.model import Done, Issue, Job, Key, Outcome, Project, Retry, Task
from millpond.delivery.pipeline import GateRule, OnFail, Pipeline, Stage, Then
from millpond.delivery.ports import ForgeFailed
from millpond.delivery.runs.runfolder import Run
from millpond.delivery.steps.base import Deployer, Work
from millpond.delivery.steps.deploy import DeployStep
from millpond.delivery.steps.merge import MergeStep
from millpond.delivery.steps.monitor import MonitorStep
from millpond.testing.clock import FakeClock
from millpond.testing.giteaserver import TOKEN, GiteaServer
from millpond.testing.planeserver import KEY, WORKSPACE, PlaneServer
from millpond.testing.wire import Delivery

SECRET = "a-webhook-secret"
SHOP = Project("shop", "558f5588-a276-4507-b8e6-750cd8a49596", "team/shop", "SH")
TOYS = Project("toys", "11111111-a276-4507-b8e6-750cd8a49596", "team/toys", "TO")
FINE = (
    ("Backlog", "backlog"), ("To Analyse", "unstarted"), ("Analysis", "started"), ("In Progress", "started"),
    ("Code Review", "started"), ("Approved", "started"), ("Rejected", "started"), ("Needs Input", "started"),
    ("Blocked", "started"), ("Done", "completed"), ("Cancelled", "cancelled"),
)  # fmt: skip
PLAIN = (
    ("Backlog", "backlog"), ("Todo", "unstarted"), ("In Progress", "started"), ("Done", "completed"),
    ("Cancelled", "cancelled"),
)  # fmt: skip
PIPELINE = Pipeline(
    stages=(
        Stage("build", "command", gates=(GateRule("commit-status"), GateRule("human-verdict")), attempts=50,
              on_fail=OnFail(Then.BACK, "build")),
        Stage("merge", "merge", attempts=50),
    )
)  # fmt: skip


@dataclass(frozen=True)
class _Papers:
    """A desk with one job's papers, which is all that merge, deploy and monitor ask of it."""

    task: Task
    project: Project

    async def work(self, job: Job) -> Work:
        return Work(job, self.task, self.project)

    async def issue(self, work: Work) -> Issue | None:
        raise NotImplementedError

    async def began(self, work: Work, run: Run) -> None:
        raise NotImplementedError


@dataclass
class Wired:
    """One process between the two servers."""

    plane: PlaneServer
    gitea: GiteaServer
    db: Any
    registry: tuple[Project, ...] = (SHOP, TOYS)
    pipeline: Pipeline = PIPELINE
    ttl_s: float = 300.0
    """How long the columns of a board are remembered; 0: for the life of the process."""
    defaults: Mapping[Key, str] = field(default_factory=dict)
    deployer: Deployer | None = None
    """The way to the hosts, where the pipeline deploys."""
    columns: dict[str, dict[str, str]] = field(default_factory=dict)
    clock: FakeClock = field(default_factory=FakeClock)
    heard: int = 0
    alerts: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.projects = {one.name: one for one in self.registry}
        self.ledger, self.age = Ledger(Books(self.db)), Aging(self.db)
        self.tracker = Plane(PlaneOptions(self.plane.url, WORKSPACE, KEY, SECRET, timeout_s=5), SystemClock())
        self.forge = Gitea(GiteaOptions(self.gitea.url, TOKEN, SECRET, timeout_s=5), self.clock)
        monotonic, defaults = self.clock.monotonic, self.defaults
        self.states = StatesCache(self.tracker.states, monotonic, ttl_s=self.ttl_s, defaults=defaults)
        around = Surroundings(self.tracker, self.forge, self.states, self.projects, self._pipeline, self._alert)
        self.engine = Engine(self.ledger, around, self.clock.monotonic)

    async def _pipeline(self, _: Project) -> Pipeline:
        return self.pipeline

    async def _alert(self, text: str) -> None:
        self.alerts.append(text)

    def issue(self, column: str = "To Analyse", project: Project = SHOP, **more: Any) -> str:
        made = self.plane.add(project.tracker_project, "A title", self.columns[project.name][column], **more)
        return str(made["id"])

    def place(self, issue: str, column: str, project: Project = SHOP) -> None:
        self.plane.place(project.tracker_project, issue, self.columns[project.name][column])

    def column(self, issue: str, project: Project = SHOP) -> str:
        row = self.plane._find(project.tracker_project, issue)
        return next(name for name, one in self.columns[project.name].items() if one == row["state"])

    def moves(self, issue: str, project: Project = SHOP) -> list[str]:
        """Name the columns that we moved an issue to: people's moves are called by another name in webhooks."""
        names = {one: name for name, one in self.columns[project.name].items()}
        told = [json.loads(one.body) for one in self.plane.sent]
        ours = [one for one in told if one["activity"]["field"] == "state" and one["data"]["id"] == issue]
        return [names[one["activity"]["new_value"]] for one in ours]

    def deliveries(self) -> list[Delivery]:
        """Give what Plane has sent since the last time."""
        new, self.heard = self.plane.sent[self.heard :], len(self.plane.sent)
        return new

    async def hear(self, deliveries: Sequence[Delivery]) -> None:
        for one in deliveries:
            hint = self.tracker.parse(one.headers, one.body)
            name = next(p.name for p in self.projects.values() if p.tracker_project == hint.project)
            await self.ledger.nudges.add(name, hint.issue, urgent=True)

    async def settle(self) -> None:
        """Look, send and work until nothing is due, without time passing."""
        while await self.engine.look(10) or await self.engine.send(10) or await self.work():
            pass

    async def round(self) -> None:
        """Let time pass; poll; settle."""
        await self.age(400)
        self.clock.advance(61)
        await self.ledger.jobs.reap()
        await self.engine.poll()
        await self.settle()

    async def work(self) -> int:
        claimed = await self.ledger.jobs.claim("w", 60, most=4)
        while claimed and (await self.engine.look(10) or await self.engine.send(10)):
            pass  # what runs is shown
        for job in claimed:
            await self.ledger.jobs.finish(job, await self._step(job))
        return len(claimed)

    async def _step(self, job: Job) -> Outcome:
        task = await self.ledger.task(job.task)
        assert task
        project = self.projects[task.project]
        try:
            if job.step == "command":
                sha = self.gitea.push(project.repo, task.branch, work=f"{task.key} {task.visit}")
                self.gitea.status(project.repo, sha, "ci", "success")
                return Done(sha)
        except ForgeFailed as error:
            return Retry(1.0, str(error))
        papers = _Papers(task, project)
        if job.step == "merge" or self.deployer is None:
            return await MergeStep(papers, self.forge, look_s=0.01).run(job)
        if job.step == "deploy":
            return await DeployStep(papers, self.deployer, self.forge).run(job)
        return await MonitorStep(papers, self.deployer, between_s=0.0).run(job)

    async def tasks(self) -> list[Task]:
        query = sa.select(TASKS.c.id).order_by(TASKS.c.id)
        ids = await self.db.read(lambda connection: connection.execute(query).scalars().all())
        return [task for one in ids if (task := await self.ledger.task(one))]


@asynccontextmanager
async def wired(db: Any, fine: Sequence[tuple[str, str]] = FINE, **more: Any) -> AsyncIterator[Wired]:
    """Start both servers, with two projects; `more`: what else `Wired` takes."""
    async with PlaneServer(hook_secret=SECRET) as plane, GiteaServer(hook_secret=SECRET) as gitea:
        made = Wired(plane, gitea, db, **more)
        for project in made.registry:
            made.columns[project.name] = plane.project(project.tracker_project, fine)
            gitea.repo(project.repo)
        try:
            yield made
        finally:
            await made.tracker.close()
            await made.forge.close()
