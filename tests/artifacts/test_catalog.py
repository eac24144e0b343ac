"""The catalog: entries and blobs change together, or not at all, and every process knows."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from millpond.artifacts.catalog import Catalog, Totals
from millpond.artifacts.model import Use
from millpond.artifacts.rows import Doom
from millpond.db import Database
from millpond.errors import Conflict, NotFound
from millpond.testing.clock import FakeClock
from millpond.testing.storage import Storage, digest_of, open_storage


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def storage(tmp_path: Path, clock: FakeClock):
    async with open_storage(tmp_path, clock) as opened:
        yield opened


async def doomed(storage: Storage) -> set[str]:
    rows = await storage.db.read(
        lambda c: c.exec_driver_sql("SELECT digest FROM blobs WHERE doomed_at IS NOT NULL").scalars().all()
    )
    return set(rows)


async def test_what_is_published_is_found_and_its_bytes_are_there(storage: Storage):
    spool = storage.spool(b"abc")
    entry = storage.entry("a.txt", b"abc", unchecked=True, failure="", refresh_until=5.0)
    assert await storage.catalog.publish(entry, spool) == entry
    assert await storage.catalog.find("files", "a.txt", "") == entry
    assert storage.catalog.blob_path(digest_of(b"abc")).read_bytes() == b"abc"
    assert not spool.exists()


async def test_what_was_never_published_is_not_found(storage: Storage):
    await storage.put("a.txt", b"abc")
    for key in (("files", "b.txt", ""), ("other", "a.txt", ""), ("files", "a.txt", "json")):
        assert await storage.catalog.find(*key) is None


async def test_a_known_entry_is_given_without_the_database(storage: Storage):
    entry = await storage.put("a.txt", b"abc")
    assert storage.catalog.cached("files", "a.txt", "") is None
    await storage.catalog.find("files", "a.txt", "")
    await storage.db.close()
    assert storage.catalog.cached("files", "a.txt", "") == entry
    assert await storage.catalog.find("files", "a.txt", "") == entry


async def test_memory_is_bounded_and_the_least_recently_used_goes(storage: Storage, clock: FakeClock):
    catalog = Catalog(storage.db, storage.store, storage.stamps, clock, storage.sidecars, max_cached=2)
    for path in "abc":
        await storage.put(path, path.encode())
    for path in "abac":
        await catalog.find("files", path, "")
    assert [catalog.cached("files", path, "") is not None for path in "abc"] == [True, False, True]


async def test_every_change_is_seen_by_other_processes_at_once(storage: Storage, tmp_path: Path, clock: FakeClock):
    async with open_storage(tmp_path, clock) as other:
        first = await storage.put("a.txt", b"abc")
        assert await other.catalog.find("files", "a.txt", "") == first
        second = await storage.put("a.txt", b"def")
        assert other.catalog.cached("files", "a.txt", "") is None
        assert await other.catalog.find("files", "a.txt", "") == second
        third = replace(second, checked_at=second.checked_at + 1, failure="down")
        await storage.catalog.update(third)
        assert await other.catalog.find("files", "a.txt", "") == third
        await storage.catalog.flush()
        assert await other.catalog.find("files", "a.txt", "") is None


async def test_what_changes_while_it_is_read_is_not_remembered(storage: Storage, monkeypatch):
    first = await storage.put("a.txt", b"abc")
    real = storage.db.read

    async def slow(run):
        found = await real(run)
        await storage.put("a.txt", b"def")
        return found

    with monkeypatch.context() as patch:
        patch.setattr(storage.db, "read", slow)
        assert await storage.catalog.find("files", "a.txt", "") == first
    assert storage.catalog.cached("files", "a.txt", "") is None
    found = await storage.catalog.find("files", "a.txt", "")
    assert found is not None
    assert found.digest == digest_of(b"def")


async def test_two_paths_share_a_blob_until_both_are_gone(storage: Storage):
    await storage.put("a", b"same")
    await storage.put("b", b"same", repository="other")
    first = await storage.catalog.remove("files", "a")
    assert (first.entries, first.objects, first.bytes) == (1, 0, 0)
    assert storage.has(b"same")
    second = await storage.catalog.remove("other", "b")
    assert (second.entries, second.objects, second.bytes) == (1, 1, 4)
    assert not storage.has(b"same")


async def test_a_replaced_copy_is_marked_and_kept_for_who_still_serves_it(storage: Storage):
    await storage.put("a", b"old")
    await storage.put("a", b"new")
    assert storage.has(b"old")
    assert await doomed(storage) == {digest_of(b"old")}
    await storage.put("b", b"old")
    assert await doomed(storage) == set()


async def test_an_existing_blob_is_adopted_without_bytes(storage: Storage):
    await storage.put("a", b"abc")
    entry = storage.entry("b", b"abc")
    await storage.catalog.publish(entry, None)
    assert await storage.catalog.find("files", "b", "") == entry


async def test_a_blob_that_is_here_for_others_is_no_permission(storage: Storage):
    await storage.upload("mine", b"secret")
    await storage.put("theirs", b"other", repository="private")
    await storage.put("theirs", b"newer", repository="private")
    for content in (b"secret", b"other", b"newer"):
        with pytest.raises(NotFound, match="not here to be adopted"):
            await storage.catalog.publish(storage.entry("b", content), None)
        assert await storage.catalog.find("files", "b", "") is None
    with pytest.raises(NotFound, match="not here to be adopted"):
        await storage.catalog.publish(storage.entry("b", b"secret", repository="local"), None)


async def test_a_blob_that_is_not_here_is_not_adopted(storage: Storage):
    with pytest.raises(NotFound, match="not here"):
        await storage.catalog.publish(storage.entry("b", b"abc"), None)
    await storage.put("a", b"abc")
    with pytest.raises(NotFound, match="3 bytes instead of 4"):
        await storage.catalog.publish(replace(storage.entry("b", b"abc"), size=4), None)
    assert await storage.catalog.find("files", "b", "") is None


async def test_publishing_mends_a_blob_that_is_damaged(storage: Storage):
    await storage.put("a", b"abc")
    storage.store.path(digest_of(b"abc")).write_bytes(b"xyz")
    await storage.put("b", b"abc")
    assert storage.store.path(digest_of(b"abc")).read_bytes() == b"abc"


async def test_a_failed_publication_changes_nothing(storage: Storage, monkeypatch):
    old = await storage.put("a", b"old")

    def full(*_: object, **__: object) -> None:
        raise OSError(5, "input/output error")

    spool = storage.spool(b"new")
    with monkeypatch.context() as patch:
        patch.setattr(storage.store, "place", full)
        with pytest.raises(OSError, match="input/output"):
            await storage.catalog.publish(storage.entry("a", b"new"), spool)
    assert await storage.catalog.find("files", "a", "") == old
    assert spool.exists()
    assert await doomed(storage) == set()


async def test_a_failing_neighbour_in_the_batch_does_not_harm_a_publication(storage: Storage):
    def fail(_: object) -> None:
        raise RuntimeError("no")

    outcomes = await asyncio.gather(
        *(storage.put(f"p{number}", f"{number}".encode()) for number in range(10)),
        *(storage.db.write(fail) for _ in range(10)),
        *(storage.upload(f"u{number}", f"up{number}".encode()) for number in range(10)),
        return_exceptions=True,
    )
    assert sum(isinstance(outcome, RuntimeError) for outcome in outcomes) == 10
    for number in range(10):
        assert await storage.catalog.find("files", f"p{number}", "") is not None
        assert await storage.catalog.find("local", f"u{number}", "") is not None
        assert storage.has(f"{number}".encode())
        assert storage.has(f"up{number}".encode())
    assert all(not found.pending for found in storage.sidecars.walk())


async def test_who_is_cancelled_leaves_all_or_nothing(storage: Storage):
    for number in range(20):
        task = asyncio.ensure_future(storage.put(f"p{number}", f"{number}".encode()))
        for _ in range(number % 5):
            await asyncio.sleep(0)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    await storage.db.write(lambda _: None)  # what was queued is done
    for number in range(20):
        entry = await storage.catalog.find("files", f"p{number}", "")
        assert entry is None or storage.has(f"{number}".encode())


async def test_the_newest_check_wins(storage: Storage):
    entry = await storage.put("a", b"abc")
    now = entry.checked_at
    newer = replace(entry, checked_at=now + 10, fresh_until=now + 999, etag='"2"')
    assert await storage.catalog.update(newer)
    assert not await storage.catalog.update(replace(entry, checked_at=now + 5, failure="down"))
    assert await storage.catalog.find("files", "a", "") == newer


async def test_a_check_of_bytes_that_were_replaced_meanwhile_says_nothing(storage: Storage):
    old = await storage.put("a", b"old")
    new = await storage.put("a", b"new")
    assert not await storage.catalog.update(replace(old, checked_at=old.checked_at + 10))
    assert await storage.catalog.find("files", "a", "") == new


async def test_a_check_brings_nothing_flushed_back(storage: Storage):
    entry = await storage.put("a", b"abc")
    await storage.catalog.flush()
    assert not await storage.catalog.update(replace(entry, checked_at=entry.checked_at + 10))
    assert await storage.catalog.find("files", "a", "") is None


async def test_an_absence_is_remembered_and_replaces_what_was_there(storage: Storage):
    gone = storage.entry("a", None)
    assert await storage.catalog.update(gone)
    assert await storage.catalog.find("files", "a", "") == gone
    await storage.put("b", b"abc", checked_at=5.0)
    assert await storage.catalog.update(storage.entry("b", None, checked_at=6.0))
    assert await doomed(storage) == {digest_of(b"abc")}
    assert not await storage.catalog.update(storage.entry("b", None, checked_at=5.0, status=410))


async def test_a_negative_entry_is_not_published(storage: Storage):
    with pytest.raises(ValueError, match="update"):
        await storage.catalog.publish(storage.entry("a", None), None)


async def test_uploads_are_never_replaced_by_copies_checked_or_flushed(storage: Storage):
    entry = await storage.upload("a", b"mine")
    with pytest.raises(Conflict, match="was uploaded"):
        await storage.put("a", b"theirs", repository="local")
    assert not await storage.catalog.update(replace(entry, checked_at=entry.checked_at + 10))
    assert not await storage.catalog.update(storage.entry("a", None, "local", checked_at=entry.checked_at + 10))
    counts = await storage.catalog.flush()
    assert counts.entries == 0
    await storage.catalog.missing(entry)
    assert await storage.catalog.find("local", "a", "") == entry
    assert storage.has(b"mine")


async def test_flushing_counts_what_it_drops(storage: Storage):
    await storage.put("a", b"12345")
    await storage.put("b", b"12345", etag="", fresh_until=0.0)
    await storage.put("c", b"1234567", repository="pypi")
    await storage.catalog.update(storage.entry("gone", None))
    await storage.upload("u", b"12345")
    first = await storage.catalog.flush(["files"])
    assert (first.entries, first.records, first.objects, first.bytes) == (2, 2, 0, 0)  # the upload shares the blob
    assert sorted(first.paths) == ["a", "b", "gone"]
    second = await storage.catalog.flush()
    assert (second.entries, second.records, second.objects, second.bytes) == (1, 1, 1, 7)
    assert await storage.catalog.flush(["nobody"]) == type(second)()


async def test_flushing_goes_through_more_than_one_batch(storage: Storage, monkeypatch):
    monkeypatch.setattr("millpond.artifacts.catalog.BATCH", 7)
    await asyncio.gather(*(storage.put(f"p{number}", str(number).encode()) for number in range(50)))
    counts = await storage.catalog.flush()
    assert (counts.entries, counts.objects) == (50, 50)
    assert list(storage.store.walk()) == []


async def test_who_reads_a_flushed_file_reads_it_to_its_end(storage: Storage):
    entry = await storage.put("a", b"x" * 100_000)
    assert entry.digest is not None
    with storage.catalog.blob_path(entry.digest).open("rb") as reader:
        assert len(reader.read(10)) == 10
        await storage.catalog.flush()
        assert len(reader.read()) == 99_990


async def test_an_entry_whose_file_is_gone_is_dropped_so_that_it_is_fetched_again(storage: Storage):
    entry = await storage.put("a", b"abc")
    storage.store.delete(digest_of(b"abc"))
    await storage.catalog.missing(entry)
    assert await storage.catalog.find("files", "a", "") is None
    assert (await storage.catalog.stored()).blobs == 0


async def test_a_false_alarm_drops_nothing(storage: Storage):
    old = await storage.put("a", b"old")
    await storage.catalog.missing(old)
    assert await storage.catalog.find("files", "a", "") == old
    new = await storage.put("a", b"new")
    storage.store.delete(digest_of(b"old"))
    await storage.catalog.missing(old)
    assert await storage.catalog.find("files", "a", "") == new


async def test_removing_one_variant_leaves_the_others(storage: Storage):
    await storage.put("a", b"1", variant="json")
    await storage.put("a", b"2", variant="html")
    assert (await storage.catalog.remove("files", "a", "json")).entries == 1
    assert await storage.catalog.find("files", "a", "html") is not None
    assert (await storage.catalog.remove("files", "a")).entries == 1
    assert (await storage.catalog.remove("files", "a")).entries == 0


async def test_entries_are_listed_in_order_by_prefix_and_page(storage: Storage):
    for path in ("b/2", "a/1", "b/1", "c", "b/%", "b_", "B/1"):
        await storage.put(path, path.encode())
    await storage.put("b/1", b"x", variant="json")
    seen: list[tuple[str, str]] = []
    after = ("", "")
    while page := await storage.catalog.entries("files", "b/", after, 2):
        seen += [(entry.path, entry.variant) for entry in page]
        after = seen[-1]
    assert seen == [("b/%", ""), ("b/1", ""), ("b/1", "json"), ("b/2", "")]
    assert len(await storage.catalog.entries("files")) == 8
    assert await storage.catalog.entries("other") == []


async def test_totals_are_by_repository_and_stored_bytes_count_once(storage: Storage):
    await storage.put("a", b"12345")
    await storage.put("b", b"12345")
    await storage.catalog.update(storage.entry("gone", None))
    await storage.upload("u", b"12345")
    totals = await storage.catalog.totals()
    assert totals == {"files": Totals(2, 1, 0, 10), "local": Totals(1, 0, 1, 5)}
    stored = await storage.catalog.stored()
    assert (stored.blobs, stored.bytes) == (1, 5)


async def test_touching_is_for_eviction_only(storage: Storage):
    entry = await storage.put("a", b"abc")
    await storage.catalog.find("files", "a", "")
    use = Use(entry.stored_at + 500, "files", "a", digest_of(b"abc"), "", "hit")
    await storage.catalog.touch([use, replace(use, at=use.at - 100), replace(use, path="unknown")])
    assert storage.catalog.cached("files", "a", "") == entry
    rows = await storage.db.read(lambda c: c.exec_driver_sql("SELECT last_used FROM entries").scalars().all())
    assert rows == [use.at]


async def test_an_upload_is_on_the_disk_before_it_is_acknowledged(storage: Storage):
    entry = await storage.upload("a", b"mine")
    record = storage.sidecars.read("local", "a", "")
    assert record is not None
    assert record.entry() == entry
    assert record.uploaded_by == "somebody"
    await storage.catalog.remove("local", "a")
    assert storage.sidecars.read("local", "a", "") is None
    assert not storage.has(b"mine")


async def test_a_fresh_catalog_claims_an_empty_storage_only(storage: Storage, tmp_path: Path, clock: FakeClock):
    await storage.put("a", b"abc")
    assert await storage.catalog.owns_storage()
    db = Database.open(tmp_path / "other.sqlite", ballast_bytes=0)
    stranger = Catalog(db, storage.store, storage.stamps, clock, storage.sidecars)
    assert not await stranger.owns_storage()
    assert await storage.catalog.owns_storage()
    await db.close()


async def test_an_upload_whose_file_is_gone_is_not_hidden(storage: Storage):
    entry = await storage.upload("a", b"mine")
    storage.store.delete(digest_of(b"mine"))
    await storage.catalog.missing(entry)
    assert await storage.catalog.find("local", "a", "") == entry
    assert storage.sidecars.read("local", "a", "") is not None


async def test_a_storage_that_holds_something_is_not_claimed_unseen(storage: Storage):
    storage.store.place(storage.spool(b"whose?"), digest_of(b"whose?"))
    await storage.put("a", b"abc")
    assert storage.sidecars.owner() is None
    assert not await storage.catalog.owns_storage()


async def test_only_what_is_doomed_long_enough_unneeded_and_not_kept_is_reaped(storage: Storage, clock: FakeClock):
    old, now = [digest_of(b"old")], clock.now()
    await storage.put("a", b"old")
    await storage.db.write(lambda c: c.exec_driver_sql("UPDATE blobs SET doomed_at = 0"))
    assert await storage.catalog.reap(old) == []  # an entry needs it, whatever the mark says
    await storage.put("a", b"new")
    await storage.db.write(lambda c: c.exec_driver_sql("UPDATE blobs SET doomed_at = 50, keep_until = 70"))
    assert await storage.catalog.reap(old, Doom(before=49, kept_until=now)) == []
    assert await storage.catalog.reap(old, Doom(before=50, kept_until=69)) == []
    assert storage.has(b"old")
    assert await storage.catalog.reap(old, Doom(before=50, kept_until=70)) == [(old[0], 3)]
    assert not storage.has(b"old")
