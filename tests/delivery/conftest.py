"""A ledger on each of the databases that it has to work on."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest
import pytest_asyncio
import sqlalchemy as sa
from tests.postgres import running

from millpond.db import Database
from millpond.db.postgres import PostgresDatabase
from millpond.delivery.ledger.books import Books
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.ledger.tables import METADATA


@pytest.fixture(scope="session")
def postgres_url() -> Iterator[str]:
    with running() as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The address of a database: a file's path, or a server whose tables are emptied."""
    if request.param == "sqlite":
        return str(tmp_path / "catalog.sqlite")
    return str(request.getfixturevalue("postgres_url"))


def open_database(url: str) -> Any:
    return PostgresDatabase.open(url) if url.startswith("postgresql") else Database.open(Path(url), ballast_bytes=0)


def empty(connection: sa.Connection) -> None:
    """Forget all rows of a ledger."""
    for table in METADATA.tables.values():
        connection.execute(sa.delete(table))


@pytest_asyncio.fixture
async def db(url: str) -> AsyncIterator[Any]:
    db = open_database(url)
    await db.write(empty)
    yield db
    await db.close()


@pytest.fixture
def ledger(db: Any) -> Ledger:
    return Ledger(Books(db))


class Aging:
    """Lets time pass for the database: what it remembers moves into the past."""

    COLUMNS: ClassVar = {
        "delivery_tasks": ("not_before", "since"),
        "delivery_jobs": ("lease_until", "heartbeat_at", "started_at", "ended_at"),
        "delivery_nudges": ("lease_until", "not_before", "seen_at"),
        "delivery_outbox": ("lease_until", "not_before"),
    }

    def __init__(self, db: Any) -> None:
        self._db = db

    async def __call__(self, seconds: float) -> None:
        def write(connection: sa.Connection) -> None:
            for name, columns in self.COLUMNS.items():
                table = METADATA.tables[name]
                change = {column: table.c[column] - seconds for column in columns}
                connection.execute(sa.update(table).values(**change))

        await self._db.write(write)


@pytest.fixture
def age(db: Any) -> Aging:
    return Aging(db)
