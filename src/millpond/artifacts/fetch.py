"""The leader's part of a flight: locate, ask upstream, settle, receive, store.

The decisions are in `freshness` and `soundness`.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

import structlog

from millpond.artifacts import freshness, refound, soundness
from millpond.artifacts.catalog import Catalog
from millpond.artifacts.derived import Derived, UnsoundDocument
from millpond.artifacts.flights import Arriving, Flight, Flights, Kept, Landed, Outcome, Passed, Refused
from millpond.artifacts.formats.base import Format
from millpond.artifacts.model import (
    Body,
    Checksum,
    Entry,
    Fetch,
    Freshen,
    Freshness,
    Links,
    Relay,
    Reply,
    Revalidate,
    Serve,
    ServeStale,
    Settlement,
    Store,
    Target,
    Unreachable,
)
from millpond.artifacts.policy import Rules
from millpond.artifacts.ports import Upstream, UpstreamReply
from millpond.artifacts.spool import Spool
from millpond.clock import Clock
from millpond.errors import MillpondError, UpstreamUnreachable
from millpond.metrics import Metrics

CHUNK_BYTES = 256 * 1024
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
    brings them, since no processor is left for anybody else).
    """

    catalog: Catalog
    flights: Flights
    derived: Derived
    clock: Clock
    metrics: Metrics
    room_bytes: Callable[[], int]
    writer: Callable[[], Executor | None] = lambda: None


@dataclass(frozen=True, slots=True)
class Located:
    """Where a target's bytes lie and what they must be, as far as is known."""

    url: str
    checksums: tuple[Checksum, ...] = ()
    size: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What the catalog had of a target, and the path's stamp before it was looked up."""

    entry: Entry | None
    stamp: int


Locate = Callable[[Target], Awaitable[Located | Refused]]


class Fetcher:
    """Leads flights for one remote repository."""

    def __init__(self, remote: Remote, pond: Pond, locate: Locate) -> None:
        self._remote, self._pond, self._locate = remote, pond, locate
        self._failing = False

    async def lead(
        self, target: Target, mount: str, flight: Flight, *, seen: Seen | None = None, force: bool = False
    ) -> Outcome:
        """Bring the catalog up to date for `target`.

        `mount`: for rewriting; `seen`: what whoever asked found, so that it isn't looked up again unless it has
        changed; `force`: ask even if the copy is fresh.
        """
        now = self._pond.clock.now()
        entry = await self._entry(target, seen)
        decision = freshness.decide(entry, target, self._remote.freshness, now)
        if isinstance(decision, Serve):
            if not (force or decision.refresh):
                return Landed(decision.entry, "hit")  # another flight brought it between the look-up and here
            decision = freshness.after_expiry(decision.entry, self._remote.freshness)
        try:
            return await self._ask(target, mount, flight, decision)
        except UpstreamUnreachable as error:
            self._pond.metrics.upstream_failed(self._remote.name, error.kind)
            self._failed(target, str(error))
            fault = Unreachable(str(error), error.kind, error.retry_after_s)
            return await self._conclude(self._settle(decision, fault, target), target, error.kind)

    async def _entry(self, target: Target, seen: Seen | None) -> Entry | None:
        if seen is not None and seen.stamp == self._pond.catalog.stamp(self._remote.name, target.path):
            return seen.entry
        return await self._pond.catalog.find(self._remote.name, target.path, target.variant)

    def _failed(self, target: Target, error: str) -> None:
        """Log the first failure of an outage; the others are counted."""
        if not self._failing:
            self._failing = True
            told = {"repository": self._remote.name, "path": target.path, "error": error}
            log.warning("the upstream fails; what is stored goes on being served", **told)

    def _heard(self, settlement: Settlement, target: Target) -> None:
        """Log that an answer is a failure, or the end of an outage."""
        if isinstance(settlement, ServeStale):
            self._failed(target, settlement.entry.failure)
        elif isinstance(settlement, Relay) and settlement.status not in freshness.GONE:
            self._failed(target, settlement.reason)
        elif self._failing:
            self._failing = False
            log.info("the upstream answers again", repository=self._remote.name)

    async def _ask(self, target: Target, mount: str, flight: Flight, decision: Revalidate | Fetch) -> Outcome:
        located = await self._locate(target)
        if isinstance(located, Refused):
            return await self._unlocated(located, decision, target)
        kept = await self._taken_back(target, decision, located)
        if kept is not None:
            return Landed(kept, "hit")
        headers = {"Accept": target.accept}
        if isinstance(decision, Revalidate):
            headers |= freshness.validators(decision.entry)
            self._pond.metrics.revalidating(self._remote.name)
        async with self._remote.upstream.request("GET", located.url, headers) as reply:
            settlement = self._settle(decision, reply.head, target)
            self._heard(settlement, target)
            if not isinstance(settlement, Store):
                return await self._conclude(settlement, target, f"status-{reply.head.status}")
            landing = _Landing(self._remote, self._pond, flight, target, decision.entry, located, mount)
            return await landing.receive(reply, settlement)

    async def _taken_back(self, target: Target, decision: Revalidate | Fetch, located: Located) -> Entry | None:
        """Find a file again that was cached before the catalog was lost, by the digest that its index promises."""
        promised = next((c.hex for c in located.checksums if c.algorithm == "sha256"), None)
        if promised is None or target.mutable or decision.entry is not None:
            return None
        url = public(located.url)
        return await refound.take_back(self._pond.catalog, self._remote.name, target, f"sha256:{promised}", url)

    def _settle(self, decision: Revalidate | Fetch, answer: Reply | Unreachable, target: Target) -> Settlement:
        return freshness.settle(decision.entry, answer, target, self._remote.freshness, self._pond.clock.now())

    async def _unlocated(self, refused: Refused, decision: Revalidate | Fetch, target: Target) -> Outcome:
        if refused.status != 502:  # noqa: PLR2004 - Bad Gateway
            return refused
        fault = Unreachable(refused.reason, refused.kind, refused.retry_after_s)
        return await self._conclude(self._settle(decision, fault, target), target, refused.kind)

    async def _conclude(self, settlement: Settlement, target: Target, kind: str) -> Outcome:
        """Record everything that brings no new body."""
        match settlement:
            case Freshen(entry):
                await self._record(entry)
                return Landed(entry, "revalidated")
            case ServeStale(entry):
                await self._record(entry)
                return Kept(entry)
            case Relay(status, reason, _, retry_after_s):
                if status in freshness.GONE:
                    now = self._pond.clock.now()
                    gone = freshness.negative(target, self._remote.name, status, self._remote.freshness, now)
                    await self._record(gone)
                return Refused(status, reason, kind, retry_after_s)
        raise AssertionError(settlement)  # pragma: no cover - Store is received, not concluded

    async def _record(self, entry: Entry) -> None:
        """Write what a check told; what can't be written (a full disk) is true all the same."""
        try:
            await self._pond.catalog.update(entry)
        except (OSError, MillpondError) as error:
            log.warning("not recorded", repository=entry.repository, path=entry.path, error=str(error))


@dataclass(slots=True)
class _Landing:
    """One body on its way into the store."""

    remote: Remote
    pond: Pond
    flight: Flight
    target: Target
    before: Entry | None
    located: Located
    mount: str

    async def receive(self, reply: UpstreamReply, store: Store) -> Outcome:
        """Stream the body to the spool and the clients; store it when it is whole and right.

        Raises `UpstreamUnreachable`.
        """
        body = self.remote.format.expects(self.target).body
        self._reject(soundness.unsound_head(body, reply.head, self._good))
        room = self.pond.room_bytes() if store.keep or self.target.rewritten else 0
        spool = Spool(self.pond.flights.spool, room, reply.head.length, self.pond.writer())
        try:
            return await self._received(reply, store, spool, body)
        except BaseException:
            if self.flight.tape is not spool:
                spool.close()
            raise

    async def _received(self, reply: UpstreamReply, store: Store, spool: Spool, body: Body) -> Outcome:
        verifier = soundness.Verifier(self.located.checksums)
        async for chunk in _probed(reply.chunks(CHUNK_BYTES)):
            if spool.written == 0:
                self._reject(soundness.unsound_start(body, chunk[: soundness.PROBE_BYTES], self._good))
                self.flight.arrive(self._arriving(reply.head, spool, store), spool)
            await spool.write(chunk, verifier)
            self._watch(spool, body)
            await asyncio.sleep(0)  # or hits would starve beside a fast upstream
        if spool.written == 0:
            self._reject(soundness.unsound_start(body, b"", self._good))
            self.flight.arrive(self._arriving(reply.head, spool, store), spool)
        self._verify(spool, verifier, body)
        self.pond.metrics.fetched(self.remote.name, spool.written)
        outcome = await self._store(reply.head, store, spool, verifier.digest())
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

    def _watch(self, spool: Spool, body: Body) -> None:
        """Tell the followers, and stop what can't end well."""
        if body.max_bytes is not None and spool.written > body.max_bytes:
            self._reject(f"it has more than the {body.max_bytes} bytes that such a document may have")
        if not spool.shared and self.flight.unwanted:
            self._reject("the disk is full and nobody waits for it any more")
        self.flight.told()

    def _verify(self, spool: Spool, verifier: soundness.Verifier, body: Body) -> None:
        if spool.length is not None and spool.written != spool.length:
            raise UpstreamUnreachable(f"{spool.written} of {spool.length} bytes came", kind="truncated")
        if self.located.size is not None and spool.written != self.located.size:
            self._reject(f"it has {spool.written} bytes, the index says {self.located.size}", kind="mismatch")
        self._reject(verifier.mismatch(), kind="mismatch")
        if body.suffixes:
            self._reject(soundness.unsound_end(body, spool.end_bytes(soundness.PROBE_BYTES)))

    def _reject(self, why: str | None, kind: str = "unsound") -> None:
        if why is not None:
            raise UpstreamUnreachable(f"the upstream's body is not {self.target.path}: {why}", kind=kind)

    async def _store(self, head: Reply, store: Store, spool: Spool, digest: str) -> Outcome:
        """Publish; what can't be stored was delivered all the same."""
        if not store.keep:
            return Passed("the upstream said no-store")
        if not spool.shared:
            return Passed("no room on the disk")
        entry = self._entry(head, store, spool.written, digest)
        await self._rehearse(entry, spool)
        path = spool.keep()
        try:
            return Landed(await self.pond.catalog.publish(entry, path), "fetched")
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

    def _entry(self, head: Reply, store: Store, size: int, digest: str) -> Entry:
        return Entry(
            repository=self.remote.name,
            path=self.target.path,
            variant=self.target.variant,
            status=200,
            digest=digest,
            size=size,
            content_type=self.target.content_type or head.headers.get("content-type", ""),
            content_encoding=_encoding(head),
            etag=head.headers.get("etag", ""),
            last_modified=head.headers.get("last-modified", ""),
            source_url=public(head.url),
            stored_at=self.pond.clock.now(),
            validated_at=store.validated_at,
            checked_at=self.pond.clock.now(),
            fresh_until=store.fresh_until,
            refresh_until=store.refresh_until,
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
