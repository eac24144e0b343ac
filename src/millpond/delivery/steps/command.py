"""The step ``command``: any program, in a worktree of the task's branch.

Settings: `argv`; `commit` (false: what it leaves is thrown away; true: it is committed, and pushed as the task's
branch); `stall_s` (900; 0: it may be silent); `message` (of the commit); `passes` (names of the operator's variables
that it gets). It ends with 0: done, with the evidence ``tests``: what the last lines of known test tools tell, else the
command itself is the one test. 75 (EX_TEMPFAIL of sysexits.h): it is tried again. Anything else: it failed.
"""

from __future__ import annotations

import asyncio
from typing import ClassVar

from millpond.delivery.model import Done, Failed, Job, Outcome, Retry
from millpond.delivery.runs.runfolder import How, Run
from millpond.delivery.runs.runs import Limits
from millpond.delivery.steps import reports
from millpond.delivery.steps.base import StepFailed, Tools, Work, fact
from millpond.delivery.steps.running import RETRY_S, Order, Ran, as_outcome, carry_out, last_words, pushed, trouble

STALL_S = 900.0
TRY_AGAIN = 75
REPORT = 65536
"""Bytes of a log's end in which the tests' report is looked for."""


class CommandStep:
    """See `delivery.ports.Step`."""

    name: ClassVar[str] = "command"

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def run(self, job: Job) -> Outcome:
        """Run the command, or take it up again."""
        try:
            work = await self._tools.desk.work(job)
            return await carry_out(self._tools, work, lambda _: self._order(work), self._judged)
        except StepFailed as error:
            return as_outcome(error)

    async def _order(self, work: Work) -> Order:
        argv = work.words("argv")
        if not argv:
            raise StepFailed("the stage names no command: write settings = { argv = [...] }")
        return Order(argv, _limits(work), passes=work.words("passes"))

    async def _judged(self, ran: Ran) -> Outcome:
        work, ended = ran.work, ran.ended
        if ended.how is How.LOST:
            return Retry(RETRY_S, "the process around it was killed")
        wrong = trouble(ended, _limits(work))
        if wrong:
            return Failed(wrong) if ended.how is How.NOT_STARTED else Retry(RETRY_S, wrong)
        said = await asyncio.to_thread(last_words, ran.run)
        if ended.rc == TRY_AGAIN:
            return Retry(RETRY_S, f"it asks to be tried again (rc={TRY_AGAIN}): {said}")
        counts = await asyncio.to_thread(_counts, ran.run)
        if ended.rc:
            passed, failed = (counts.passed, max(counts.failed, 1)) if counts else (0, 1)
            told = fact("tests", ran.workspace.start, passed=passed, failed=failed)
            return Failed(f"rc={ended.rc}: {said}", (told,))
        counts = counts or reports.Counts(1, 0)
        sha = await self._pushed(ran) if work.flag("commit", default=False) else ""
        return Done(sha, (fact("tests", sha or ran.workspace.start, passed=counts.passed, failed=counts.failed),))

    async def _pushed(self, ran: Ran) -> str:
        work = ran.work
        message = work.text("message") or f"{work.task.key}: {work.task.title} ({work.job.stage})"
        return await pushed(self._tools, ran, message)


def _limits(work: Work) -> Limits:
    return Limits(timeout_s=work.job.timeout_s, stall_s=work.number("stall_s", STALL_S))


def _counts(run: Run) -> reports.Counts | None:
    try:
        with run.log.open("rb") as file:
            file.seek(max(0, run.log.stat().st_size - REPORT))
            return reports.read(file.read(REPORT).decode("utf-8", "replace"))
    except OSError:
        return None
