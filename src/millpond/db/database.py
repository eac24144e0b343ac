"""The way into the database: `read` for snapshots, `write` for transactions, both awaited."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

from sqlalchemy import Connection, Engine

from millpond.clock import Clock, SystemClock
from millpond.db import backups, schema, sqlite
from millpond.db.ballast import Ballast
from millpond.db.writer import Job, Writer
from millpond.errors import Busy

T = TypeVar("T")
READERS = 2
MAX_QUEUED = 1024
BALLAST_BYTES = 8 << 20
READ_BACKOFF_S = (0.01, 0.1)


class Database:
    """One open database, used from one event loop. Made by `open`; `close` it."""

    def __init__(self, path: Path, ballast: Ballast, clock: Clock, *, max_queued: int = MAX_QUEUED) -> None:
        self.path, self._clock = path, clock
        self._reading: Engine = sqlite.engine(path, writing=False)
        self._writer = Writer(sqlite.engine(path, writing=True), path, ballast)
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="db-reader")
        self._local = threading.local()
        self._connections: list[Connection] = []
        self._slots = asyncio.Semaphore(max_queued)
        self._closed = False

    @classmethod
    def open(
        cls,
        path: Path,
        *,
        clock: Clock | None = None,
        ballast_bytes: int = BALLAST_BYTES,
        max_queued: int = MAX_QUEUED,
    ) -> Database:
        """Open the file, creating it or bringing its schema to head first (by one process at a time); blocks.

        Raises `Damaged`, `ConfigError` (made by a newer Millpond, or by another program), `OSError`.
        """
        schema.ensure(path)
        clock = clock or SystemClock()
        ballast = Ballast(path.parent / "ballast", ballast_bytes, clock)
        ballast.ensure()
        return cls(path, ballast, clock, max_queued=max_queued)

    async def read(self, run: Callable[[Connection], T]) -> T:
        """Run a function in a reader thread, on one snapshot. Raises what it raises, `Damaged`, `Busy`."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read, run)

    async def write(
        self,
        run: Callable[[Connection], T],
        *,
        durable: bool = False,
        committed: Callable[[T], None] | None = None,
    ) -> T:
        """Run a function in the writer thread, in one IMMEDIATE transaction with whatever else is queued.

        It may be run again, so it must bear that; it must not wait for other writes. `durable`: the commit survives a
        power cut. `committed` is called with the result after the commit, in the writer thread, before the result is
        given, even when the caller is gone. Waits while too much is queued.
        Raises what the function raises (nothing of it is stored then), `OutOfSpace`, `Busy`, `Damaged`.
        """
        async with self._slots:
            if self._closed:
                raise Busy("the database is being closed: ask again when the daemon is back")
            future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
            self._writer.put(Job(run, durable, committed, future))
            return await future

    async def backup(self, folder: Path, *, kept: int = 3) -> Path:
        """Copy the database while it is used, in small steps; keeps the newest `kept` copies. Gives the copy's path.

        Raises `OutOfSpace`, `Damaged`.
        """
        return await asyncio.to_thread(backups.backup, self.path, folder, kept, self._clock.now())

    async def check(self) -> str | None:
        """Verify the file; None: sound, else what is wrong."""
        return await asyncio.to_thread(sqlite.quick_check, self.path)

    async def close(self) -> None:
        """Finish what is queued and let go of the file."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._writer.close)
        await asyncio.to_thread(self._readers.shutdown)
        for connection in self._connections:
            connection.close()

    def _read(self, run: Callable[[Connection], T]) -> T:
        waits = iter(READ_BACKOFF_S)
        while True:
            try:
                connection = self._connected()
                with connection.begin():
                    return run(connection)
            except Exception as error:
                kind = sqlite.fault(error)
                if kind is sqlite.Fault.DAMAGED:
                    raise sqlite.Damaged(self.path, str(getattr(error, "orig", error))) from error
                wait_s = next(waits, None)
                if kind is not sqlite.Fault.BUSY or wait_s is None:
                    raise
                time.sleep(wait_s)

    def _connected(self) -> Connection:
        """Give this thread's connection."""
        connection: Connection | None = getattr(self._local, "connection", None)
        if connection is None:
            connection = self._local.connection = self._reading.connect()
            self._connections.append(connection)
        return connection
