"""The worker of one open application, wired: `Working.of` is what the composition root calls.

    working = Working.of(app, Means(ledger, tracker, forge, projects, pipeline, remote, max_concurrency=2))
    await working.worker.take_up()        # before anything is reaped
    task = asyncio.create_task(working.worker.run())
    working.worker.wake()                 # when a job was queued
    await working.worker.close()          # detached runs go on

`sweep` removes workspaces of tasks that have ended, and old runs: now and then.
"""

from __future__ import annotations

import os
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field

from millpond.app.hosted import Hosted
from millpond.app.jobs import JobPonds
from millpond.app.shipping import AppDeployer, AppWitness
from millpond.delivery.desk import LedgerDesk
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.model import Done, Evidence, Job, Project
from millpond.delivery.pipeline import Pipeline
from millpond.delivery.ports import Forge, Step, Tracker
from millpond.delivery.runs.runs import Runs
from millpond.delivery.steps import AgentStep, CommandStep, DeployStep, MergeStep, MonitorStep
from millpond.delivery.steps.base import Ponds, StepFailed, Tools, Witness
from millpond.delivery.steps.presets import AgentOptions
from millpond.delivery.worker import Worker, WorkerOptions
from millpond.delivery.workspaces.workspace import Remote, WorkspaceOptions, Workspaces

RUNS, WORKSPACES = "runs", "workspaces"
ALLOWED = ("PATH",)
"""What runs get of the daemon's own environment."""
KEEP_RUNS_S = 30 * 86400.0


@dataclass(frozen=True, slots=True)
class Means:
    """What the composition root has."""

    ledger: Ledger
    tracker: Tracker
    forge: Forge
    projects: Mapping[str, Project]
    pipeline: Callable[[Project], Awaitable[Pipeline]]
    remote: Callable[[Project], Remote]
    """Where a project's repository is fetched from and pushed to, with the credentials."""
    max_concurrency: int = 2
    passed: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Variables that the operator lets runs have, such as an agent's key."""
    agent: AgentOptions = field(default_factory=AgentOptions)
    workspaces: WorkspaceOptions = field(default_factory=WorkspaceOptions)
    keep_runs_s: float = KEEP_RUNS_S


@dataclass(frozen=True, slots=True)
class Working:
    """The worker, and what it works with."""

    worker: Worker
    runs: Runs
    workspaces: Workspaces
    means: Means

    @classmethod
    def of(
        cls, app: Hosted, means: Means, *, ponds: Ponds | None = None, options: WorkerOptions | None = None
    ) -> Working:
        """Wire it; nothing is started."""
        runs = Runs(app.data / RUNS)
        workspaces = Workspaces(app.data / WORKSPACES, means.remote, means.workspaces)
        desk = LedgerDesk(means.ledger, means.tracker, means.projects, app.node)
        environ = {name: os.environ[name] for name in ALLOWED if name in os.environ}
        tools = Tools(desk, workspaces, runs, ponds or JobPonds(app), environ, means.passed)
        deployer = AppDeployer(app)
        steps: tuple[Step, ...] = (
            CommandStep(tools),
            AgentStep(tools, means.agent),
            MergeStep(desk, means.forge),
            DeployStep(desk, deployer, means.forge),
            MonitorStep(desk, deployer),
        )
        witnesses = Witnesses(desk, AppWitness(app), means.pipeline)
        options = options or WorkerOptions(max_concurrency=means.max_concurrency)
        worker = Worker(app.node, means.ledger, {step.name: step for step in steps}, runs, options, witnesses.of)
        return cls(worker, runs, workspaces, means)

    async def sweep(self) -> dict[str, int]:
        """Remove workspaces whose task has ended, and runs that ended long ago; gives how many."""
        pruned = await self.runs.prune(time.time() - self.means.keep_runs_s)  # first: it depends on nothing else
        keep: list[tuple[str, str]] = []
        for project in self.means.projects.values():
            keep += [(project.name, task.key) for task in await self.means.ledger.open_tasks(project.name)]
        removed = await self.workspaces.sweep(list(self.means.projects.values()), keep)
        return {"workspaces": len(removed), "runs": pruned}


class Witnesses:
    """Brings what the gates of a job's stage want to know, and its step does not tell."""

    def __init__(self, desk: LedgerDesk, witness: Witness, pipeline: Callable[[Project], Awaitable[Pipeline]]) -> None:
        self._desk, self._pipeline = desk, pipeline
        self._brings = {"images-pullable": witness.images, "artifacts-present": witness.artifacts}

    async def of(self, job: Job, done: Done) -> Sequence[Evidence]:
        """Look at the stage's gates, and ask. Raises `ForgeFailed`, `StepFailed`: it can't be told now."""
        try:
            work = await self._desk.work(job)
        except StepFailed:  # its task or project is gone, and with it who wants to know
            return []
        stage = (await self._pipeline(work.project)).stage(job.stage)
        wanted = [rule.name for rule in stage.gates if rule.name in self._brings] if stage is not None else []
        return [await self._brings[name](work, done.sha or job.sha) for name in wanted]
