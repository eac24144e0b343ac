"""Eviction and collection: what goes, what stays, and that a crash's leftovers are told from what is not yet known."""

from __future__ import annotations

import asyncio
import os
import random
import time
from pathlib import Path

import pytest

from millpond.adapters.flightlock import FileFlightLock
from millpond.artifacts.collector import Collector, CollectorOptions
from millpond.artifacts.model import Use
from millpond.artifacts.sidecars import Record
from millpond.testing.clock import FakeClock
from millpond.testing.storage import Storage, digest_of, open_storage


@pytest.fixture
def clock():
    return FakeClock(now=time.time() + 10)  # files have the machine's time


@pytest.fixture
async def storage(tmp_path: Path, clock: FakeClock):
    async with open_storage(tmp_path, clock) as opened:
        yield opened


def collector(storage: Storage, roots: set[str] | None = None, **options: object) -> Collector:
    async def rooted() -> set[str]:
        return roots or set()

    chosen = CollectorOptions(**options)  # type: ignore[arg-type]
    return Collector(storage.catalog, storage.usage, sweeps=(storage.store.sweep,), options=chosen, roots=rooted)


async def fill(storage: Storage, clock: FakeClock, *names: str, size: int = 100) -> None:
    """Store objects, each used later than the one before."""
    for name in names:
        await storage.put(name, name.encode() * size)
        clock.advance(1)


async def kept(storage: Storage, repository: str = "files") -> str:
    return "".join(entry.path for entry in await storage.catalog.entries(repository))


async def test_below_the_high_watermark_nothing_goes(storage: Storage, clock: FakeClock):
    await fill(storage, clock, *"abcdefghi")
    counts = await collector(storage, max_bytes=1000, high_watermark=0.9).evict()
    assert counts.entries == 0
    assert await kept(storage) == "abcdefghi"


async def test_above_it_the_least_recently_used_go_down_to_the_low_one(storage: Storage, clock: FakeClock):
    await fill(storage, clock, *"abcdefghij")
    storage.usage.note(Use(clock.now() + 1000, "files", "a", digest_of(b"a" * 100), "", "hit"))
    await storage.usage.flush()
    planned = await collector(storage, max_bytes=1000, high_watermark=0.9, low_watermark=0.5).evict(dry_run=True)
    assert await kept(storage) == "abcdefghij"
    counts = await collector(storage, max_bytes=1000, high_watermark=0.9, low_watermark=0.5).evict()
    assert await kept(storage) == "aghij"
    assert (counts.entries, counts.objects, counts.bytes) == (5, 5, 500)
    assert (planned.entries, planned.objects, planned.bytes) == (5, 5, 500)
    assert (await storage.catalog.stored()).bytes == 500
    assert len(list(storage.store.walk())) == 5


async def test_roots_uploads_and_what_shares_their_bytes_stay(storage: Storage, clock: FakeClock):
    await fill(storage, clock, *"abc")
    await storage.upload("u", b"b" * 100)
    counts = await collector(storage, {digest_of(b"a" * 100)}, max_bytes=10).evict()
    assert counts.paths == ["c"]
    assert await kept(storage) == "ab"
    assert await kept(storage, "local") == "u"


async def test_what_nothing_needs_goes_first_without_grace(storage: Storage, clock: FakeClock):
    await fill(storage, clock, "a")
    await storage.put("a", b"z" * 100)
    await fill(storage, clock, "b")
    await collector(storage, max_bytes=250, low_watermark=0.8).evict()
    assert await kept(storage) == "ab"
    assert not storage.has(b"a" * 100)


async def test_what_is_used_between_choice_and_eviction_stays(storage: Storage, clock: FakeClock, monkeypatch):
    await fill(storage, clock, *"abcd")
    real = storage.catalog.discard
    touched = False

    async def discard(*args, **keywords):
        nonlocal touched
        if not touched:
            touched = True
            await storage.catalog.touch([Use(clock.now() + 1000, "files", "a", "", "", "hit")])
        return await real(*args, **keywords)

    monkeypatch.setattr(storage.catalog, "discard", discard)
    await collector(storage, max_bytes=400, high_watermark=0.9, low_watermark=0.6).evict()
    assert await kept(storage) == "ad"


async def test_eviction_ends_where_nothing_can_go(storage: Storage):
    await storage.upload("u", b"u" * 1000)
    counts = await asyncio.wait_for(collector(storage, max_bytes=10).evict(), 30)
    assert counts.entries == 0


async def test_eviction_tells_other_processes(storage: Storage, clock: FakeClock, tmp_path: Path):
    await fill(storage, clock, *"ab")
    async with open_storage(tmp_path, clock) as other:
        assert await other.catalog.find("files", "a", "") is not None
        await collector(storage, max_bytes=100).evict()
        assert await other.catalog.find("files", "a", "") is None


async def test_an_unneeded_blob_goes_after_its_grace_not_before(storage: Storage, clock: FakeClock):
    await storage.put("a", b"old")
    await storage.put("a", b"new")
    first = await collector(storage, grace_s=60).gc()
    assert (first.collected, storage.has(b"old")) == (0, True)
    clock.advance(59)
    assert (await collector(storage, grace_s=60).gc()).collected == 0
    clock.advance(2)
    dry = await collector(storage, grace_s=60).gc(dry_run=True)
    assert (dry.collected, dry.freed_bytes, storage.has(b"old")) == (1, 3, True)
    last = await collector(storage, grace_s=60).gc()
    assert (last.collected, last.freed_bytes, storage.has(b"old")) == (1, 3, False)
    assert storage.has(b"new")


async def test_one_that_is_needed_again_within_the_grace_stays(storage: Storage, clock: FakeClock):
    await storage.put("a", b"old")
    await storage.put("a", b"new")
    await storage.put("b", b"old")
    clock.advance(7200)
    assert (await collector(storage).gc()).collected == 0
    assert storage.has(b"old")


async def test_a_blob_that_was_never_marked_is_marked_then_collected(storage: Storage, clock: FakeClock):
    await storage.put("a", b"abc")
    await storage.db.write(lambda c: c.exec_driver_sql("DELETE FROM entries"))
    assert (await collector(storage).gc(dry_run=True)).doomed == 1
    first = await collector(storage).gc()
    assert (first.doomed, first.collected) == (1, 0)
    clock.advance(3601)
    assert (await collector(storage).gc()).collected == 1
    assert list(storage.store.walk()) == []


async def test_a_crashs_orphans_go_after_the_grace(storage: Storage, clock: FakeClock):
    await storage.put("a", b"abc")
    storage.store.place(storage.spool(b"orphan"), digest_of(b"orphan"))
    assert (await collector(storage, grace_s=60).gc()).orphans == 0
    clock.advance(61)
    dry = await collector(storage, grace_s=60).gc(dry_run=True)
    assert (dry.orphans, dry.freed_bytes, storage.has(b"orphan")) == (1, 6, True)
    assert (await collector(storage, grace_s=60).gc()).orphans == 1
    assert not storage.has(b"orphan")
    assert storage.has(b"abc")


async def test_orphans_are_told_from_their_neighbours_in_batches_of_any_size(storage, clock, monkeypatch):
    known = [f"known {number}".encode() for number in range(40)]
    orphans = [f"orphan {number}".encode() for number in range(25)]
    for number, content in enumerate(known):
        await storage.put(f"a{number}", content)
    for content in orphans:
        storage.store.place(storage.spool(content), digest_of(content))
    clock.advance(7200)
    for size in (1, 7, 1000):
        monkeypatch.setattr("millpond.artifacts.collector.READ_BATCH", size)
        assert (await collector(storage).gc(dry_run=True)).orphans == len(orphans)
    assert (await collector(storage).gc()).orphans == len(orphans)
    assert list(storage.store.walk()) == sorted(map(digest_of, known))


async def test_orphans_that_an_uploads_record_names_stay(storage: Storage, clock: FakeClock):
    await storage.upload("u", b"mine")
    await storage.db.write(lambda c: [c.exec_driver_sql(f"DELETE FROM {name}") for name in ("entries", "blobs")])
    clock.advance(7200)
    report = await collector(storage).gc()
    assert (report.orphans, report.held) == (0, "")
    assert storage.has(b"mine")


async def test_a_new_catalog_takes_nothing_it_does_not_know_for_rubbish(
    storage: Storage, clock: FakeClock, tmp_path: Path
):
    await storage.put("a", b"abc")
    await storage.db.close()
    for suffix in ("", "-wal", "-shm"):
        (tmp_path / f"catalog.sqlite{suffix}").unlink(missing_ok=True)
    async with open_storage(tmp_path, clock) as fresh:
        clock.advance(7200)
        report = await collector(fresh).gc()
        assert "fsck --repair" in report.held
        assert fresh.has(b"abc")


async def test_a_restored_backup_takes_nothing_it_does_not_know_for_rubbish(
    storage: Storage, clock: FakeClock, tmp_path: Path
):
    await storage.put("a", b"abc")
    copy = await storage.db.backup(tmp_path / "backups")
    await storage.put("later", b"later")
    await storage.db.close()
    for suffix in ("-wal", "-shm"):
        (tmp_path / f"catalog.sqlite{suffix}").unlink(missing_ok=True)
    copy.rename(tmp_path / "catalog.sqlite")
    async with open_storage(tmp_path, clock) as restored:
        clock.advance(7200)
        assert (await collector(restored).gc()).held
        assert restored.has(b"later")


async def test_negatives_and_usage_go_when_their_time_is_over(storage: Storage, clock: FakeClock):
    await storage.catalog.update(storage.entry("gone", None, fresh_until=clock.now() - 1))
    await storage.catalog.update(storage.entry("still", None, fresh_until=clock.now() + 1))
    for days in (1, 91):
        storage.usage.note(Use(clock.now() - days * 86400, "files", f"{days}", "", "", "hit"))
    await storage.usage.flush()
    dry = await collector(storage).gc(dry_run=True)
    report = await collector(storage).gc()
    assert (dry.negatives, dry.usage) == (report.negatives, report.usage) == (1, 1)
    assert await kept(storage) == "still"
    assert [record.path for record in await storage.usage.records()] == ["1"]


async def test_spool_files_of_the_dead_are_swept_and_those_of_the_living_not(storage: Storage, tmp_path: Path):
    lock = FileFlightLock(tmp_path / "flights")
    alive = lock.lead("alive")
    (tmp_path / "flights" / "1-1.part").write_bytes(b"12345")
    os.utime(tmp_path / "flights" / "1-1.part", (0, 0))
    for path in (tmp_path / "flights").iterdir():
        os.utime(path, (0, 0))
    chosen = Collector(storage.catalog, storage.usage, sweeps=(lock.sweep,))
    report = await chosen.gc()
    assert (report.swept, report.freed_bytes) == (1, 5)
    assert lock.lead("alive") is None
    assert alive is not None
    alive.leave(0)


async def test_collecting_beside_publishing_never_loses_what_is_needed(storage: Storage, clock: FakeClock):
    """Objects that share bytes are published, flushed and collected at once: every entry found has its bytes."""
    chance = random.Random(1)
    contents = [str(number).encode() * 10 for number in range(5)]
    greedy = collector(storage, grace_s=0, max_bytes=60, high_watermark=0.5, low_watermark=0.1)

    async def publish() -> None:
        for _ in range(60):
            await storage.put(str(chance.randrange(8)), chance.choice(contents))

    async def collect() -> None:
        for _ in range(10):
            await greedy.gc()
            await greedy.evict()
            await storage.catalog.flush()

    await asyncio.gather(publish(), publish(), collect())
    for entry in await storage.catalog.entries("files"):
        assert entry.digest is not None
        assert storage.store.path(entry.digest).exists()
    await storage.catalog.flush()
    clock.advance(1)
    await greedy.gc()
    assert list(storage.store.walk()) == []


async def test_progress_is_told(storage: Storage, clock: FakeClock):
    await fill(storage, clock, *"abc")
    told: list[tuple[str, int, int | None]] = []
    await collector(storage, max_bytes=100).evict(lambda *what: told.append(what))
    assert told[-1] == ("evict", 300, 215)


async def test_an_upload_that_a_crash_cut_off_leaves_no_orphan(storage: Storage, clock: FakeClock):
    """Its record was written and its commit never came; one that is younger than the grace may be under way."""
    await storage.upload("sound.bin", b"sound")
    digest, spool = digest_of(b"cut off"), storage.spool(b"cut off")
    storage.store.place(spool, digest)
    cut_off = Record("kept", "cut.bin", "", digest, 7, "", clock.now(), "")
    storage.sidecars.prepare(cut_off)
    early = await collector(storage, grace_s=3600).gc()
    assert (early.unfinished, early.orphans) == (0, 0)
    only_told = await collector(storage, grace_s=0).gc(dry_run=True)
    assert only_told.unfinished == 0
    report = await collector(storage, grace_s=0).gc()
    assert (report.unfinished, report.orphans) == (1, 1)
    assert [found.record.path for found in storage.sidecars.walk() if found.record] == ["sound.bin"]
    assert storage.store.stat(digest) is None
    assert storage.store.stat(digest_of(b"sound")) is not None
    assert (await collector(storage).fsck()).kinds == {}
