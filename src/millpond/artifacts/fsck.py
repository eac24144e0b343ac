"""The check of everything stored, and its repair: bytes against digests, files against rows, uploads against records.

What is cached and bad is dropped, since it can be fetched again. What was uploaded is never deleted: bad bytes are set
aside in quarantine, the entry stays, and the report says so loudly. A catalog that was lost, or restored from a backup
(`db.restore`, before it is opened), is completed from the uploads' records; cached blobs that it doesn't know are
registered and kept for a while, so that they are found by digest when next asked for.

It may run beside the daemon: before anything is changed, it is looked at again under the write lock.
"""

from __future__ import annotations

import asyncio
import math
import shutil
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection

from millpond.artifacts import inventory, leftovers, rows
from millpond.artifacts.catalog import Catalog
from millpond.artifacts.findings import DAMAGED, DATABASE, LOST, MISSING, QUARANTINED, UNKNOWN, FsckReport
from millpond.artifacts.inventory import BlobRow
from millpond.artifacts.model import Digest
from millpond.artifacts.pacing import BATCH, Tell, in_batches, silent
from millpond.artifacts.rows import Doom, Held
from millpond.artifacts.uploads import UploadCheck
from millpond.artifacts.verify import Bad, Gone, Sound, Verifier, still

EVERYTHING = Doom(math.inf, math.inf)


@dataclass(frozen=True, slots=True)
class FsckOptions:
    """How fast is read, and how long cached blobs that were found again wait to be adopted."""

    bytes_per_s: float | None = 200e6
    keep_s: float = 30 * 86400.0


class Fsck:
    """Checks the store of one pond."""

    def __init__(self, catalog: Catalog, options: FsckOptions) -> None:
        self._catalog, self._options = catalog, options
        self._quarantine = catalog.sidecars.root / "quarantine"
        self._verifier = Verifier(options.bytes_per_s)

    async def run(self, *, repair: bool = False, tell: Tell = silent) -> FsckReport:
        """Check everything, and mend it if `repair`. Raises `OSError`, `Damaged`, `OutOfSpace`."""
        report = FsckReport()
        damage = await self._catalog.db.check()
        if damage is not None:
            report.add(DATABASE, str(self._catalog.db.path), damage, repaired=False)
            return report
        uploads = UploadCheck(self._catalog, report, repair, await self._catalog.owns_storage())
        await self._records(uploads, tell)
        await self._blobs(report, tell, repair=repair)
        await self._files(report, tell, repair=repair)
        await uploads.entries()
        if repair:
            self._catalog.sidecars.claim(await self._catalog.db.read(rows.catalog_id))
        return report

    async def _records(self, check: UploadCheck, tell: Tell) -> None:
        done = 0
        async for batch in in_batches(self._catalog.sidecars.walk()):
            for found in batch:
                await check.record(found)
            done += len(batch)
            tell("records", done, None)

    async def _blobs(self, report: FsckReport, tell: Tell, *, repair: bool) -> None:
        total = (await self._catalog.stored()).bytes
        after = ""
        while True:
            found = await self._blob_rows(after)
            if not found:
                return
            for blob in found:
                await self._blob(blob, report, repair=repair)
                report.blobs += 1
                report.bytes += blob.size
                tell("blobs", report.bytes, total)
            after = found[-1].digest

    async def _blob_rows(self, after: Digest) -> list[BlobRow]:
        return await self._catalog.db.read(lambda connection: inventory.blobs(connection, after, BATCH))

    async def _blob(self, blob: BlobRow, report: FsckReport, *, repair: bool) -> None:
        path = self._catalog.store.path(blob.digest)
        verdict = await asyncio.to_thread(self._verifier.examine, path, blob.digest, blob.size)
        if isinstance(verdict, Sound):
            return
        if not await self._stands(blob.digest, verdict):
            return  # collected, or replaced, while it was read
        detail = verdict.why if isinstance(verdict, Bad) else "its file is gone"
        if blob.uploads:
            await self._bad_upload(blob, verdict, detail, report, repair=repair)
            return
        if repair:
            await self._drop(blob.digest, verdict)
        report.add(MISSING if isinstance(verdict, Gone) else DAMAGED, blob.digest, detail, repaired=repair)

    async def _stands(self, digest: Digest, verdict: Gone | Bad) -> bool:
        """Whether the catalog still has the blob and its file is still as it was judged; under the write lock."""
        path = self._catalog.store.path(digest)

        def run(connection: Connection) -> bool:
            return not leftovers.unknown(connection, [digest]) and still(path, verdict)

        return await self._catalog.db.write(run)

    async def _bad_upload(
        self, blob: BlobRow, verdict: Gone | Bad, detail: str, report: FsckReport, *, repair: bool
    ) -> None:
        names = await self._catalog.db.read(lambda connection: inventory.uploads_of(connection, blob.digest, BATCH))
        what = ", ".join(f"{repository}/{path}" for repository, path in names)
        if isinstance(verdict, Gone):
            report.add(LOST, what, f"{blob.digest}: {detail}; upload it again", repaired=False)
            return
        if repair:
            aside = await self._set_aside(blob.digest, verdict)
            detail = f"{detail}; set aside as {aside}: upload it again"
        report.add(QUARANTINED, what, f"{blob.digest}: {detail}", repaired=False)

    async def _drop(self, digest: Digest, verdict: Gone | Bad) -> None:
        """Drop a bad blob and the cached entries that need it, unless it was replaced by a good one meanwhile."""
        path = self._catalog.store.path(digest)

        def run(connection: Connection) -> list[Held]:
            if not still(path, verdict):
                return []
            held = inventory.copies(connection, digest)
            rows.drop(connection, [one.id for one in held])
            rows.doom(connection, [digest], self._catalog.clock.now())
            return held

        for one in await self._catalog.db.write(run):
            self._catalog.touched(one.repository, one.path)
        await self._catalog.reap([digest], EVERYTHING)

    async def _set_aside(self, digest: Digest, verdict: Bad) -> Path:
        """Move a bad file to the quarantine, under the write lock so that no good one is moved in its place."""
        path = self._catalog.store.path(digest)
        aside = self._quarantine / path.name

        def run(_: Connection) -> None:
            if still(path, verdict):
                aside.parent.mkdir(parents=True, exist_ok=True)
                shutil.move(path, aside)

        await self._catalog.db.write(run)
        return aside

    async def _files(self, report: FsckReport, tell: Tell, *, repair: bool) -> None:
        seen = 0
        async for batch in in_batches(self._catalog.store.walk()):
            for digest in await self._unknown(batch):
                await self._unknown_file(digest, report, repair=repair)
            seen += len(batch)
            tell("files", seen, None)

    async def _unknown(self, batch: list[Digest]) -> list[Digest]:
        """Find files without rows; under the write lock, since one that is being published has its file first."""
        maybe = await self._catalog.db.read(lambda connection: leftovers.unknown(connection, batch))
        if maybe:
            maybe = await self._catalog.db.write(lambda connection: leftovers.unknown(connection, maybe))
        return maybe

    async def _unknown_file(self, digest: Digest, report: FsckReport, *, repair: bool) -> None:
        path = self._catalog.store.path(digest)
        verdict = await asyncio.to_thread(self._verifier.examine, path, digest, None)
        if isinstance(verdict, Gone):
            return
        if isinstance(verdict, Bad):
            detail = verdict.why
            if repair:
                detail = f"{detail}; set aside as {await self._set_aside(digest, verdict)}"
        else:
            detail = "the catalog does not know it"
            if repair:
                await self._register(digest)
        report.add(UNKNOWN, digest, detail, repaired=repair)

    async def _register(self, digest: Digest) -> None:
        def run(connection: Connection) -> None:
            now = self._catalog.clock.now()
            blob = self._catalog.store.stat(digest)
            if blob is not None:
                inventory.register(connection, digest, blob.size, now, now + self._options.keep_s)

        await self._catalog.db.write(run)
