"""Usage: appended cheaply, written in batches, dropped (and counted) rather than waited for."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from millpond.artifacts.model import Use
from millpond.artifacts.usage import Usage
from millpond.errors import OutOfSpace
from millpond.testing.storage import Storage, open_storage


@pytest.fixture
async def storage(tmp_path: Path):
    async with open_storage(tmp_path) as opened:
        yield opened


def use(path: str, at: float = 1.0, repository: str = "files", token: str = "", digest: str = "d") -> Use:
    return Use(at, repository, path, digest, token, "hit", 10)


async def test_what_is_noted_is_written_and_found_newest_first(storage: Storage):
    for path in "abc":
        storage.usage.note(use(path))
    assert await storage.usage.records() == ()
    assert await storage.usage.flush() == 3
    found = await storage.usage.records()
    assert [record.path for record in found] == ["c", "b", "a"]
    assert (found[0].at, found[0].repository, found[0].outcome, found[0].size) == (1.0, "files", "hit", 10)
    assert len(storage.usage) == 0


async def test_records_are_found_by_what_is_asked_for(storage: Storage):
    for note in (use("a"), use("b", at=5.0, token="ci"), use("a", repository="pypi", token="ci", digest="e")):
        storage.usage.note(note)
    await storage.usage.flush()

    async def paths(**wanted: object) -> list[str]:
        return [f"{r.repository}/{r.path}" for r in await storage.usage.records(**wanted)]  # type: ignore[arg-type]

    assert await paths(path="a") == ["pypi/a", "files/a"]
    assert await paths(repository="files") == ["files/b", "files/a"]
    assert await paths(token="ci", path="b") == ["files/b"]
    assert await paths(digest="e") == ["pypi/a"]
    assert await paths(since=5.0) == ["files/b"]
    assert await paths(token="nobody") == []


async def test_pages_follow_each_other(storage: Storage):
    for number in range(10):
        storage.usage.note(use(str(number)))
    await storage.usage.flush()
    seen: list[str] = []
    after = None
    while page := await storage.usage.records(limit=3, after=after):
        seen += [record.path for record in page]
        after = page[-1].id
    assert seen == [str(number) for number in reversed(range(10))]


async def test_when_the_writer_lags_the_oldest_are_dropped_and_counted(storage: Storage):
    usage = Usage(storage.db, storage.clock, max_noted=5)
    for number in range(8):
        usage.note(use(str(number)))
    assert usage.dropped == 3
    await usage.flush()
    assert [record.path for record in await usage.records()] == ["7", "6", "5", "4", "3"]


async def test_a_failed_flush_keeps_the_notes_in_order(storage: Storage, monkeypatch):
    for path in "abc":
        storage.usage.note(use(path))

    async def full(*_: object, **__: object) -> None:
        raise OutOfSpace("full")

    with monkeypatch.context() as patch:
        patch.setattr(storage.db, "write", full)
        with pytest.raises(OutOfSpace):
            await storage.usage.flush()
        storage.usage.note(use("d"))
    await storage.usage.flush()
    assert [record.path for record in await storage.usage.records()] == ["d", "c", "b", "a"]


async def test_notes_taken_while_flushing_are_not_lost_nor_doubled(storage: Storage):
    async def note() -> None:
        for number in range(5000):
            storage.usage.note(use(str(number)))
            if number % 100 == 0:
                await asyncio.sleep(0)

    await asyncio.gather(note(), storage.usage.flush(), storage.usage.flush())
    await storage.usage.flush()
    found = await storage.usage.records(limit=10_000)
    assert sorted(int(record.path) for record in found) == list(range(5000))


async def test_flushing_tells_what_was_used_lately(storage: Storage):
    await storage.put("old", b"1")
    await storage.put("used", b"2")
    storage.usage.note(use("used", at=storage.clock.now() + 1000))
    await storage.usage.flush()
    found = await storage.db.read(lambda c: c.exec_driver_sql("SELECT path, last_used FROM entries").all())
    rows = {row.path: row.last_used for row in found}
    assert rows["used"] == rows["old"] + 1000


async def test_expiring_removes_the_old_ones_in_bounded_steps(storage: Storage):
    for number in range(10):
        storage.usage.note(use(str(number), at=float(number)))
    await storage.usage.flush()
    assert await storage.usage.count_before(5.0) == 5
    assert [await storage.usage.expire(5.0, 3) for _ in range(3)] == [3, 2, 0]
    assert [record.path for record in await storage.usage.records()] == ["9", "8", "7", "6", "5"]
