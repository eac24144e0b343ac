"""How SQLite is opened here, and what its errors mean.

WAL, so that readers and the writer don't wait for each other; IMMEDIATE write transactions, so that a transaction that
has begun can't fail for want of the lock; synchronous NORMAL, raised to FULL for commits that must survive a power cut.
"""

from __future__ import annotations

import enum
import errno
import os
import sqlite3
from functools import partial
from pathlib import Path

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.pool import NullPool

from millpond.errors import MillpondError

BUSY_TIMEOUT_S = 5.0
WAL_LIMIT_BYTES = 64 << 20
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
_PRIMARY = 0xFF


class Damaged(MillpondError):
    """The database file can't be read: it is corrupt, or no database at all."""

    def __init__(self, path: Path, why: str) -> None:
        super().__init__(f"{path} is damaged ({why}): stop the daemon and run `millpond fsck --repair`")
        self.path = path


class Fault(enum.Enum):
    """What kind of trouble a failed transaction met."""

    BUSY = "busy"
    FULL = "full"
    DAMAGED = "damaged"
    OTHER = "other"


_FAULTS = {
    sqlite3.SQLITE_BUSY: Fault.BUSY,
    sqlite3.SQLITE_LOCKED: Fault.BUSY,
    sqlite3.SQLITE_FULL: Fault.FULL,
    sqlite3.SQLITE_CORRUPT: Fault.DAMAGED,
    sqlite3.SQLITE_NOTADB: Fault.DAMAGED,
}


def fault(error: BaseException) -> Fault:
    """Classify an error of SQLAlchemy, of sqlite3, or of the operating system."""
    original = getattr(error, "orig", None) or error
    code = getattr(original, "sqlite_errorcode", None)
    if code == sqlite3.SQLITE_IOERR_SHMSIZE:  # the shared index of the log could not grow
        return Fault.FULL
    if isinstance(code, int):
        return _FAULTS.get(code & _PRIMARY, Fault.OTHER)
    if isinstance(original, OSError) and original.errno in _NO_ROOM:
        return Fault.FULL
    return Fault.OTHER


def connect(path: Path, *, writing: bool) -> sqlite3.Connection:
    """Open a connection in autocommit mode: transactions are begun explicitly. Raises `sqlite3.Error`."""
    connection = sqlite3.connect(path, timeout=BUSY_TIMEOUT_S, isolation_level=None, check_same_thread=False)
    try:
        connection.execute("PRAGMA journal_mode = WAL")
        connection.execute("PRAGMA synchronous = NORMAL")
        connection.execute("PRAGMA foreign_keys = ON")
        connection.execute(f"PRAGMA journal_size_limit = {WAL_LIMIT_BYTES}")
        if not writing:
            connection.execute("PRAGMA query_only = ON")
    except BaseException:
        connection.close()
        raise
    return connection


def engine(path: Path, *, writing: bool) -> Engine:
    """Make an engine whose transactions are IMMEDIATE (`writing`) or read-only snapshots."""
    made = create_engine("sqlite://", creator=partial(connect, path, writing=writing), poolclass=NullPool)
    begin = "BEGIN IMMEDIATE" if writing else "BEGIN"

    def explicitly(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    event.listen(made, "begin", explicitly)
    return made


def create_private(path: Path) -> None:
    """Make an empty file that only its owner can read, unless there is one; SQLite's side files take its mode over."""
    path.parent.mkdir(parents=True, exist_ok=True)
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))


def quick_check(path: Path) -> str | None:
    """Let SQLite verify a database file; None: sound, else what is wrong. Takes time: seconds for each GiB."""
    try:
        connection = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True, timeout=BUSY_TIMEOUT_S)
    except sqlite3.Error as error:
        return str(error)
    try:
        answer = [str(row[0]) for row in connection.execute("PRAGMA quick_check(10)")]
    except sqlite3.Error as error:
        return str(error)
    finally:
        connection.close()
    return None if answer == ["ok"] else "; ".join(answer)
