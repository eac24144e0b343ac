"""How the ledger reads and writes: each write is one transaction with a name, so that a test can kill us at each.

`Transactions` is all that is asked of a database; `millpond.db.Database` (SQLite) and `millpond.db.postgres` have it.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from enum import StrEnum
from typing import Any, Protocol, TypeAlias, TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.db.portable import epoch
from millpond.delivery.ledger.tables import EVENTS
from millpond.delivery.model import Json

T = TypeVar("T")


class Transactions(Protocol):
    """A database that runs functions in transactions, in threads of its own."""

    async def read(self, run: Callable[[Connection], T]) -> T:
        """Run a function on one snapshot."""

    async def write(
        self, run: Callable[[Connection], T], *, durable: bool = False, committed: Callable[[T], None] | None = None
    ) -> T:
        """Run a function in one transaction, perhaps more than once; `committed` is called after the commit."""


class Point(StrEnum):
    """Every place where the ledger commits. A crash before or after any of them must leave nothing half done."""

    CREATE = "create"
    APPLY = "apply"
    RELEASE = "release"
    PARK = "park"
    CANCEL = "cancel"
    VERDICT = "verdict"
    CLAIM = "claim"
    HEARTBEAT = "heartbeat"
    FINISH = "finish"
    REAP = "reap"
    RETAKE = "retake"
    NOTE_RUN = "note-run"
    NUDGE = "nudge"
    TAKE_NUDGES = "take-nudges"
    END_NUDGE = "end-nudge"
    TAKE_OUTBOX = "take-outbox"
    CONFIRM = "confirm"
    RETRY_OUTBOX = "retry-outbox"
    DROP_OUTBOX = "drop-outbox"
    HURRY = "hurry"
    PRUNE = "prune"


Hook: TypeAlias = Callable[[Point, str], None]
"""Called with a commit point and "before" (within the transaction) or "after" (in the database's thread)."""
Now: TypeAlias = Callable[[], sa.ColumnElement[float]]


def _no_hook(point: Point, moment: str) -> None:
    """Do nothing; tests bring another one."""


class Books:
    """A database as the ledger uses it. `now`: the time in SQL; the database's own clock, but in tests."""

    def __init__(self, db: Transactions, *, hook: Hook = _no_hook, now: Now = epoch) -> None:
        self._db, self._hook = db, hook
        self._now = now
        self._clock = sa.select(now())  # made once: building a statement takes longer than running it

    async def read(self, run: Callable[[Connection], T]) -> T:
        """Run a function on one snapshot."""
        return await self._db.read(run)

    async def write(self, point: Point, run: Callable[[Connection], T]) -> T:
        """Run a function in one transaction that survives a power cut."""

        def within(connection: Connection) -> T:
            result = run(connection)
            self._hook(point, "before")
            return result

        return await self._db.write(within, durable=True, committed=lambda _: self._hook(point, "after"))

    def now(self, connection: Connection) -> float:
        """Read the clock."""
        return float(connection.execute(self._clock).scalar_one())

    def clocked(self, query: sa.Select[Any]) -> sa.Select[Any]:
        """Make a statement that reads the clock and a number in one go."""
        return sa.select(self._now(), query.scalar_subquery())


_APPEND = sa.insert(EVENTS)


def note(connection: Connection, at: float, about: tuple[str, str, int], what: str, **detail: Json) -> None:
    """Append an event; `about` is project, issue and task (0: none)."""
    project, issue, task = about
    values = {"at": at, "project": project, "issue": issue, "task": task, "what": what, "detail": json.dumps(detail)}
    connection.execute(_APPEND, values)
