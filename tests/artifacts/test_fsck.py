"""The check: every kind of damage is found; what is cached is dropped, what was uploaded is restored or set aside."""

from __future__ import annotations

from pathlib import Path

import pytest

from millpond.artifacts import findings
from millpond.artifacts.collector import Collector
from millpond.artifacts.findings import FsckReport
from millpond.artifacts.fsck import FsckOptions
from millpond.artifacts.sidecars import record_of
from millpond.db import restore
from millpond.testing.clock import FakeClock
from millpond.testing.storage import Storage, digest_of, open_storage


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def storage(tmp_path: Path, clock: FakeClock):
    async with open_storage(tmp_path, clock) as opened:
        yield opened


async def check(storage: Storage, *, repair: bool = False) -> FsckReport:
    fast = FsckOptions(bytes_per_s=None)
    return await Collector(storage.catalog, storage.usage, fsck=fast).fsck(repair=repair)


def spoil(storage: Storage, content: bytes, becomes: bytes) -> None:
    storage.store.path(digest_of(content)).write_bytes(becomes)


def drop_catalog(folder: Path) -> None:
    for suffix in ("", "-wal", "-shm"):
        (folder / f"catalog.sqlite{suffix}").unlink(missing_ok=True)


async def test_a_sound_store_is_found_sound(storage: Storage):
    await storage.put("a", b"abc")
    await storage.upload("u", b"mine")
    await storage.catalog.update(storage.entry("gone", None))
    report = await check(storage)
    assert (report.ok, report.problems, report.blobs, report.bytes) == (True, [], 2, 7)


@pytest.mark.parametrize(
    ("becomes", "said"), [(b"xyz", "its bytes are those of sha256:"), (b"ab", "2 bytes instead of 3")]
)
async def test_a_damaged_cached_blob_is_dropped_with_its_entries(storage: Storage, becomes: bytes, said: str):
    await storage.put("a", b"abc")
    await storage.put("b", b"abc", repository="other")
    await storage.put("c", b"good")
    spoil(storage, b"abc", becomes)
    found = await check(storage)
    assert found.kinds == {findings.DAMAGED: 1}
    assert said in found.problems[0]
    assert not found.ok
    assert await storage.catalog.find("files", "a", "") is not None
    assert (await check(storage, repair=True)).ok
    assert await storage.catalog.find("files", "a", "") is None
    assert await storage.catalog.find("other", "b", "") is None
    assert await storage.catalog.find("files", "c", "") is not None
    assert not storage.has(b"abc")
    assert (await check(storage)).kinds == {}


async def test_a_missing_cached_blob_is_dropped(storage: Storage):
    await storage.put("a", b"abc")
    storage.store.delete(digest_of(b"abc"))
    assert (await check(storage, repair=True)).kinds == {findings.MISSING: 1}
    assert await storage.catalog.find("files", "a", "") is None
    assert (await check(storage)).kinds == {}


async def test_a_damaged_upload_is_set_aside_told_loudly_and_never_deleted(storage: Storage):
    entry = await storage.upload("u", b"mine")
    spoil(storage, b"mine", b"evil")
    report = await check(storage, repair=True)
    assert report.kinds == {findings.QUARANTINED: 1}
    assert not report.ok
    assert "DAMAGED UPLOAD: local/u" in report.problems[0]
    aside = list((storage.folder / "storage" / "quarantine").iterdir())
    assert [path.read_bytes() for path in aside] == [b"evil"]
    assert await storage.catalog.find("local", "u", "") == entry
    again = await check(storage, repair=True)
    assert again.kinds == {findings.LOST: 1}
    assert "upload it again" in again.problems[0]
    await storage.upload("u", b"mine")
    assert (await check(storage)).ok


async def test_a_lost_upload_is_told_and_its_entry_stays(storage: Storage):
    await storage.upload("u", b"mine")
    storage.store.delete(digest_of(b"mine"))
    report = await check(storage, repair=True)
    assert (report.ok, report.kinds) == (False, {findings.LOST: 1})
    assert await storage.catalog.find("local", "u", "") is not None


async def test_an_unknown_file_is_registered_so_that_it_is_found_by_digest(storage: Storage, clock: FakeClock):
    storage.store.place(storage.spool(b"orphan"), digest_of(b"orphan"))
    assert (await check(storage)).kinds == {findings.UNKNOWN: 1}
    assert (await check(storage, repair=True)).ok
    assert (await check(storage)).kinds == {}
    clock.advance(7200)
    await Collector(storage.catalog, storage.usage).gc()
    entry = await storage.catalog.publish(storage.entry("found", b"orphan"), None)
    clock.advance(40 * 86400)
    await Collector(storage.catalog, storage.usage).gc()
    assert await storage.catalog.find("files", "found", "") == entry
    assert storage.has(b"orphan")


async def test_a_registered_file_that_nobody_asks_for_goes_in_the_end(storage: Storage, clock: FakeClock):
    storage.store.place(storage.spool(b"orphan"), digest_of(b"orphan"))
    await check(storage, repair=True)
    clock.advance(31 * 86400)
    report = await Collector(storage.catalog, storage.usage).gc()
    assert (report.collected, storage.has(b"orphan")) == (1, False)


async def test_an_unknown_file_with_wrong_bytes_is_set_aside(storage: Storage):
    storage.store.place(storage.spool(b"wrong"), digest_of(b"right"))
    assert (await check(storage, repair=True)).kinds == {findings.UNKNOWN: 1}
    assert not storage.has(b"right")
    assert (await check(storage)).kinds == {}


async def test_a_lost_record_is_written_anew(storage: Storage):
    entry = await storage.upload("u", b"mine")
    storage.sidecars.remove("local", "u", "")
    assert (await check(storage)).kinds == {findings.UNRECORDED: 1}
    assert storage.sidecars.read("local", "u", "") is None
    assert (await check(storage, repair=True)).ok
    assert storage.sidecars.read("local", "u", "") == record_of(entry, "somebody")


async def test_an_unreadable_record_is_written_anew(storage: Storage):
    entry = await storage.upload("u", b"mine")
    next(storage.sidecars.walk()).file.write_bytes(b"\xff")
    report = await check(storage, repair=True)
    assert report.kinds == {findings.UNREADABLE: 1, findings.UNRECORDED: 1}
    assert storage.sidecars.read("local", "u", "") == record_of(entry, "somebody")
    assert (await check(storage)).ok


async def test_a_crash_before_the_commit_leaves_a_record_that_is_removed(storage: Storage):
    committed = await storage.upload("u", b"mine")
    storage.sidecars.prepare(record_of(storage.entry("u", b"never", "local"), "somebody"))
    storage.sidecars.prepare(record_of(storage.entry("v", b"never", "local"), "somebody"))
    assert (await check(storage)).kinds == {findings.UNFINISHED: 2}
    assert (await check(storage, repair=True)).ok
    assert [found.record for found in storage.sidecars.walk()] == [record_of(committed, "somebody")]
    assert await storage.catalog.find("local", "v", "") is None


async def test_a_crash_behind_the_commit_leaves_a_record_that_is_settled(storage: Storage, clock: FakeClock):
    await storage.upload("u", b"old")
    clock.advance(1)
    old = next(storage.sidecars.walk())
    content = old.file.read_bytes()
    new = await storage.upload("u", b"new")
    old.file.rename(old.file.with_name(old.file.name + ".new"))
    old.file.write_bytes(content)
    assert (await check(storage, repair=True)).kinds == {findings.UNFINISHED: 1}
    assert [(found.record, found.pending) for found in storage.sidecars.walk()] == [(record_of(new, "somebody"), False)]
    assert await storage.catalog.find("local", "u", "") == new


async def test_a_lost_catalog_is_rebuilt_from_what_lies_there(storage: Storage, tmp_path: Path, clock: FakeClock):
    uploads = [
        await storage.upload(f"dir/u{number}", f"mine{number % 3}".encode(), variant="" if number else "x")
        for number in range(5)
    ]
    await storage.put("a", b"abc")
    await storage.db.close()
    drop_catalog(tmp_path)
    async with open_storage(tmp_path, clock) as fresh:
        report = await check(fresh, repair=True)
        assert report.ok
        assert report.kinds == {findings.UNLISTED: 5, findings.UNKNOWN: 1}
        for entry in uploads:
            assert await fresh.catalog.find("local", entry.path, entry.variant) == entry
        assert await fresh.catalog.owns_storage()
        assert (await check(fresh)).kinds == {}
        await fresh.catalog.publish(fresh.entry("a", b"abc"), None)


async def test_without_repair_a_lost_catalog_stays_lost(storage: Storage, tmp_path: Path, clock: FakeClock):
    await storage.upload("u", b"mine")
    await storage.db.close()
    drop_catalog(tmp_path)
    async with open_storage(tmp_path, clock) as fresh:
        report = await check(fresh)
        assert (report.ok, report.kinds[findings.UNLISTED]) == (False, 1)
        assert await fresh.catalog.find("local", "u", "") is None
        assert not await fresh.catalog.owns_storage()


async def test_uploads_of_a_lost_catalog_without_bytes_are_told(storage: Storage, tmp_path: Path, clock: FakeClock):
    await storage.upload("u", b"mine")
    await storage.upload("v", b"short")
    await storage.db.close()
    drop_catalog(tmp_path)
    storage.store.delete(digest_of(b"mine"))
    spoil(storage, b"short", b"sh")
    async with open_storage(tmp_path, clock) as fresh:
        report = await check(fresh, repair=True)
        assert not report.ok
        assert report.kinds == {findings.LOST: 2, findings.UNKNOWN: 1}
        aside = list((storage.folder / "storage" / "quarantine").iterdir())
        assert [path.read_bytes() for path in aside] == [b"sh"]


async def test_a_restored_backup_is_completed_from_the_records(storage: Storage, tmp_path: Path, clock: FakeClock):
    await storage.upload("replaced", b"first")
    await storage.upload("same", b"same")
    await storage.db.backup(tmp_path / "backups")
    clock.advance(10)
    replaced = await storage.upload("replaced", b"second")
    later = await storage.upload("later", b"later")
    await storage.db.close()
    (tmp_path / "catalog.sqlite").write_bytes(b"\xff" * 9000)
    done = restore(tmp_path / "catalog.sqlite", tmp_path / "backups", clock.now())
    assert done is not None
    assert done.backup is not None
    async with open_storage(tmp_path, clock) as fresh:
        assert (await check(fresh, repair=True)).ok
        assert await fresh.catalog.find("local", "replaced", "") == replaced
        assert await fresh.catalog.find("local", "later", "") == later
        assert await fresh.catalog.find("local", "same", "") is not None
        assert (await check(fresh)).kinds == {}


async def test_an_upload_cut_off_when_the_catalog_was_lost_is_taken_if_its_bytes_are_there(
    storage: Storage, tmp_path: Path, clock: FakeClock
):
    old = await storage.upload("u", b"old")
    clock.advance(1)
    storage.store.place(storage.spool(b"new"), digest_of(b"new"))
    storage.sidecars.prepare(record_of(storage.entry("u", b"new", "local", etag=""), "somebody"))
    storage.sidecars.prepare(record_of(storage.entry("v", b"never", "local", etag=""), "somebody"))
    await storage.db.close()
    drop_catalog(tmp_path)
    async with open_storage(tmp_path, clock) as fresh:
        assert (await check(fresh, repair=True)).ok
        found = await fresh.catalog.find("local", "u", "")
        assert found is not None
        assert found.digest != old.digest
        assert await fresh.catalog.find("local", "v", "") is None
        assert all(not record.pending for record in fresh.sidecars.walk())
        assert fresh.has(b"old")


async def test_a_damaged_database_is_told_first(storage: Storage, monkeypatch):
    async def damaged() -> str:
        return "page 7 is never used"

    monkeypatch.setattr(storage.db, "check", damaged)
    report = await check(storage, repair=True)
    assert (report.ok, report.kinds) == (False, {findings.DATABASE: 1})


async def test_what_is_replaced_by_good_bytes_while_it_is_checked_stays(storage: Storage, monkeypatch):
    await storage.put("a", b"abc")
    spoil(storage, b"abc", b"xyz")
    collector = Collector(storage.catalog, storage.usage, fsck=FsckOptions(bytes_per_s=None))
    real = collector._fsck._verifier.examine

    def examine(path: Path, digest: str, size: int | None):
        verdict = real(path, digest, size)
        fresh = storage.spool(b"abc")
        fresh.replace(path)
        return verdict

    monkeypatch.setattr(type(collector._fsck._verifier), "examine", staticmethod(examine))
    report = await collector.fsck(repair=True)
    assert report.kinds == {}
    assert storage.store.path(digest_of(b"abc")).read_bytes() == b"abc"
    assert await storage.catalog.find("files", "a", "") is not None


async def test_reading_keeps_to_its_rate(storage: Storage):
    slept: list[float] = []
    await storage.put("a", b"x" * 3_000_000)
    collector = Collector(storage.catalog, storage.usage, fsck=FsckOptions(bytes_per_s=1e6))
    collector._fsck._verifier._sleep = slept.append
    assert (await collector.fsck()).ok
    assert sum(slept) == pytest.approx(3.0)


@pytest.mark.parametrize("upload", [False, True])
async def test_what_is_replaced_by_good_bytes_just_before_it_is_taken_away_stays(
    storage: Storage, monkeypatch, upload: bool
):
    put = storage.upload if upload else storage.put
    entry = await put("a", b"abc")
    spoil(storage, b"abc", b"xyz")
    collector = Collector(storage.catalog, storage.usage, fsck=FsckOptions(bytes_per_s=None))
    real = collector._fsck._stands

    async def stands(digest: str, verdict) -> bool:
        found = await real(digest, verdict)
        storage.spool(b"abc").replace(storage.store.path(digest))
        return found

    monkeypatch.setattr(collector._fsck, "_stands", stands)
    await collector.fsck(repair=True)
    assert storage.store.path(digest_of(b"abc")).read_bytes() == b"abc"
    assert await storage.catalog.find(entry.repository, "a", "") == entry


async def test_an_adopted_blob_is_collected_like_any_other(storage: Storage, clock: FakeClock):
    storage.store.place(storage.spool(b"orphan"), digest_of(b"orphan"))
    await check(storage, repair=True)
    await storage.catalog.publish(storage.entry("found", b"orphan"), None)
    await storage.put("found", b"newer")
    clock.advance(7200)
    assert (await Collector(storage.catalog, storage.usage).gc()).collected == 1
    assert not storage.has(b"orphan")
