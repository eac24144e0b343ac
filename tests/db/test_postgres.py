"""PostgreSQL behind the interface of the database: schema, snapshots, races, lost connections."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy import Connection
from tests.postgres import running

from millpond.db.portable import epoch, insert_new
from millpond.db.postgres import PostgresDatabase
from millpond.delivery.ledger.tables import METADATA

META = sa.Table("meta", sa.MetaData(), sa.Column("key", sa.String, primary_key=True), sa.Column("value", sa.String))


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    with running() as url:
        yield url


@pytest_asyncio.fixture
async def db(url: str) -> AsyncIterator[PostgresDatabase]:
    db = PostgresDatabase.open(url)
    await db.write(lambda c: c.execute(sa.delete(META).where(META.c.key.in_(["a", "b"]))))
    yield db
    await db.close()


async def test_the_migrations_make_the_ledgers_tables(db: PostgresDatabase):
    def differences(connection: Connection) -> list[object]:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        names = set(METADATA.tables)
        found = compare_metadata(context, METADATA)
        return [one for one in found if names & {str(getattr(part, "name", part)) for part in one if part is not None}]

    assert await db.read(differences) == []


async def test_several_open_at_once_and_one_migrates(url: str):
    opened = await asyncio.gather(*(asyncio.to_thread(PostgresDatabase.open, url) for _ in range(4)))
    for one in opened:
        await one.close()


async def test_the_clock_is_the_databases(db: PostgresDatabase):
    now = await db.read(lambda c: c.execute(sa.select(epoch())).scalar_one())
    assert isinstance(now, float)
    assert abs(now - time.time()) < 60


async def test_a_row_is_inserted_once(db: PostgresDatabase):
    made = [await db.write(lambda c: insert_new(c, META, {"key": "a", "value": "1"})) for _ in range(2)]
    assert made == [True, False]


async def test_what_fails_leaves_nothing_and_is_told(db: PostgresDatabase):
    told: list[object] = []

    def write(connection: Connection) -> None:
        insert_new(connection, META, {"key": "a", "value": "1"})
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        await db.write(write, committed=told.append)
    assert not told
    assert await db.read(lambda c: c.execute(sa.select(META).where(META.c.key == "a")).all()) == []
    await db.write(lambda c: insert_new(c, META, {"key": "a", "value": "1"}), committed=told.append)
    assert told == [True]


async def test_of_two_that_lock_each_other_out_one_is_run_again(db: PostgresDatabase):
    for key in ("a", "b"):
        await db.write(lambda c, key=key: insert_new(c, META, {"key": key, "value": ""}))  # type: ignore[misc]
    both = threading.Barrier(2)
    runs: list[str] = []

    def write(connection: Connection, first: str, second: str) -> None:
        runs.append(first)
        row = sa.select(META).with_for_update()
        connection.execute(row.where(META.c.key == first)).one()
        if len(runs) <= 2:
            both.wait(30)
        connection.execute(row.where(META.c.key == second)).one()
        connection.execute(sa.update(META).where(META.c.key == first).values(value=META.c.value + "x"))

    await asyncio.gather(db.write(lambda c: write(c, "a", "b")), db.write(lambda c: write(c, "b", "a")))
    values = await db.read(
        lambda c: c.execute(sa.select(META.c.value).where(META.c.key.in_(["a", "b"]))).scalars().all()
    )
    assert values == ["x", "x"]
    assert len(runs) == 3


async def test_a_connection_that_was_cut_before_the_commit_is_made_again(db: PostgresDatabase):
    tries: list[int] = []

    def write(connection: Connection) -> bool:
        pid = connection.execute(sa.select(sa.func.pg_backend_pid())).scalar_one()
        tries.append(pid)
        if len(tries) == 1:
            connection.execute(sa.select(sa.func.pg_terminate_backend(pid)))
        return insert_new(connection, META, {"key": "a", "value": "1"})

    assert await db.write(write)
    assert len(tries) == 2


async def test_reads_are_snapshots_and_do_not_wait_for_writes(db: PostgresDatabase):
    holding, go = threading.Event(), threading.Event()

    def write(connection: Connection) -> None:
        insert_new(connection, META, {"key": "a", "value": "1"})
        holding.set()
        go.wait(30)

    writing = asyncio.create_task(db.write(write))
    await asyncio.to_thread(holding.wait, 30)
    assert await db.read(lambda c: c.execute(sa.select(META).where(META.c.key == "a")).all()) == []
    go.set()
    await writing
    assert len(await db.read(lambda c: c.execute(sa.select(META).where(META.c.key == "a")).all())) == 1
