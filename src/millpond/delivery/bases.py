"""Base branches that nobody has pushed yet: one look at the repository for all issues of a project that wait for it.

The nudge of one issue, the prober's, comes due for each of these looks. The others sleep, and are woken when the branch
is there; should the prober go away, another one takes its place. An issue that only waits for the branch is not asked
of the tracker: a project's first hour without a commit must not use up the tracker's requests.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeAlias

from millpond.delivery.deciding.actions import Wait
from millpond.delivery.ledger.nudging import Nudges
from millpond.delivery.model import Nudge, Project, Task
from millpond.delivery.ports import Forge

SOON_S, SELDOM_S, SLOWER = 5.0, 60.0, 0.05
"""How often it is looked for a branch: at first, at the least, and how much of what was waited already."""
MOST = 10_000
"""Issues of a project that are woken; of more each one looks for itself, now and then."""
_Key: TypeAlias = tuple[str, str, str]


@dataclass(slots=True)
class _Missing:
    """A branch that is not there; times are monotonic. `waiting`: who waits, and how dirty its nudge was then."""

    since: float
    looked_at: float
    prober: str = ""
    waiting: dict[str, int] = field(default_factory=dict)

    @property
    def pause_s(self) -> float:
        """How long it is not looked for."""
        return min(max((self.looked_at - self.since) * SLOWER, SOON_S), SELDOM_S)


class Bases:
    """The base branches of the projects of one engine. `place` says where people push to."""

    def __init__(
        self, forge: Forge, nudges: Nudges, place: Callable[[Project], str], monotonic: Callable[[], float]
    ) -> None:
        self._forge, self._nudges, self._place, self._monotonic = forge, nudges, place, monotonic
        self._there = set[_Key]()
        """What was seen is asked for no more, since that takes a while for each look."""
        self._missing: dict[_Key, _Missing] = {}

    async def lacking(self, project: Project, *, anew: bool) -> str:
        """Say where a project's base branch is missing; empty: it is there.

        Not `anew`: what the last look found holds for a while. Raises `ForgeFailed`.
        """
        key, now = _key(project), self._monotonic()
        missing = self._missing.get(key)
        if key in self._there:
            return ""
        if missing is not None and not anew and now - missing.looked_at < missing.pause_s:
            return self._place(project)
        if not await self._forge.observe(project, project.branch, [], peek=True):
            self._missing.setdefault(key, _Missing(now, now)).looked_at = now
            return self._place(project)
        self._there.add(key)
        missing = self._missing.pop(key, None)
        if missing is not None and missing.waiting:
            await self._nudges.add_all(project.name, sorted(missing.waiting))
        return ""

    async def held(self, project: Project, nudge: Nudge, task: Task | None) -> Wait | None:
        """Let an issue wait on of which the tracker need not be asked; None: it is to be looked at.

        `task`: its last one. Without any there is nothing to do before the branch is there; with one only what is new
        since the last look is worth another. Raises `ForgeFailed`.
        """
        missing = self._missing.get(_key(project))
        if missing is None or not (task is None or missing.waiting.get(nudge.issue) == nudge.dirty):
            return None
        overdue = self._monotonic() - missing.looked_at >= 2 * SELDOM_S
        mine = missing.prober in {"", nudge.issue} or overdue
        if mine:
            missing.prober = nudge.issue
        place = await self.lacking(project, anew=mine)
        return Wait(f"{place} has no branch {project.branch}", for_base=True) if place else None

    def waits(self, project: Project, nudge: Nudge) -> float:
        """Note that an issue waits for its base branch; gives for how long it need not be looked at, in seconds."""
        missing = self._missing.get(_key(project))
        if missing is None:  # it has come meanwhile
            return 0.0
        if nudge.issue in missing.waiting or len(missing.waiting) < MOST:
            missing.waiting[nudge.issue] = nudge.dirty
        missing.prober = missing.prober or nudge.issue
        return missing.pause_s if missing.prober == nudge.issue else 5 * SELDOM_S

    async def left(self, project: Project, issue: str) -> None:
        """Note that an issue does not wait, or not any more; if it was the prober, another one takes over."""
        missing = self._missing.get(_key(project))
        if missing is None or missing.waiting.pop(issue, None) is None or missing.prober != issue:
            return
        missing.prober = next(iter(missing.waiting), "")
        if missing.prober:
            await self._nudges.add_all(project.name, [missing.prober])

    def holds(self, project: Project, issue: str) -> bool:
        """Whether an issue waits for nothing but its base branch, as far as the last look at it knew."""
        missing = self._missing.get(_key(project))
        return missing is not None and issue in missing.waiting


def _key(project: Project) -> _Key:
    return project.name, project.repo, project.branch
