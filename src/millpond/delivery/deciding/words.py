"""What happened to a task, in words: the names of events (small letters and hyphens), and their details. PURE."""

from __future__ import annotations

from collections.abc import Mapping

from millpond.delivery.deciding.actions import (
    Action,
    Alert,
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
)
from millpond.delivery.deciding.prospects import shortened
from millpond.delivery.model import Json

MAX_DETAIL = 200
_WORDS: Mapping[type[Action], str] = {
    CreateTask: "created",
    StartJob: "job-queued",
    StopJob: "job-told-to-stop",
    Succeed: "stage-did-its-work",
    TryAgain: "to-be-tried-again",
    PassOn: "gates-passed",
    Finish: "done",
    SendBack: "sent-back",
    Push: "pushed-by-somebody",
    ParkTask: "parked",
    Release: "released",
    CancelTask: "cancelled",
    Heed: "verdict-not-awaited",
    Show: "moved-on-the-board",
    Tell: "commented",
    Alert: "operators-alerted",
}


def event(action: Action) -> tuple[str, dict[str, Json]] | None:
    """Name what an action did to a task, and say what else there is to know; None: nothing that is worth noting."""
    if isinstance(action, UseVerdict):
        named: dict[str, Json] = {"name": action.name} if action.name else {}
        return ("approved" if action.approved else "rejected"), {"by": action.by, **named, **_cut(action.reason)}
    word = _WORDS.get(type(action))
    return None if word is None else (word, _detail(action))


def _detail(action: Action) -> dict[str, Json]:
    match action:
        case CreateTask(by=by, labels=labels):
            return {**({"by": by} if by else {}), **({"labels": labels[:MAX_DETAIL]} if labels else {})}
        case Release(by=by):
            return {"by": by} if by else {}
        case Heed(by=by, approved=approved):
            return {"by": by, "approved": approved}
        case CancelTask(reason=reason, by=by):
            return {**_cut(reason), **({"by": by} if by else {})}
        case Show(key=key):
            return {"column": str(key)}
        case Tell(text=text) | Alert(text=text):
            return {"text": text[:MAX_DETAIL]}
        case Push(sha=sha):
            return {"sha": sha}
        case ParkTask(reason=reason) | SendBack(reason=reason) | TryAgain(reason=reason) | PassOn(reason=reason):
            return _cut(reason)
    return {}


def _cut(reason: str) -> dict[str, Json]:
    return {"reason": shortened(reason, MAX_DETAIL)} if reason else {}
