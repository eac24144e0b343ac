"""The one writer thread: it commits whatever is queued as one transaction, without waiting for more.

Invariants: a function that fails fails alone (its batch is rolled back and each is run by itself); results are told
only after the commit; what is queued when `close` is called is still done.
"""

from __future__ import annotations

import asyncio
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine

from millpond.db import sqlite
from millpond.db.ballast import Ballast
from millpond.errors import Busy, OutOfSpace

MAX_BATCH = 512
BACKOFF_S = (0.01, 0.05, 0.25, 1.0)
"""Waits between tries after "database is locked", each try having waited `sqlite.BUSY_TIMEOUT_S` itself."""


class _Locked(Exception):
    """The database stays locked by another process: told as `Busy`. A job's own `Busy` is its own failure."""


@dataclass(eq=False, slots=True)
class Job:
    """One function to run in a transaction, and who waits for it.

    `committed` is called with the result after the commit, in the writer thread, even if nobody waits any more.
    """

    run: Callable[[Connection], Any]
    durable: bool
    committed: Callable[[Any], None] | None
    future: asyncio.Future[Any]
    result: Any = None
    error: BaseException | None = None

    def settle(self) -> None:
        """Tell whoever waits; in the event loop."""
        if self.future.cancelled():
            return
        if self.error is not None:
            self.future.set_exception(self.error)
        else:
            self.future.set_result(self.result)


class Writer:
    """The writer thread of one process."""

    def __init__(self, engine: Engine, path: Path, ballast: Ballast) -> None:
        self._engine, self._path, self._ballast = engine, path, ballast
        self._queue: queue.SimpleQueue[Job | None] = queue.SimpleQueue()
        self._connection: Connection | None = None
        self._durable = False
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="db-writer", daemon=True)
        self._thread.start()

    def put(self, job: Job) -> None:
        """Queue a job."""
        self._queue.put(job)

    def close(self) -> None:
        """Finish what is queued, then end the thread."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while batch := self._take():
            self._commit(batch)
            self._tell(batch)
            self._ballast.ensure()
        if self._connection is not None:
            self._connection.close()

    def _take(self) -> list[Job]:
        """Wait for a job, and take those behind it too; empty: the end."""
        batch: list[Job] = []
        while not self._ended and len(batch) < MAX_BATCH:
            try:
                job = self._queue.get(block=not batch)
            except queue.Empty:
                break
            if job is None:
                self._ended = True
            else:
                batch.append(job)
        return batch

    def _commit(self, batch: Sequence[Job]) -> None:
        try:
            self._attempt(batch)
        except (_Locked, sqlite.Damaged) as error:
            told = Busy(str(error)) if isinstance(error, _Locked) else error
            told.__cause__ = error.__cause__
            for job in batch:  # each by itself would fare no better
                job.error = told
        except BaseException as error:  # noqa: BLE001 - a job's failure is its caller's, never the thread's end
            if len(batch) == 1:
                batch[0].error = error
                return
            for job in batch:
                self._commit([job])

    def _attempt(self, batch: Sequence[Job]) -> None:
        """Run a batch; wait where the database is locked, make room once where the disk is full."""
        waits = iter(BACKOFF_S)
        while True:
            try:
                return self._transaction(batch)
            except Exception as error:
                match sqlite.fault(error):
                    case sqlite.Fault.FULL:
                        if not self._ballast.release():
                            raise OutOfSpace("the disk of the data directory is full: free some space") from error
                    case sqlite.Fault.BUSY:
                        wait_s = next(waits, None)
                        if wait_s is None:
                            raise _Locked(f"{self._path} stays locked by another process: look what uses it") from error
                        time.sleep(wait_s)
                    case sqlite.Fault.DAMAGED:
                        raise sqlite.Damaged(self._path, str(getattr(error, "orig", error))) from error
                    case sqlite.Fault.OTHER:
                        raise

    def _transaction(self, batch: Sequence[Job]) -> None:
        connection = self._connected(durable=any(job.durable for job in batch))
        with connection.begin():
            for job in batch:
                job.result = job.run(connection)
        for job in batch:
            self._after(job)

    def _connected(self, *, durable: bool) -> Connection:
        if self._connection is None:
            self._connection = self._engine.connect()
        if durable != self._durable:
            # On the driver's own connection: SQLAlchemy would begin a transaction, in which this has no effect.
            driver: Any = self._connection.connection.driver_connection
            driver.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
            self._durable = durable
        return self._connection

    @staticmethod
    def _after(job: Job) -> None:
        if job.committed is None:
            return
        try:
            job.committed(job.result)
        except Exception as error:  # noqa: BLE001 - it is told to the caller; the commit stands
            job.error = error

    @staticmethod
    def _tell(batch: Sequence[Job]) -> None:
        """Wake those who wait, with one call for each event loop."""
        loops: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        for job in batch:
            loops.setdefault(job.future.get_loop(), []).append(job)
        for loop, jobs in loops.items():
            if not loop.is_closed():
                loop.call_soon_threadsafe(_settle, jobs)


def _settle(jobs: Sequence[Job]) -> None:
    for job in jobs:
        job.settle()
