"""What a task waits for, in a few words, by the ledger alone: a line of ``millpond task ls``. PURE.

Neither tracker nor forge is asked, so what only these know is left to ``millpond why``.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from millpond.delivery.deciding.gates import HUMAN
from millpond.delivery.model import Phase, Task
from millpond.delivery.spans import span


@dataclass(frozen=True, slots=True)
class Holding:
    """What the ledger knows that holds a task up. `waiting`: names of gates; `done`: keys of tasks in small letters."""

    now: float = 0.0
    job: str = ""
    """Its active job, and whether that is queued or runs; empty: it has none."""
    waiting: tuple[str, ...] = ()
    done: Collection[str] = ()


def summary(task: Task, by: Holding) -> str:
    """Say what a task waits for; of one that is parked or has ended, why. Empty: nothing that the ledger knows."""
    if task.cancelling and task.open:
        return f"is being cancelled by {task.cancelling}"
    match task.phase:
        case Phase.WORKING:
            return _with(by.job or "its job has ended", task.reason)
        case Phase.GATED:
            named = ["a verdict" if name == HUMAN else name for name in by.waiting]
            return f"waits for {', '.join(named)}" if named else ""
        case Phase.READY if task.not_before > by.now:
            return _with(f"tried again in {span(task.not_before - by.now)}", task.reason)
        case Phase.READY if task.visit == 1 and not task.attempts:
            after = [key for key in task.options.after if key.casefold() not in by.done]
            return f"waits for {', '.join(after)}" if after else task.reason
    return task.reason


def _with(text: str, reason: str) -> str:
    return f"{text}; {reason}" if reason else text
