"""What is about to be done about an issue, in sentences for people: `why`, `drift`, `reconcile --dry-run`. PURE.

What only keeps the books (a comment about the same thing, an input that counts again) is told where it is all there is.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from millpond.delivery.board.board import NAMES
from millpond.delivery.deciding.actions import (
    Acknowledge,
    Action,
    Alert,
    Arm,
    CancelTask,
    CreateTask,
    Finish,
    Heed,
    ParkTask,
    PassOn,
    Push,
    Release,
    SendBack,
    Show,
    StartJob,
    StopJob,
    Succeed,
    Tell,
    TryAgain,
    UseVerdict,
    Wait,
)
from millpond.delivery.deciding.ending import SHORT

MAX_REASON = 200
"""Characters of a reason that are told; longer ones end with dots, at a word."""


def told(actions: Sequence[Action]) -> str:
    """Write in words what is decided: why there is nothing to do, or what comes next."""
    main = [one for one in actions if not isinstance(one, _BESIDE)] or actions
    sentences = [_WORDS[type(one)](one) for one in main]
    if any(isinstance(one, Push) and not one.stage for one in main) and any(isinstance(one, Tell) for one in actions):
        sentences.append("the verdict will be asked for again")
    return "; ".join(sentences)


def shortened(text: str, most: int = MAX_REASON) -> str:
    """Cut a text at a word, and show that it was cut."""
    if len(text) <= most:
        return text
    whole = text[: most - 3].rsplit(" ", 1)[0]
    return f"{whole}..."


def _pushed(action: Push) -> str:
    back = f"; it will go back to {action.stage}" if action.stage else ""
    return f"somebody pushed {action.sha[:SHORT]}{back}"


def _verdict(action: UseVerdict) -> str:
    return f"the {'approval' if action.approved else 'rejection'} of {action.name or action.by} will count"


_BESIDE = (Acknowledge, Alert, Arm, Tell)
_WORDS: Mapping[type[Action], Callable[[Any], str]] = {
    Acknowledge: lambda _: "the board shows already what it should",
    Alert: lambda _: "the operators will be alerted",
    Arm: lambda _: "what people move on the board will count again",
    CancelTask: lambda one: f"it will end: {shortened(one.reason)}",
    CreateTask: lambda one: f"a task will begin at {one.stage}",
    Finish: lambda _: "it will be done: every gate passed",
    Heed: lambda one: f"the {'approval' if one.approved else 'rejection'} of {one.by} counts for nothing",
    ParkTask: lambda one: f"it will be parked: {shortened(one.reason)}",
    PassOn: lambda one: f"every gate passed; it will go on to {one.stage}",
    Push: _pushed,
    Release: lambda _: "it will go on",
    SendBack: lambda one: f"it will be {shortened(one.reason)}",
    Show: lambda one: f"the issue will be moved to {NAMES[one.key]}",
    StartJob: lambda one: f"a job of {one.stage} will be queued",
    StopJob: lambda one: f"job {one.job} will be stopped: {shortened(one.reason)}",
    Succeed: lambda one: f"job {one.job} has done its work; its gates will be looked at",
    Tell: lambda _: "a comment will be written",
    TryAgain: lambda one: f"it will be tried again: {shortened(one.reason)}",
    UseVerdict: _verdict,
    Wait: lambda one: one.reason,
}
