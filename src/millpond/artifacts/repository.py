"""A local repository: uploads are kept here, for good.

An upload is acknowledged only when its bytes, its sidecar record and its row are on the disk (full sync). The same
bytes again are no
change; other bytes under a name that is taken are refused, unless the repository allows overwriting. Uploads of one
path take turns,
across worker processes too.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
from collections.abc import AsyncIterator
from dataclasses import dataclass, field

from millpond.artifacts.answer import LOCAL, Answer, cache_status, entry_head
from millpond.artifacts.catalog import Catalog
from millpond.artifacts.formats.base import Format
from millpond.artifacts.landing import Pond
from millpond.artifacts.model import Absent, Entry, Moved, Target
from millpond.artifacts.policy import Refused as Forbidden
from millpond.artifacts.policy import Rules, judge
from millpond.artifacts.ports import LANDED, FlightLock
from millpond.artifacts.soundness import Verifier
from millpond.artifacts.spool import Spool
from millpond.errors import BadRequest, Conflict, NotFound, OutOfSpace, TooLarge

_TURN_S = 0.01
CREATED, SAME = 201, 200


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """A local repository's settings; `max_upload_bytes` bounds one file."""

    name: str
    format: Format
    rules: Rules = field(default_factory=Rules)
    allow_overwrite: bool = False
    max_upload_bytes: int = 4 << 30


class LocalRepository:
    """One local repository of the pond."""

    def __init__(self, options: LocalOptions, pond: Pond, lock: FlightLock) -> None:
        self.options, self._pond, self._lock = options, pond, lock

    @property
    def type(self) -> str:
        """How it comes by its artifacts."""
        return "local"

    @property
    def format(self) -> Format:
        """What it holds."""
        return self.options.format

    @property
    def name(self) -> str:
        """The repository's name."""
        return self.options.name

    @property
    def _catalog(self) -> Catalog:
        return self._pond.catalog

    def resolve(self, path: str, query: str, accept: str) -> Target | Moved | Absent | Forbidden:
        """Read a path once, and let the patterns judge it; a query means nothing here."""
        del query
        found = self.options.format.resolve(path, "", accept)
        return judge(found, self.options.rules) if isinstance(found, Target) else found

    async def get(self, target: Target, mount: str) -> Answer:
        """Answer from the store."""
        del mount
        entry = await self._catalog.find(self.name, target.path, target.variant)
        if entry is None or entry.digest is None:
            return Answer(404, LOCAL, reason=f"{self.name} has no {target.path}", path=target.path)
        return Answer(
            200,
            LOCAL,
            entry_head(entry),
            body=self._catalog.blob_path(entry.digest),
            cache_status=cache_status("hit"),
            age_s=max(self._pond.clock.now() - entry.stored_at, 0.0),
            validated_at=entry.stored_at,
            fresh_until=math.inf,
            path=target.path,
        )

    async def missing(self, target: Target) -> None:
        """Take note that the stored file of a target is gone: an upload's row stays, for `millpond fsck` to tell."""

    async def put(
        self, target: Target, chunks: AsyncIterator[bytes], length: int | None, uploaded_by: str
    ) -> tuple[int, Entry]:
        """Keep an upload; gives 201 with the new entry, or 200 when these bytes were there already.

        `uploaded_by` is the token's name, for its record.

        Raises `Conflict` (other bytes are there), `TooLarge`, `BadRequest` (fewer bytes than announced), `OutOfSpace`.
        """
        if length is not None and length > self.options.max_upload_bytes:
            raise self._too_large()
        room = self._pond.room_bytes()
        if length is not None and length > room:
            raise OutOfSpace(f"no room for {length} bytes: free some disk space, or raise storage.max_size")
        spool = Spool(self._pond.flights.spool, room, length, self._pond.writer())
        try:
            digest = await self._receive(spool, chunks, length)
            async with self._turn(target.path):
                return await self._keep(target, spool, digest, uploaded_by)
        finally:
            spool.close()

    async def _receive(self, spool: Spool, chunks: AsyncIterator[bytes], length: int | None) -> str:
        verifier = Verifier()
        async for chunk in chunks:
            await spool.write(chunk, verifier)
            self._accept(spool)
        await spool.settle()
        self._accept(spool)
        if length is not None and spool.written != length:
            raise BadRequest(f"{length} bytes were announced, {spool.written} came: upload again")
        return verifier.digest()

    def _accept(self, spool: Spool) -> None:
        """Look at what has come so far. Raises `TooLarge`, `OutOfSpace`."""
        if spool.written > self.options.max_upload_bytes:
            raise self._too_large()
        if not spool.shared:
            raise OutOfSpace("the disk is full: free some space and upload again")

    async def _keep(self, target: Target, spool: Spool, digest: str, uploaded_by: str) -> tuple[int, Entry]:
        there = await self._catalog.find(self.name, target.path, target.variant)
        if there is not None and there.digest == digest:
            return SAME, there
        if there is not None and not self.options.allow_overwrite:
            raise Conflict(f"{target.path} is there already with other bytes; choose another name, or delete it first")
        now = self._pond.clock.now()
        entry = Entry(
            repository=self.name, path=target.path, variant=target.variant, status=200, digest=digest,
            size=spool.written, content_type="", content_encoding="", etag="", last_modified="",
            source_url="", stored_at=now, validated_at=now, checked_at=now, fresh_until=now,
        )  # fmt: skip
        path = spool.keep()
        if path is None:
            raise OutOfSpace("the disk is full: free some space and upload again")
        try:
            kept = await self._catalog.publish(entry, path, local=True, durable=True, uploaded_by=uploaded_by)
        finally:
            path.unlink(missing_ok=True)
        return CREATED, kept

    async def delete(self, target: Target) -> None:
        """Remove an artifact. Raises `NotFound`."""
        async with self._turn(target.path):
            removed = await self._catalog.remove(self.name, target.path, target.variant)
        if removed.entries == 0:
            raise NotFound(f"{self.name} has no {target.path}")

    @contextlib.asynccontextmanager
    async def _turn(self, path: str) -> AsyncIterator[None]:
        """Wait for one's turn at a path."""
        # The other may be another process: no event of ours would tell.
        while (seat := self._lock.lead(f"put\n{self.name}\n{path}")) is None:  # noqa: ASYNC110
            await asyncio.sleep(_TURN_S)
        try:
            yield
        finally:
            seat.leave(LANDED)

    def _too_large(self) -> TooLarge:
        limit = self.options.max_upload_bytes
        return TooLarge(f"at most {limit} bytes: raise max_upload of [repositories.{self.name}]")
