"""One body on its way into the store: judged, hashed, handed on while it comes, and published when it is right.

What a repository is (`Remote`), what all of them share (`Pond`) and where an object lies (`Located`) are told to both
this and `fetch`, which asks for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import urlsplit, urlunsplit

import structlog

from millpond.artifacts import soundness
from millpond.artifacts.catalog import Catalog
from millpond.artifacts.derived import INLINE_BYTES, Derived, UnsoundDocument
from millpond.artifacts.flights import LEFT, Arriving, Flight, Flights, Landed, Outcome, Passed
from millpond.artifacts.formats.base import Format, Inspects, Typed
from millpond.artifacts.generations import Promise, disagree
from millpond.artifacts.model import Body, Checksum, Entry, Freshness, Links, Reply, Store, Target
from millpond.artifacts.policy import Rules
from millpond.artifacts.ports import Upstream, UpstreamReply
from millpond.artifacts.spool import Spool
from millpond.clock import Clock
from millpond.errors import MillpondError, UpstreamUnreachable
from millpond.metrics import Metrics
from millpond.turns import Turnstile

CHUNK_BYTES = 256 * 1024
PIECES_PER_TURN = 4
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Remote:
    """A remote repository, ready to be asked.

    `patience_s`: how long a refetch may take while a stale copy is at hand.
    """

    name: str
    format: Format
    upstream: Upstream
    freshness: Freshness
    rules: Rules
    patience_s: float = 10.0


@dataclass(frozen=True, slots=True)
class Pond:
    """What every repository of the pond shares.

    `room_bytes` says how much may still be stored; `writer` gives who hashes and writes large pieces (None: whoever
    brings them, since no processor is left for anybody else); `pieces` lets a few of them be taken in one turn of the
    event loop, however many downloads run.
    """

    catalog: Catalog
    flights: Flights
    derived: Derived
    clock: Clock
    metrics: Metrics
    room_bytes: Callable[[], int]
    writer: Callable[[], Executor | None] = lambda: None
    pieces: Turnstile = field(default_factory=lambda: Turnstile(PIECES_PER_TURN))


@dataclass(frozen=True, slots=True)
class Located:
    """Where a target's bytes lie and what they must be, as far as is known.

    `others`: where else to ask when there is nothing at `url`. `promises`: who says so (`generations`); where they
    disagree, no checksum is known, and what any of them promises is right. `unchecked`: it should be known, and isn't.
    """

    url: str
    checksums: tuple[Checksum, ...] = ()
    size: int | None = None
    others: tuple[str, ...] = ()
    promises: tuple[Promise, ...] = ()
    unchecked: bool = False

    @classmethod
    def promised(cls, url: str, promises: Sequence[Promise]) -> Located:
        """Say where something lies that these promise; none of them: it is unchecked."""
        if not promises:
            return cls(url, unchecked=True)
        sums = () if disagree(promises) else promises[0].checksums
        return cls(url, sums, promises[0].size, (), tuple(promises))

    @property
    def sizes(self) -> frozenset[int]:
        """The sizes that it may have; empty: any."""
        known = {one.size for one in self.promises} if self.promises else {self.size}
        return frozenset() if None in known else frozenset(size for size in known if size is not None)

    @property
    def alternatives(self) -> list[tuple[Checksum, ...]]:
        """What its bytes may be."""
        return [one.checksums for one in self.promises] or [self.checksums]


Publish: TypeAlias = Callable[[Target, Located, Entry, Path | None], Awaitable[Entry]]
"""Stores an entry and its spool file, and whatever goes with it."""


@dataclass(slots=True)
class Landing:
    """One body on its way into the store."""

    remote: Remote
    pond: Pond
    flight: Flight
    target: Target
    before: Entry | None
    located: Located
    mount: str
    publish: Publish | None = None
    """How it is stored; None: for itself."""

    async def receive(self, reply: UpstreamReply, store: Store) -> Outcome:
        """Stream the body to the spool and the clients; store it when it is whole and right.

        Raises `UpstreamUnreachable`.
        """
        body = self.remote.format.expects(self.target).body
        self._reject(soundness.unsound_head(body, reply.head, self._good))
        if self.located.promises:  # else the words of an error page would do as well
            self._size(reply.head.length)
        room = self.pond.room_bytes() if store.keep or self.target.rewritten else 0
        spool = Spool(self.pond.flights.spool, room, reply.head.length, self.pond.writer(), self.flight.told)
        try:
            return await self._received(reply, store, spool, body)
        except BaseException:
            if self.flight.tape is not spool:
                spool.close()
            raise

    async def _received(self, reply: UpstreamReply, store: Store, spool: Spool, body: Body) -> Outcome:
        format_ = self.remote.format
        inspector = format_.inspector(self.target) if isinstance(format_, Inspects) else None
        verifier = soundness.Verifier(*self.located.alternatives, inspector=inspector)
        begun = False
        async for chunk in _probed(reply.chunks(CHUNK_BYTES)):
            if not begun:
                self._reject(soundness.unsound_start(body, chunk[: soundness.PROBE_BYTES], self._good))
                self.flight.arrive(self._arriving(reply.head, spool, store), spool)
                begun = True
            if len(chunk) > INLINE_BYTES:
                await self.pond.pieces.enter()
            await spool.write(chunk, verifier)
            self._watch(spool, body, store)
            await asyncio.sleep(0)  # or hits would starve beside a fast upstream
        await spool.settle()
        self._watch(spool, body, store)
        if not begun:
            self._reject(soundness.unsound_start(body, b"", self._good))
            self.flight.arrive(self._arriving(reply.head, spool, store), spool)
        self._verify(spool, verifier, body)
        kind = await self._kind(reply.head, spool)
        self.pond.metrics.fetched(self.remote.name, spool.written)
        outcome = await self._store(store, spool, self._entry(reply.head, store, spool, verifier, kind))
        spool.complete(spool.written)
        return outcome

    @property
    def _good(self) -> Entry | None:
        return self.before if self.before is not None and not self.before.negative else None

    def _arriving(self, head: Reply, spool: Spool, store: Store) -> Arriving:
        promised = next((f"sha256:{c.hex}" for c in self.located.checksums if c.algorithm == "sha256"), None)
        return Arriving(
            content_type=self.target.content_type or head.headers.get("content-type", ""),
            content_encoding=_encoding(head),
            etag=head.headers.get("etag", ""),
            last_modified=head.headers.get("last-modified", ""),
            length=head.length,
            digest=promised,
            spool=spool.path.name if store.keep and spool.path is not None else "",
            age_s=max(self.pond.clock.now() - store.validated_at, 0.0),
        )

    def _watch(self, spool: Spool, body: Body, store: Store) -> None:
        """Tell the followers, and stop what can't end well."""
        if body.max_bytes is not None and spool.written > body.max_bytes:
            self._reject(f"it has more than the {body.max_bytes} bytes that such a document may have")
        if not spool.shared and self.flight.unwanted:
            spool.abort("nobody waited for it any more")  # whoever comes now begins anew
            if not store.keep:
                raise UpstreamUnreachable("it is not to be stored, and nobody waits for it any more", kind=LEFT)
            self._reject("the disk is full and nobody waits for it any more")
        self.flight.told()

    def _verify(self, spool: Spool, verifier: soundness.Verifier, body: Body) -> None:
        if spool.length is not None and spool.written != spool.length:
            raise UpstreamUnreachable(f"{spool.written} of {spool.length} bytes came", kind="truncated")
        self._size(spool.written)
        self._reject(verifier.mismatch(), kind="mismatch")
        if body.suffixes:
            self._reject(soundness.unsound_end(body, spool.end_bytes(soundness.PROBE_BYTES)))

    def _size(self, size: int | None) -> None:
        sizes = self.located.sizes
        if size is not None and sizes and size not in sizes:
            told = " or ".join(map(str, sorted(sizes)))
            self._reject(f"it has {size} bytes, the index says {told}", kind="mismatch")

    def _reject(self, why: str | None, kind: str = "unsound") -> None:
        if why is not None:
            raise UpstreamUnreachable(f"the upstream's body is not {self.target.path}: {why}", kind=kind)

    async def _kind(self, head: Reply, spool: Spool) -> str:
        """Give the type to store: the target's own, the document's own word, or the upstream's."""
        told, format_ = head.headers.get("content-type", ""), self.remote.format
        if self.target.content_type or not isinstance(format_, Typed):
            return self.target.content_type or told
        try:
            if spool.written <= INLINE_BYTES:
                return format_.media_type(self.target, told, spool.start_bytes(spool.written))
            if spool.path is None:
                return told
            return await self.pond.derived.media_type(format_.name, self.target, told, spool.path)
        except ValueError as error:
            self._reject(str(error))
        except OSError as error:
            log.warning("its type is the upstream's word", path=self.target.path, error=str(error))
        return told

    async def _store(self, store: Store, spool: Spool, entry: Entry) -> Outcome:
        """Publish; what can't be stored was delivered all the same."""
        if not store.keep:
            return Passed("the upstream said no-store")
        if not spool.shared:
            return Passed("no room on the disk")
        await self._rehearse(entry, spool)
        path = spool.keep()
        try:
            if self.publish is not None:
                return Landed(await self.publish(self.target, self.located, entry, path), "fetched")
            return Landed(await self.pond.catalog.publish(entry, path), "fetched")
        except UpstreamUnreachable:
            if path is not None:
                path.unlink(missing_ok=True)
            raise
        except (OSError, MillpondError) as error:
            log.warning("not stored", repository=self.remote.name, path=self.target.path, error=str(error))
            if path is not None:
                path.unlink(missing_ok=True)
            return Passed(f"could not be stored: {error}")

    async def _rehearse(self, entry: Entry, spool: Spool) -> None:
        """Rewrite an index once before it replaces a good copy: one that can't be read is no better copy."""
        if not self.target.rewritten or spool.path is None or entry.digest is None:
            return
        links = Links(self.mount, entry.source_url)
        try:
            await self.pond.derived.rewritten(
                self.remote.format.name, self.target, entry.content_type, entry.digest, links, blob=spool.path
            )
        except UnsoundDocument as error:
            self._reject(str(error))
        except OSError as error:
            log.warning("not rewritten ahead", path=self.target.path, error=str(error))

    def _entry(self, head: Reply, store: Store, spool: Spool, verifier: soundness.Verifier, kind: str) -> Entry:
        format_, link = self.remote.format, head.headers.get("link", "")
        return Entry(
            repository=self.remote.name,
            path=self.target.path,
            variant=self.target.variant,
            status=200,
            digest=verifier.digest(),
            size=spool.written,
            content_type=kind,
            content_encoding=_encoding(head),
            etag=head.headers.get("etag", ""),
            last_modified=head.headers.get("last-modified", ""),
            source_url=public(head.url),
            stored_at=self.pond.clock.now(),
            validated_at=store.validated_at,
            checked_at=self.pond.clock.now(),
            fresh_until=store.fresh_until,
            refresh_until=store.refresh_until,
            next_page=format_.next_page(self.target, link) if link and isinstance(format_, Typed) else "",
            identity=verifier.identity() if self.publish is not None else "",
        )


async def _probed(chunks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """Hold the first bytes back until there are enough of them to judge."""
    held = b""
    async for chunk in chunks:
        if len(held) + len(chunk) < soundness.PROBE_BYTES:
            held += chunk
            continue
        yield held + chunk if held else chunk
        held = b""
    if held:
        yield held


def _encoding(head: Reply) -> str:
    encoding = head.headers.get("content-encoding", "").strip().lower()
    return "" if encoding == "identity" else encoding


def public(url: str) -> str:
    """Give a URL without credentials, query and fragment: what may be stored, shown and resolved against."""
    parts = urlsplit(url)
    host = parts.netloc.rpartition("@")[2]
    return urlunsplit((parts.scheme, host, parts.path, "", ""))
