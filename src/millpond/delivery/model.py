"""What delivery speaks of: projects, issues, tasks, jobs, evidence, and what a step gives. PURE.

Times are epoch seconds of the ledger's database (an issue's and a comment's are the tracker's), spans are seconds,
money is US dollars. Values only: what is decided about them is in `decide`, what becomes of a task in `folding`.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

Json: TypeAlias = "str | int | float | bool | list[Json] | dict[str, Json] | None"


class Key(StrEnum):
    """The logical states of a board; `board` says which column of a project each one is."""

    TO_ANALYSE = "to_analyse"
    ANALYSIS = "analysis"
    IN_PROGRESS = "in_progress"
    CODE_REVIEW = "code_review"
    AWAITING_DEPLOY = "awaiting_deploy"
    DEPLOYING = "deploying"
    MONITORING = "monitoring"
    APPROVED = "approved"
    REJECTED = "rejected"
    NEEDS_INPUT = "needs_input"
    BLOCKED = "blocked"
    DONE = "done"
    CANCELLED = "cancelled"


class Phase(StrEnum):
    """Where a task stands within its stage; `pipeline.TRANSITIONS` says what may follow."""

    READY = "ready"
    """Its stage has no job yet, or will be tried again."""
    WORKING = "working"
    """A job of its stage is queued or runs, or has ended and was not looked at."""
    GATED = "gated"
    """The stage's job succeeded; the gates decide whether the stage is done."""
    PARKED = "parked"
    """Only a person releases it."""
    DONE = "done"
    CANCELLED = "cancelled"


OPEN = frozenset({Phase.READY, Phase.WORKING, Phase.GATED, Phase.PARKED})


class Input(StrEnum):
    """What kind of thing a person says by moving an issue. Each counts once, until the board was seen elsewhere."""

    NONE = ""
    START = "start"
    VERDICT = "verdict"


class JobState(StrEnum):
    """What became of a job."""

    QUEUED = "queued"
    RUNNING = "running"
    SUCCEEDED = "succeeded"
    RETRY = "retry"
    """It failed in a way that may pass."""
    LATER = "later"
    """It can't be done yet, and nothing failed: that uses up no attempt."""
    FAILED = "failed"
    ASKED = "asked"
    """It has a question for a person."""
    LOST = "lost"
    """Its worker died, or let the lease run out."""
    CANCELLED = "cancelled"


ACTIVE = frozenset({JobState.QUEUED, JobState.RUNNING})


@dataclass(frozen=True, slots=True)
class Project:
    """A registered project. `prefix` is that of its task ids, `branch` what is merged into."""

    name: str
    tracker_project: str
    repo: str
    prefix: str
    branch: str = "main"
    app: str = ""
    """The app that is deployed; empty: nothing is."""
    own: bool = False
    """Whether that app is this Millpond itself."""


@dataclass(frozen=True, slots=True)
class State:
    """A column of a board; `group` is one of the tracker's (backlog, unstarted, started, completed, cancelled)."""

    id: str
    name: str
    group: str = ""


@dataclass(frozen=True, slots=True)
class Comment:
    """A comment, as plain text. `ours`: this system wrote it; `name`: what its author is called, for people to read."""

    id: str
    at: float
    text: str
    author: str = ""
    ours: bool = False
    name: str = ""


Mark: TypeAlias = tuple[float, str]
"""A place in the order of an issue's comments: time and id of one of them."""
NO_MARK: Mark = (0.0, "")


@dataclass(frozen=True, slots=True)
class Issue:
    """An issue as the tracker has it now; `state` is a column's id, `comments` are in the tracker's order."""

    id: str
    project: str
    """The project's name here."""
    number: int
    title: str
    state: str
    updated_at: float
    labels: frozenset[str] = frozenset()
    comments: tuple[Comment, ...] = ()
    description: str = ""
    """What people wrote, as plain text; what agents are told. Nothing is decided by it."""
    moved_by: str = ""
    """Who moved it where it stands; empty: the tracker does not tell, or it was this system."""

    @property
    def mark(self) -> Mark:
        """The place behind its last comment."""
        return max(((one.at, one.id) for one in self.comments), default=NO_MARK)


@dataclass(frozen=True, slots=True)
class Budget:
    """What may be spent; None: without a limit."""

    run_usd: float | None = 5.0
    task_usd: float | None = 25.0
    day_usd: float | None = 100.0
    """By all tasks of a project within a day (UTC)."""
    run_turns: int | None = 200


NO_BUDGET = Budget(None, None, None, None)


@dataclass(frozen=True, slots=True)
class Spend:
    """What the task and today its project have spent, and what jobs may have that are active or were just lost."""

    task_usd: float = 0.0
    day_usd: float = 0.0
    promised_usd: float = 0.0  # to all such jobs of the project
    owed_usd: float = 0.0  # by the task's lost ones


@dataclass(frozen=True, slots=True)
class Options:
    """What labels set for a task, once, when it is made."""

    skip: frozenset[str] = frozenset()
    priority: int = 0
    """Higher goes first."""
    task_usd: float | None = None
    """Instead of the pipeline's own budget for a task."""
    after: tuple[str, ...] = ()
    """Keys of the tasks that it waits for."""
    settings: Mapping[str, Json] = field(default_factory=dict)
    """Passed on to each step."""


@dataclass(frozen=True, slots=True)
class Task:
    """An issue's way through the pipeline; at most one of an issue is open. `key` is ``PREFIX-NNN``."""

    id: int
    key: str
    project: str
    issue: str
    repo: str
    branch: str
    stage: str
    title: str = ""
    phase: Phase = Phase.READY
    visit: int = 1
    """How many times a stage was entered, this one included; evidence of an earlier visit does not count."""
    attempts: int = 0
    """Jobs that were started in this visit."""
    returns: int = 0
    """How many times it was sent back since a person last spoke."""
    not_before: float = 0.0
    since: float = 0.0
    """When it came into this phase."""
    sha: str = ""
    """The commit that everything is about; empty: there is none yet."""
    judged: str = ""
    """The one that a stage's gates passed last; empty: none did yet. Only that is merged."""
    reason: str = ""
    """Why it is parked, or is tried again."""
    parked_as: Key | None = None
    """What the board shows while it is parked; None: the board is left alone."""
    cancelling: str = ""
    """Who took it back by a command; empty: nobody."""
    used: Input = Input.START
    """The kind of input that was used last and is not armed again."""
    inputs: int = 1
    """How many inputs were used."""
    mark: Mark = NO_MARK
    """Comments up to here count no more."""
    shown: str = ""
    """The column that we wrote last, or that we took an input from."""
    options: Options = Options()
    created_at: float = 0.0
    version: int = 1
    """Grows with each change; what was decided about an older one is not applied."""

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.phase in OPEN


@dataclass(frozen=True, slots=True)
class Evidence:
    """A fact that gates judge. `visit` 0: observed just now, not kept; `sha` empty: about no commit."""

    kind: str
    facts: Mapping[str, Json]
    sha: str = ""
    at: float = 0.0
    visit: int = 0
    source: str = ""


@dataclass(frozen=True, slots=True)
class Job:
    """One attempt at a stage of a task, in the queue or behind it."""

    id: int
    task: int
    project: str
    issue: str
    repo: str
    """Its serial key: one job of a repo runs at a time."""
    stage: str
    step: str
    visit: int = 1
    attempt: int = 1
    state: JobState = JobState.QUEUED
    sha: str = ""
    """The commit that it works on; after it succeeded, the one that it left."""
    not_before: float = 0.0
    priority: int = 0
    timeout_s: float = 3600.0
    usd: float | None = None
    """What it may spend."""
    turns: int | None = None
    settings: Mapping[str, Json] = field(default_factory=dict)
    worker: str = ""
    fence: int = 0
    """Grows each time it is claimed; who has an older one has lost it."""
    lease_until: float = 0.0
    heartbeat_at: float = 0.0
    started_at: float = 0.0
    ended_at: float = 0.0
    reason: str = ""
    after_s: float = 0.0
    """How long to wait before the next attempt, as the step wishes."""
    stop: bool = False
    """Whether it was asked to stop."""
    settled: bool = False
    """Whether its outcome was taken into its task."""

    @property
    def active(self) -> bool:
        """Whether it is queued or runs."""
        return self.state in ACTIVE


@dataclass(frozen=True, slots=True)
class Spent:
    """What a run cost."""

    usd: float = 0.0
    turns: int = 0


@dataclass(frozen=True, slots=True)
class Done:
    """The step succeeded. `sha`: the commit that it left; empty: as it was."""

    sha: str = ""
    evidence: tuple[Evidence, ...] = ()
    spent: Spent = Spent()


@dataclass(frozen=True, slots=True)
class Retry:
    """It failed in a way that may pass; or `not_yet`: nothing failed, its time has not come."""

    after_s: float
    reason: str = ""
    spent: Spent = Spent()
    not_yet: bool = False


@dataclass(frozen=True, slots=True)
class Failed:
    """It failed, and would again."""

    reason: str
    evidence: tuple[Evidence, ...] = ()
    spent: Spent = Spent()


@dataclass(frozen=True, slots=True)
class Park:
    """It needs a person."""

    question: str
    spent: Spent = Spent()


@dataclass(frozen=True, slots=True)
class Stopped:
    """It was asked to stop, and did."""

    spent: Spent = Spent()


Outcome: TypeAlias = Done | Retry | Failed | Park | Stopped


@dataclass(frozen=True, slots=True)
class Hint:
    """What a webhook tells: where to look. Nothing else of it is believed. An empty `issue` is the whole project."""

    project: str = ""
    """The tracker's id of the project; empty: it is told by `repo`."""
    issue: str = ""
    repo: str = ""
    branch: str = ""


@dataclass(frozen=True, slots=True)
class Listing:
    """Issues that changed. Not `complete`: some may be missing, and absence means nothing."""

    issues: tuple[Issue, ...]
    complete: bool
    mark: float = 0.0
    """Where the next listing may begin, if this one is complete."""
    unread: frozenset[str] = frozenset()
    """Issues that are there and can't be read: nothing is known of them, and one of them holds up no other."""


@dataclass(frozen=True, slots=True)
class Nudge:
    """A reason to look at an issue, one row for each. `urgent`: it came from a webhook, a person or a job."""

    project: str
    issue: str
    not_before: float = 0.0
    attempts: int = 0
    dirty: int = 0
    """Grows with each further reason; what grew while one looked has one look again."""
    urgent: bool = False
    seen_at: float = 0.0
    """When it was first noticed."""
    fence: int = 0


@dataclass(frozen=True, slots=True)
class OutboxItem:
    """A write that leaves for the tracker. `key` makes it idempotent; `kind` is move, comment or alert."""

    id: int
    key: str
    kind: str
    project: str
    issue: str
    task: int
    payload: Mapping[str, Json]
    attempts: int = 0
    not_before: float = 0.0
    fence: int = 0
