"""Which issue has which number: for who asks about one that has no task. A board is listed for it, seldom."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from millpond.delivery.ports import Tracker, TrackerFailed
from millpond.delivery.ratebudget import used_for
from millpond.delivery.rates import Use
from millpond.errors import NotFound

if TYPE_CHECKING:
    from millpond.clock import Clock
    from millpond.delivery.board.states import StatesCache
    from millpond.delivery.model import Project

FIND_S = 20.0
"""How long a board is listed to find an issue."""
KEPT_S = 30.0
"""For how long what was not found is not looked for again, whoever asks: a listing costs a request for each page."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """What came of listing a board. `failed`: why it could not be listed; empty: it could."""

    at: float
    ids: dict[int, str] = field(default_factory=dict)
    failed: str = ""


class Numbers:
    """The numbers of the issues of all projects, as far as somebody asked for one."""

    def __init__(self, clock: Clock, kept_s: float = KEPT_S) -> None:
        self._clock, self._kept_s = clock, kept_s
        self._listed: dict[str, _Listed] = {}
        self._listing = asyncio.Lock()

    async def find(self, tracker: Tracker, states: StatesCache, project: Project, number: int) -> str:
        """Give an issue's id. Raises `NotFound`: there is none, or the board can't be listed just now."""
        async with self._listing:
            known = self._listed.get(project.name)
            old = known is None or self._clock.monotonic() - known.at >= self._kept_s
            if known is None or (old and number not in known.ids):
                known = self._listed[project.name] = await self._list(tracker, states, project)
        if number in known.ids:
            return known.ids[number]
        if known.failed:
            raise NotFound(f"{project.prefix}-{number} has no task, and {known.failed}")
        raise NotFound(f"the board of {project.name} has no issue {number}")

    async def _list(self, tracker: Tracker, states: StatesCache, project: Project) -> _Listed:
        now = self._clock.monotonic()
        try:
            async with asyncio.timeout(FIND_S):
                columns = frozenset((await states.board(project)).groups)
                with used_for(Use.LISTING):
                    listing = await tracker.changed(project, columns, 0.0)
        except TimeoutError:
            return _Listed(now, failed=f"the board took more than {FIND_S:g} s to be listed: ask again in a minute")
        except TrackerFailed as error:
            return _Listed(now, failed=f"the board can't be asked: {error}")
        return _Listed(now, {one.number: one.id for one in listing.issues})
