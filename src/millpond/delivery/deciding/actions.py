"""What `decide` may order: a tagged union. PURE.

`folding` says what each does to a task; the ledger carries a whole tuple of them out in one transaction, with the rows
that they add elsewhere (a job, evidence, a write in the outbox). Only `Wait` does nothing, and says why.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from millpond.delivery.model import NO_BUDGET, NO_MARK, Budget, Input, Json, Key, Mark, Options


@dataclass(frozen=True, slots=True)
class CreateTask:
    """Begin: make the one open task of the issue. `state` is the column that said so."""

    stage: str
    options: Options
    state: str
    by: str = ""
    """Who moved it there; empty: the tracker does not tell."""
    labels: str = ""
    """Which labels set what of `options`, in words (`labels.told`)."""


@dataclass(frozen=True, slots=True)
class Arm:
    """The board was seen elsewhere: the kind of input that was used last counts again."""


@dataclass(frozen=True, slots=True)
class StartJob:
    """Queue a job for the task's stage."""

    stage: str
    step: str
    attempt: int
    timeout_s: float
    settings: Mapping[str, Json] = field(default_factory=dict)
    usd: float | None = None
    turns: int | None = None
    priority: int = 0
    budget: Budget = NO_BUDGET
    """What `usd` was granted from: it must still be there when the job is queued."""


@dataclass(frozen=True, slots=True)
class Succeed:
    """The job's outcome is good; now the gates. `sha` is what the task is at now, comments up to `mark` are old."""

    job: int
    sha: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class TryAgain:
    """Another attempt, not before a time."""

    job: int | None
    not_before: float
    reason: str


@dataclass(frozen=True, slots=True)
class PassOn:
    """Every gate passed: on to the next stage. `judged`: the stage has gates, and what it is at has passed them."""

    stage: str
    reason: str
    judged: bool = False


@dataclass(frozen=True, slots=True)
class Finish:
    """Every gate of the last stage passed: the task is done."""

    reason: str


@dataclass(frozen=True, slots=True)
class SendBack:
    """A stage does it again."""

    stage: str
    reason: str
    job: int | None = None


@dataclass(frozen=True, slots=True)
class Push:
    """Somebody else's commit came. `stage`: which one looks again; empty: the task goes on where it is.

    A verdict that stands there uncounted is void, since nobody knows which commit it meant: comments up to `mark`
    (those that name the commit are counted apart, `hearing.named`), and the column, if that is one.
    """

    sha: str
    stage: str = ""
    mark: Mark = NO_MARK
    column: str = ""


@dataclass(frozen=True, slots=True)
class ParkTask:
    """A person is needed. `shows`: what the board says meanwhile; None: nothing of it is touched."""

    reason: str
    shows: Key | None
    job: int | None = None
    stands: bool = False
    """Whether the issue stands at To Analyse already, or may: only a move that is made from now on resumes it."""


@dataclass(frozen=True, slots=True)
class Release:
    """A person took the task up again. `state`: by that column; empty: by a command. `by`: who, as far as known."""

    state: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class CancelTask:
    """A person took the issue back; no job of it is left. `column`: the one that said so; empty: by a command."""

    reason: str
    column: str = ""
    by: str = ""


@dataclass(frozen=True, slots=True)
class UseVerdict:
    """Count a person's verdict on what the task is at. `column`: it, too, says so and is used up by this."""

    approved: bool
    by: str
    mark: Mark
    column: str = ""
    name: str = ""
    """What that person is called, where the tracker tells it."""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Heed:
    """A person's verdict in a comment counts for nothing: comments up to `mark` are answered, and are old."""

    approved: bool
    by: str
    mark: Mark


@dataclass(frozen=True, slots=True)
class Show:
    """Move the issue to a column of the board. Once that is confirmed the inputs in `clears` count again."""

    key: Key
    state: str
    seen: str
    """Where the issue stood. If it stands elsewhere when it is sent, a person moved it, and is left in peace."""
    clears: frozenset[Input]


@dataclass(frozen=True, slots=True)
class Acknowledge:
    """The board shows already what it should."""

    state: str


@dataclass(frozen=True, slots=True)
class Tell:
    """Write a comment, once for each `key`."""

    text: str
    key: str


@dataclass(frozen=True, slots=True)
class Alert:
    """Tell the operators, once for each `key`."""

    text: str
    key: str


@dataclass(frozen=True, slots=True)
class StopJob:
    """Ask an active job to stop, because a person took the issue back."""

    job: int
    reason: str


@dataclass(frozen=True, slots=True)
class Wait:
    """There is nothing to do, and this is why. `until`: when to look again; None: when something changes."""

    reason: str
    until: float | None = None
    for_base: bool = False
    """Whether it is the base branch that is waited for, which is looked for once for all issues of a project."""


Action: TypeAlias = (
    CreateTask
    | Arm
    | StartJob
    | Succeed
    | TryAgain
    | PassOn
    | Finish
    | SendBack
    | Push
    | ParkTask
    | Release
    | CancelTask
    | UseVerdict
    | Heed
    | Show
    | Acknowledge
    | Tell
    | Alert
    | StopJob
    | Wait
)
