"""Uploads' entries against their records, and the way back from the records when the catalog was lost.

`knows_all`: this catalog is the one that saw every commit here (see `sidecars`). Then a record that it does not confirm
was never committed; otherwise the record is what is left of an upload, and the newer of record and entry holds.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial

from sqlalchemy import Connection

from millpond.artifacts import inventory
from millpond.artifacts.catalog import Catalog
from millpond.artifacts.findings import LOST, UNFINISHED, UNLISTED, UNREADABLE, UNRECORDED, FsckReport
from millpond.artifacts.inventory import Upload
from millpond.artifacts.pacing import BATCH
from millpond.artifacts.sidecars import Found, Record, record_of
from millpond.errors import NotFound


@dataclass(slots=True)
class UploadCheck:
    """One run over all uploads."""

    catalog: Catalog
    report: FsckReport
    repair: bool
    knows_all: bool

    async def record(self, found: Found) -> None:
        """Compare one record file with the catalog."""
        record = found.record
        if record is None:
            await self._unreadable(found)
            return
        if found.pending:
            await self._pending(found, record)
            return
        row = await self._row(record)
        if row is None:
            await self._restore(record, UNLISTED, "it has a record, but no entry")
        elif row.entry.digest != record.digest and record.stored_at > row.entry.stored_at:
            await self._restore(record, UNLISTED, "its record is newer than its entry")

    async def entries(self) -> None:
        """Compare the catalog's uploads with their records."""
        after = 0
        while found := await self.catalog.db.read(partial(inventory.uploads, after=after, limit=BATCH)):
            for upload in found:
                if not await asyncio.to_thread(self._recorded, upload):
                    await self._write_record(upload)
            after = found[-1].id

    async def _row(self, record: Record) -> Upload | None:
        key = (record.repository, record.path, record.variant)
        return await self.catalog.db.read(lambda connection: inventory.upload(connection, key))

    async def _unreadable(self, found: Found) -> None:
        """Remove a record that can't be read and was never committed; others are written anew by `entries`."""
        if found.pending and self.repair:
            await asyncio.to_thread(found.file.unlink, missing_ok=True)
        self.report.add(UNREADABLE, str(found.file.name), "it is no record", repaired=found.pending and self.repair)

    async def _pending(self, found: Found, record: Record) -> None:
        """Finish what a crash cut off between the record and its commit, or between the commit and its end.

        Under the write lock, and read again: beside a running daemon this is what every upload looks like for a moment.
        """

        def run(connection: Connection) -> tuple[bool, bool]:
            if not found.file.exists():
                return False, False
            row = inventory.upload(connection, (record.repository, record.path, record.variant))
            committed = row is not None and row.entry.digest == record.digest
            outdated = row is not None and row.entry.stored_at >= record.stored_at
            restorable = not self.knows_all and not outdated and self.catalog.store.stat(record.digest) is not None
            if self.repair and committed:
                self.catalog.sidecars.settle(record.repository, record.path, record.variant)
            elif self.repair and not restorable:
                found.file.unlink()
            return True, restorable and not committed

        there, restorable = await self.catalog.db.write(run)
        if restorable:
            await self._restore(record, UNLISTED, "it has a record, but no entry")
        elif there:
            self.report.add(UNFINISHED, _name(record), "a crash cut its upload off", repaired=self.repair)

    async def _restore(self, record: Record, kind: str, detail: str) -> None:
        stored = self.catalog.store.stat(record.digest)
        if stored is None or stored.size != record.size:
            self.report.add(LOST, _name(record), f"the blob {record.digest} is not in the store", repaired=False)
            return
        if self.repair:
            try:
                await self.catalog.publish(
                    record.entry(), None, local=True, durable=True, uploaded_by=record.uploaded_by
                )
            except NotFound as error:
                self.report.add(LOST, _name(record), str(error), repaired=False)
                return
        self.report.add(kind, _name(record), detail, repaired=self.repair)

    def _recorded(self, upload: Upload) -> bool:
        entry = upload.entry
        record = self.catalog.sidecars.read(entry.repository, entry.path, entry.variant)
        return record is not None and record.digest == entry.digest

    async def _write_record(self, upload: Upload) -> None:
        """Write an upload's record, unless it was deleted or replaced meanwhile."""
        entry = upload.entry

        def run(connection: Connection) -> bool:
            now = inventory.upload(connection, (entry.repository, entry.path, entry.variant))
            if now is None or now.entry != entry or self._recorded(upload):
                return False
            if self.repair:
                self.catalog.sidecars.write(record_of(entry, upload.uploaded_by))
            return True

        if await self.catalog.db.write(run):
            detail = "its record is missing or names other bytes"
            self.report.add(UNRECORDED, f"{entry.repository}/{entry.path}", detail, repaired=self.repair)


def _name(record: Record) -> str:
    return f"{record.repository}/{record.path}"
