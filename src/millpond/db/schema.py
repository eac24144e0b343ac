"""Which schema a database file has, and how it gets to head.

Alembic is heavy, and a worker has no use for it: it is imported only when there is something to migrate; an empty file
gets the whole schema at once. One process migrates at a time (flock); a migration is one transaction, and what was
there before it is backed up first.
"""

from __future__ import annotations

import fcntl
import sqlite3
import time
import uuid
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

from sqlalchemy import Connection

from millpond.db import backups, sqlite
from millpond.errors import ConfigError

REVISIONS = ("0001", "0002", "0003", "0004", "0005", "0006", "0007", "0008", "0009", "0010", "0011")
"""Every revision that this Millpond knows, oldest first; the last is head. Kept equal to the migrations by a test."""
HEAD = REVISIONS[-1]
MIGRATIONS = Path(__file__).parent.parent / "migrations"
WHOLE = MIGRATIONS / "head.sql"
"""What the migrations make of an empty SQLite file; `python -m tests.db.whole` writes it anew."""


def ensure(path: Path) -> None:
    """Bring a database file to head, creating it if it is absent.

    Raises `Damaged`, or `ConfigError` where it is of a newer Millpond or of another program.
    """
    if path.exists() and _revision(path) == HEAD:
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    with _alone(path.with_name("migrate.lock")):
        sqlite.create_private(path)
        found = _revision(path)
        if found == HEAD:
            return
        if found is not None:
            backups.backup(path, path.parent / "backups", 1 + len(REVISIONS), time.time(), label=f"before-{HEAD}")
            _migrate(path)
        else:
            _lay(path)


def _lay(path: Path) -> None:
    """Lay head's schema into an empty file at once: a sixth of a second less than all migrations, and no Alembic."""
    with closing(sqlite.connect(path, writing=True)) as connection:  # what was not committed is rolled back
        connection.executescript("BEGIN IMMEDIATE;" + WHOLE.read_text())
        connection.execute("INSERT INTO meta VALUES ('catalog_id', ?)", (uuid.uuid4().hex,))
        connection.execute("INSERT INTO alembic_version VALUES (?)", (HEAD,))
        connection.execute("COMMIT")


def _revision(path: Path) -> str | None:
    """Read a file's revision; None: it is empty."""
    try:
        with closing(sqlite.connect(path, writing=True)) as connection:
            tables = {row[0] for row in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            rows = connection.execute("SELECT version_num FROM alembic_version").fetchall() if tables else []
    except sqlite3.DatabaseError as error:
        if sqlite.fault(error) is sqlite.Fault.DAMAGED:
            raise sqlite.Damaged(path, str(error)) from error
        if "alembic_version" in str(error):
            raise ConfigError(f"{path} is a database of another program: choose another data directory") from error
        raise
    if not rows:
        return None
    found = str(rows[0][0])
    if found not in REVISIONS:
        raise ConfigError(
            f"{path} was made by a newer Millpond (schema {found}; this one knows up to {HEAD}): "
            "install that version again, or restore an older backup"
        )
    return found


def _migrate(path: Path) -> None:
    with sqlite.engine(path, writing=True).begin() as connection:
        upgrade(connection)


def upgrade(connection: Connection, to: str = "head") -> None:
    """Bring the schema to a revision, within the connection's transaction."""
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    config.attributes["connection"] = connection
    command.upgrade(config, to)


@contextmanager
def _alone(lock: Path) -> Iterator[None]:
    """Wait until no other process migrates."""
    with lock.open("wb") as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        yield
