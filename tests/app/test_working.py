"""The worker as the composition root makes it: a job through a real run in a real worktree, what gates want, sweeps."""

from __future__ import annotations

import asyncio
import os
from dataclasses import replace
from pathlib import Path

import pytest
from tests.delivery.steps.given import SHOP, git, make_forge

from millpond.app.shipping import AppWitness
from millpond.app.working import Means, Witnesses, Working
from millpond.delivery.deciding.actions import CancelTask, CreateTask, StartJob
from millpond.delivery.definition import STEPS as KNOWN
from millpond.delivery.desk import LedgerDesk
from millpond.delivery.ledger.books import Books
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.model import Done, Issue, JobState, Options, Project, Task
from millpond.delivery.pipeline import GateRule, Pipeline, Stage
from millpond.delivery.ports import ForgeFailed
from millpond.delivery.steps import STEPS
from millpond.delivery.worker import WorkerOptions
from millpond.delivery.workspaces.workspace import Remote, WorkspaceFailed, WorkspaceOptions
from millpond.testing.forge import FakeForge
from millpond.testing.tracker import FakeTracker

GATES = (GateRule("artifacts-present"), GateRule("images-pullable"), GateRule("tests-passed"))
PIPELINE = Pipeline((Stage("build", "command", gates=GATES),))
THINGS = '[repositories.things]\npackage = "generic"\ntype = "local"\n'


class Wired:
    """A worker on an application, with a project whose repository is real."""

    def __init__(self, app: object, folder: Path) -> None:
        self.forge = make_forge(folder)
        self.ledger = Ledger(Books(app.db))  # type: ignore[attr-defined]
        self.app = app
        self.project = replace(SHOP, app="")

    def working(self) -> Working:
        async def pipeline(_: Project) -> Pipeline:
            return PIPELINE

        means = Means(
            self.ledger,
            FakeTracker({}),
            FakeForge(),
            {"shop": self.project},
            pipeline,
            lambda _: Remote(str(self.forge)),
            workspaces=WorkspaceOptions(keep_free_bytes=0, keep_s=0),
        )
        return Working.of(self.app, means, options=WorkerOptions(beat_s=0.1))  # type: ignore[arg-type]

    async def queued(self, script: str) -> Task:
        issue = Issue("i1", "shop", 1, "a thing", "x", 0.0)
        task, _ = await self.ledger.create_task(self.project, issue, CreateTask("build", Options(), "x"))
        settings = {"argv": ["sh", "-c", script], "commit": True}
        applied = await self.ledger.apply(self.project, issue, task, [StartJob("build", "command", 1, 60.0, settings)])
        assert applied.task
        return applied.task


@pytest.fixture
async def wired(open_pond, tmp_path: Path) -> Wired:
    return Wired((await open_pond(THINGS)).app, tmp_path)


def test_the_names_of_steps_are_those_that_a_pipeline_may_use():
    assert set(STEPS) == KNOWN


async def test_a_job_runs_is_pushed_and_brings_what_the_stage_s_gates_want(wired: Wired):
    task = await wired.queued('echo $MILLPOND_URL > made; test -n "$NETRC"')
    working = wired.working()
    assert await working.worker.tick() == 1
    await working.worker.settled()
    (job,) = await wired.ledger.jobs.of(task.id)
    assert (job.state, job.reason) == (JobState.SUCCEEDED, "")
    assert git("rev-parse", task.branch, cwd=wired.forge) == job.sha
    evidence = await wired.ledger.evidence(task)
    assert {one.kind for one in evidence} == {"tests", "artifacts", "images"}
    assert {one.sha for one in evidence} == {job.sha}
    (run,) = await wired.ledger.runs.of(task.id)
    assert run.pid
    assert run.start
    assert run.node == wired.app.node  # type: ignore[attr-defined]
    assert Path(run.log).is_file()
    tokens = await wired.app.tokens.list()  # type: ignore[attr-defined]
    assert not [one.name for one in tokens if one.name.startswith("job:")]


async def test_the_job_s_token_is_in_no_log_as_clients_send_it_either(wired: Wired):
    auth = r"""sed 's/.*"auth": "//; s/".*//' "$HOME/.docker/config.json" """
    task = await wired.queued(
        f'cat "$HOME/.netrc"; echo "Authorization: Basic $({auth})"; cat "$HOME/.docker/config.json"; echo x > made'
    )
    working = wired.working()
    await working.worker.tick()
    await working.worker.settled()
    (run,) = await wired.ledger.runs.of(task.id)
    text = Path(run.log).read_text()
    assert "login job password ********\n" in text
    assert "Authorization: Basic ********\n" in text
    assert '{"auth": "********"}' in text


async def test_an_outage_of_the_forge_is_not_taken_for_gates_that_want_nothing(wired: Wired):
    task = await wired.queued("true")
    (job,) = await wired.ledger.jobs.of(task.id)

    async def away(project: Project) -> Pipeline:
        raise ForgeFailed(f"the forge does not answer about {project.name}")

    def asked(**projects: Project) -> Witnesses:
        desk = LedgerDesk(wired.ledger, FakeTracker({}), projects, "n")
        return Witnesses(desk, AppWitness(wired.app), away)  # type: ignore[arg-type]

    with pytest.raises(ForgeFailed, match="does not answer"):
        await asked(shop=wired.project).of(job, Done())
    assert await asked().of(job, Done()) == [], "its project is gone, and with it who wants to know"


async def test_what_a_task_that_ended_left_is_swept(wired: Wired, tmp_path: Path):
    task = await wired.queued("true")
    working = wired.working()
    await working.worker.tick()
    await working.worker.settled()
    assert await working.sweep() == {"workspaces": 0, "runs": 0}
    await wired.ledger.cancel(task.id, "me")
    found = await wired.ledger.task(task.id)
    assert found
    issue = Issue("i1", "shop", 1, "a thing", "x", 0.0)
    await wired.ledger.apply(wired.project, issue, found, [CancelTask("by me")])
    assert (await working.sweep())["workspaces"] == 1


async def test_old_runs_are_removed_though_workspaces_cannot_be_swept(wired: Wired, monkeypatch: pytest.MonkeyPatch):
    await wired.queued("true")
    working = wired.working()
    await working.worker.tick()
    await working.worker.settled()
    (folder,) = (wired.app.data / "runs").iterdir()  # type: ignore[attr-defined]
    os.utime(folder / "status.json", (1.0, 1.0))

    async def broken(*_: object) -> None:
        raise WorkspaceFailed("another one works on this repository's copy for too long")

    monkeypatch.setattr(working.workspaces, "sweep", broken)
    with pytest.raises(WorkspaceFailed):
        await working.sweep()
    assert not folder.exists()


async def test_a_stop_of_the_daemon_leaves_the_run_and_its_token_for_the_next_one(wired: Wired, tmp_path: Path):
    task = await wired.queued(f"while [ ! -e {tmp_path}/go ]; do sleep 0.05; done; echo x > made")
    first = wired.working()
    await first.worker.tick()
    async with asyncio.timeout(60):
        while not (await wired.ledger.runs.of(task.id))[0].log:
            await asyncio.sleep(0.02)
    await first.worker.close()
    tokens = await wired.app.tokens.list()  # type: ignore[attr-defined]
    assert [one.revoked_at for one in tokens if one.name.startswith("job:")] == [None]
    second = wired.working()
    assert len(await second.worker.take_up()) == 1
    (tmp_path / "go").touch()
    await second.worker.settled()
    (job,) = await wired.ledger.jobs.of(task.id)
    assert (job.state, job.fence) == (JobState.SUCCEEDED, 2)
    assert git("show", f"{job.sha}:made", cwd=wired.forge) == "x"
