"""PostgreSQL behind the same two methods as `Database`: functions that take a connection, run in threads.

Many write transactions at once, each its own (READ COMMITTED with row locks), so that claims do not wait for each other
over processes and nodes. The functions are the very ones that SQLite runs: what they may rely on is a transaction, and
that rows which they select for update are theirs; not that nobody else writes. One that lost a race (a deadlock, a
serialisation failure) or its connection before the commit is run again, as `Database.write` says.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import sqlalchemy as sa
from sqlalchemy import Connection, Engine
from sqlalchemy.exc import DBAPIError

from millpond.db.schema import upgrade
from millpond.errors import Busy

T = TypeVar("T")
READERS, WRITERS = 2, 4
BACKOFF_S = (0.01, 0.05, 0.25, 1.0)
_AGAIN = frozenset({"40001", "40P01", "55P03"})
"""serialization_failure, deadlock_detected, lock_not_available."""
_MIGRATING = 0x6D696C6C
"""The advisory lock that a migration holds."""


def ensure(engine: Engine) -> None:
    """Bring the schema to head, one process at a time. Raises what the database raises."""
    with engine.begin() as connection:
        connection.execute(sa.select(sa.func.pg_advisory_xact_lock(_MIGRATING)))
        upgrade(connection)


class PostgresDatabase:
    """One PostgreSQL database, used from one event loop. Made by `open`; `close` it."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="db-reader")
        self._writers = ThreadPoolExecutor(WRITERS, thread_name_prefix="db-writer")

    @classmethod
    def open(cls, url: str) -> PostgresDatabase:
        """Connect to ``postgresql://...`` and bring its schema to head; blocks. Raises what the driver raises."""
        address = sa.make_url(url).set(drivername="postgresql+psycopg")
        engine = sa.create_engine(address, pool_size=READERS + WRITERS, max_overflow=0, pool_pre_ping=True)
        ensure(engine)
        return cls(engine)

    async def read(self, run: Callable[[Connection], T]) -> T:
        """Run a function in a reader thread, on one snapshot. Raises what it raises, `Busy`."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._run, run, None, "REPEATABLE READ")

    async def write(
        self,
        run: Callable[[Connection], T],
        *,
        durable: bool = False,  # noqa: ARG002 - every commit is durable here (synchronous_commit)
        committed: Callable[[T], None] | None = None,
    ) -> T:
        """Run a function in a writer thread, in a transaction of its own; it may be run again.

        `committed` is called with the result after the commit, in that thread. Raises what it raises, `Busy`.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._writers, self._run, run, committed, "READ COMMITTED")

    async def close(self) -> None:
        """Finish what was begun and let go of the connections."""
        await asyncio.to_thread(self._readers.shutdown)
        await asyncio.to_thread(self._writers.shutdown)
        await asyncio.to_thread(self._engine.dispose)

    def _run(self, run: Callable[[Connection], T], committed: Callable[[T], None] | None, isolation: str) -> T:
        waits = iter(BACKOFF_S)
        while True:
            done = False
            try:
                with self._engine.connect().execution_options(isolation_level=isolation) as connection:
                    with connection.begin():
                        result = run(connection)
                        done = True
                    if committed is not None:
                        committed(result)
                    return result
            except DBAPIError as error:
                wait_s = next(waits, None)
                if not _again(error, before_commit=not done):
                    raise
                if wait_s is None:
                    raise Busy("the database does not answer, or is too busy: look at it") from error
                time.sleep(wait_s)


def _again(error: DBAPIError, *, before_commit: bool) -> bool:
    """Whether running it again is sound: the database says so, or the connection broke before the commit was sent."""
    return getattr(error.orig, "sqlstate", None) in _AGAIN or (before_commit and error.connection_invalidated)
