"""Copies made beside writers, and the way back from a damaged file."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import sqlalchemy as sa

from millpond.db import Database, newest_good_backup, restore
from millpond.testing.clock import FakeClock

NOW = 1_700_000_000.0


def insert(key: str, value: str = ""):
    return lambda connection: connection.execute(
        sa.text("INSERT INTO meta VALUES (:key, :value)"), {"key": key, "value": value}
    )


def content(path: Path) -> dict[str, str]:
    with closing(sqlite3.connect(path)) as connection:
        return dict(connection.execute("SELECT key, value FROM meta").fetchall())


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def db(tmp_path: Path, clock: FakeClock):
    opened = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0, clock=clock)
    yield opened
    await opened.close()


async def test_a_copy_has_everything_but_the_catalogs_id(db: Database, tmp_path: Path):
    await db.write(insert("a", "1"))
    copy = await db.backup(tmp_path / "backups")
    assert content(copy)["a"] == "1"
    assert content(copy)["catalog_id"] != content(tmp_path / "catalog.sqlite")["catalog_id"]
    assert [path.name for path in (tmp_path / "backups").iterdir()] == [copy.name]
    assert copy.stat().st_mode & 0o077 == 0


async def test_only_the_newest_copies_are_kept(db: Database, tmp_path: Path, clock: FakeClock):
    made = []
    for _ in range(5):
        made.append(await db.backup(tmp_path / "backups", kept=3))
        clock.advance(3600)
    assert sorted((tmp_path / "backups").iterdir()) == made[-3:]


async def test_a_copy_is_one_moment_and_is_finished_beside_writers(db: Database, tmp_path: Path):
    for number in range(40):
        await db.write(insert(f"row{number}", "x" * 50_000))
    stop = False

    async def write() -> int:
        written = 0
        while not stop:
            # Two rows that always change together: a copy must have both or neither.
            await db.write(lambda c, n=written: [insert(f"left{n}")(c), insert(f"right{n}")(c)])
            written += 1
        return written

    writing = asyncio.ensure_future(write())
    copy = await asyncio.wait_for(db.backup(tmp_path / "backups"), 30)
    stop = True
    assert await writing > 0
    found = content(copy)
    left = {key.removeprefix("left") for key in found if key.startswith("left")}
    right = {key.removeprefix("right") for key in found if key.startswith("right")}
    assert left == right
    assert sum(key.startswith("row") for key in found) == 40


async def test_the_newest_good_copy_is_found_behind_a_bad_one(db: Database, tmp_path: Path, clock: FakeClock):
    good = await db.backup(tmp_path / "backups")
    clock.advance(60)
    bad = await db.backup(tmp_path / "backups")
    bad.write_bytes(b"\xff" * 5000)
    assert newest_good_backup(tmp_path / "backups") == good
    assert newest_good_backup(tmp_path / "none") is None


def damage(path: Path) -> bytes:
    broken = b"\xff" * 8192
    path.write_bytes(broken)
    return broken


async def test_a_damaged_database_is_set_aside_and_the_backup_takes_its_place(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    db = Database.open(path, ballast_bytes=0)
    await db.write(insert("a", "1"))
    copy = await db.backup(tmp_path / "backups")
    await db.close()
    broken = damage(path)
    done = restore(path, tmp_path / "backups", NOW)
    assert done is not None
    assert (done.backup, done.damaged.read_bytes()) == (copy, broken)
    db = Database.open(path, ballast_bytes=0)
    assert content(path)["a"] == "1"
    await db.close()


async def test_without_a_backup_an_empty_database_takes_its_place(tmp_path: Path):
    path = tmp_path / "catalog.sqlite"
    damage(path)
    done = restore(path, tmp_path / "backups", NOW)
    assert done is not None
    assert done.backup is None
    assert not path.exists()
    await Database.open(path, ballast_bytes=0).close()


async def test_a_sound_database_is_left_alone(db: Database, tmp_path: Path):
    await db.write(insert("a"))
    assert restore(tmp_path / "catalog.sqlite", tmp_path / "backups", NOW) is None
    assert restore(tmp_path / "no such file", tmp_path / "backups", NOW) is None
