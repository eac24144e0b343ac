"""What a person can do about an issue now: the next step in a line, with the command. PURE.

It is for people only; nothing is decided by it.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from millpond.delivery.model import Phase, Task

BUDGET = "the task's budget is spent"
RUN = "the run's budget is spent"
TODAY = "budget for today is spent"
"""How reasons say that money is spent: the task's own, a run's (`steps.agent`), the day's (`gates.overspent`)."""
UNSTARTED = "it could not be started"
"""How a reason says that a job's program is not there (`steps.running`)."""


@dataclass(frozen=True, slots=True)
class Standing:
    """How an issue stands. `asks`: a person's verdict is awaited; `question`: its last job has one."""

    key: str
    task: Task | None
    now: float
    asks: bool = False
    question: bool = False
    embedded: bool = True
    """Whether the board is Millpond's own, so that commands write to it."""
    start: str = "To Analyse"
    """The column that begins a task."""
    begins: bool = False
    """Whether it stands there."""
    columns: bool = True
    """Whether the board has columns for verdicts."""


def next_step(at: Standing) -> str:
    """Say what to do; empty: it goes on by itself, and nothing would make that sooner."""
    task, key = at.task, at.key
    if task is None or not task.open:
        return _begin(at)
    match task.phase:
        case Phase.WORKING:
            return f"`millpond task log {key} --follow` shows what it does"
        case Phase.PARKED:
            return f"{_mended(at, task)}; or `millpond task cancel {key}`"
        case Phase.GATED if at.asks:
            column = _moved(at, "Approved") if at.embedded else "move it to Approved or Rejected"
            board = f"{column}, or " if at.columns else ""
            return f"{board}`millpond task approve {key}` (or reject), or a comment /approve (or /reject and why)"
        case Phase.READY if task.not_before > at.now:
            return f"`millpond task retry {key}` does not wait for it"
    return ""


def spent(reason: str) -> bool:
    """Whether a task is parked for money, so that nothing is to be answered."""
    return any(words in reason for words in (BUDGET, RUN, TODAY))


def unstarted(reason: str) -> bool:
    """Whether a job failed for want of its program, which no stage that is done again would bring."""
    return reason.startswith(UNSTARTED)


def refused(project: str, file: str, branch: str) -> str:
    """Say what to do about a pipeline that is refused."""
    return f"mend {file} on {branch} of {project}, push it, and see `millpond check`: its issues go on by themselves"


def unknown_prefix(prefix: str, known: Collection[tuple[str, str]]) -> str:
    """Say that no project has a prefix, and which there are (prefix, project)."""
    there = ", ".join(f"{one} ({project})" for one, project in sorted(known))
    return f"no project has the prefix {prefix}; there are: {there}"


def _begin(at: Standing) -> str:
    again = "begins another task" if at.task is not None else "begins it"
    if (at.begins and at.task is None) or (at.task is not None and at.task.phase is Phase.DONE and not at.begins):
        return ""
    if at.begins:
        return f"move it elsewhere, and back to {at.start}: that {again}"
    return f"{_moved(at, at.start)} {again}" if at.embedded else f"move it to {at.start}: that {again}"


def _mended(at: Standing, task: Task) -> str:
    release = f"`millpond task release {at.key}`"
    if at.question and not spent(task.reason):
        answer = f"`millpond board comment {at.key} ...`" if at.embedded else "in a comment"
        return f"answer it on the issue ({answer}), then {release}"
    if BUDGET in task.reason:
        return f"`millpond task release {at.key} --usd N` with a larger budget for all of it"
    if TODAY in task.reason:
        return f"the day's budget comes back at midnight UTC; then {release}"
    return f"mend that, then {release}"


def _moved(at: Standing, column: str) -> str:
    word = f"'{column}'" if " " in column else column
    return f"`millpond board move {at.key} {word}`"
