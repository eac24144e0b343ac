"""The embedded board as a `millpond.delivery.ports.Tracker`: what a machine has that has no tracker beside it.

No webhook comes from it, since every write of a person nudges by itself (`delivery.boardstore`). How far a listing has
come is told by the board's own revision, which only grows, and not by any clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from millpond.delivery.board.store import BoardStore
from millpond.delivery.model import Hint, Issue, Listing, Project, State
from millpond.delivery.ports import TrackerFailed
from millpond.errors import Denied, MillpondError, NotFound

MAX_DIGITS = 12


class LocalBoard:
    """The boards in one store."""

    def __init__(self, store: BoardStore) -> None:
        self.store = store

    def parse(self, headers: Mapping[str, str], body: bytes) -> Hint:
        """Refuse it: nobody sends webhooks for the embedded board."""
        del headers, body
        raise Denied("the embedded board takes no webhooks", authenticate=True)

    async def states(self, project: Project) -> Sequence[State]:
        """Give the columns."""
        with _told():
            return await self.store.columns(project)

    async def changed(self, project: Project, states: frozenset[str], since: float) -> Listing:
        """Give the issues in these columns that changed after a revision."""
        with _told():
            issues, revision = await self.store.since(project, states, int(since))
        return Listing(tuple(issues), complete=True, mark=float(revision))

    async def get(self, project: Project, ids: Sequence[str]) -> Sequence[Issue]:
        """Read issues."""
        with _told():
            return await self.store.issues(project, [number for one in ids if (number := _number(one)) is not None])

    async def move(self, project: Project, issue: str, state: str) -> None:
        """Move an issue."""
        with _told():
            await self.store.shift(project, _needed(issue), state)

    async def comment(self, project: Project, issue: str, text: str, key: str) -> None:
        """Write a comment once."""
        with _told():
            await self.store.tell(project, _needed(issue), text, key)


class _told:  # noqa: N801 - reads as a phrase: `with _told():`
    """Says what went wrong as the port does: what is not there is not there for good, else it may pass."""

    def __enter__(self) -> None:
        """Begin."""

    def __exit__(self, kind: object, error: BaseException | None, trace: object) -> None:
        """Translate."""
        if isinstance(error, MillpondError) and not isinstance(error, TrackerFailed):
            raise TrackerFailed(str(error), permanent=isinstance(error, NotFound)) from error


def _number(issue: str) -> int | None:
    return int(issue) if issue.isascii() and issue.isdigit() and len(issue) <= MAX_DIGITS else None


def _needed(issue: str) -> int:
    number = _number(issue)
    if number is None:
        raise NotFound(f"the board has no issue {issue[:80]!r}")
    return number
