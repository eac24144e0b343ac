"""A daemon for the chaos: the real application against fakes over HTTP, that kills itself at a commit of the ledger.

``python -m tests.faults.delivered FOLDER PORT PLANE GITEA POINT:MOMENT:NTH`` (or ``-``: it lives). Only its steps are
small ones; tracker, forge, engine, ledger, worker, merge, webhooks are those that are shipped.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import Any

import aiohttp

from millpond.adapters.gitea import Gitea, GiteaOptions
from millpond.adapters.plane import Plane, PlaneOptions
from millpond.api.site import site
from millpond.app import App, Source, open_app
from millpond.delivery.desk import LedgerDesk
from millpond.delivery.ledger.books import Point
from millpond.delivery.model import Done, Evidence, Job, Outcome, Retry, Spent
from millpond.delivery.steps import MergeStep
from millpond.server.daemon import Daemon, bind
from millpond.server.lane import Lane, protocol
from millpond.testing.giteaserver import TOKEN
from millpond.testing.planeserver import KEY, WORKSPACE

SECRET = "chaos-secret"
ANSWER_S = 1.0
PRICE_USD = 0.3
TAKES_S = 1.2
"""How long a build takes in a daemon that is to die at a heartbeat; elsewhere none takes long."""


class Small:
    """Steps that ask the fake forge to do what a run would have done."""

    def __init__(self, name: str, gitea: str, desk: LedgerDesk, takes_s: float) -> None:
        self.name, self._gitea, self._desk, self._takes_s = name, gitea, desk, takes_s

    async def run(self, job: Job) -> Outcome:
        work = await self._desk.work(job)
        spent = Spent(min(PRICE_USD, job.usd if job.usd is not None else PRICE_USD))
        if job.stage == "build":
            if job.task % 3 == 0 and job.attempt == 1:
                return Retry(0.05, "the network was away", Spent(0.01))
            await asyncio.sleep(self._takes_s)
            told = await self._post("push", {"repo": work.project.repo, "branch": work.task.branch})
            return Done(told["sha"], spent=spent)
        if job.step == "deploy":
            if not (await self._post("out", {"sha": job.sha}))["out"]:
                await self._post("deploy", {"sha": job.sha})
            return Done(evidence=(Evidence("deploy", {"converged": True}, job.sha),))
        if job.step == "monitor":
            return Done(evidence=(Evidence("health", {"state": "HEALTHY"}, job.sha),))
        return Done(evidence=(Evidence("tests", {"passed": 3, "failed": 0}, job.sha),), spent=spent)

    async def _post(self, what: str, body: dict[str, Any]) -> dict[str, Any]:
        async with aiohttp.ClientSession() as session, session.post(f"{self._gitea}/test/{what}", json=body) as reply:
            return dict(await reply.json())


class Killer:
    """Kills this process at the nth time that a commit point is met."""

    def __init__(self, told: str) -> None:
        self._point, self._moment, nth = told.split(":") if told != "-" else ("", "", "0")
        self._left = int(nth)

    def __call__(self, point: Point, moment: str) -> None:
        if (str(point), moment) == (self._point, self._moment):
            self._left -= 1
            if self._left <= 0:
                os.kill(os.getpid(), signal.SIGKILL)


async def serve(folder: Path, port: int, plane: str, gitea: str, kill: str) -> None:
    def counterparts(app: App, config: object) -> tuple[Plane, Gitea]:
        del config
        tracker = Plane(PlaneOptions(plane, WORKSPACE, KEY, SECRET, timeout_s=ANSWER_S), app.clock)
        return tracker, Gitea(GiteaOptions(gitea, TOKEN, SECRET, timeout_s=ANSWER_S), app.clock)

    source = Source(folder / "millpond.toml", {"server.data": str(folder / "data")}, folder)
    app = await open_app(source.load(), source, counterparts=counterparts)
    of = app.delivering
    desk = LedgerDesk(of.ledger, of.tracker, of.projects, app.node)
    takes_s = TAKES_S if kill.startswith(Point.HEARTBEAT) else 0.0
    small = {name: Small(name, gitea, desk, takes_s) for name in ("command", "deploy", "monitor")}
    of.working.worker._steps = {**small, "merge": MergeStep(desk, of.forge, look_s=0.05)}
    of.hook = Killer(kill)
    surface = site(app)
    lane = protocol(Lane(app.hits, surface.doorkeeper, app.clock, 0))
    daemon = Daemon(app, surface, [bind("127.0.0.1", port)], drain_s=1.0, protocol=lane)

    async def ready() -> None:
        (folder / "ready").write_text(str(os.getpid()))

    await daemon.run(None, ready)


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:6]))
