"""What becomes of a task when something is done to it. PURE, and the only place that says so.

The ledger and the simulations both go through here. Whatever is not in the table of transitions raises `ValueError`.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from millpond.delivery.deciding.actions import (
    Acknowledge,
    Action,
    Arm,
    CancelTask,
    Finish,
    Heed,
    ParkTask,
    PassOn,
    Push,
    Release,
    SendBack,
    Show,
    StartJob,
    Succeed,
    TryAgain,
    UseVerdict,
)
from millpond.delivery.model import Evidence, Input, Json, Task
from millpond.delivery.pipeline import Event, follow

SETTLED = (Succeed, TryAgain, SendBack, ParkTask)
"""The actions that take a job's outcome into its task."""
MAX_REASON = 2000


def fold(task: Task, action: Action, now: float) -> Task:
    """Do one thing to a task. Raises `ValueError` where that may not happen."""
    match action:
        case Arm():
            return replace(task, used=Input.NONE)
        case Show(state=state) | Acknowledge(state=state):
            return replace(task, shown=state)
        case UseVerdict():
            return _used(task, action)
        case Heed(mark=mark):
            return replace(task, mark=max(task.mark, mark))
        case Push():
            return _pushed(_used(task, action), action, now)
    if found := _step(task, action):
        event, changes = found
        return _moved(task, event, now, changes)
    return task


def folded(task: Task, actions: Iterable[Action], now: float) -> Task:
    """Do several things to a task; its version grows by one if anything changed."""
    after = task
    for action in actions:
        after = fold(after, action, now)
    return after if after == task else replace(after, version=task.version + 1)


def _step(task: Task, action: Action) -> tuple[Event, Mapping[str, Any]] | None:
    """Give the event that an action is, and what changes with it; None: it is not about where the task stands."""
    match action:
        case StartJob():
            return Event.STARTED, {"attempts": task.attempts + 1}
        case Succeed(sha=sha, mark=mark):
            return Event.SUCCEEDED, {"sha": sha, "mark": max(task.mark, mark), "reason": ""}
        case TryAgain(not_before=not_before, reason=reason):
            return Event.TRIED_AGAIN, {"not_before": not_before, "reason": reason[:MAX_REASON]}
        case PassOn(stage=stage, judged=judged):
            return Event.PASSED, {**_entered(task, stage), "judged": task.sha if judged else task.judged}
        case Finish(reason=reason):
            return Event.FINISHED, {"reason": reason[:MAX_REASON], "used": Input.START}
        case SendBack(stage=stage, reason=reason):
            changes = {"returns": task.returns + 1, "reason": reason[:MAX_REASON]}
            return Event.SENT_BACK, {**_entered(task, stage), **changes}
    return _held(task, action)


def _held(task: Task, action: Action) -> tuple[Event, Mapping[str, Any]] | None:
    match action:
        case ParkTask(reason=reason, shows=shows, stands=stands):
            return Event.PARKED, {"reason": reason[:MAX_REASON], "parked_as": shows, **_stood(task, stands)}
        case Release(state=state):
            column = {"used": Input.START, "shown": state} if state else {}
            fresh = {"returns": 0, "parked_as": None, "inputs": task.inputs + 1}
            return Event.RELEASED, {**_entered(task, task.stage), **fresh, **column}
        case CancelTask(reason=reason, column=column):
            shown = column or task.shown
            return Event.CANCELLED, {"reason": reason[:MAX_REASON], "used": Input.START, "shown": shown}
    return None


def _stood(task: Task, stands: bool) -> dict[str, Any]:
    """Use up where an issue stands when its task is parked; a verdict that was used stands elsewhere."""
    return {"used": Input.START, "inputs": task.inputs + 1} if stands and task.used is Input.NONE else {}


def _entered(task: Task, stage: str) -> dict[str, Any]:
    """Come into a stage: nothing of an earlier visit counts."""
    return {"stage": stage, "visit": task.visit + 1, "attempts": 0, "not_before": 0.0, "reason": ""}


def _pushed(task: Task, action: Push, now: float) -> Task:
    if not action.stage:
        return _moved(task, Event.NOTED, now, {"sha": action.sha})
    changes = {**_entered(task, action.stage), "sha": action.sha, "returns": task.returns + 1}
    return _moved(task, Event.PUSHED, now, changes)


def _used(task: Task, action: UseVerdict | Push) -> Task:
    after = replace(task, mark=max(task.mark, action.mark), inputs=task.inputs + 1)
    return replace(after, used=Input.VERDICT, shown=action.column) if action.column else after


def by_command(task: Task) -> Task:
    """Take a verdict that a command gave, where nobody looks at the board: a column that says one, too, is used by it.

    Where the issue stands elsewhere, the next look arms it again; and what the board shows is made sure of.
    """
    return replace(task, used=Input.VERDICT, shown="", inputs=task.inputs + 1, version=task.version + 1)


def _moved(task: Task, event: Event, since: float, changes: Mapping[str, Any]) -> Task:
    return replace(task, phase=follow(task.phase, event), since=since, **changes)


def verdict(task: Task, action: UseVerdict, now: float) -> Evidence:
    """Write a verdict down as evidence about what the task is at."""
    facts: dict[str, Json] = {"approved": action.approved, "by": action.by}
    if action.name:
        facts["name"] = action.name
    if action.reason:
        facts["detail"] = action.reason
    return Evidence("human-verdict", facts, task.sha, now, task.visit, action.by)


def confirmed(task: Task, inputs: int, clears: Iterable[Input]) -> Task:
    """Take our own write's confirmation: another column stands there now, so what was used counts again.

    Only if no input was used since the write was decided: a late confirmation tells of a board that is gone. The
    version is a new one in any case, so that nothing is applied that was decided by the board as it was before.
    """
    counts = inputs == task.inputs and task.used in frozenset(clears)
    return replace(task, used=Input.NONE if counts else task.used, version=task.version + 1)
