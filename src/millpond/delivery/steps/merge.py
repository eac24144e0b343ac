"""The step ``merge``: the pull request is merged at the very commit that the gates passed, then seen on the branch.

Done already is done: a commit that is on the branch is merged, whoever did it, so that a lost answer does no harm.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from millpond.delivery.model import Done, Failed, Job, Outcome, Retry
from millpond.delivery.ports import Forge, ForgeFailed, Merge
from millpond.delivery.steps.base import Desk, StepFailed, Work, fact
from millpond.delivery.steps.running import as_outcome

LATER_S = 10.0
LOOKS = 5
LOOK_S = 1.0
"""How often, and after how long again, the branch is looked at once the forge said that it merged."""


class MergeStep:
    """See `delivery.ports.Step`."""

    name: ClassVar[str] = "merge"

    def __init__(self, desk: Desk, forge: Forge, *, look_s: float = LOOK_S) -> None:
        self._desk, self._forge, self._look_s = desk, forge, look_s

    async def run(self, job: Job) -> Outcome:
        """Merge, unless that was done."""
        try:
            return await self._merged(await self._desk.work(job))
        except ForgeFailed as error:
            return Failed(str(error)) if error.permanent else Retry(error.after_s or LATER_S, str(error))
        except StepFailed as error:
            return as_outcome(error)

    async def _merged(self, work: Work) -> Outcome:
        sha, project, forge = work.job.sha, work.project, self._forge
        if not sha:
            return Failed("there is no commit to merge")
        if await forge.contains(project, project.branch, sha):
            return _done(work)
        change = await forge.open_change(project, work.task.branch, f"{work.task.key}: {work.task.title}")
        if change.head and change.head != sha:
            return Retry(LATER_S, f"{work.task.branch} is at {change.head[:12]} by now, not {sha[:12]}")
        match await forge.merge(project, change.number, sha):
            case Merge.MERGED:
                return await self._verified(work) if work.flag("verify", default=True) else _done(work)
            case Merge.LATER:
                return Retry(LATER_S, "the forge is not ready to merge yet", not_yet=True)
            case Merge.MOVED:
                return Retry(LATER_S, f"{work.task.branch} has moved on from {sha[:12]}")
            case Merge.CONFLICT:
                return Failed(f"{work.task.branch} conflicts with {project.branch}: bring it up to date")
        return Failed(f"the forge refuses to merge pull request {change.number}")

    async def _verified(self, work: Work) -> Outcome:
        """See the commit on the branch; a forge may say so before it is."""
        for _ in range(LOOKS):
            if await self._forge.contains(work.project, work.project.branch, work.job.sha):
                return _done(work)
            await asyncio.sleep(self._look_s)
        text = f"the forge said that it merged {work.job.sha[:12]}, but it is not on {work.project.branch}"
        return Retry(LATER_S, text)


def _done(work: Work) -> Done:
    return Done(evidence=(fact("merged", work.job.sha, branch=work.project.branch, merged=True),))
