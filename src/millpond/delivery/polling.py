"""Polls: what a lost webhook would have told. Each project is asked what has changed, and what is found is nudged.

A project that can't be asked is left to the next poll, and holds up no other. An incomplete listing never means that
something is absent: the next one begins where it did.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from millpond.delivery.bases import Bases
from millpond.delivery.board.states import StatesCache
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.model import Key, Phase, Project, Task
from millpond.delivery.ports import Tracker, TrackerFailed
from millpond.delivery.troubles import Troubles

MAX_TOLD = 20
OVERLAP_S = 60.0
log = structlog.get_logger(__name__)


class Boards(Protocol):
    """What polls need of the engine's surroundings."""

    @property
    def tracker(self) -> Tracker:
        """The board."""

    @property
    def states(self) -> StatesCache:
        """Its columns."""

    @property
    def projects(self) -> Mapping[str, Project]:
        """Those that are configured now."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a poll of one project found: the issues to look at. `error`: it could not be asked."""

    project: str
    issues: tuple[str, ...] = ()
    complete: bool = False
    error: str = ""


@dataclass(slots=True)
class _Polled:
    """How far a project's polls have come."""

    mark: float = 0.0
    swept_at: float | None = None
    wanted: frozenset[str] = frozenset()
    """The columns that were asked for: when they change, everything is listed again."""


class Polls:
    """The polls of one engine's projects; `sweep_s`: how often each one lists everything."""

    def __init__(
        self, ledger: Ledger, around: Boards, bases: Bases, monotonic: Callable[[], float], sweep_s: float
    ) -> None:
        self._ledger, self._around, self._bases = ledger, around, bases
        self._monotonic, self._sweep_s = monotonic, sweep_s
        self._polled: dict[str, _Polled] = {}
        self._troubles = Troubles()

    async def all(self, *, dry_run: bool = False) -> list[Found]:
        """Ask the tracker what has changed in each project; a project that fails is left to the next poll.

        `dry_run`: list everything, and leave no trace.
        """
        return [await self._polled_one(project, dry_run=dry_run) for project in list(self._around.projects.values())]

    async def _polled_one(self, project: Project, *, dry_run: bool) -> Found:
        try:
            found = await self._poll(project, dry_run=dry_run)
        except TrackerFailed as error:
            if self._troubles.new("poll", project.name, str(error)):
                log.warning("the tracker could not be polled", project=project.name, error=str(error))
            return Found(project.name, error=str(error))
        except Exception as error:
            log.exception("a poll failed", project=project.name, error=str(error))
            return Found(project.name, error=f"{type(error).__name__}: {error}")
        if self._troubles.over("poll", project.name):
            log.info("the tracker is polled again", project=project.name)
        return found

    async def _poll(self, project: Project, *, dry_run: bool) -> Found:
        board = await self._around.states.board(project)
        taken_back = {board.resolve(Key.CANCELLED) or ""} | {
            s for s, group in board.groups.items() if group == "cancelled"
        }
        wanted = frozenset(board.wanted | taken_back) - {""}
        polled = _Polled() if dry_run else self._polled.setdefault(project.name, _Polled())
        now = self._monotonic()
        due = polled.swept_at is None or now - polled.swept_at >= self._sweep_s
        sweep = due or wanted != polled.wanted
        since = 0.0 if sweep else max(polled.mark - OVERLAP_S, 0.0)
        listing = await self._around.tracker.changed(project, wanted, since)
        tasks = await self._ledger.open_tasks(project.name)
        ours = {task.issue for task in tasks}
        # A verdict on an issue without an open task is nobody's.
        found = [one.id for one in listing.issues if board.starts(one.state) or one.id in ours]
        found += sorted(listing.unread & ours)  # looked at again and again, until it can be read
        self._tell_unread(project, sorted(listing.unread))
        busy = await self._busy(tasks)
        waiting = {task.issue for task in tasks if self._bases.holds(project, task.issue)}
        quiet = [task.issue for task in tasks if _may_have_changed(task, busy=task.id in busy)]
        wake = tuple(dict.fromkeys([*found, *(one for one in quiet if one not in waiting)]))
        if not dry_run:
            await self._ledger.nudges.add_all(project.name, list(wake))
        if listing.complete:
            polled.mark = max(polled.mark, listing.mark)
            polled.swept_at, polled.wanted = (now if sweep else polled.swept_at), wanted
        return Found(project.name, wake, listing.complete)

    def _tell_unread(self, project: Project, unread: Sequence[str]) -> None:
        """Log which issues can't be read when that begins, changes and ends."""
        told = ", ".join(unread[:MAX_TOLD])
        if not unread:
            if self._troubles.over("unread", project.name):
                log.info("all issues can be read again", project=project.name)
        elif self._troubles.new("unread", project.name, f"{project.name}: {len(unread)}: {told}"):
            log.warning("issues can't be read", project=project.name, issues=told, count=len(unread))

    async def _busy(self, tasks: Sequence[Task]) -> frozenset[int]:
        """Find the tasks that have an active job."""
        if not any(task.phase is Phase.WORKING for task in tasks):
            return frozenset()
        return frozenset(job.task for job in await self._ledger.jobs.active())


def _may_have_changed(task: Task, *, busy: bool) -> bool:
    """Whether a task is to be looked at though its issue is not listed.

    Its gates, its back-off, where the board stands that has to be seen elsewhere, or a job that ended while nobody
    looked. What is parked waits for a person, whose move is listed; each look costs a request.
    """
    match task.phase:
        case Phase.WORKING:
            return not busy
        case Phase.PARKED:
            return bool(task.used or task.cancelling)
    return True
