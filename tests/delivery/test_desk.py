"""Where a job's papers are."""

from __future__ import annotations

from dataclasses import replace

import pytest
from tests.delivery.steps.given import job_of, work_of

from millpond.delivery.desk import LedgerDesk
from millpond.delivery.model import Job, Task
from millpond.delivery.steps.base import StepFailed

GIVEN = work_of(job_of(step="deploy", stage="deploy"))


class Papers:
    """As much of a ledger as is read."""

    def __init__(self, task: Task | None, jobs: list[Job]) -> None:
        self._task, self._jobs, self.jobs = task, jobs, self

    async def task(self, number: int) -> Task | None:
        assert number == GIVEN.job.task
        return self._task

    async def of(self, task: int) -> list[Job]:
        assert task == GIVEN.job.task
        return self._jobs


def desk(*jobs: Job, task: Task | None = GIVEN.task) -> LedgerDesk:
    projects = {GIVEN.job.project: GIVEN.project}
    return LedgerDesk(Papers(task, list(jobs)), None, projects, "n")  # type: ignore[arg-type]


async def test_a_later_attempt_knows_when_the_first_of_its_visit_began():
    first = replace(GIVEN.job, started_at=100.0)
    other = replace(GIVEN.job, stage="build", started_at=10.0)
    earlier = replace(GIVEN.job, visit=GIVEN.job.visit - 1, started_at=20.0)
    waiting = replace(GIVEN.job, attempt=3)
    again = replace(GIVEN.job, attempt=2, started_at=200.0)
    assert (await desk(other, earlier, first, again, waiting).work(again)).since == 100.0
    assert (await desk(first).work(first)).since == 0.0
    taken_up = replace(first, fence=2)
    assert (await desk(taken_up).work(taken_up)).since == 100.0


async def test_a_task_or_a_project_that_is_gone():
    with pytest.raises(StepFailed, match="is gone"):
        await desk(task=None).work(GIVEN.job)
    with pytest.raises(StepFailed, match="not configured any more"):
        await desk().work(replace(GIVEN.job, project="left"))
