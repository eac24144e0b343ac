"""The step ``deploy``: the task's commit is brought out, once, and the hosts are waited for until they have converged.

Settings: `sets` (variables over the app's .env, for this release; ``{sha}`` and ``{key}`` are filled in).
"""

from __future__ import annotations

from typing import ClassVar

from millpond.delivery.model import Done, Failed, Job, Outcome
from millpond.delivery.steps.base import Deployer, Desk, StepFailed, Work, fact
from millpond.delivery.steps.running import as_outcome


class DeployStep:
    """See `delivery.ports.Step`."""

    name: ClassVar[str] = "deploy"

    def __init__(self, desk: Desk, deployer: Deployer) -> None:
        self._desk, self._deployer = desk, deployer

    async def run(self, job: Job) -> Outcome:
        """Deploy, unless that very commit is out."""
        try:
            work = await self._desk.work(job)
            if not job.sha:
                return Failed("there is no commit to deploy")
            if not work.project.app:
                return Failed("the project deploys no app: write app = NAME into its configuration")
            done = await self._deployer.deploy(work, _sets(work))
        except StepFailed as error:
            return as_outcome(error)
        told = (fact("deploy", job.sha, converged=done.converged, detail=done.detail, release=done.release),)
        return Done(evidence=told) if done.converged else Failed(done.detail or "it did not converge", told)


def _sets(work: Work) -> dict[str, str]:
    value = work.setting("sets")
    given = value if isinstance(value, dict) else {}
    filled = {name: str(one).replace("{sha}", work.job.sha) for name, one in given.items()}
    return {name: one.replace("{key}", work.task.key) for name, one in filled.items()}
