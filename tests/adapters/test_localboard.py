"""The embedded board as a tracker: the conformance kit on SQLite and on a real PostgreSQL."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa
from tests.postgres import running

from millpond.adapters.localboard import LocalBoard
from millpond.db import Database
from millpond.db.postgres import PostgresDatabase
from millpond.delivery.board.store import BoardStore, Draft
from millpond.delivery.board.tables import METADATA
from millpond.delivery.model import Project
from millpond.delivery.ports import Tracker, TrackerFailed
from millpond.testing.tracker import TrackerConformance

pytestmark = pytest.mark.whole

SHOP = Project("shop", "", "team/shop", "SH")


@pytest.fixture(scope="module")
def postgres_url() -> Iterator[str]:
    with running() as url:
        yield url


@pytest_asyncio.fixture(params=["sqlite", "postgresql"])
async def tracker(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[LocalBoard]:
    if request.param == "sqlite":
        db: Any = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    else:
        db = PostgresDatabase.open(request.getfixturevalue("postgres_url"))

    def empty(connection: sa.Connection) -> None:
        for table in METADATA.tables.values():
            connection.execute(sa.delete(table))

    await db.write(empty)
    yield LocalBoard(BoardStore(db))
    await db.close()


class TestConformance(TrackerConformance):
    @pytest.fixture
    def project(self) -> Project:
        return SHOP

    @pytest_asyncio.fixture
    async def issue(self, tracker: LocalBoard) -> str:
        return (await tracker.store.new(SHOP, Draft("x"), "ada")).issue.id

    async def test_the_mark_leads_on_from_where_it_stood(
        self, tracker: LocalBoard, project: Project, issue: str
    ) -> None:
        every = frozenset(one.id for one in await tracker.states(project))
        first = await tracker.changed(project, every, 0.0)
        assert (first.complete, [one.id for one in first.issues]) == (True, [issue])
        assert not (await tracker.changed(project, every, first.mark)).issues
        await tracker.store.move(project, 1, "approved")
        second = await tracker.changed(project, every, first.mark)
        assert [one.state for one in second.issues] == ["approved"]
        assert second.mark > first.mark

    async def test_faults_are_the_port_s(self, tracker: Tracker, project: Project) -> None:
        for issue in ("7", "x", "-1", "9" * 400, "\u0661"):
            with pytest.raises(TrackerFailed, match="no issue") as caught:
                await tracker.comment(project, issue, "t", "k")
            assert caught.value.permanent
