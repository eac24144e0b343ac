"""The step ``agent``: a coding agent in a worktree of the task's branch.

Settings: `prompt` (a template's name), `preset` (``claude``, ``codex``, ``command``), `argv`, `model`, `more`,
`stall_s`, `repeats`, `passes`, `commit` (true), `prices` (``{input, cached, output}``: US dollars for 10^6 tokens),
`costs` (true; with the preset ``command`` false: whether a run that does not tell its cost has one).

The agent has neither the tracker's nor the forge's token: the issue is in its prompt, and what it leaves is committed
and pushed by us.

It is done when it says so, even if it then hangs. That it ends without a word is a failure, whatever its exit status.
A spent budget of the run, or a question, parks the task. Where the cost of a run is not known (it was killed, or its
prices are not configured), it counts as all that it was allowed: no way around the budgets. A plain program costs
nothing by itself, so that it has to be said (`costs`) of one that does.
"""

from __future__ import annotations

import asyncio
import uuid
from dataclasses import replace
from typing import ClassVar

from millpond.delivery.deciding.advice import RUN
from millpond.delivery.model import Done, Failed, Issue, Job, Outcome, Park, Retry, Spent
from millpond.delivery.ports import TrackerFailed
from millpond.delivery.runs.runfolder import AT_WORST, How
from millpond.delivery.runs.runs import Limits
from millpond.delivery.steps.base import StepFailed, Tools, Work
from millpond.delivery.steps.presets import PRESETS, AgentOptions, Ask, Preset
from millpond.delivery.steps.prompts import EXAMPLE, PROMPTS, fill
from millpond.delivery.steps.running import (
    RETRY_S,
    Order,
    Ran,
    as_outcome,
    carry_out,
    last_lines,
    last_words,
    pushed,
    trouble,
)
from millpond.delivery.steps.transcripts import Prices, Transcript, question_in

USUAL = "development"
"""The prompt of a stage that names none, and has no name of one."""
LATER_S = 300.0
"""How long to wait after an error of the agent's service that may pass."""
MAX_COMMENTS = 50
MAX_COMMENT = 4000
MAX_DESCRIPTION = 50_000


class AgentStep:
    """See `delivery.ports.Step`."""

    name: ClassVar[str] = "agent"

    def __init__(self, tools: Tools, options: AgentOptions | None = None) -> None:
        self._tools, self._options = tools, options or AgentOptions()

    async def run(self, job: Job) -> Outcome:
        """Let the agent work, or take its run up again."""
        try:
            work = await self._tools.desk.work(job)
            preset = self._preset(work)
            heard = Transcript(job.turns, int(work.number("repeats", self._options.repeats)), self._prices(work))

            async def judge(ran: Ran) -> Outcome:
                return await self._judged(ran, heard, preset)

            return await carry_out(self._tools, work, lambda _: self._order(work, preset), judge, heard.hear)
        except StepFailed as error:
            return as_outcome(error)
        except TrackerFailed as error:
            return Retry(error.after_s or RETRY_S, f"the issue could not be read: {error}")

    def _preset(self, work: Work) -> Preset:
        name = work.text("preset", self._options.preset)
        preset = PRESETS.get(name)
        if preset is None:
            raise StepFailed(f'there is no agent preset "{name}"; known: {", ".join(sorted(PRESETS))}')
        program = work.words("argv") or (self._options.argv if name == self._options.preset else ())
        if not program and not preset.program:
            raise StepFailed('the agent preset "command" needs its argv')
        preset = replace(preset, costs=work.flag("costs", default=preset.costs))
        return replace(preset, program=tuple(program)) if program else preset

    def _prices(self, work: Work) -> Prices:
        """Read the stage's prices of tokens; without them the operator's."""
        told = work.setting("prices")
        if not isinstance(told, dict):
            return self._options.prices
        each = {name: value for name, value in told.items() if isinstance(value, int | float) and value >= 0}
        return Prices(each.get("input"), each.get("cached"), each.get("output"))

    async def _order(self, work: Work, preset: Preset) -> Order:
        issue = await self._tools.desk.issue(work)
        if issue is None:
            raise StepFailed("the tracker has no such issue any more")
        session = str(uuid.uuid4())
        model = work.text("model", self._options.model)
        ask = Ask(session, work.job.turns, work.job.usd, model, work.words("more") or self._options.more)
        return Order(
            preset.argv(ask),
            self._limits(work),
            self._prompt(work, issue).encode("utf-8", "replace"),
            preset.tells,
            preset.finals,
            {"session": session, AT_WORST: work.job.usd if preset.costs else None},
            [*preset.passes, *work.words("passes")],
        )

    def _prompt(self, work: Work, issue: Issue) -> str:
        templates = {**PROMPTS, **self._options.prompts}
        name = work.text("prompt", work.job.stage if work.job.stage in templates else USUAL)
        template = templates.get(name)
        if template is None:
            raise StepFailed(f'there is no prompt "{name}"; known: {", ".join(sorted(templates))}')
        theirs = [one for one in issue.comments if not one.ours][-MAX_COMMENTS:]
        comments = "\n\n".join(
            f"{one.name or one.author or 'somebody'} wrote: {one.text[:MAX_COMMENT]}" for one in theirs
        )
        reason = f"It was tried before: {work.task.reason}\n" if work.task.reason else ""
        values = {
            "key": work.task.key,
            "title": issue.title or work.task.title,
            "branch": work.task.branch,
            "base": work.project.branch,
            "remote": f"origin/{work.project.branch}",
            "description": issue.description[:MAX_DESCRIPTION] or "(no description)",
            "comments": comments,
            "reason": reason,
            "stage": work.job.stage,
        }
        return fill(template, values)

    def _limits(self, work: Work) -> Limits:
        return Limits(timeout_s=work.job.timeout_s, stall_s=work.number("stall_s", self._options.stall_s))

    async def _judged(self, ran: Ran, heard: Transcript, preset: Preset) -> Outcome:
        spent = _spent(ran, heard, preset)
        if heard.over:
            return Park(f"{RUN} ({heard.over})", spent)
        if ran.ended.why:
            return Failed(ran.ended.why, spent=spent)
        if heard.error:
            text = f"the agent failed: {heard.error[:500]}"
            return Retry(LATER_S, text, spent) if heard.passes else Failed(text, spent=spent)
        if not heard.ended:
            silent = preset.silent and ran.ended.how is How.EXITED and ran.ended.rc == 0 and ran.ended.said > 0
            if not silent:
                return await self._unfinished(ran, spent)
        if question := heard.question or (preset.silent and await self._asked(ran, heard)):
            return Park(question, spent)
        return await self._done(ran, spent)

    async def _asked(self, ran: Ran, heard: Transcript) -> str:
        """Read what a program asks in its last plain lines, where it wrote no message in an event."""
        if heard.text:
            return ""
        lines = await asyncio.to_thread(last_lines, ran.run)
        return question_in("\n".join(line for line in lines if line != EXAMPLE))

    async def _unfinished(self, ran: Ran, spent: Spent) -> Outcome:
        """Say what became of an agent that never said that it was done."""
        if ran.ended.how is How.LOST:
            return Retry(RETRY_S, "the process around it was killed", spent)
        wrong = trouble(ran.ended, self._limits(ran.work))
        if wrong:
            return Failed(wrong, spent=spent) if ran.ended.how is How.NOT_STARTED else Retry(RETRY_S, wrong, spent)
        if not ran.ended.said:
            return Failed(f"it ended without a word (rc={ran.ended.rc})", spent=spent)
        said = await asyncio.to_thread(last_words, ran.run)
        return Failed(f"it ended without a result (rc={ran.ended.rc}): {said}", spent=spent)

    async def _done(self, ran: Ran, spent: Spent) -> Outcome:
        work = ran.work
        if not work.flag("commit", default=True):
            return Done(spent=spent)
        try:
            sha = await pushed(self._tools, ran, f"{work.task.key}: {work.task.title} ({work.job.stage})")
        except StepFailed as error:
            return as_outcome(error, spent)
        return Done(sha, spent=spent) if sha else Failed("the agent changed nothing", spent=spent)


def _spent(ran: Ran, heard: Transcript, preset: Preset) -> Spent:
    """Give the cost; one that is not known is all that was allowed, if anything was begun."""
    if heard.usd is not None or not preset.costs:
        return heard.spent
    began = ran.ended.said > 0 or ran.ended.how is How.LOST
    return Spent((ran.work.job.usd or 0.0) if began else 0.0, heard.spent.turns)
