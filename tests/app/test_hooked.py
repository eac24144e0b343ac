"""Webhooks on the wire, through a whole application with no poll: what they tell is done at once.

Plane and Gitea are real HTTP servers. Here they post nothing by themselves: what they would have sent is handed to the
application's routes, or lost.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, replace
from typing import Any

import pytest
import pytest_asyncio
from tests.delivering import REPOSITORY, until
from tests.delivery.wired import FINE, SHOP, TOYS

from millpond.clock import SystemClock
from millpond.delivery.model import Done, Job, Phase, Task
from millpond.testing.giteaserver import TOKEN, GiteaServer
from millpond.testing.planeserver import KEY, WORKSPACE, PlaneServer
from millpond.testing.wire import WireServer

SECRET = "a-webhook-secret"
CONFIG = (
    REPOSITORY
    + """
[tracker]
kind = "plane"
url = "{plane}"
workspace = "{workspace}"
token = "{key}"
webhook_secret = "{secret}"
requests_per_minute = 100000
[forge]
kind = "gitea"
url = "{gitea}"
token = "{token}"
webhook_secret = "{secret}"
[delivery]
reconcile = false
worker = false
[[pipeline.stages]]
name = "build"
step = "command"
settings = {{ argv = ["true"] }}
gates = ["commit-status", "human-verdict"]
[[pipeline.stages]]
name = "merge"
step = "merge"
"""
)
PROJECT = '[projects.{0.name}]\nprefix = "{0.prefix}"\ntracker_project = "{0.tracker_project}"\nrepo = "{0.repo}"\n'


@dataclass
class Hooked:
    """An application between the two servers."""

    plane: PlaneServer
    gitea: GiteaServer
    pond: Any
    columns: dict[str, str]

    @property
    def ledger(self) -> Any:
        return self.pond.app.delivering.ledger

    async def deliver(self, server: WireServer, *, lost: bool = False) -> list[int]:
        """Hand on, or lose, what a server has sent since; gives the statuses."""
        sent, server.sent[:] = list(server.sent), []
        sender, statuses = "plane" if server is self.plane else "gitea", []
        for one in () if lost else sent:
            headers = {name.lower(): value for name, value in one.headers.items()}
            statuses.append((await self.pond.client.ask("POST", f"/webhook/{sender}", headers, one.body)).status)
        return statuses

    async def task(self, so: Callable[[Task], bool] = lambda _: True) -> Task:
        """Wait until the first task is so."""

        async def found() -> Task | None:
            task: Task | None = await self.ledger.by_key("SH-1")
            return task if task is not None and so(task) else None

        result: Task = await until(found)
        return result

    async def claimed(self) -> Job:
        """Wait for a job, and claim it."""

        async def found() -> list[Job]:
            jobs: list[Job] = await self.ledger.jobs.claim("w", 600, most=4)
            return jobs

        (job,) = await until(found)
        return job

    async def gated(self) -> Task:
        """Take an issue to the gate of its first stage, where statuses and a verdict are waited for."""
        self.plane.add(SHOP.tracker_project, "A title", self.columns["To Analyse"])
        assert await self.deliver(self.plane) == [202]
        job = await self.claimed()
        task = await self.task()
        sha = self.gitea.push(SHOP.repo, task.branch, work="done")
        await self.ledger.jobs.finish(job, Done(sha))
        await self.deliver(self.gitea, lost=True)
        return await self.task(lambda one: one.phase is Phase.GATED)

    async def rests(self) -> None:
        """Wait until nobody looks at anything, so that the next look is for what comes now."""

        async def quiet() -> bool:
            now = await self.ledger.now()
            pending = await self.ledger.outbox.pending()
            return not pending and all(one.not_before > now + 60 for one in await self.ledger.nudges.all())

        await until(quiet)


@pytest.fixture
def clock() -> SystemClock:
    """The machine's own, by which the rate budget fills up."""
    return SystemClock()


@pytest_asyncio.fixture
async def hooked(open_pond: Any) -> AsyncIterator[Hooked]:
    async with (
        PlaneServer(hook_secret=SECRET, limit_per_minute=10**9) as plane,
        GiteaServer(hook_secret=SECRET) as gitea,
    ):
        plane.now = 1_000_000_000.0
        columns = plane.project(SHOP.tracker_project, FINE)
        gitea.repo(SHOP.repo)
        values = {"workspace": WORKSPACE, "key": KEY, "token": TOKEN, "secret": SECRET}
        config = CONFIG.format(plane=plane.url, gitea=gitea.url, **values) + PROJECT.format(SHOP)
        pond = await open_pond(config)
        await pond.app.started()
        yield Hooked(plane, gitea, pond, columns)
        await pond.app.close()


async def test_a_status_that_the_forge_tells_of_opens_the_gate_at_once(hooked: Hooked):
    task = await hooked.gated()
    hooked.plane.say(SHOP.tracker_project, task.issue, "/approve")
    await hooked.deliver(hooked.plane)
    await hooked.task(lambda one: one.inputs > task.inputs)
    await hooked.rests()
    assert (await hooked.task()).phase is Phase.GATED, "approved, and not green yet"
    hooked.gitea.status(SHOP.repo, task.sha, "ci", "success")
    assert await hooked.deliver(hooked.gitea) == [202]
    job = await hooked.claimed()
    assert (job.stage, job.sha) == ("merge", task.sha)


async def test_a_push_that_the_forge_tells_of_voids_what_was_judged_at_once(hooked: Hooked):
    task = await hooked.gated()
    await hooked.rests()
    sha = hooked.gitea.push(SHOP.repo, task.branch, sneaked="in")
    assert await hooked.deliver(hooked.gitea) == [202]
    after = await hooked.task(lambda one: one.sha == sha)
    assert (after.phase, after.stage) == (Phase.GATED, "build")


async def test_what_the_forge_tells_of_main_has_every_task_of_the_repo_looked_at(hooked: Hooked):
    task = await hooked.gated()
    hooked.plane.say(SHOP.tracker_project, task.issue, "/approve")
    await hooked.deliver(hooked.plane)
    await hooked.task(lambda one: one.inputs > task.inputs)
    await hooked.rests()
    hooked.gitea.status(SHOP.repo, task.sha, "ci", "success")
    await hooked.deliver(hooked.gitea, lost=True)
    await hooked.rests()
    assert (await hooked.task()).phase is Phase.GATED, "nobody has looked"
    hooked.gitea.push(SHOP.repo, "main", readme="new")
    assert await hooked.deliver(hooked.gitea) == [202]
    assert (await hooked.claimed()).stage == "merge", "the status whose webhook was lost is seen, too"


@pytest.mark.parametrize("forged", [{"x-gitea-signature": "0" * 64, "x-hub-signature-256": ""}, None])
async def test_a_forged_webhook_of_the_forge_has_nothing_looked_at(hooked: Hooked, forged: dict[str, str] | None):
    task = await hooked.gated()
    await hooked.rests()
    before = len(hooked.gitea.requests)
    hooked.gitea.push(SHOP.repo, task.branch, sneaked="in")
    (one,) = hooked.gitea.sent
    headers = {name.lower(): value for name, value in one.headers.items() if forged or "Signature" not in name}
    hooked.gitea.sent[:] = [replace(one, headers={**headers, **(forged or {})})]
    assert await hooked.deliver(hooked.gitea) == [401]
    await hooked.rests()
    assert len(hooked.gitea.requests) == before
    assert (await hooked.task()).sha == task.sha


async def test_a_reload_reads_the_projects_again_and_asks_for_the_columns_anew(hooked: Hooked, tmp_path: Any):
    await hooked.gated()
    asked = [line for line in hooked.plane.requests if line.endswith(f"{SHOP.tracker_project}/states/?per_page=100")]
    columns = hooked.plane.project(TOYS.tracker_project, FINE)
    hooked.gitea.repo(TOYS.repo)
    hooked.plane.column(SHOP.tracker_project, "QA", "started")
    file = tmp_path / "0.toml"
    file.write_text(file.read_text() + PROJECT.format(TOYS))
    await hooked.pond.app.reload_everywhere()
    hooked.plane.add(TOYS.tracker_project, "A toy", columns["To Analyse"])
    await hooked.deliver(hooked.plane)
    assert (await hooked.claimed()).project == "toys"
    board = await hooked.pond.app.delivering.states.board(SHOP)
    assert len(board.groups) == len(FINE) + 1, "the new column"
    again = [line for line in hooked.plane.requests if line.endswith(f"{SHOP.tracker_project}/states/?per_page=100")]
    assert len(again) > len(asked)
