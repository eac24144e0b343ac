"""A whole storage in a folder, for tests: database, blob store, stamps, catalog, and a way to fill them."""

from __future__ import annotations

import hashlib
import itertools
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from millpond.adapters.filesystem import FilesystemStore
from millpond.adapters.stamps import MappedStamps
from millpond.artifacts.catalog import Catalog
from millpond.artifacts.model import Digest, Entry
from millpond.artifacts.sidecars import Sidecars
from millpond.artifacts.usage import Usage
from millpond.clock import Clock
from millpond.db import Database
from millpond.testing.clock import FakeClock

_numbers = itertools.count()


def digest_of(content: bytes) -> Digest:
    """Give the digest of some bytes."""
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


@dataclass(frozen=True, slots=True)
class Storage:
    """An open storage; its clock stands still until it is moved, unless another one was given."""

    folder: Path
    clock: Clock
    db: Database
    store: FilesystemStore
    stamps: MappedStamps
    sidecars: Sidecars
    catalog: Catalog
    usage: Usage

    def spool(self, content: bytes) -> Path:
        """Write a finished spool file."""
        path = self.folder / "spool" / f"{os.getpid()}-{next(_numbers)}.part"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
        return path

    def entry(self, path: str, content: bytes | None = b"", repository: str = "files", **changes: Any) -> Entry:
        """Make an entry, fresh for ten minutes; of no object where `content` is None."""
        now = self.clock.now()
        entry = Entry(
            repository=repository, path=path, variant="", status=404 if content is None else 200,
            digest=None if content is None else digest_of(content), size=len(content or b""),
            content_type="text/plain", content_encoding="", etag='"1"', last_modified="", source_url="",
            stored_at=now, validated_at=now, checked_at=now, fresh_until=now + 600.0,
        )  # fmt: skip
        return replace(entry, **changes)

    async def put(self, path: str, content: bytes, repository: str = "files", **changes: Any) -> Entry:
        """Publish a cached object."""
        return await self.catalog.publish(self.entry(path, content, repository, **changes), self.spool(content))

    async def upload(self, path: str, content: bytes, repository: str = "local", **changes: Any) -> Entry:
        """Publish an upload, made by ``somebody``."""
        plain = {"etag": "", "fresh_until": self.clock.now()}
        entry = self.entry(path, content, repository, **plain | changes)
        return await self.catalog.publish(entry, self.spool(content), local=True, durable=True, uploaded_by="somebody")

    def has(self, content: bytes) -> bool:
        """Whether these bytes are in the blob store."""
        return self.store.stat(digest_of(content)) is not None


@asynccontextmanager
async def open_storage(folder: Path, clock: Clock | None = None) -> AsyncIterator[Storage]:
    """Open a storage in `folder`, which may hold one already, and close it in the end."""
    clock = clock or FakeClock()
    db = Database.open(folder / "catalog.sqlite", clock=clock, ballast_bytes=1 << 16)
    stamps = MappedStamps(folder / "stamps")
    try:
        store, sidecars = FilesystemStore(folder / "storage"), Sidecars(folder / "storage")
        catalog = Catalog(db, store, stamps, clock, sidecars)
        yield Storage(folder, clock, db, store, stamps, sidecars, catalog, Usage(db, clock))
    finally:
        await db.close()
        stamps.close()
