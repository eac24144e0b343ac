"""Who got what: noted with an append, written in batches.

Serving never waits for this: when the writer can't keep up, the oldest notes are dropped and counted. Flushing also
tells the catalog what was used lately, in the same transaction.
"""

from __future__ import annotations

import asyncio
from collections import deque
from dataclasses import dataclass, fields

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.artifacts import rows
from millpond.artifacts.model import Digest, Use
from millpond.artifacts.tables import USAGE
from millpond.clock import Clock
from millpond.db import Database

MAX_NOTED = 200_000
BATCH = 2000
U = USAGE.c
_FIELDS = tuple(field.name for field in fields(Use))


@dataclass(frozen=True, slots=True)
class Record:
    """A written use (see `model.Use`); `id` grows with each."""

    id: int
    at: float
    repository: str
    path: str
    digest: Digest
    token: str
    outcome: str
    size: int
    count: int


class Usage:
    """The usage records of one process; `note` belongs to its event loop."""

    def __init__(self, db: Database, clock: Clock, *, max_noted: int = MAX_NOTED) -> None:
        self._db, self._clock, self._max_noted = db, clock, max_noted
        self._noted: deque[Use] = deque()
        self._flushing = asyncio.Lock()
        self.dropped = 0
        """Notes lost to back-pressure so far."""

    def __len__(self) -> int:
        """Count the notes that wait to be written."""
        return len(self._noted)

    def note(self, use: Use) -> None:
        """Take note of a served artifact; an append."""
        self._noted.append(use)
        if len(self._noted) > self._max_noted:
            self._noted.popleft()
            self.dropped += 1

    async def flush(self) -> int:
        """Write what is noted by now, in batches; gives how many.

        Raises what `Database.write` raises; the notes are then kept for the next time.
        """
        async with self._flushing:
            left = written = len(self._noted)
            while left > 0:
                left -= await self._write(min(left, BATCH))
            return written

    async def _write(self, size: int) -> int:
        batch = [self._noted.popleft() for _ in range(min(size, len(self._noted)))]
        try:
            await self._db.write(lambda connection: _insert(connection, batch))
        except BaseException:
            self._noted.extendleft(reversed(batch))
            while len(self._noted) > self._max_noted:
                self._noted.popleft()
                self.dropped += 1
            raise
        return max(len(batch), 1)

    async def records(
        self,
        *,
        repository: str | None = None,
        path: str | None = None,
        token: str | None = None,
        family: str | None = None,
        digest: Digest | None = None,
        since: float | None = None,
        after: int | None = None,
        limit: int = 1000,
    ) -> tuple[Record, ...]:
        """List written records that match all that is given, newest first; at most `limit`.

        `family`: what the token's name begins with, such as that of all jobs of a task.
        `since`: not older than this, in epoch seconds. `after`: go on behind the record with this id.
        """
        exact = {"repository": repository, "path": path, "token": token, "digest": digest}
        query = sa.select(U.id, *(U[name] for name in _FIELDS)).order_by(U.id.desc()).limit(limit)
        query = query.where(*(U[name] == value for name, value in exact.items() if value is not None))
        if family is not None:
            query = query.where(U.token.startswith(family, autoescape=True))
        if since is not None:
            query = query.where(U.at >= since)
        if after is not None:
            query = query.where(U.id < after)
        found = await self._db.read(lambda connection: connection.execute(query).all())
        return tuple(Record(*row) for row in found)

    async def count_before(self, at: float) -> int:
        """Count the records that are older than `at`."""
        query = sa.select(sa.func.count()).where(U.at < at)
        return await self._db.read(lambda connection: connection.execute(query).scalar_one())

    async def expire(self, before: float, limit: int) -> int:
        """Delete at most `limit` records that are older than `before`; gives how many."""
        some = sa.select(U.id).where(U.at < before).limit(limit)
        change = sa.delete(USAGE).where(U.id.in_(some))
        return await self._db.write(lambda connection: connection.execute(change).rowcount)


def _insert(connection: Connection, batch: list[Use]) -> None:
    if not batch:
        return
    values = [{name: getattr(use, name) for name in _FIELDS} for use in batch]
    connection.execute(sa.insert(USAGE), values)
    rows.touch(connection, batch)
