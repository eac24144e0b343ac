"""Where a job's papers are: its task and project from the ledger, its issue from the tracker (`steps.base.Desk`)."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.model import Issue, Job, Project
from millpond.delivery.ports import Tracker
from millpond.delivery.runs.runfolder import Run
from millpond.delivery.steps.base import StepFailed, Work, begun_before

WHO_S = 5.0
"""How long a run's wrapper is waited for to say who it is; it goes on without."""


class LedgerDesk:
    """See `steps.base.Desk`."""

    def __init__(self, ledger: Ledger, tracker: Tracker, projects: Mapping[str, Project], node: str) -> None:
        self._ledger, self._tracker, self._projects, self._node = ledger, tracker, projects, node

    async def work(self, job: Job) -> Work:
        """Read what a job is about. Raises `StepFailed`."""
        task, project = await self._ledger.task(job.task), self._projects.get(job.project)
        if task is None:
            raise StepFailed(f"its task {job.task} is gone")
        if project is None:
            raise StepFailed(f"the project {job.project} is not configured any more")
        return Work(job, task, project, await self._since(job))

    async def _since(self, job: Job) -> float:
        if not begun_before(job):
            return 0.0
        begun = [one for one in await self._ledger.jobs.of(job.task) if one.started_at]
        return min((one.started_at for one in begun if (one.visit, one.stage) == (job.visit, job.stage)), default=0.0)

    async def issue(self, work: Work) -> Issue | None:
        """Read the issue as it is now."""
        found = await self._tracker.get(work.project, [work.task.issue])
        return next((one for one in found if one.id == work.task.issue), None)

    async def began(self, work: Work, run: Run) -> None:
        """Write down which process a job runs in."""
        who = None
        until = asyncio.get_running_loop().time() + WHO_S
        while who is None and asyncio.get_running_loop().time() < until:
            who = await asyncio.to_thread(run.who)
            await asyncio.sleep(0 if who else 0.02)
        await self._ledger.runs.note(work.job, self._node, str(run.log), who)
