from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from bench import filling
from millpond.adapters.filesystem import FilesystemStore
from millpond.artifacts import leftovers, rows
from millpond.artifacts.rows import Doom
from millpond.db import Database


@pytest.fixture
def data(tmp_path: Path) -> Path:
    asyncio.run(Database.open(tmp_path / "catalog.sqlite").close())
    return tmp_path


async def test_what_is_filled_in_is_found_by_the_pond_s_own_queries(data, monkeypatch):
    monkeypatch.setattr(filling, "LINKS", 3)
    await asyncio.to_thread(filling.fill, data, "up", 7, 4)
    store = FilesystemStore(data / "storage")
    long_ago = time.time() - 86_400  # the garbage was garbage before any grace began
    database = Database.open(data / "catalog.sqlite")
    entry = await database.read(lambda connection: rows.find(connection, ("up", filling.path_of(6), "")))
    stored = await database.read(rows.stored)
    doomed = await database.read(lambda connection: leftovers.doomed(connection, Doom(long_ago, long_ago), 100))
    await database.close()
    assert entry is not None
    assert entry.digest is not None
    assert store.path(entry.digest).stat().st_size == entry.size == filling.SIZE
    assert stored == (11, 11 * filling.SIZE)
    assert len(doomed) == 4
    assert all(store.stat(digest) is not None for digest, *_ in doomed)
    assert len(list(store.walk())) == 11
