from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from tests.delivery.conftest import Aging
from tests.delivery.ledger.test_queue import queued
from tests.delivery.worked import SlowStep, make_worker

from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.model import Done, Evidence, Failed, Job, JobState, Outcome, Park, Retry, Spent, Stopped, Task
from millpond.delivery.runs.runs import Runs
from millpond.delivery.worker import Worker, WorkerOptions


async def started(ledger: Ledger, issue: str, repo: str = "team/shop") -> Task:
    return await queued(ledger, int(issue[1:]) + 1, repo)


QUICK = WorkerOptions(max_concurrency=2, lease_s=30, beat_s=0.05, idle_s=0.1)


class Played:
    """A step that does as it is told."""

    name = "agent"

    def __init__(self, play: Callable[[Job], Any]) -> None:
        self._play = play
        self.cancelled: list[int] = []
        self.began: list[int] = []

    async def run(self, job: Job) -> Outcome:
        self.began.append(job.id)
        try:
            result = self._play(job)
            return await result if asyncio.iscoroutine(result) else result
        except asyncio.CancelledError:
            self.cancelled.append(job.id)
            raise


async def forever(job: Job) -> Outcome:
    await asyncio.sleep(1000)
    return Done()


def worker_of(ledger: Ledger, tmp_path: Path, step: Played, **more: Any) -> Worker:
    return Worker("n1", ledger, {"agent": step}, Runs(tmp_path / "runs"), more.pop("options", QUICK), **more)


async def until(said: Callable[[], Any]) -> None:
    async with asyncio.timeout(60):
        while True:
            result = said()
            if await result if asyncio.iscoroutine(result) else result:
                return
            await asyncio.sleep(0.02)


async def state_of(ledger: Ledger, task: int) -> tuple[JobState, str]:
    job = (await ledger.jobs.of(task))[-1]
    return job.state, job.reason


async def test_claims_works_and_writes_down_what_came_of_it(ledger: Ledger, tmp_path: Path):
    task = await started(ledger, "i1")
    step = Played(lambda _: Done("b" * 40))
    worker = worker_of(ledger, tmp_path, step)
    assert await worker.tick() == 1
    await worker.settled()
    job = (await ledger.jobs.of(task.id))[0]
    assert (job.state, job.sha, job.worker) == (JobState.SUCCEEDED, "b" * 40, "n1")
    assert worker.done == 1


@pytest.mark.parametrize(
    ("play", "state", "reason"),
    [
        (lambda _: Park("what now?"), JobState.ASKED, "what now?"),
        (lambda _: 1 / 0, JobState.RETRY, "ZeroDivisionError"),
        (lambda _: Retry(5, "later"), JobState.RETRY, "later"),
        (lambda _: Stopped(), JobState.CANCELLED, "stopped"),
    ],
)
async def test_whatever_a_step_does_the_worker_lives_on(
    ledger: Ledger, tmp_path: Path, play: Callable[[Job], Any], state: JobState, reason: str
):
    task = await started(ledger, "i1")
    worker = worker_of(ledger, tmp_path, Played(play))
    await worker.tick()
    await worker.settled()
    found = await state_of(ledger, task.id)
    assert found[0] is state
    assert reason in found[1]


async def test_no_more_at_once_than_allowed_and_the_next_one_when_there_is_room(ledger: Ledger, tmp_path: Path):
    for number in range(3):
        await started(ledger, f"i{number}", repo=f"r{number}")
    gate = asyncio.Event()

    async def play(job: Job) -> Outcome:
        await gate.wait()
        return Done()

    step = Played(play)
    worker = worker_of(ledger, tmp_path, step)
    running = asyncio.create_task(worker.run())
    await until(lambda: len(step.began) == 2)
    await asyncio.sleep(0.3)
    assert len(step.began) == 2
    gate.set()
    await until(lambda: worker.done == 3)
    await worker.close()
    await running


async def test_a_job_that_was_asked_to_stop_is_stopped(ledger: Ledger, tmp_path: Path):
    task = await started(ledger, "i1")
    step = Played(forever)
    worker = worker_of(ledger, tmp_path, step)
    await worker.tick()
    await until(lambda: step.began)
    await ledger.cancel(task.id, "me")
    await worker.settled()
    assert step.cancelled
    assert (await state_of(ledger, task.id))[0] is JobState.CANCELLED


async def test_a_lost_lease_ends_the_work_and_nothing_is_said_of_it(ledger: Ledger, tmp_path: Path, age: Aging):
    task = await started(ledger, "i1")
    step = Played(forever)
    worker = worker_of(ledger, tmp_path, step, options=WorkerOptions(lease_s=30, beat_s=1))
    await worker.tick()
    await until(lambda: step.began)
    await age(100)
    assert await ledger.jobs.reap()
    await worker.settled()
    assert step.cancelled
    assert (await state_of(ledger, task.id))[0] is JobState.LOST


async def test_without_a_heartbeat_for_a_lease_the_work_is_ended(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    task = await started(ledger, "i1")
    step = Played(forever)
    worker = worker_of(ledger, tmp_path, step, options=WorkerOptions(lease_s=1.0, beat_s=0.05))
    await worker.tick()
    await until(lambda: step.began)

    async def broken(*_: Any) -> None:
        raise OSError("the database is away")

    monkeypatch.setattr(ledger.jobs, "heartbeat", broken)
    async with asyncio.timeout(60):
        await worker.settled()
    assert step.cancelled
    assert (await state_of(ledger, task.id))[0] is JobState.RUNNING  # until it is reaped


async def test_leaving_keeps_the_job_and_the_next_process_takes_it_up(ledger: Ledger, tmp_path: Path, age: Aging):
    task = await started(ledger, "i1")
    first = Played(forever)
    worker = worker_of(ledger, tmp_path, first)
    await worker.tick()
    await until(lambda: first.began)
    await worker.close()
    await age(300)  # the ordinary lease would be over
    assert not await ledger.jobs.reap()
    second = Played(lambda _: Done())
    again = worker_of(ledger, tmp_path, second)
    assert await again.take_up() == first.began
    await again.settled()
    job = (await ledger.jobs.of(task.id))[0]
    assert (job.state, job.fence) == (JobState.SUCCEEDED, 2)
    assert [one.ended for one in await ledger.runs.of(task.id)] == ["taken-up", "succeeded"]


async def test_what_is_claimed_while_it_begins_to_leave_is_not_begun_and_kept_for_the_next_process(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: Aging
):
    task = await started(ledger, "i1")
    step = Played(forever)
    worker = worker_of(ledger, tmp_path, step)
    claim, claimed = ledger.jobs.claim, asyncio.Event()

    async def slow(*about: Any, **more: Any) -> list[Job]:
        jobs = await claim(*about, **more)
        claimed.set()
        await asyncio.sleep(0.1)
        return jobs

    monkeypatch.setattr(ledger.jobs, "claim", slow)
    ticking = asyncio.create_task(worker.tick())
    await claimed.wait()
    await worker.close()
    ticking.cancel()
    assert (step.began, worker.working) == ([], ())
    assert (await state_of(ledger, task.id))[0] is JobState.RUNNING
    await age(300)  # the ordinary lease would be over
    assert not await ledger.jobs.reap()
    again = worker_of(ledger, tmp_path, Played(lambda _: Done()))
    assert len(await again.take_up()) == 1
    await again.settled()


async def test_what_an_earlier_process_still_says_is_refused(ledger: Ledger, tmp_path: Path):
    task = await started(ledger, "i1")
    (old,) = await ledger.jobs.claim("n1", 30, most=4)
    await ledger.jobs.retake("n1", 30)
    assert not await ledger.jobs.finish(old, Done())
    assert (await state_of(ledger, task.id))[0] is JobState.RUNNING
    assert not await ledger.jobs.retake("n2", 30)


async def test_evidence_that_the_gates_want_beside_is_added_though_it_cannot_be_had_at_once(
    ledger: Ledger, tmp_path: Path
):
    asked: list[int] = []

    async def witnesses(job: Job, done: Done) -> list[Evidence]:
        asked.append(job.id)
        if job.issue == "i2" and asked.count(job.id) < 3:
            raise OSError("no host answers")
        return [Evidence("images", {"pullable": True}, "a")]

    tasks = [await started(ledger, f"i{number}", repo=f"r{number}") for number in (0, 1)]
    step = Played(lambda _: Done())
    worker = worker_of(ledger, tmp_path, step, options=replace(QUICK, retry_s=0.05), witnesses=witnesses)
    await worker.tick()
    await worker.settled()
    assert [[one.kind for one in await ledger.evidence(task)] for task in tasks] == [["images"], ["images"]]
    assert {(await state_of(ledger, task.id))[0] for task in tasks} == {JobState.SUCCEEDED}
    assert len(step.began) == 2, "what the jobs did is not done again"


async def test_evidence_that_cannot_be_had_for_long_has_the_job_tried_again(ledger: Ledger, tmp_path: Path):
    async def witnesses(job: Job, done: Done) -> list[Evidence]:
        raise OSError("no host answers")

    task = await started(ledger, "i1")
    options = replace(QUICK, retry_s=0.05, witness_s=0.2)
    worker = worker_of(ledger, tmp_path, Played(lambda _: Done(spent=Spent(1.5))), options=options, witnesses=witnesses)
    await worker.tick()
    await worker.settled()
    assert await state_of(ledger, task.id) == (JobState.RETRY, "evidence could not be had: no host answers")
    assert (await ledger.spend(task)).task_usd == 1.5


async def test_who_asks_for_evidence_hears_that_the_job_is_not_wanted_any_more(ledger: Ledger, tmp_path: Path):
    asked: list[int] = []

    async def witnesses(job: Job, done: Done) -> list[Evidence]:
        asked.append(job.id)
        raise OSError("no host answers")

    task = await started(ledger, "i1")
    worker = worker_of(ledger, tmp_path, Played(lambda _: Done()), witnesses=witnesses)  # it asks again in 30 s
    await worker.tick()
    await until(lambda: asked)
    await ledger.cancel(task.id, "me")
    async with asyncio.timeout(60):
        await worker.settled()
    assert len(asked) == 1


async def test_a_database_that_is_away_for_a_moment_costs_no_outcome(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    task = await started(ledger, "i1")
    real, calls = ledger.jobs.finish, []

    async def flaky(job: Job, outcome: Outcome) -> bool:
        calls.append(job.id)
        if len(calls) == 1:
            raise OSError("away")
        return await real(job, outcome)

    monkeypatch.setattr(ledger.jobs, "finish", flaky)
    worker = worker_of(ledger, tmp_path, Played(lambda _: Done()))
    await worker.tick()
    await worker.settled()
    assert (await state_of(ledger, task.id))[0] is JobState.SUCCEEDED


class Full:
    """A ledger's disk that is full, until there is room again."""

    def __init__(self, ledger: Ledger, monkeypatch: pytest.MonkeyPatch) -> None:
        self.room, self.tries, self._real = False, 0, ledger.jobs.finish
        monkeypatch.setattr(ledger.jobs, "finish", self.finish)

    async def finish(self, job: Job, outcome: Outcome) -> bool:
        self.tries += 1
        if not self.room:
            raise OSError("no space left")
        return await self._real(job, outcome)


async def test_a_ledger_that_cannot_be_written_for_longer_than_a_lease_costs_no_money(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: Aging
):
    task = await started(ledger, "i1")
    disk = Full(ledger, monkeypatch)
    options = replace(QUICK, lease_s=0.2)
    worker = worker_of(ledger, tmp_path, Played(lambda _: Done(spent=Spent(1.5))), options=options)
    await worker.tick()
    await asyncio.sleep(1)
    await age(100)
    assert await ledger.jobs.reap()
    assert worker.working
    disk.room = True
    await until(lambda: not worker.working)
    assert (await state_of(ledger, task.id))[0] is JobState.LOST
    assert (await ledger.spend(task)).task_usd == 1.5
    assert disk.tries < 10, "the pauses grow"


async def test_a_ledger_that_cannot_be_written_holds_up_no_stop(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    await started(ledger, "i1")
    disk = Full(ledger, monkeypatch)
    worker = worker_of(ledger, tmp_path, Played(lambda _: Done()))
    await worker.tick()
    await until(lambda: disk.tries)
    async with asyncio.timeout(30):
        await worker.close()
    assert not worker.working


async def given_up(ledger: Ledger, tmp_path: Path, age: Aging) -> tuple[Task, Job]:
    """Begin a run whose worker then stops, and let its lease end; gives the job that is lost, and whose it was."""
    task, runs = await started(ledger, "i1"), Runs(tmp_path / "runs")
    first = make_worker(ledger, runs, SlowStep(runs, tmp_path))
    await first.tick()
    await until((tmp_path / "began").exists)
    await first.close()
    await age(10_000)
    (lost,) = await ledger.jobs.reap()
    return task, lost


@pytest.mark.parametrize("slow", [False, True], ids=["soon", "after a while"])
async def test_the_cost_of_a_run_that_was_given_up_is_counted_once_the_ledger_can_be_written(
    ledger: Ledger, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, age: Aging, slow: bool
):
    task, _ = await given_up(ledger, tmp_path, age)
    disk = Full(ledger, monkeypatch)
    monkeypatch.setattr("millpond.delivery.worker.COUNT_S", 0.05 if slow else 60)
    again = Runs(tmp_path / "runs")
    second = make_worker(ledger, again, SlowStep(again, tmp_path))
    second.options = replace(second.options, lease_s=1.0)
    taking = asyncio.create_task(second.take_up())
    await until(lambda: disk.tries)
    await asyncio.sleep(0.2)
    assert taking.done() == slow
    disk.room = True
    await taking

    async def counted() -> bool:
        return (await ledger.spend(task)).task_usd == 3.0

    assert slow or await counted(), "nothing is claimed before"
    await until(counted)
    await second.close()


async def test_killed_with_9_and_started_again_the_same_run_is_taken_up(ledger: Ledger, url: str, tmp_path: Path):
    task = await started(ledger, "i1")
    argv = [sys.executable, "-m", "tests.delivery.worked", url, str(tmp_path)]
    child = subprocess.Popen(argv, cwd=Path(__file__).parents[2], env={**os.environ})
    try:
        await until((tmp_path / "began").exists)
    finally:
        child.kill()
        child.wait()
    assert child.returncode == -signal.SIGKILL
    runs = Runs(tmp_path / "runs")
    (job,) = await ledger.jobs.of(task.id)
    run = await runs.find(f"job-{job.id}")
    assert run
    assert run.alive()
    assert job.state is JobState.RUNNING
    step = SlowStep(runs, tmp_path)
    worker = make_worker(ledger, runs, step)
    assert await worker.take_up() == [job.id]
    (tmp_path / "go").touch()
    await worker.settled()
    assert (await state_of(ledger, task.id))[0] is JobState.SUCCEEDED
    assert run.log.read_text() == "begins\nends\n"
    assert step.begun == 0


async def test_the_run_of_a_job_that_was_given_up_is_ended_before_anything_is_claimed(
    ledger: Ledger, tmp_path: Path, age: Aging
):
    task, lost = await given_up(ledger, tmp_path, age)
    again = Runs(tmp_path / "runs")
    run = await again.find(f"job-{lost.id}")
    assert run
    assert run.alive()
    second = make_worker(ledger, again, SlowStep(again, tmp_path))
    assert await second.take_up() == []
    assert not run.alive()
    assert not run.home.exists(), "what it was given goes with it"
    assert (await ledger.spend(task)).task_usd == 3.0  # nobody heard what it cost
    assert (await state_of(ledger, lost.task))[0] is JobState.LOST


async def test_what_a_lost_job_cost_whose_run_ended_while_nobody_looked_is_counted_once(
    ledger: Ledger, tmp_path: Path, age: Aging
):
    task, lost = await given_up(ledger, tmp_path, age)
    run = await Runs(tmp_path / "runs").find(f"job-{lost.id}")
    assert run
    (tmp_path / "go").touch()
    await until(lambda: not run.alive())
    assert await worker_of(ledger, tmp_path, Played(forever)).take_up() == []
    assert (await ledger.spend(task)).task_usd == 3.0
    assert await ledger.jobs.uncounted("n1") == []
    assert await worker_of(ledger, tmp_path, Played(forever)).take_up() == []
    assert (await ledger.spend(task)).task_usd == 3.0


async def test_a_step_with_a_worktree_may_wait_longer_for_its_repository_than_it_may_run(
    ledger: Ledger, tmp_path: Path
):
    task = await started(ledger, "i1")

    async def slow(_: Job) -> Outcome:
        await asyncio.sleep(0.5)
        return Done()

    worker = worker_of(ledger, tmp_path, Played(slow), options=replace(QUICK, slack_s=-59.9, fetch_s=60.0))
    await worker.tick()  # its job may take 60 s
    await worker.settled()
    assert (await state_of(ledger, task.id))[0] is JobState.SUCCEEDED


@pytest.mark.parametrize("outcome", [Park("which \ud83d one?\0"), Failed("\udc00"), Retry(1.0, "\ud83d")])
async def test_whatever_a_program_said_its_outcome_is_written_down(ledger: Ledger, tmp_path: Path, outcome: Outcome):
    task = await started(ledger, "i1")
    worker = worker_of(ledger, tmp_path, Played(lambda _: replace(outcome, spent=Spent(1.0))))
    await worker.tick()
    async with asyncio.timeout(60):
        await worker.settled()
    assert (await state_of(ledger, task.id))[0] in {JobState.ASKED, JobState.FAILED, JobState.RETRY}
    assert (await ledger.spend(task)).task_usd == 1.0


@pytest.mark.parametrize("how", ["cancelled", "timed out"])
async def test_what_a_run_may_have_cost_counts_when_its_step_cannot_say_it(ledger: Ledger, tmp_path: Path, how: str):
    task = await started(ledger, "i1")
    runs = Runs(tmp_path / "runs")
    worker = make_worker(ledger, runs, SlowStep(runs, tmp_path))
    if how == "timed out":
        worker.options = replace(worker.options, slack_s=-57.0, fetch_s=0.0)  # its job may take 60 s
    await worker.tick()
    await until((tmp_path / "began").exists)
    if how == "cancelled":
        await ledger.cancel(task.id, "me")
    await worker.settled()
    assert (await state_of(ledger, task.id))[0] is (JobState.CANCELLED if how == "cancelled" else JobState.RETRY)
    assert (await ledger.spend(task)).task_usd == 3.0
