"""What is stored where: entries, the blobs they need, and the moment both change together.

Invariants:

- Moving a file into the store and unlinking one happen inside a write transaction: the database's write lock is what
  keeps publishing and collecting apart, in all processes.
- A blob is unlinked only after a committed transaction took its last entry away. So whatever the moment of a crash, an
  entry's blob is there; a file or a row too many is the collector's.
- A stamp is touched after each commit, and taken before each read that is remembered: no process remembers what another
  has changed.
- What is local (uploaded) is never flushed, evicted or replaced by cached content.
"""

from __future__ import annotations

import asyncio
import math
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from millpond.artifacts import rows
from millpond.artifacts.model import Counts, Digest, Entry, Use
from millpond.artifacts.pacing import BATCH
from millpond.artifacts.ports import BlobStore, Invalidation
from millpond.artifacts.rows import Doom, Held, Key
from millpond.artifacts.sidecars import Sidecars, record_of
from millpond.clock import Clock
from millpond.db import Database
from millpond.errors import Conflict, NotFound

MAX_CACHED = 20_000
MAX_PATHS = 1000
"""Paths that `Counts` names at most."""
MAX_TOUCHED = 4000  # one by one; there are not many more stamps than that


@dataclass(frozen=True, slots=True)
class Totals:
    """What a repository holds; `bytes` counts a blob for each entry that needs it."""

    entries: int = 0
    negatives: int = 0
    local: int = 0
    bytes: int = 0


@dataclass(frozen=True, slots=True)
class Beside:
    """What is stored together with something else: an entry and its spool file, if its blob is not here yet.

    A negative entry takes the place of what was there.
    """

    entry: Entry
    spool: Path | None = None


@dataclass(frozen=True, slots=True)
class Stored:
    """What the store holds: blobs, shared ones once, and their bytes."""

    blobs: int
    bytes: int


class Catalog:
    """The catalog of one pond, in one process; belongs to its event loop."""

    def __init__(
        self,
        db: Database,
        store: BlobStore,
        invalidation: Invalidation,
        clock: Clock,
        sidecars: Sidecars,
        *,
        max_cached: int = MAX_CACHED,
    ) -> None:
        self.db, self.store, self.clock, self.sidecars = db, store, clock, sidecars
        self._invalidation = invalidation
        self._max_cached = max_cached
        self._cache: OrderedDict[Key, tuple[int, Entry]] = OrderedDict()
        self._claimed = False

    def blob_path(self, digest: Digest) -> Path:
        """Where a blob's file is. Raises `ValueError` for a malformed digest."""
        return self.store.path(digest)

    def cached(self, repository: str, path: str, variant: str) -> Entry | None:
        """Give the remembered entry if nothing has changed since, without I/O; None: ask `find`."""
        key = (repository, path, variant)
        known = self._cache.get(key)
        if known is None:
            return None
        stamp, entry = known
        if stamp != self._invalidation.stamp(stamp_key(repository, path)):
            del self._cache[key]
            return None
        self._cache.move_to_end(key)
        return entry

    async def find(self, repository: str, path: str, variant: str) -> Entry | None:
        """Give the entry, remembered or read; None: there is none."""
        entry = self.cached(repository, path, variant)
        if entry is not None:
            return entry
        key = (repository, path, variant)
        stamp = self._invalidation.stamp(stamp_key(repository, path))
        entry = await self.db.read(lambda connection: rows.find(connection, key))
        if entry is not None:
            self._cache[key] = (stamp, entry)
            self._cache.move_to_end(key)
            if len(self._cache) > self._max_cached:
                self._cache.popitem(last=False)
        return entry

    def stamp(self, repository: str, path: str) -> int:
        """Read a path's stamp: while it stays the same, what `find` gave after it was read still holds."""
        return self._invalidation.stamp(stamp_key(repository, path))

    async def publish(
        self,
        entry: Entry,
        spool: Path | None,
        *,
        local: bool = False,
        durable: bool = False,
        uploaded_by: str = "",
        beside: Sequence[Beside] = (),
        touching: Collection[str] | None = (),
        touching_below: str | None = None,
    ) -> Entry:
        """Store a finished spool file and its entry together; the file is moved away.

        `beside`: stored in the same transaction, all of it or nothing; `touching` (None: all), and all stored
        `touching_below`: paths of which nobody may believe any more what was remembered before.

        `spool` None adopts a blob that is here already: one that this repository has, or that was found again after a
        lost catalog (`rows.may_adopt`). `local`: an upload, with a record of its own that outlives the catalog.
        `durable`: all of it survives a power cut. Raises `NotFound` (there is nothing to adopt, or it has another
        size), `Conflict` (cached content would replace an upload), `OutOfSpace`, `OSError`; nothing has changed then.
        """
        if entry.digest is None:
            raise ValueError("what is published has a digest; `update` takes negative entries")
        spools = [spool, *(one.spool for one in beside)]
        staged = [None if one is None else await self.store.stage(one, durable=durable) for one in spools]
        pieces = [Beside(one, file) for one, file in zip((entry, *(b.entry for b in beside)), staged, strict=True)]
        work = _Publication(self, pieces, touching, touching_below, local, durable, uploaded_by)
        try:
            await self.db.write(work.run, durable=durable, committed=work.committed)
        finally:
            for one, file in zip(spools, staged, strict=True):
                if file is not None and file != one:
                    await asyncio.to_thread(file.unlink, missing_ok=True)
        for one, file in zip(spools, staged, strict=True):
            if one is not None and file != one:
                await asyncio.to_thread(one.unlink, missing_ok=True)
        return entry

    async def expire(self, repository: str, paths: Collection[str]) -> None:
        """Let cached copies be asked for again at once, whatever was said of their freshness."""
        names = list(paths)
        await self.db.write(
            lambda connection: rows.expire(connection, repository, names),
            committed=lambda _: self.touched_all(repository, names),
        )

    async def update(self, entry: Entry) -> bool:
        """Write what a check told: fresh again, a back-off, or that there is no such object (a negative entry).

        False, and nothing written: a newer check told more, the stored bytes are others by now, or it is an upload.
        """

        def run(connection: Connection) -> bool:
            if entry.digest is not None:
                return rows.freshen(connection, entry)
            there = rows.before(connection, rows.key_of(entry))
            won = rows.put_negative(connection, entry, self.clock.now())
            if won and there is not None and there[0] is not None:
                rows.doom(connection, [there[0]], self.clock.now())
            return won

        return await self.db.write(run, committed=lambda _: self.touched(entry.repository, entry.path))

    async def remove(self, repository: str, path: str, variant: str | None = None) -> Counts:
        """Remove a path's entries (one variant, or all), uploads too, and the blobs that nothing else needs."""

        def find(connection: Connection) -> list[Held]:
            return rows.held_at(connection, repository, path, variant)

        counts = Counts()
        await self.discard(find, counts, durable=True)
        return counts

    async def flush(self, repositories: Sequence[str] | None = None) -> Counts:
        """Drop everything cached, never uploads, of these repositories (None: of all)."""
        counts = Counts()
        after, last = 0, await self.db.read(rows.last_id)

        def find(connection: Connection) -> list[Held]:
            return rows.cached_in(connection, repositories, (after, last), BATCH)

        while held := await self.discard(find, counts):
            after = held[-1].id
        return counts

    async def missing(self, entry: Entry) -> None:
        """Take note that an entry's file is gone or cut short: the entry is dropped, and fetched again.

        An upload's entry stays: losing it is for `millpond fsck` to tell, not for us to hide.
        """

        def find(connection: Connection) -> list[Held]:
            blob = None if entry.digest is None else self.store.stat(entry.digest)
            if entry.digest is None or (blob is not None and blob.size == entry.size):
                return []
            held = rows.held_at(connection, entry.repository, entry.path, entry.variant)
            return [one for one in held if one.digest == entry.digest and not one.local]

        await self.discard(find, Counts())
        self.touched(entry.repository, entry.path)

    async def entries(
        self, repository: str, prefix: str = "", after: tuple[str, str] = ("", ""), limit: int = 1000
    ) -> list[Entry]:
        """List a repository's entries by path and variant, from behind `after` (the last one's path and variant)."""
        return await self.db.read(lambda connection: rows.listed(connection, repository, prefix, after, limit))

    async def totals(self) -> Mapping[str, Totals]:
        """Count what each repository holds; reads every entry: not for each request."""
        found = await self.db.read(rows.by_repository)
        return {name: Totals(*numbers) for name, *numbers in found}

    async def stored(self) -> Stored:
        """Count what the store holds, by the catalog; reads every blob's row."""
        return Stored(*await self.db.read(rows.stored))

    async def touch(self, uses: Iterable[Use]) -> None:
        """Note when entries were last used, for the order of eviction."""
        uses = tuple(uses)
        await self.db.write(lambda connection: rows.touch(connection, uses))

    async def discard(
        self, find: Callable[[Connection], list[Held]], counts: Counts, *, durable: bool = False
    ) -> list[Held]:
        """Drop the entries that `find` gives, then the blobs that lost their last one; adds to `counts`.

        Two transactions: no file is unlinked before the loss of its last entry is committed. Readers that have a file
        open keep it.
        """
        doomed: set[Digest] = set()

        def run(connection: Connection) -> list[Held]:
            doomed.clear()
            held = find(connection)
            for one in held:
                if one.local:  # first the record: a lost catalog must not bring a deleted upload back
                    self.sidecars.remove(one.repository, one.path, one.variant)
            rows.drop(connection, [one.id for one in held])
            doomed.update(rows.doom(connection, {one.digest for one in held if one.digest}, self.clock.now()))
            return held

        held = await self.db.write(run, durable=durable, committed=self._touch_held)
        _count(held, counts)
        if doomed:
            gone = await self.reap(doomed)
            counts.objects += len(gone)
            counts.bytes += sum(size for _, size in gone)
        return held

    async def reap(self, digests: Iterable[Digest], doom: Doom | None = None) -> list[tuple[Digest, int]]:
        """Delete doomed blobs that still no entry needs, rows and files; gives digests and sizes.

        `doom` says which may go; None: all but those that wait to be adopted after a lost catalog.
        """
        wanted = tuple(digests)
        which = doom or Doom(before=math.inf, kept_until=self.clock.now())

        def run(connection: Connection) -> list[tuple[Digest, int]]:
            gone = rows.forget_blobs(connection, wanted, which)
            for digest, _ in gone:
                self.store.delete(digest)
            return gone

        return await self.db.write(run)

    def touched(self, repository: str, path: str) -> None:
        """Tell all processes that a path has changed; after the commit."""
        self._invalidation.touch(stamp_key(repository, path))

    def touched_all(self, repository: str, paths: Collection[str] | None) -> None:
        """Tell it of several paths; None, or more than there are stamps: of all that anybody remembers."""
        if paths is None or len(paths) > MAX_TOUCHED:
            self._invalidation.touch_all()
            return
        for path in paths:
            self.touched(repository, path)

    def _touch_held(self, held: Iterable[Held]) -> None:
        for one in held:
            self.touched(one.repository, one.path)

    def claim_if_empty(self, connection: Connection) -> None:
        """Claim an empty storage for this catalog; in a write transaction, before the first blob comes in."""
        if self._claimed:
            return
        if self.sidecars.owner() is None and next(self.store.walk(), None) is None:
            self.sidecars.claim(rows.catalog_id(connection))
        self._claimed = True

    async def owns_storage(self) -> bool:
        """Whether this catalog knows all that the storage holds; else `millpond fsck --repair` is due."""
        await self.db.write(self.claim_if_empty)
        return self.sidecars.owner() == await self.db.read(rows.catalog_id)


@dataclass(slots=True)
class _Publication:
    """One publication: what runs inside its transaction (perhaps more than once), and what after the commit."""

    catalog: Catalog
    pieces: Sequence[Beside]
    touching: Collection[str] | None
    touching_below: str | None
    local: bool
    durable: bool
    uploaded_by: str

    def run(self, connection: Connection) -> None:
        """Place the files, write the rows; in the write transaction."""
        for piece in self.pieces:
            self._put(connection, piece)
        repository = self.pieces[0].entry.repository
        if self.touching_below is not None and self.touching is not None:
            below = rows.paths_below(connection, repository, self.touching_below, MAX_TOUCHED + 1)
            self.touching = {*self.touching, *below}
        # Before the commit, too: who is killed right after it has told everybody nonetheless.
        self.catalog.touched_all(repository, self.touching)

    def _put(self, connection: Connection, piece: Beside) -> None:
        entry, digest, now = piece.entry, piece.entry.digest, self.catalog.clock.now()
        there = rows.before(connection, rows.key_of(entry))
        if there is not None and there[1] and not self.local:
            raise Conflict(f"{entry.path} was uploaded to {entry.repository}: it is not replaced by a copy")
        if digest is None:
            rows.put_negative(connection, entry, now)
        else:
            if piece.spool is None and not self.local:
                self._permitted(connection, entry.repository, digest, now)
            self.catalog.claim_if_empty(connection)
            self._place(piece.spool, digest, entry.size)
            rows.put_blob(connection, digest, entry.size, now)
            rows.put_entry(connection, entry, local=self.local, uploaded_by=self.uploaded_by, now=now)
        if there is not None and there[0] is not None and there[0] != digest:
            rows.doom(connection, [there[0]], now)
        if self.local:
            self.catalog.sidecars.prepare(record_of(entry, self.uploaded_by))

    def _permitted(self, connection: Connection, repository: str, digest: Digest, now: float) -> None:
        """Refuse a blob that is here for somebody else only; as if it were not here, so that nothing is told of it."""
        if not rows.may_adopt(connection, repository, digest, now):
            raise NotFound(f"the blob {digest} is not here to be adopted: fetch it")

    def _place(self, staged: Path | None, digest: Digest, size: int) -> None:
        """Bring a blob in; in an earlier run of this transaction it may have been already."""
        store = self.catalog.store
        if staged is not None and staged.exists():
            store.place(staged, digest, durable=self.durable)
        found = store.stat(digest)
        if found is None:
            raise NotFound(f"the blob {digest} is not in the store: fetch it again")
        if found.size != size:
            wrong = f"has {found.size} bytes instead of {size}"
            raise NotFound(f"the blob {digest} {wrong}: fetch it again")

    def committed(self, _: None) -> None:
        """Let the record take its place, and tell the other processes."""
        entry = self.pieces[0].entry
        try:
            if self.local:
                self.catalog.sidecars.settle(entry.repository, entry.path, entry.variant)
        finally:
            self.catalog.touched_all(entry.repository, self.touching)
            for piece in self.pieces:
                self.catalog.touched(entry.repository, piece.entry.path)


def _count(held: Sequence[Held], counts: Counts) -> None:
    counts.entries += sum(one.digest is not None for one in held)
    counts.records += sum(one.record for one in held)
    counts.paths.extend(one.path for one in held[: MAX_PATHS - len(counts.paths)])


def stamp_key(repository: str, path: str) -> str:
    """Give the key under which all processes are told that a path has changed."""
    return f"{repository}/{path}"
