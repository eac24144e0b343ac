"""The step ``deploy``: the task's commit is brought out, once, and the hosts are waited for until they have converged.

It is out, too, where what is out has it in its history: another task of the repo was merged later and deployed sooner,
while this one waited for a gate or for a host to come back. To bring this one out then would take that one's back. The
forge knows; while it can't be asked, the deploy waits.

Settings: `sets` (variables over the app's .env, for this release; ``{sha}`` and ``{key}`` are filled in).
"""

from __future__ import annotations

from typing import ClassVar

from millpond.delivery.deciding.ending import SHORT
from millpond.delivery.model import Done, Failed, Job, Outcome, Retry
from millpond.delivery.ports import Forge, ForgeFailed
from millpond.delivery.steps.base import Deployed, Deployer, Desk, StepFailed, Work, fact
from millpond.delivery.steps.running import as_outcome
from millpond.delivery.workspaces.gitargs import is_sha

LATER_S = 10.0


class DeployStep:
    """See `delivery.ports.Step`."""

    name: ClassVar[str] = "deploy"

    def __init__(self, desk: Desk, deployer: Deployer, forge: Forge) -> None:
        self._desk, self._deployer, self._forge = desk, deployer, forge

    async def run(self, job: Job) -> Outcome:
        """Deploy, unless the commit is out, by itself or in another one's history."""
        try:
            work = await self._desk.work(job)
            if not job.sha:
                return Failed("there is no commit to deploy")
            if not work.project.app:
                return Failed("the project deploys no app: write app = NAME into its configuration")
            done = await self._within(work) or await self._deployer.deploy(work, _sets(work))
        except ForgeFailed as error:
            text = f"whether what is out has {job.sha[:SHORT]} already can't be told: {error}"
            return Failed(text) if error.permanent else Retry(error.after_s or LATER_S, text, not_yet=True)
        except StepFailed as error:
            return as_outcome(error)
        told = (fact("deploy", job.sha, converged=done.converged, detail=done.detail, release=done.release),)
        return Done(evidence=told) if done.converged else Failed(done.detail or "it did not converge", told)

    async def _within(self, work: Work) -> Deployed | None:
        """Find the commit in the history of what is out. Raises `ForgeFailed`."""
        out, sha = await self._deployer.out(work), work.job.sha
        if out is None or out.commit == sha or not is_sha(out.commit):  # the forge knows no other names
            return None
        if not await self._forge.follows(work.project, out.commit, sha):
            return None
        text = f"release {out.release} of {work.project.app} is out, whose commit {out.commit[:SHORT]} has this one"
        return Deployed(True, text, out.release)


def _sets(work: Work) -> dict[str, str]:
    value = work.setting("sets")
    given = value if isinstance(value, dict) else {}
    filled = {name: str(one).replace("{sha}", work.job.sha) for name, one in given.items()}
    return {name: one.replace("{key}", work.task.key) for name, one in filled.items()}
