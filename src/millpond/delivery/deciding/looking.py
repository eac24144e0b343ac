"""What `decide` looks at, and what the board is to show meanwhile. PURE."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property

from millpond.delivery.board.board import Board
from millpond.delivery.deciding import gates
from millpond.delivery.deciding.actions import Acknowledge, Action, Show, Wait
from millpond.delivery.deciding.gates import Ruling
from millpond.delivery.model import Evidence, Input, Issue, Job, JobState, Key, Phase, Project, Spend, Task
from millpond.delivery.pipeline import GateRule, Pipeline, Stage

UNSEEN_S = 30.0
"""How soon one looks again at an issue whose board could not be read."""


@dataclass(frozen=True, slots=True)
class Dependency:
    """A task that another one waits for. `hopeless`: it will never be done; `why` says what it is."""

    key: str
    done: bool = False
    hopeless: bool = False
    why: str = ""


@dataclass(frozen=True, slots=True)
class World:
    """What is known beside the issue and its task."""

    project: Project
    board: Board
    pipeline: Pipeline
    urgent: bool = True
    """Whether somebody told us to look (a webhook, a person, a job), so that nothing is waited for."""
    grace_s: float = 120.0
    seen_at: float = 0.0
    """When a poll first noticed what stands there now; 0: that is not known."""
    spend: Spend = field(default_factory=Spend)
    after: tuple[Dependency, ...] = ()
    head: str = ""
    """Where the forge has the task's branch; empty: not known, or there is none."""
    past: tuple[Evidence, ...] = ()
    """All that the task showed, where it may be done by this look."""
    lacks_base: str = ""
    """The repository that has no base branch to begin from; empty: it has one, or it is not asked for."""
    line: str = ""
    """What a queued job waits for, in words."""
    paused_until: float = 0.0
    """No job is started before (the circuit breaker)."""
    paused: str = ""


@dataclass(frozen=True)
class Look:
    """One look at an issue with an open task (or at one whose task has ended)."""

    issue: Issue
    task: Task
    jobs: tuple[Job, ...]
    evidence: tuple[Evidence, ...]
    now: float
    world: World

    @cached_property
    def stage(self) -> Stage | None:
        """The stage that the task is in; None: the pipeline has it no more."""
        return self.world.pipeline.stage(self.task.stage)

    @cached_property
    def job(self) -> Job | None:
        """The job that counts: the one that is active, else the last one; None: there was none."""
        last = max(self.jobs, key=lambda job: job.id, default=None)
        return next((job for job in self.jobs if job.active), last)

    @cached_property
    def rulings(self) -> tuple[tuple[GateRule, Ruling], ...]:
        """What the stage's gates say."""
        if self.stage is None:
            return ()
        return gates.judge(self.task, self.stage, self.evidence, self.world.pipeline.budget, self.world.spend)

    @property
    def tried(self) -> int:
        """How many attempts this visit has used up: its jobs, but for those whose time had not come.

        Of those the ledger forgets all but the first and the last (`ledger.looks`), so that they can't be counted; a
        job that was started after all that are known, and is gone, has used one up.
        """
        jobs = [job for job in self.jobs if job.visit == self.task.visit]
        known = max((job.attempt for job in jobs), default=0)
        return sum(job.state is not JobState.LATER for job in jobs) + max(self.task.attempts - known, 0)

    @property
    def waits_for_person(self) -> bool:
        """Whether a person's verdict is awaited."""
        return gates.awaits_person(((rule.name, ruling.word) for rule, ruling in self.rulings), unseen=False)

    @property
    def elsewhere(self) -> bool:
        """Whether the board is seen at another column than the kind of input used last.

        A column whose meaning is not known (the board could not be read yet, or it is new) proves nothing.
        """
        known = self.issue.state in self.world.board.groups
        return known and self.task.used not in self.world.board.said(self.issue.state)


def grace_left(issue: Issue, now: float, world: World) -> float:
    """Give the seconds that a poll has to wait before it acts on what it found; 0: none.

    They run from the issue's last change. Only where the tracker's clock is ahead of ours, what counts is how long we
    have seen it.
    """
    if world.urgent:
        return 0.0
    since = issue.updated_at
    if since > now:
        since = world.seen_at if 0 < world.seen_at <= now else now
    return max(0.0, since + world.grace_s - now)


def rest(look: Look, reason: str, until: float | None = None) -> tuple[Action, ...]:
    """Bring the board up to date if what it shows has changed; else wait.

    While its columns could not be read yet nothing can be shown: then one looks again, also at a task that has ended.
    """
    key, board = wanted(look), look.world.board
    if key is not None and not (board.own or board.groups):
        soon = look.now + UNSEEN_S
        return (Wait(reason, soon if until is None else min(until, soon)),)
    state = look.world.board.writable(key) if key is not None else None
    if key is None or state is None or state == look.task.shown:
        return (Wait(reason, until),)
    if state == look.issue.state:
        return (Acknowledge(state),)
    clears = {kind for kind in Input if kind and kind not in look.world.board.said(state)}
    return (Show(key, state, look.issue.state, frozenset(clears)),)


def wanted(look: Look) -> Key | None:
    """Say what the board is to show; None: it stays as it is."""
    task, stage = look.task, look.stage
    match task.phase:
        case Phase.DONE:
            return Key.DONE
        case Phase.CANCELLED:
            cancels = look.world.board.cancels  # once it was shown there, people move the issue where they like
            return None if cancels(look.issue.state) or cancels(task.shown) else Key.CANCELLED
        case Phase.PARKED:
            return task.parked_as
    if stage is None:
        return None
    if task.phase is Phase.GATED:
        return stage.waits if look.waits_for_person else stage.shows
    running = look.job is not None and look.job.state is JobState.RUNNING
    return stage.shows if running else stage.queued or stage.shows


def left_elsewhere(actions: tuple[Action, ...], look: Look | None) -> bool:
    """Whether an issue does not stand where the board was told to show it, and nothing is done about it."""
    if look is None or not isinstance(actions[0], Wait):
        return False
    key = wanted(look)
    state = look.world.board.writable(key) if key is not None else None
    return state is not None and state == look.task.shown and look.issue.state != state


def unbegun(task: Task) -> bool:
    """Whether a task's first job has not been queued, so that it may still wait for other tasks."""
    return task.phase is Phase.READY and task.visit <= 1 and not task.attempts
