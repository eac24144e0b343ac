"""The step ``monitor``: looks after a deploy whether the app is well, and stays so for a while.

Settings: `for_s` (600: how long it has to be well), `every_s` (30: between looks, 5 at
the least), `confirm` (3: bad looks, 5 s apart,
before it counts as degraded), `rollback` (false: a degraded app is left as it is, for a person).

Each look is a job of its own, so that nothing is held up meanwhile. This Millpond's own deployment is looked at, and
told of: it is never rolled back here.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from millpond.delivery.model import Done, Failed, Job, Outcome, Retry
from millpond.delivery.steps.base import Deployer, Desk, StepFailed, Watch, Wellness, Work, fact
from millpond.delivery.steps.running import as_outcome
from millpond.delivery.stepsettings import LEAST_EVERY_S

FOR_S, EVERY_S = 600.0, 30.0
CONFIRM, BETWEEN_S = 3, 5.0


class MonitorStep:
    """See `delivery.ports.Step`."""

    name: ClassVar[str] = "monitor"

    def __init__(self, desk: Desk, deployer: Deployer, *, between_s: float = BETWEEN_S) -> None:
        self._desk, self._deployer, self._between_s = desk, deployer, between_s

    async def run(self, job: Job) -> Outcome:
        """Look."""
        try:
            work = await self._desk.work(job)
            return await self._judged(work, await self._look(work))
        except StepFailed as error:
            return as_outcome(error)

    async def _look(self, work: Work) -> Watch:
        """Look until it is well, or was seen not to be often enough."""
        watch = await self._deployer.look(work)
        for _ in range(max(int(work.number("confirm", CONFIRM)), 1) - 1):
            if watch.state is Wellness.HEALTHY:
                break
            await asyncio.sleep(self._between_s)
            watch = await self._deployer.look(work)
        return watch

    async def _judged(self, work: Work, watch: Watch) -> Outcome:
        every_s = max(work.number("every_s", EVERY_S), LEAST_EVERY_S)
        told = (fact("health", work.job.sha, state=str(watch.state), detail=watch.detail),)
        match watch.state:
            case Wellness.UNKNOWN:
                return Retry(every_s, f"it is not known how it is: {watch.detail}")
            case Wellness.DEGRADED:
                return Failed(await self._degraded(work, watch), told)
        out_s = watch.since_s if watch.since_s is not None else (work.job.attempt - 1) * every_s
        left_s = work.number("for_s", FOR_S) - out_s
        if left_s > 0:
            return Retry(min(every_s, left_s), f"well so far; watched for {left_s:.0f} s more", not_yet=True)
        return Done(evidence=told)

    async def _degraded(self, work: Work, watch: Watch) -> str:
        text = f"DEGRADED: {watch.detail}"
        if work.project.own or not work.flag("rollback", default=False):
            return text
        try:
            return f"{text}; {await self._deployer.roll_back(work)}"
        except StepFailed as error:
            return f"{text}; it could not be rolled back: {error}"
