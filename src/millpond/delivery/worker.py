"""The worker: claims jobs, has their steps done under a lease, and writes down what came of them.

- A job is kept by heartbeats. One that is not ours any more (the fencing token is old, or no heartbeat could be written
  for as long as the lease) ends its work; nothing is said of it, and what it would say is refused.
- A job that was asked to stop is stopped: its step is cancelled, which ends what it started.
- What came of a job, and what it cost, is written down as soon as the ledger can be written, however long that takes; a
  job that was given up meanwhile is tried again, but its cost counts.
- When the daemon stops, or is killed, detached runs go on. Leaving in good order, the worker takes a long lease
  (`leave_s`) on each job, so that nobody gives it up meanwhile; after a kill the ordinary lease must do. The next
  process of the same worker takes its jobs up again, under new fencing tokens, and steps find their runs. What was
  given up in between is tried again as any lost job, and its run, if it goes on here, is ended first.
- Nothing is raised out of the loop; a step that raises has failed in a way that may pass.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TypeVar

import structlog

from millpond.delivery.deciding.decide import WORKTREES
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.model import Done, Evidence, Job, Outcome, Retry, Spent, Stopped
from millpond.delivery.ports import Step
from millpond.delivery.runs.runfolder import job_of, name_of
from millpond.delivery.runs.runs import Runs

log = structlog.get_logger(__name__)
T = TypeVar("T")
MAX_PAUSE_S = 60.0
"""Between two tries to write to a ledger that can't be written; the first ones follow sooner."""
COUNT_S = 10.0
"""How long nothing is claimed because the cost of runs that were given up can't be written down."""
Witnesses = Callable[[Job, Done], Awaitable[Sequence[Evidence]]]
"""Brings the evidence that a stage's gates want of a job that is done, and that its step has not."""


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """How a worker works; spans in seconds."""

    max_concurrency: int = 4
    lease_s: float = 60.0
    beat_s: float = 5.0
    """Between heartbeats: so soon it is seen that a job is to stop."""
    leave_s: float = 900.0
    """The lease on jobs whose daemon stops in good order."""
    idle_s: float = 5.0
    """How often it is looked for work when nobody wakes it."""
    slack_s: float = 120.0
    """How much longer than its own time-out a step may take to end; then it is cancelled."""
    fetch_s: float = 1800.0
    """For how long more a step with a worktree may wait for the repository's copy, fetch and push (`workspaces`)."""
    retry_s: float = 30.0
    witness_s: float = 600.0
    """For how long evidence is asked for that can't be had at once."""


class Worker:
    """The worker of one node. `name` is the same after a restart: by it jobs are taken up again."""

    def __init__(
        self,
        name: str,
        ledger: Ledger,
        steps: Mapping[str, Step],
        runs: Runs,
        options: WorkerOptions | None = None,
        witnesses: Witnesses | None = None,
    ) -> None:
        self._name, self._ledger, self._steps, self._runs = name, ledger, steps, runs
        self.options = options or WorkerOptions()
        self._witnesses = witnesses
        self._active: dict[int, asyncio.Task[None]] = {}
        self._counting: set[asyncio.Task[None]] = set()
        self._wake = asyncio.Event()
        self._taken_up = False
        self._claiming: asyncio.Future[int] | None = None
        self.closing = False
        self.done = 0
        """Jobs that were brought to an end."""

    @property
    def working(self) -> tuple[int, ...]:
        """The jobs that it works on."""
        return tuple(sorted(self._active))

    @property
    def steps(self) -> list[str]:
        """The steps that it knows; it claims no others."""
        return sorted(self._steps)

    def wake(self) -> None:
        """Look for work now: something was queued."""
        self._wake.set()

    async def take_up(self) -> list[int]:
        """Take up again what an earlier process left; once, before `tick` and before anything is reaped."""
        if self._taken_up:
            return []
        jobs = await self._ledger.jobs.retake(self._name, self.options.lease_s)
        ended = await self._runs.others([name_of(job.id) for job in jobs])
        if ended:
            log.warning("runs of jobs that were given up are ended", runs=ended)
        lost = [name_of(job.id) for job in await self._ledger.jobs.uncounted(self._name)]
        await self._count_all(sorted({*ended, *lost}))
        await self._tidied({*ended, *lost})
        self._taken_up = True
        for job in jobs:
            self._begin(job)
        return [job.id for job in jobs]

    async def tick(self) -> int:
        """Claim what may run now, and begin it; gives how many jobs that were."""
        if not self._taken_up:
            await self.take_up()
        free = self.options.max_concurrency - len(self._active)
        if free <= 0 or self.closing:
            return 0
        self._claiming = asyncio.ensure_future(self._claim(free))
        return await asyncio.shield(self._claiming)

    async def _claim(self, free: int) -> int:
        """Claim, and begin; what was claimed while this process began to leave is kept for the next one."""
        options = self.options
        jobs = await self._ledger.jobs.claim(
            self._name, options.lease_s, most=options.max_concurrency, limit=free, steps=self.steps
        )
        for job in jobs:
            if self.closing:
                await self._leave(job)
            else:
                self._begin(job)
        return len(jobs)

    async def run(self) -> None:
        """Claim and work until `close`; waits to be woken in between."""
        while not self.closing:
            self._wake.clear()
            try:
                claimed = await self.tick()
            except Exception as error:
                log.exception("no job could be claimed; it is tried again", error=str(error))
                claimed = 0
            if not claimed:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(self.options.idle_s):
                        await self._wake.wait()

    async def close(self) -> None:
        """Leave: detached runs go on, and their jobs are kept for the next process."""
        self.closing = True
        self._runs.leave()
        self.wake()
        if self._claiming is not None:
            await asyncio.gather(self._claiming, return_exceptions=True)
        at_work = [*self._active.values(), *self._counting]
        for task in at_work:
            task.cancel()
        await asyncio.gather(*at_work, return_exceptions=True)

    async def settled(self) -> None:
        """Wait until nothing is worked on."""
        while self._active:
            await asyncio.gather(*self._active.values(), return_exceptions=True)

    def _begin(self, job: Job) -> None:
        task = asyncio.create_task(self._work(job), name=f"job {job.id} {job.step}")
        self._active[job.id] = task
        task.add_done_callback(lambda _: self._ended(job))

    def _ended(self, job: Job) -> None:
        self._active.pop(job.id, None)
        self.wake()

    async def _work(self, job: Job) -> None:
        """Take one job to its end, whatever happens."""
        held = _Held(self._ledger, job, self.options)
        doing = asyncio.create_task(self._outcome(job), name=f"step {job.step} of job {job.id}")
        keeping = asyncio.create_task(held.keep(), name=f"lease of job {job.id}")
        try:
            await asyncio.wait({doing, keeping}, return_when=asyncio.FIRST_COMPLETED)
            outcome = await self._result(job, doing, held, keeping)
        except asyncio.CancelledError:
            await _cancelled(doing)
            await _cancelled(keeping)
            await self._leave(job)
            raise
        await _cancelled(keeping)
        if outcome is None:
            log.warning("a job was lost to somebody else; its work is ended", job=job.id)
            await self._count(name_of(job.id))
            return
        await self._finish(job, outcome)

    async def _result(
        self, job: Job, doing: asyncio.Task[Outcome], held: _Held, keeping: asyncio.Task[None]
    ) -> Outcome | None:
        """Give what came of it; None: the job is not ours any more."""
        if not doing.done():  # it was asked to stop, or lost
            await _cancelled(doing)
        if held.lost:
            return None
        if doing.cancelled():
            spent = await self._at_worst(name_of(job.id))
            return Stopped(spent) if held.stop else Retry(self.options.retry_s, "it was cancelled", spent)
        outcome = doing.result()
        if isinstance(outcome, Done) and not held.stop:
            return await self._witnessed(job, outcome, keeping)
        return outcome

    async def _outcome(self, job: Job) -> Outcome:
        step = self._steps.get(job.step)
        if step is None:
            return Retry(self.options.retry_s, f'there is no step "{job.step}" here')
        try:
            more_s = self.options.fetch_s if job.step in WORKTREES else 0.0
            async with asyncio.timeout(job.timeout_s + self.options.slack_s + more_s):
                return await step.run(job)
        except TimeoutError:
            reason = f"it took longer than {job.timeout_s:.0f} s"
        except Exception as error:
            log.exception("a step failed", job=job.id, step=job.step, error=str(error))
            reason = f"{type(error).__name__}: {error}"
        return Retry(self.options.retry_s, reason, await self._at_worst(name_of(job.id)))

    async def _witnessed(self, job: Job, outcome: Done, keeping: asyncio.Task[None]) -> Outcome:
        """Add what the stage's gates want to know beside.

        What can't be had now is asked for again, as long as the lease is kept and it is worth while: what the job did
        is not done twice for it. Then the job has to be tried again, since no gate would ever see what is lacking.
        """
        if self._witnesses is None:
            return outcome
        loop, options = asyncio.get_running_loop(), self.options
        until = loop.time() + options.witness_s
        while True:
            try:
                async with asyncio.timeout_at(until):
                    more = await self._witnesses(job, outcome)
                return replace(outcome, evidence=(*outcome.evidence, *more))
            except Exception as error:
                log.exception("evidence could not be had", job=job.id, error=str(error))
                reason = f"evidence could not be had: {str(error) or 'it took too long'}"
            if loop.time() + options.retry_s >= until:
                return Retry(options.retry_s, reason, outcome.spent)
            await asyncio.wait({keeping}, timeout=options.retry_s)
            if keeping.done():  # the job is lost, or not wanted any more
                return outcome

    async def _finish(self, job: Job, outcome: Outcome) -> None:
        """Write down what came of it."""
        kept = await self._written(job.id, lambda: self._ledger.jobs.finish(job, outcome))
        self.done += 1
        if not kept:
            log.warning("what came of a job is refused: it was given up before", job=job.id)

    async def _count(self, name: str) -> None:
        """Count what a run that was given up may have cost. What came of it is refused: its claim is named as none."""
        number, spent = job_of(name), await self._at_worst(name)

        async def write() -> None:
            job = await self._ledger.jobs.one(number)
            if job is not None:
                await self._ledger.jobs.finish(replace(job, fence=-job.fence), Stopped(spent))

        await self._written(number, write)

    async def _count_all(self, names: Sequence[str]) -> None:
        """Count several, before anything is claimed; what can't be written for long goes on beside the claims."""
        counting = {asyncio.create_task(self._count(name), name=f"cost of {name}") for name in names}
        for task in counting:
            self._counting.add(task)
            task.add_done_callback(self._counting.discard)
        if counting:
            await asyncio.wait(counting, timeout=COUNT_S)

    async def _tidied(self, names: Collection[str]) -> None:
        """Remove what runs were given of which nobody hears any more."""
        for name in names:
            run = await self._runs.find(name)
            if run is not None:
                await self._runs.tidy(run)

    async def _written(self, job: int, write: Callable[[], Awaitable[T]]) -> T:
        """Write to the ledger, again and again where that fails; `close` cancels it."""
        pause_s = min(1.0, self.options.lease_s / 10)
        while True:
            try:
                return await write()
            except Exception as error:
                log.exception("what came of a job could not be written down", job=job, error=str(error))
            await asyncio.sleep(pause_s)
            pause_s = min(2 * pause_s, MAX_PAUSE_S)

    async def _at_worst(self, name: str) -> Spent:
        """Give what a run may have cost when its step could not say it: what was noted at its start."""
        try:
            run = await self._runs.find(name)
            return Spent(await asyncio.to_thread(run.at_worst)) if run is not None else Spent()
        except Exception as error:
            log.exception("what a run may have cost could not be read", run=name, error=str(error))
            return Spent()

    async def _leave(self, job: Job) -> None:
        """Keep a job for the next process."""
        try:
            await asyncio.shield(self._ledger.jobs.heartbeat(job, self.options.leave_s))
        except Exception as error:
            log.exception("a job could not be kept for the next start", job=job.id, error=str(error))


class _Held:
    """The lease on one job."""

    def __init__(self, ledger: Ledger, job: Job, options: WorkerOptions) -> None:
        self._ledger, self._job, self._lease_s = ledger, job, options.lease_s
        self._beat_s = min(options.beat_s, options.lease_s / 4)
        self.stop = False
        """Whether it was asked to stop."""
        self.lost = False

    async def keep(self) -> None:
        """Write heartbeats until the job is lost, or asked to stop."""
        loop = asyncio.get_running_loop()
        until = loop.time() + self._lease_s
        while True:
            await asyncio.sleep(self._beat_s)
            try:
                sent = loop.time()
                async with asyncio.timeout(self._lease_s / 2):
                    beat = await self._ledger.jobs.heartbeat(self._job, self._lease_s)
                until = sent + self._lease_s
            except Exception as error:
                log.exception("a heartbeat failed", job=self._job.id, error=str(error))
                if loop.time() >= until:
                    self.lost = True
                    return
                continue
            self.lost, self.stop = not beat.kept, beat.stop
            if self.lost or self.stop:
                return


async def _cancelled(task: asyncio.Task[object] | asyncio.Task[None] | asyncio.Task[Outcome]) -> None:
    """Cancel, and wait until it has ended."""
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
