"""What SQLite says of its own, and what is made the same; PostgreSQL's half is in test_postgres.py."""

from __future__ import annotations

import time
from pathlib import Path

import sqlalchemy as sa

from millpond.db import Database
from millpond.db.portable import epoch, insert_new

META = sa.Table("meta", sa.MetaData(), sa.Column("key", sa.String, primary_key=True), sa.Column("value", sa.String))


async def test_the_clock_is_the_databases_to_the_millisecond(tmp_path: Path):
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    now = await db.read(lambda c: c.execute(sa.select(epoch())).scalar_one())
    assert abs(now - time.time()) < 60
    later = now
    while later == now:
        later = await db.read(lambda c: c.execute(sa.select(epoch())).scalar_one())
    assert now < later < now + 30
    await db.close()


async def test_a_row_is_inserted_once(tmp_path: Path):
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    made = [await db.write(lambda c: insert_new(c, META, {"key": "a", "value": "1"})) for _ in range(2)]
    assert made == [True, False]
    await db.close()
