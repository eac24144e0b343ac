"""Who owns a run while it is begun: given up, or failing, it leaves no run, no token and no HOME behind."""

from __future__ import annotations

import asyncio
import subprocess
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from tests.delivery.steps.given import Given
from tests.delivery.steps.test_agent import agent_job

from millpond.delivery.model import Done, Failed, Job, Outcome, Retry
from millpond.delivery.ports import TrackerFailed
from millpond.delivery.runs import runs as detached
from millpond.delivery.runs.runfolder import Run
from millpond.delivery.runs.runs import Runs
from millpond.delivery.steps import running
from millpond.delivery.steps.agent import AgentStep
from millpond.delivery.steps.base import Work
from millpond.delivery.workspaces import workspace
from millpond.delivery.workspaces.notes import Workspace
from millpond.delivery.workspaces.workspace import WorkspaceFailed

pytestmark = pytest.mark.process


@pytest.fixture
async def given(tmp_path: Path) -> AsyncIterator[Given]:
    given = Given.at(tmp_path)
    yield given
    await Runs(tmp_path / "runs").others([])


async def until(said: Callable[[], object]) -> None:
    async with asyncio.timeout(60):
        while not said():
            await asyncio.sleep(0.02)


async def never(*_: Any) -> None:
    await asyncio.sleep(1000)


async def given_up(doing: asyncio.Task[Outcome]) -> None:
    doing.cancel()
    async with asyncio.timeout(60):
        (result,) = await asyncio.gather(doing, return_exceptions=True)
    assert isinstance(result, asyncio.CancelledError)


def nothing_is_left(given: Given, job: Job) -> bool:
    return not given.run(job).alive() and not given.ponds.open_ and not given.run(job).home.exists()


def outcome_of(given: Given, job: Job) -> asyncio.Task[Outcome]:
    return asyncio.create_task(AgentStep(given.tools).run(job))


async def test_cancelled_before_its_start_is_written_down_the_run_is_ended(
    given: Given, monkeypatch: pytest.MonkeyPatch
):
    job = agent_job("waits")
    monkeypatch.setattr(given.desk, "began", never)
    doing = outcome_of(given, job)
    await until(given.run(job).who)
    await given_up(doing)
    assert nothing_is_left(given, job)
    assert given.run(job).at_worst() == 5.0, "the worker counts by it"


async def test_cancelled_while_its_process_is_started_the_run_is_ended(given: Given, monkeypatch: pytest.MonkeyPatch):
    job, real, starting = agent_job("waits"), Runs._start, []

    def slow(*about: Any) -> Run:
        starting.append(1)
        time.sleep(0.5)
        return real(*about)

    monkeypatch.setattr(Runs, "_start", slow)
    doing = outcome_of(given, job)
    await until(lambda: starting)
    doing.cancel()
    await asyncio.sleep(0.1)
    await given_up(doing)  # asked twice it still waits for what it has begun
    await asyncio.sleep(1)
    assert nothing_is_left(given, job)


@pytest.mark.parametrize("error", [OSError(28, "no space left"), RuntimeError("the ledger is away")])
async def test_whose_start_cannot_be_written_down_is_ended_and_counts_as_all_that_it_might_have_cost(
    given: Given, monkeypatch: pytest.MonkeyPatch, error: Exception
):
    async def broken(_: Work, run: Run) -> None:
        await until(run.who)
        raise error

    job = agent_job("waits")
    monkeypatch.setattr(given.desk, "began", broken)
    if isinstance(error, OSError):
        outcome = await outcome_of(given, job)
        assert isinstance(outcome, Retry)
        assert "no space left" in outcome.reason
        assert outcome.spent.usd == 5.0
    else:
        with pytest.raises(RuntimeError):
            await outcome_of(given, job)
    assert nothing_is_left(given, job)


async def test_a_process_that_cannot_be_started_costs_nothing(given: Given, monkeypatch: pytest.MonkeyPatch):
    def broken(*_: Any, **__: Any) -> None:
        raise BlockingIOError(11, "no more processes")

    job = agent_job("waits")
    monkeypatch.setattr(detached, "subprocess", SimpleNamespace(Popen=broken, DEVNULL=subprocess.DEVNULL))
    outcome = await outcome_of(given, job)
    assert isinstance(outcome, Retry)
    assert "no more processes" in outcome.reason
    assert outcome.spent.usd == 0.0
    assert nothing_is_left(given, job)


async def test_a_daemon_that_stops_before_the_start_is_written_down_leaves_the_run_to_the_next_one(
    given: Given, monkeypatch: pytest.MonkeyPatch
):
    job = agent_job("waits")
    monkeypatch.setattr(given.desk, "began", never)
    doing = outcome_of(given, job)
    await until(given.run(job).who)
    given.tools.runs.leave()
    await given_up(doing)
    assert given.run(job).alive()
    assert given.ponds.open_ == 1
    monkeypatch.undo()
    (given.run(job).folder / "go").touch()
    async with asyncio.timeout(60):
        outcome = await AgentStep(given.again()).run(job)
    assert outcome.spent.usd == 0.25
    assert given.ponds.opened == 1


async def test_a_daemon_that_stops_before_a_push_is_written_down_finds_it_its_own(
    given: Given, monkeypatch: pytest.MonkeyPatch
):
    real = workspace.note

    def broken_off(made: Workspace) -> None:
        if made.remote_head:  # the forge has it
            raise asyncio.CancelledError
        real(made)

    monkeypatch.setattr(workspace, "note", broken_off)
    job = agent_job("good")
    doing = outcome_of(given, job)
    await until(lambda: given.run(job).who())
    given.tools.runs.leave()
    with pytest.raises(asyncio.CancelledError):
        await doing
    pushed = given.head()
    assert pushed
    monkeypatch.undo()
    await asyncio.sleep(1.1)  # another second: commits are dated
    outcome = await AgentStep(given.again()).run(job)
    assert isinstance(outcome, Done)
    assert (outcome.sha, given.head()) == (pushed, pushed)


async def test_a_run_of_another_job_with_the_same_number_is_no_run_of_this_one(given: Given):
    """Numbers of jobs are given anew where a ledger is restored, and folders of runs stay."""
    job = agent_job("good", started_at=1000.0)
    first = await AgentStep(given.tools).run(job)
    assert isinstance(first, Done)
    again = await AgentStep(given.again()).run(replace(job, fence=2))
    assert (again, given.ponds.opened) == (first, 1), "taken up, it is the same run"
    other = await AgentStep(given.again()).run(replace(job, started_at=2000.0, settings={**job.settings, "x": 1}))
    assert isinstance(other, Done)
    assert given.ponds.opened == 2, "it was run itself"


async def test_a_push_that_fails_for_a_moment_costs_no_second_run(given: Given, monkeypatch: pytest.MonkeyPatch):
    real, pushes = given.tools.workspaces.push, []

    async def refused(*about: Any) -> None:
        pushes.append(about)
        if len(pushes) < 3:
            raise WorkspaceFailed("the forge is away")
        await real(*about)

    monkeypatch.setattr(given.tools.workspaces, "push", refused)
    monkeypatch.setattr(running, "AGAIN_S", (0.01, 0.01))
    outcome = await AgentStep(given.tools).run(agent_job("good"))
    assert isinstance(outcome, Done)
    assert (outcome.sha, len(pushes), given.ponds.opened) == (given.head(), 3, 1)
    pushes.clear()
    monkeypatch.setattr(running, "AGAIN_S", (0.01,))
    outcome = await AgentStep(given.tools).run(agent_job("good", number=2))
    assert isinstance(outcome, Retry)
    assert "the forge is away" in outcome.reason


@pytest.fixture
async def left(given: Given) -> Job:
    """A run that goes on, whose daemon has stopped."""
    job = agent_job("waits")
    doing = outcome_of(given, job)
    await until(lambda: given.desk.noted)
    given.tools.runs.leave()
    await given_up(doing)
    given.tools = given.again()
    return job


async def test_a_run_whose_workspace_is_gone_is_ended_and_costs_what_it_might_have(given: Given, left: Job):
    async def gone(*_: Any) -> None:
        return None

    given.tools.workspaces.find = gone  # type: ignore[method-assign]
    outcome = await outcome_of(given, left)
    assert isinstance(outcome, Retry)
    assert "is gone" in outcome.reason
    assert outcome.spent.usd == 5.0
    assert nothing_is_left(given, left)


async def test_cancelled_while_it_is_taken_up_a_run_is_ended(given: Given, left: Job):
    given.tools.workspaces.find = never  # type: ignore[method-assign]
    doing = outcome_of(given, left)
    await asyncio.sleep(0.3)
    await given_up(doing)
    assert nothing_is_left(given, left)


async def test_a_run_that_cannot_be_followed_is_ended(given: Given, monkeypatch: pytest.MonkeyPatch):
    async def broken(*_: Any) -> None:
        await until(lambda: given.run(job).who())
        raise OSError(24, "too many open files")

    job = agent_job("waits")
    monkeypatch.setattr(Runs, "wait", broken)
    with pytest.raises(OSError, match="too many open files"):
        await outcome_of(given, job)
    assert nothing_is_left(given, job)


@pytest.mark.parametrize("why", ["the tracker is away", "unknown prompt", "no token"])
async def test_a_beginning_that_fails_leaves_no_folder_of_a_run(
    given: Given, monkeypatch: pytest.MonkeyPatch, why: str
):
    async def away(*_: Any) -> None:
        raise TrackerFailed(why) if "tracker" in why else OSError(5, why)

    settings = {"prompt": "poem"} if why == "unknown prompt" else {}
    if why == "the tracker is away":
        monkeypatch.setattr(given.desk, "issue", away)
    if why == "no token":
        monkeypatch.setattr(given.ponds, "open", away)
    outcome = await outcome_of(given, agent_job("good", settings=settings))
    assert isinstance(outcome, Failed if settings else Retry)
    assert outcome.spent.usd == 0.0
    assert list((given.folder / "runs").iterdir()) == []
