"""Filling a pond's catalog and store directly: a million entries are not downloaded one by one.

Columns and their defaults come from the pond's own tables, so that a changed schema is met by an error, not by rows
that nobody would read.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from millpond.adapters.filesystem import FilesystemStore
from millpond.artifacts.tables import BLOBS, ENTRIES
from millpond.db import sqlite

SIZE = 1024
LINKS = 50_000
"""Names that one file gets at most; file systems stop at 65,000."""
DOOMED_AGO_S = 2 * 86_400.0


def path_of(number: int) -> str:
    """Name an entry."""
    return f"stock/{number % 1000:03}/{number:07}.bin"


def fill(data: Path, repository: str, entries: int, doomed: int = 0) -> None:
    """Add so many entries, each with a blob, and so many blobs that no entry needs; the pond must not be running.

    All blobs have `SIZE` bytes. Those of entries are links of few files; doomed ones are files of their own, so that
    removing them is as much work as ever.
    """
    needed = [_digest(path_of(number)) for number in range(entries)]
    unneeded = [_digest(f"doomed/{number}") for number in range(doomed)]
    _write_blobs(FilesystemStore(data / "storage"), needed, unneeded)
    now = time.time()
    with closing(sqlite.connect(data / "catalog.sqlite", writing=True)) as connection:
        connection.execute("PRAGMA cache_size = -500000")  # KiB: indexes of random digests are built in memory
        connection.execute("BEGIN")
        for table, rows in (
            (BLOBS, ({"digest": one, "size": SIZE, "created_at": now} for one in sorted(needed))),
            (BLOBS, ({"digest": one, "size": SIZE, "doomed_at": now - DOOMED_AGO_S} for one in sorted(unneeded))),
            (ENTRIES, (_entry(repository, number, digest, now) for number, digest in enumerate(needed))),
        ):
            connection.executemany(_insert(table), _complete(table, rows))
        connection.execute("COMMIT")


def _entry(repository: str, number: int, digest: str, now: float) -> dict[str, Any]:
    times = dict.fromkeys(("stored_at", "validated_at", "checked_at", "last_used"), now)
    what = {"repository": repository, "path": path_of(number), "status": 200, "digest": digest, "size": SIZE}
    return {**what, **times, "fresh_until": now + 86_400, "content_type": "application/octet-stream"}


def _digest(text: str) -> str:
    return f"sha256:{hashlib.sha256(text.encode()).hexdigest()}"


def _write_blobs(store: FilesystemStore, needed: Sequence[str], unneeded: Sequence[str]) -> None:
    """Write them where the store looks for them; strings, since a million paths as objects take minutes."""
    folders = {one[:2]: f"{store.path(f'sha256:{one}').parent}/" for one in (f"{n:02x}" + "0" * 62 for n in range(256))}
    for folder in folders.values():
        Path(folder).mkdir(exist_ok=True)
    source = ""
    for number, digest in enumerate(needed):
        place = folders[digest[7:9]] + digest[7:]
        if number % LINKS:
            os.link(source, place)
        else:
            Path(place).write_bytes(os.urandom(SIZE))
            source = place
    for digest in unneeded:
        Path(folders[digest[7:9]] + digest[7:]).write_bytes(os.urandom(SIZE))


def _columns(table: sa.Table) -> list[sa.Column[Any]]:
    """Give the columns that are to be written: the database numbers the rows itself."""
    return [column for column in table.columns if not (column.primary_key and isinstance(column.type, sa.Integer))]


def _insert(table: sa.Table) -> str:
    names = [column.name for column in _columns(table)]
    return f"INSERT INTO {table.name} ({', '.join(names)}) VALUES ({', '.join('?' * len(names))})"


def _complete(table: sa.Table, rows: Iterable[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """Put rows in the columns' order; what they lack is null where it may be, else empty or zero."""
    columns = _columns(table)
    defaults = {column.name: None if column.nullable else _empty(column) for column in columns}
    for row in rows:
        yield tuple((defaults | row).values())


def _empty(column: sa.Column[Any]) -> str | int:
    return "" if isinstance(column.type, sa.String) else 0
