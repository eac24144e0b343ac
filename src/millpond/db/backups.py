"""Copies of the database, made while it is used, and the way back from them.

A copy is one snapshot: a read transaction is held while it is made, so that writers neither wait nor make it start
over. It appears under its name by one rename, verified. A copy carries another catalog id than its original: what is
restored from it, by us or by hand, is known not to know everything that the storage holds (see `artifacts.sidecars`).
"""

from __future__ import annotations

import os
import shutil
import sqlite3
import uuid
from contextlib import closing, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from millpond.db import sqlite
from millpond.errors import OutOfSpace

PAGES_PER_STEP = 256
PAUSE_S = 0.002
SUFFIX = ".sqlite3"
_SIDE_FILES = ("-wal", "-shm", "-journal")


@dataclass(frozen=True, slots=True)
class Restored:
    """What `restore` did: where the damaged file lies now, and what took its place (None: a new, empty database)."""

    damaged: Path
    problem: str
    backup: Path | None


def backup(path: Path, folder: Path, kept: int, now: float, *, label: str = "catalog") -> Path:
    """Copy `path` into `folder`, keeping the newest `kept` copies of this label; blocks.

    Raises `OutOfSpace`, `Damaged`.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%S.%f")
    final = folder / f"{label}-{stamp}{SUFFIX}"
    partial = final.with_suffix(f".{os.getpid()}.partial")
    try:
        sqlite.create_private(partial)
        _copy(path, partial)
        problem = sqlite.quick_check(partial)
        if problem is not None:
            raise sqlite.Damaged(path, problem)
        _sync(partial)
        partial.rename(final)
        _sync(folder)
    except (sqlite3.Error, OSError) as error:
        if sqlite.fault(error) is sqlite.Fault.FULL:
            raise OutOfSpace("no room for a backup of the catalog: free some disk space") from error
        if sqlite.fault(error) is sqlite.Fault.DAMAGED:
            raise sqlite.Damaged(path, str(error)) from error
        raise
    finally:
        _remove(partial)
    for old in sorted(folder.glob(f"{label}-*{SUFFIX}"), reverse=True)[max(kept, 1) :]:
        old.unlink(missing_ok=True)
    return final


def _copy(path: Path, partial: Path) -> None:
    with closing(sqlite.connect(path, writing=False)) as source, closing(sqlite3.connect(partial)) as target:
        source.execute("BEGIN")
        source.execute("SELECT 1 FROM sqlite_master").fetchone()  # the snapshot is taken by the first read
        source.backup(target, pages=PAGES_PER_STEP, sleep=PAUSE_S)
        source.execute("COMMIT")
        target.execute("PRAGMA journal_mode = DELETE")  # one file, without side files
        target.execute("UPDATE meta SET value = ? WHERE key = 'catalog_id'", (uuid.uuid4().hex,))
        target.commit()


def newest_good_backup(folder: Path) -> Path | None:
    """Find the newest copy that SQLite finds sound; None: there is none."""
    copies = sorted(folder.glob(f"*{SUFFIX}"), key=lambda path: path.stat().st_mtime_ns, reverse=True)
    return next((copy for copy in copies if sqlite.quick_check(copy) is None), None)


def restore(path: Path, folder: Path, now: float) -> Restored | None:
    """Put the newest good backup in the place of a damaged database; None: it is sound (or absent).

    Nothing is deleted: the damaged file and its side files are set aside. No process may have the database open.
    """
    if not path.exists():
        return None
    problem = sqlite.quick_check(path)
    if problem is None:
        return None
    chosen = newest_good_backup(folder)
    aside = path.with_name(f"{path.name}.damaged-{datetime.fromtimestamp(now, UTC).strftime('%Y%m%dT%H%M%S.%f')}")
    partial = path.with_name(f"{path.name}.restoring")
    if chosen is not None:
        shutil.copyfile(chosen, partial)
        partial.chmod(0o600)
        _sync(partial)
    for suffix in ("", *_SIDE_FILES):
        with suppress(FileNotFoundError):
            path.with_name(path.name + suffix).rename(aside.with_name(aside.name + suffix))
    if chosen is not None:
        partial.rename(path)
    _sync(path.parent)
    return Restored(aside, problem, chosen)


def _sync(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def _remove(partial: Path) -> None:
    for suffix in ("", *_SIDE_FILES):
        partial.with_name(partial.name + suffix).unlink(missing_ok=True)
