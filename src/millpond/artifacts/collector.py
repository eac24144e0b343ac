"""Eviction and garbage collection, executed: small transactions with pauses, beside running transfers.

Collection has two phases: a blob that lost its last entry is marked, and goes when it has been marked for the grace
period and still nothing needs it. Files that the catalog does not know are leftovers of a crash; they go after the
grace too, but only where this catalog is known to know everything (`Sidecars.owner`), and never one that an upload's
record names. Eviction frees bytes at once: it takes what is marked first, then what was used least lately.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from collections.abc import Awaitable, Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol, TypeAlias

from sqlalchemy import Connection

from millpond.artifacts import leftovers, rows
from millpond.artifacts.catalog import Catalog
from millpond.artifacts.eviction import Candidate, Limits, choose, excess
from millpond.artifacts.findings import FsckReport
from millpond.artifacts.fsck import Fsck, FsckOptions
from millpond.artifacts.model import Counts, Digest
from millpond.artifacts.pacing import BATCH, READ_BATCH, Tell, in_batches, pause, silent
from millpond.artifacts.ports import Descriptor
from millpond.artifacts.rows import Doom
from millpond.artifacts.uploads import UploadCheck
from millpond.artifacts.usage import Usage

PLAN = 2000
"""Blobs that are chosen at a time for eviction."""
ORPHANS = 10_000
"""Unknown files that are held in memory at a time."""
DAY_S = 86400.0

Roots: TypeAlias = Callable[[], Awaitable[Collection[Digest]]]


class Sweep(Protocol):
    """Removes what a crash left behind (spool files, copies half made); gives the number of files and their bytes."""

    def __call__(self, older_than_s: float, *, dry_run: bool = False) -> tuple[int, int]:
        """Sweep."""


@dataclass(frozen=True, slots=True)
class CollectorOptions:
    """How large the store may be (None: no limit), where eviction begins and ends, and how long things are kept."""

    max_bytes: int | None = None
    high_watermark: float = 0.95
    low_watermark: float = 0.85
    grace_s: float = 3600.0
    usage_days: float = 90.0

    @property
    def limits(self) -> Limits:
        """The part that eviction decides by."""
        return Limits(self.max_bytes, self.high_watermark, self.low_watermark)


@dataclass(slots=True)
class Report:
    """What a collection did, or (`dry_run`) would do now."""

    dry_run: bool = False
    doomed: int = 0
    """Blobs newly marked as unneeded."""
    collected: int = 0
    orphans: int = 0
    """Files that the catalog did not know."""
    unfinished: int = 0
    """Records of uploads that a crash cut off."""
    swept: int = 0
    """Spool files and copies that nobody writes any more."""
    freed_bytes: int = 0
    negatives: int = 0
    usage: int = 0
    held: str = ""
    """Why orphans were left alone, if they were."""


async def _nothing() -> Collection[Digest]:
    return ()


class Collector:
    """Keeps the store of one pond within its limits. Run by one process at a time, under a lease.

    `roots` gives the digests that are never evicted.
    """

    def __init__(
        self,
        catalog: Catalog,
        usage: Usage,
        *,
        sweeps: Sequence[Sweep] = (),
        options: CollectorOptions | None = None,
        fsck: FsckOptions | None = None,
        roots: Roots = _nothing,
    ) -> None:
        self._catalog, self._usage, self._sweeps, self._roots = catalog, usage, sweeps, roots
        self._options = options or CollectorOptions()
        self._fsck = Fsck(catalog, fsck or FsckOptions())

    async def evict(self, progress: Tell = silent, *, dry_run: bool = False) -> Counts:
        """Bring the store below the low watermark if it is above the high one; gives what went.

        `dry_run`: only count what would go.
        """
        counts = Counts()
        need = excess((await self._catalog.stored()).bytes, self._options.limits)
        if need > 0 and dry_run:
            await self._would_evict(need, counts)
        elif need > 0:
            await self._evict_unneeded(need, counts, progress)
            await self._evict_used(need, counts, progress)
        return counts

    async def _would_evict(self, need: int, counts: Counts) -> None:
        read = self._catalog.db.read
        counts.objects, counts.bytes = await read(partial(leftovers.doomed_total, doom=Doom(math.inf, math.inf)))
        left = need - counts.bytes
        entries, objects, size = await read(partial(_would_go, need=left, roots=await self._roots()))
        counts.entries += entries
        counts.objects += objects
        counts.bytes += size

    async def fsck(self, *, repair: bool = False, progress: Tell = silent) -> FsckReport:
        """Check everything that is stored, and mend it if `repair`; see `artifacts.fsck`."""
        return await self._fsck.run(repair=repair, tell=progress)

    async def _evict_unneeded(self, need: int, counts: Counts, tell: Tell) -> None:
        """Take what no entry needs, without grace; what waits to be adopted comes last."""
        for kept_until in (self._catalog.clock.now(), math.inf):
            doom = Doom(math.inf, kept_until)
            while counts.bytes < need:
                found = await self._catalog.db.read(partial(leftovers.doomed, doom=doom, limit=BATCH))
                wanted = list(_enough(found, need - counts.bytes))
                gone = await self._catalog.reap(wanted, doom)
                if not gone:
                    break
                counts.objects += len(gone)
                counts.bytes += sum(size for _, size in gone)
                tell("evict", counts.bytes, need)

    async def _evict_used(self, need: int, counts: Counts, tell: Tell) -> None:
        roots = await self._roots()
        while counts.bytes < need:
            freed = counts.bytes
            plan = await self._catalog.db.read(partial(_planned, need=need - freed, roots=roots))
            for groups in _chunks(plan):
                started = time.monotonic()
                await self._catalog.discard(partial(leftovers.still_idle, groups=groups), counts)
                tell("evict", counts.bytes, need)
                await pause(started)
            if counts.bytes == freed:
                return  # all that is left is used, uploaded, or a root

    async def gc(self, *, dry_run: bool = False, progress: Tell = silent) -> Report:
        """Remove what nothing needs, as the module says. `dry_run`: only count."""
        report = Report(dry_run)
        await self._mark(report, progress)
        await self._collect(report, progress)
        await self._orphans(report, progress)
        for sweep in self._sweeps:
            files, freed = await asyncio.to_thread(sweep, self._options.grace_s, dry_run=dry_run)
            report.swept += files
            report.freed_bytes += freed
        await self._expire(report)
        return report

    async def _mark(self, report: Report, tell: Tell) -> None:
        """Mark blobs without entries: a safety net, since whoever takes the last entry away marks the blob."""
        after = ""
        while True:
            found = await self._catalog.db.read(partial(leftovers.unneeded, after=after, limit=BATCH))
            if not found:
                return
            if not report.dry_run:
                now = self._catalog.clock.now()
                await self._catalog.db.write(partial(rows.doom, digests=found, now=now))
            report.doomed += len(found)
            after = found[-1]
            tell("mark", report.doomed, None)

    async def _collect(self, report: Report, tell: Tell) -> None:
        now = self._catalog.clock.now()
        doom = Doom(before=now - self._options.grace_s, kept_until=now)
        after = (-math.inf, "")
        while True:
            started = time.monotonic()
            found = await self._catalog.db.read(partial(leftovers.doomed, doom=doom, limit=BATCH, after=after))
            if not found:
                return
            gone = [(digest, size) for digest, size, _ in found]
            if not report.dry_run:
                gone = await self._catalog.reap([digest for digest, _ in gone], doom)
            report.collected += len(gone)
            report.freed_bytes += sum(size for _, size in gone)
            after = (found[-1][2], found[-1][0])
            tell("collect", report.collected, None)
            await pause(started)

    async def _orphans(self, report: Report, tell: Tell) -> None:
        if not await self._catalog.owns_storage():
            report.held = "this catalog does not know everything in the storage: run `millpond fsck --repair`"
            return
        limit = self._catalog.clock.now() - self._options.grace_s
        if not report.dry_run:
            await self._unfinished(report, limit)
        orphans: list[Descriptor] = []
        seen = 0
        async for batch in in_batches(self._catalog.store.walk(), READ_BATCH):
            seen += len(batch)
            unknown = await self._catalog.db.read(partial(leftovers.unknown_in_order, digests=batch))
            orphans += await asyncio.to_thread(self._older, unknown, limit)
            tell("look for orphans", seen, None)
            if len(orphans) >= ORPHANS:
                await self._remove_orphans(orphans, report)
                orphans.clear()
        await self._remove_orphans(orphans, report)

    async def _unfinished(self, report: Report, limit: float) -> None:
        """Clear away the records of uploads that a crash cut off before their commit: what they name is an orphan."""
        findings = FsckReport()
        check = UploadCheck(self._catalog, findings, repair=True, knows_all=True)
        async for batch in in_batches(self._catalog.sidecars.walk()):
            for found in batch:
                if found.pending and await asyncio.to_thread(_written_by, found.file, limit):
                    await check.record(found)
        report.unfinished = sum(findings.kinds.values())

    async def _remove_orphans(self, orphans: Sequence[Descriptor], report: Report) -> None:
        if not orphans:
            return
        named = await asyncio.to_thread(self._recorded, {blob.digest for blob in orphans})
        left = [blob for blob in orphans if blob.digest not in named]
        for start in range(0, len(left), BATCH):
            started = time.monotonic()
            batch = {blob.digest: blob.size for blob in left[start : start + BATCH]}
            gone = batch.keys() if report.dry_run else await self._unlink_unknown(list(batch))
            report.orphans += len(gone)
            report.freed_bytes += sum(batch[digest] for digest in gone)
            await pause(started)

    async def _unlink_unknown(self, digests: list[Digest]) -> Collection[Digest]:
        def run(connection: Connection) -> list[Digest]:
            unknown = leftovers.unknown(connection, digests)
            for digest in unknown:
                self._catalog.store.delete(digest)
            return unknown

        return await self._catalog.db.write(run)

    def _older(self, digests: Sequence[Digest], limit: float) -> list[Descriptor]:
        """Describe those of some files that came before then (epoch seconds)."""
        found = (self._catalog.store.stat(digest) for digest in digests)
        return [blob for blob in found if blob is not None and blob.stored_at <= limit]

    def _recorded(self, digests: Collection[Digest]) -> set[Digest]:
        """Find out which of these an upload's record names."""
        records = (found.record for found in self._catalog.sidecars.walk())
        return {record.digest for record in records if record is not None and record.digest in digests}

    async def _expire(self, report: Report) -> None:
        now = self._catalog.clock.now()
        old = now - self._options.usage_days * DAY_S
        db, usage = self._catalog.db, self._usage
        if report.dry_run:
            report.negatives = await db.read(partial(leftovers.count_expired_negatives, now=now))
            report.usage = await usage.count_before(old)
            return
        report.negatives = await _repeat(lambda: self._expire_negatives(now))
        report.usage = await _repeat(lambda: usage.expire(old, BATCH))

    async def _expire_negatives(self, now: float) -> int:
        def tell(gone: list[tuple[str, str]]) -> None:
            for repository, path in gone:
                self._catalog.touched(repository, path)

        expired = partial(leftovers.expired_negatives, now=now, limit=BATCH)
        gone: list[tuple[str, str]] = await self._catalog.db.write(expired, committed=tell)
        return len(gone)


def _written_by(file: Path, limit: float) -> bool:
    """Whether a file is there, and was written by then (epoch seconds)."""
    try:
        return file.stat().st_mtime <= limit
    except FileNotFoundError:
        return False


async def _repeat(delete: Callable[[], Awaitable[int]]) -> int:
    """Repeat a bounded deletion until it finds nothing; gives the sum."""
    total = 0
    while True:
        started = time.monotonic()
        removed = await delete()
        if removed == 0:
            return total
        total += removed
        await pause(started)


def _candidates(connection: Connection) -> Iterator[Candidate]:
    after = (-math.inf, 0)
    while found := leftovers.candidates(connection, after, BATCH):
        yield from found
        after = (found[-1].last_used, found[-1].id)


def _planned(connection: Connection, need: int, roots: Collection[Digest]) -> list[tuple[Candidate, ...]]:
    return list(itertools.islice(choose(_candidates(connection), need, roots), PLAN))


def _would_go(connection: Connection, need: int, roots: Collection[Digest]) -> tuple[int, int, int]:
    """Count the entries, blobs and bytes that would be given up."""
    groups = [(len(group), group[0].size) for group in choose(_candidates(connection), need, roots)]
    return sum(entries for entries, _ in groups), len(groups), sum(size for _, size in groups)


def _enough(found: Sequence[tuple[Digest, int, float]], need: int) -> Iterator[Digest]:
    for digest, size, _ in found:
        if need <= 0:
            return
        need -= size
        yield digest


def _chunks(plan: Sequence[tuple[Candidate, ...]]) -> Iterator[list[tuple[Candidate, ...]]]:
    """Cut a plan into pieces of about `BATCH` entries."""
    chunk: list[tuple[Candidate, ...]] = []
    size = 0
    for group in plan:
        chunk.append(group)
        size += len(group)
        if size >= BATCH:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
