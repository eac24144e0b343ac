"""What every `ports.BlobStore` must do. Shipped, so that other people's stores can be held to it.

Subclass `BlobStoreConformance`, say how to make a store, and let pytest collect the subclass.
"""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

from millpond.artifacts.ports import BlobStore
from millpond.testing.storage import digest_of

OLD, NEW = b"old bytes", b"new bytes"


def expect(condition: object, what: str) -> None:
    """Raise `AssertionError` unless the condition holds."""
    if not condition:
        raise AssertionError(what)


def _refused(store: BlobStore, digest: str) -> bool:
    try:
        store.path(digest)
    except ValueError:
        return True
    return False


class BlobStoreConformance:
    """The suite; each test gets an empty folder and makes its own store in it."""

    def make_store(self, folder: Path) -> BlobStore:
        """Make an empty store; to be defined by the subclass."""
        raise NotImplementedError

    def _spool(self, folder: Path, content: bytes, name: str = "spool") -> Path:
        path = folder / name
        path.write_bytes(content)
        return path

    def test_what_is_placed_is_there_and_the_spool_file_is_gone(self, tmp_path: Path) -> None:
        """Place moves; stat tells digest and size."""
        store, spool = self.make_store(tmp_path), self._spool(tmp_path, OLD)
        store.place(spool, digest_of(OLD))
        found = store.stat(digest_of(OLD))
        expect(found is not None and (found.digest, found.size) == (digest_of(OLD), len(OLD)), "stat must describe it")
        expect(store.path(digest_of(OLD)).read_bytes() == OLD, "the bytes must be there")
        expect(not spool.exists(), "the spool file must be moved away")

    def test_what_is_not_there_is_none(self, tmp_path: Path) -> None:
        """Absence is a value."""
        store = self.make_store(tmp_path)
        expect(store.stat(digest_of(OLD)) is None, "an absent blob has no description")
        expect(store.delete(digest_of(OLD)) is False, "deleting an absent blob says so")
        expect(list(store.walk()) == [], "an empty store lists nothing")

    def test_placing_again_mends_what_was_there(self, tmp_path: Path) -> None:
        """A place over an existing blob replaces its bytes at once."""
        store = self.make_store(tmp_path)
        store.place(self._spool(tmp_path, OLD), digest_of(NEW))
        store.place(self._spool(tmp_path, NEW), digest_of(NEW))
        expect(store.path(digest_of(NEW)).read_bytes() == NEW, "the later bytes must win")

    def test_a_durable_place_and_a_staged_one_end_alike(self, tmp_path: Path) -> None:
        """`stage` then `place` is `place`."""
        store, spool = self.make_store(tmp_path), self._spool(tmp_path, OLD)
        store.place(asyncio.run(store.stage(spool, durable=True)), digest_of(OLD), durable=True)
        expect(store.path(digest_of(OLD)).read_bytes() == OLD, "the bytes must be there")

    def test_a_missing_spool_file_changes_nothing(self, tmp_path: Path) -> None:
        """A failed place leaves what was there."""
        store = self.make_store(tmp_path)
        store.place(self._spool(tmp_path, OLD), digest_of(OLD))
        try:
            store.place(tmp_path / "no such file", digest_of(OLD))
        except OSError:
            expect(store.path(digest_of(OLD)).read_bytes() == OLD, "the old bytes must stay")
        else:
            raise AssertionError("placing a file that is not there must fail")

    def test_deleted_blobs_stay_readable_for_who_has_them_open(self, tmp_path: Path) -> None:
        """A running transfer is never broken."""
        store = self.make_store(tmp_path)
        store.place(self._spool(tmp_path, OLD), digest_of(OLD))
        with store.path(digest_of(OLD)).open("rb") as reader:
            expect(store.delete(digest_of(OLD)) is True, "deleting a blob says so")
            expect(store.stat(digest_of(OLD)) is None, "a deleted blob is gone")
            expect(reader.read() == OLD, "who has it open must read it to its end")

    def test_walking_lists_every_blob_once(self, tmp_path: Path) -> None:
        """Walk gives the names of what is stored, in order."""
        store = self.make_store(tmp_path)
        contents = [str(number).encode() * 10 for number in range(100)]
        for content in contents:
            store.place(self._spool(tmp_path, content), digest_of(content))
        expect(list(store.walk()) == sorted(map(digest_of, contents)), "walk must list all, in order")

    def test_only_digests_are_keys(self, tmp_path: Path) -> None:
        """Nothing but a well-formed digest ever becomes a path."""
        store = self.make_store(tmp_path)
        good = digest_of(OLD)
        for bad in ("", "sha256:", good[:-1], good + "0", good.upper(), "md5:" + "0" * 32, "sha256:../" + "0" * 61):
            expect(_refused(store, bad), f"{bad!r} must be refused")
        for bad in (good + "\n", "sha256:" + "\u0661" * 64, good.replace(good[8], "/", 1)):
            expect(_refused(store, bad), f"{bad!r} must be refused")

    def test_placing_the_same_blob_at_once_from_many_threads(self, tmp_path: Path) -> None:
        """Whoever is last, the blob is whole at every moment."""
        store = self.make_store(tmp_path)
        spools = [self._spool(tmp_path, NEW, f"spool{number}") for number in range(16)]
        threads = [threading.Thread(target=store.place, args=(spool, digest_of(NEW))) for spool in spools]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        expect(store.path(digest_of(NEW)).read_bytes() == NEW, "the blob must be whole")
        expect(list(store.walk()) == [digest_of(NEW)], "there must be one blob")
