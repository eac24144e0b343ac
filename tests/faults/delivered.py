"""A daemon for the chaos: the real application against fakes over HTTP, that kills itself at a commit of the ledger.

``python -m tests.faults.delivered FOLDER PORT PLANE GITEA POINT:MOMENT:NTH`` (or ``-``: it lives). Only `command` is a
small one; tracker, forge, engine, ledger, worker, webhooks and the other steps are those that are shipped: the agent is
a stand-in in a real worktree and a real run, hosts are scripts whose state is on the disk, since no host dies with the
daemon.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
from tests.hosts.deploys import FakeEngine, FakePrepares

from millpond.adapters.gitea import Gitea, GiteaOptions
from millpond.adapters.plane import Plane, PlaneOptions
from millpond.api.site import site
from millpond.app import deployops, shipping
from millpond.app.core import Core
from millpond.app.jobs import JobPonds
from millpond.app.opening import open_app
from millpond.app.sourcing import Source
from millpond.delivery.desk import LedgerDesk
from millpond.delivery.ledger.books import Point
from millpond.delivery.model import Done, Evidence, Job, Outcome, Retry, Spent
from millpond.delivery.ports import Step
from millpond.delivery.steps import AgentStep, DeployStep, MergeStep, MonitorStep
from millpond.delivery.steps.base import Tools
from millpond.delivery.workspaces.workspace import Remote, WorkspaceOptions, Workspaces
from millpond.hosts.model import Completed, HostOptions
from millpond.hosts.rollout import Pace, Place
from millpond.server.daemon import Daemon, bind
from millpond.server.lane import Lane, protocol
from millpond.testing.giteaserver import TOKEN
from millpond.testing.hosts import Asked, FakeHost
from millpond.testing.planeserver import KEY, WORKSPACE

SECRET = "chaos-secret"
ANSWER_S = 1.0
PRICE_USD = 0.3
TAKES_S = 1.2
"""How long a build takes in a daemon that is to die at a heartbeat; elsewhere none takes long."""


QUICK = Pace(look_every_s=0.01, steady_s=0.0)
BARE, HOSTS = "bare", "hosts"
"""Folders: the repositories of the projects that agents work for, and what each host was told to run."""


class Small:
    """A command that asks the fake forge to do what its run would have done."""

    name = "command"

    def __init__(self, gitea: str, desk: LedgerDesk, takes_s: float) -> None:
        self._gitea, self._desk, self._takes_s = gitea, desk, takes_s

    async def run(self, job: Job) -> Outcome:
        work = await self._desk.work(job)
        spent = Spent(min(PRICE_USD, job.usd if job.usd is not None else PRICE_USD))
        if job.stage == "build":
            if job.task % 3 == 0 and job.attempt == 1:
                return Retry(0.05, "the network was away", Spent(0.01))
            await asyncio.sleep(self._takes_s)
            told = await self._post("push", {"repo": work.project.repo, "branch": work.task.branch})
            return Done(told["sha"], spent=spent)
        return Done(evidence=(Evidence("tests", {"passed": 3, "failed": 0}, job.sha),), spent=spent)

    async def _post(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.post(f"{self._gitea}/test/{what}", json=body) as reply:
            return dict(await reply.json())


@dataclass
class Machine(FakeEngine):
    """A host whose containers go on when the daemon dies: a line for each time that something is brought out."""

    file: Path = Path()
    told: Callable[[str, str], None] = print

    def __post_init__(self) -> None:
        if self.file.exists():
            self.running = json.loads(self.file.read_text().splitlines()[-1])

    def _up(self, asked: Asked) -> Completed:
        done = super()._up(asked)
        with self.file.open("a") as file:
            file.write(json.dumps(self.running) + "\n")
        self.told("deploy", "amid")
        return done


@dataclass
class Machines:
    """The hosts of the configuration, and what comes before a deploy to them."""

    folder: Path
    prepares: FakePrepares
    told: Callable[[str, str], None]

    @classmethod
    def below(cls, folder: Path, told: Callable[[str, str], None]) -> Machines:
        (folder / HOSTS).mkdir(exist_ok=True)
        return cls(folder / HOSTS, FakePrepares({}), told)

    def connect(self, options: HostOptions) -> FakeHost:
        machine = Machine(options.name, file=self.folder / options.name, told=self.told)
        self.prepares.engines = {**self.prepares.engines, options.name: machine}
        self.prepares.places[options.name] = Place(host := machine.host(), options)
        return host

    def take_the_place_of_docker(self) -> None:
        plain: Callable[..., Any] = deployops.deploying
        deployops.deploying = lambda *of: replace(plain(*of), prepares=self.prepares, pace=QUICK)
        shipping.PACE = QUICK


class Told:
    """A step that is shipped, and somebody who is told when it has done its work, before that is written down."""

    def __init__(self, step: Step, told: Callable[[str, str], None]) -> None:
        self.name, self._step, self._told = step.name, step, told

    async def run(self, job: Job) -> Outcome:
        outcome = await self._step.run(job)
        if isinstance(outcome, Done):
            self._told(self.name, "after")
        return outcome


class Killer:
    """Kills this process at the nth time that a commit point, or a moment of a step, is met."""

    def __init__(self, told: str) -> None:
        self._point, self._moment, nth = told.split(":") if told != "-" else ("", "", "0")
        self._left = int(nth)

    def __call__(self, point: str, moment: str) -> None:
        if (str(point), moment) == (self._point, self._moment):
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


async def serve(folder: Path, port: int, plane: str, gitea: str, kill: str) -> None:
    def counterparts(app: Core, config: object) -> tuple[Plane, Gitea]:
        del config
        tracker = Plane(PlaneOptions(plane, WORKSPACE, KEY, SECRET, timeout_s=ANSWER_S), app.clock)
        return tracker, Gitea(GiteaOptions(gitea, TOKEN, SECRET, timeout_s=ANSWER_S), app.clock)

    source = Source(folder / "millpond.toml", {"server.data": str(folder / "data")}, folder)
    killer = Killer(kill)
    machines = Machines.below(folder, killer)
    machines.take_the_place_of_docker()
    app = await open_app(source.load(), source, counterparts=counterparts, connect=machines.connect)
    of = app.delivering
    desk = LedgerDesk(of.ledger, of.tracker, of.projects, app.node)
    deployer = shipping.AppDeployer(app)
    spaces = Workspaces(
        app.data / "spaces",
        lambda project: Remote(str(folder / BARE / f"{project.repo}.git")),
        WorkspaceOptions(keep_free_bytes=0),
    )
    tools = Tools(desk, spaces, of.working.runs, JobPonds(app), {"PATH": os.environ["PATH"]})
    of.working.worker._steps |= {
        "command": Small(gitea, desk, TAKES_S if kill.startswith(Point.HEARTBEAT) else 0.0),
        "agent": Told(AgentStep(tools), killer),
        "deploy": Told(DeployStep(desk, deployer, of.forge), killer),
        "merge": MergeStep(desk, of.forge, look_s=0.05),
        "monitor": MonitorStep(desk, deployer, between_s=0.05),
    }
    of.hook = killer
    surface = site(app)
    lane = protocol(Lane(app.hits, surface.doorkeeper, app.clock, 0))
    daemon = Daemon(app, surface, [bind("127.0.0.1", port)], drain_s=1.0, protocol=lane)

    async def ready() -> None:
        (folder / "ready").write_text(str(os.getpid()))

    await daemon.run(None, ready)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6]))
