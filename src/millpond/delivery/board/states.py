"""The columns of each project's board, remembered for a while.

The contract's sentences: a lifetime on a monotonic clock (0: for the life of the process), a column added on the board
is seen after it; when a refresh fails the stale set of the same project is served; when nothing was ever fetched, the
configured defaults, which are not kept as if they had been. Nothing here raises but a cancellation.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass

import structlog

from millpond.delivery.board.board import NAMES, Board, board
from millpond.delivery.model import Key, Project, State

RETRY_S = 5.0
"""How long a board that could not be read is not asked again."""
FETCH_TIMEOUT_S = 30.0
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Kept:
    board: Board
    at: float


class StatesCache:
    """The boards of one tracker. `fetch` reads a project's columns and may raise whatever it likes."""

    def __init__(
        self,
        fetch: Callable[[Project], Awaitable[Sequence[State]]],
        monotonic: Callable[[], float],
        *,
        ttl_s: float = 300.0,
        names: Mapping[Key, str] = NAMES,
        defaults: Mapping[Key, str] | None = None,
    ) -> None:
        self._fetch, self._monotonic, self._ttl_s = fetch, monotonic, ttl_s
        self._names, self._defaults = names, defaults or {}
        self._kept: dict[str, _Kept] = {}
        self._failed_at: dict[str, float] = {}
        self._asking: dict[str, asyncio.Lock] = {}
        self._age = 0

    async def board(self, project: Project) -> Board:
        """Give a project's board: fresh, else stale, else the defaults."""
        if self._fresh(project):
            return self._kept[project.name].board
        async with self._asking.setdefault(project.name, asyncio.Lock()):  # who comes meanwhile gets the same answer
            if not self._fresh(project) and not self._just_failed(project):
                await self._refresh(project)
        kept = self._kept.get(project.name)
        return kept.board if kept is not None else Board(defaults=self._defaults)

    def groups(self, project: Project) -> Mapping[str, str]:
        """Give the group of each column by its id; empty for a board that was never fetched."""
        kept = self._kept.get(project.name)
        return kept.board.groups if kept is not None else {}

    def clear(self) -> None:
        """Forget everything, as after a reload; what is being fetched is not kept either."""
        self._age += 1
        self._kept.clear()
        self._failed_at.clear()
        self._asking.clear()

    def _fresh(self, project: Project) -> bool:
        kept = self._kept.get(project.name)
        return kept is not None and (self._ttl_s == 0 or self._monotonic() - kept.at < self._ttl_s)

    def _just_failed(self, project: Project) -> bool:
        failed_at = self._failed_at.get(project.name)
        return failed_at is not None and self._monotonic() - failed_at < RETRY_S

    async def _refresh(self, project: Project) -> None:
        age = self._age
        try:
            async with asyncio.timeout(FETCH_TIMEOUT_S):
                states = await self._fetch(project)
            found = board(states, self._names, self._defaults)
        except Exception as error:  # noqa: BLE001 - whatever it is, what was known goes on being served
            log.warning("the board's columns could not be read", project=project.name, error=str(error))
            if age == self._age:
                self._failed_at[project.name] = self._monotonic()
            return
        if age == self._age:
            self._kept[project.name] = _Kept(found, self._monotonic())
            self._failed_at.pop(project.name, None)
