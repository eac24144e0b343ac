"""A remote repository: the executor of the request walk. Decide, join the flight, serve.

Nothing is decided here: `policy` says whether a path is served, `freshness` what a request needs, and the flight's
leader (`fetch`) what an upstream's answer means. This file turns those decisions into answers.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from millpond.artifacts import freshness
from millpond.artifacts.answer import (
    HIT,
    MISS,
    REVALIDATED,
    STALE,
    Answer,
    Head,
    arriving_head,
    cache_status,
    entry_head,
)
from millpond.artifacts.coherence import Coherence
from millpond.artifacts.derived import UnsoundDocument
from millpond.artifacts.errands import Errands
from millpond.artifacts.fetch import Fetcher, Seen
from millpond.artifacts.flights import Elsewhere, Flight, Kept, Landed, Outcome, Passed, Refused
from millpond.artifacts.formats.base import Format, Rewrites, Varies
from millpond.artifacts.generations import Leaf, Part
from millpond.artifacts.landing import Located, Pond, Remote
from millpond.artifacts.locating import Locator
from millpond.artifacts.model import Absent, Decision, Entry, Links, Moved, Serve, Target
from millpond.artifacts.policy import Refused as Forbidden
from millpond.artifacts.policy import judge
from millpond.artifacts.spool import Spool

OK = 200
VERDICT_S: Mapping[type, float] = {Part: 10.0, Leaf: 0.5}
"""How long the first bytes of a member, or of a package, wait for the verdict on the last: whoever waits is told in
words that the upstream is changing; later, only by a transfer that breaks off."""
HEAD_PATIENCE = 3
"""How many times longer than for anything else an entry file's refetch is waited for while a stale copy is at hand."""
COLLAPSED_S = 2.0
"""What another worker was told so shortly ago is the answer to all who waited for it, even if it is stale at once."""


class Proxy:
    """One remote repository of the pond."""

    def __init__(self, remote: Remote, pond: Pond) -> None:
        self.remote, self._pond = remote, pond
        self.errands = Errands(remote, pond)
        self._locator = Locator(remote, pond, self)
        self.coherence = Coherence(remote, pond, self)
        self._fetcher = Fetcher(remote, pond, self._locate, self.coherence)

    @property
    def type(self) -> str:
        """How it comes by its artifacts."""
        return "remote"

    @property
    def format(self) -> Format:
        """What it holds."""
        return self.remote.format

    @property
    def name(self) -> str:
        """The repository's name."""
        return self.remote.name

    def resolve(self, path: str, query: str, accept: str) -> Target | Moved | Absent | Forbidden:
        """Read a path once, and let the patterns judge it."""
        found = self.remote.format.resolve(path, query, accept)
        return judge(found, self.remote.rules) if isinstance(found, Target) else found

    async def decision(self, target: Target) -> Decision:
        """Say what a request for `target` would need now; changes nothing."""
        entry = await self._pond.catalog.find(self.name, target.path, target.variant)
        return await self.coherence.decide(entry, target)

    async def _locate(self, target: Target) -> Located | Refused:
        return await self.coherence.locate(target) or await self._locator.locate(target)

    async def get(self, target: Target, mount: str) -> Answer:
        """Answer for `target`; `mount` is the repository's absolute URL as the client sees it."""
        stamp = self._pond.catalog.stamp(self.name, target.path)
        decision = await self.decision(target)
        if isinstance(decision, Serve):
            if decision.refresh:
                self._refresh_behind(target, mount)
            outcome = STALE if decision.stale else HIT
            shown = replace(target, mutable=False) if decision.promised else target
            answer = await self._stored(decision.entry, shown, mount, outcome)
            if answer is not None:
                return answer
            await self._pond.catalog.missing(decision.entry)
            return await self._fetched(target, None, mount)
        signed = self.coherence.signs(target)
        if signed is not None:
            return await self._paired(signed, target, mount)
        known = await self.coherence.stands_for(target)
        if known is not None:
            answer = await self.get(known[0], mount)
            if answer.status != OK or answer.given == known[1].digest:
                return answer
            answer.close()  # between the two look-ups another generation came to hand
        return await self._fetched(target, Seen(decision.entry, stamp), mount)

    async def _paired(self, signed: Target, target: Target, mount: str) -> Answer:
        """Answer for a detached signature by having what it signs looked at: the two are fetched together."""
        flight, _ = self.join(signed, mount, force=True)
        try:
            await flight.ended()
        finally:
            flight.release()
        decision = await self.decision(target)
        if isinstance(decision, Serve):
            told = (MISS, "fwd=uri-miss", "stored")
            answer = await self._stored(decision.entry, replace(target, mutable=False), mount, *told)
            if answer is not None:
                return answer
        gone = Refused(502, f"{signed.path}, which it signs, could not be had: ask again")
        return self._refusal(target, flight.outcome if isinstance(flight.outcome, Refused) else gone)

    async def missing(self, target: Target) -> None:
        """Take note that the stored file of a target is gone, so that it is fetched again."""
        entry = await self._pond.catalog.find(self.name, target.path, target.variant)
        if entry is not None:
            await self._pond.catalog.missing(entry)

    async def _fetched(self, target: Target, seen: Seen | None, mount: str) -> Answer:
        """Join the flight and answer from it; once more when the result was gone before we could read it."""
        good = None if seen is None else seen.entry
        for attempt in itertools.count():
            flight, joined = self.join(target, mount, seen=seen)
            answer = None
            try:
                await self._wait(flight, target, good)
                answer = await self._from_flight(flight, target, good, mount, "collapsed" if joined else "")
            finally:
                if answer is None or answer.body is not flight:
                    flight.release()
            if answer is not None:
                return answer
            await self.missing(target)
            if attempt and good is not None:
                answer = await self._kept(good, target, mount, "the new copy went away while it was being served")
            if attempt:
                gone = Refused(502, "it went away while it was being served: ask again")
                return answer or self._refusal(target, gone)
        raise AssertionError  # pragma: no cover - the loop returns

    def join(self, target: Target, mount: str, *, seen: Seen | None = None, force: bool = False) -> tuple[Flight, bool]:
        """Join or start the flight of a target, of a part: of its document. `force`: ask even if the copy is fresh."""
        target = target.whole
        key = f"{self.name}\n{target.path}\n{target.variant}"
        flight, joined = self._pond.flights.join(
            key, partial(self._fetcher.lead, target, mount, seen=seen, force=force)
        )
        if joined:
            self._pond.metrics.joined(self.name)
        return flight, joined

    def _refresh_behind(self, target: Target, mount: str) -> None:
        flight, _ = self.join(target, mount)
        flight.release()

    async def _wait(self, flight: Flight, target: Target, good: Entry | None) -> None:
        """Wait for as much of the flight as the answer needs: an index, or what replaces a good copy, must be whole."""
        if good is not None:
            # Given the entry file at hand, a client would meet the members of the one that comes a little later.
            patience = HEAD_PATIENCE if self.coherence.leads(target) else 1
            try:
                async with asyncio.timeout(self.remote.patience_s * patience):
                    await self._whole(flight)
            except TimeoutError:
                return
        else:
            await flight.ready()
            unshared = isinstance(flight.tape, Spool) and not flight.tape.shared
            if (target.rewritten or target.complete) and not unshared:
                await flight.ended()
            verdict_s = VERDICT_S.get(type(self.coherence.role(target)))
            if verdict_s is not None and not unshared:
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(verdict_s):
                        await flight.ended()

    @staticmethod
    async def _whole(flight: Flight) -> None:
        """Wait for the end; but what is too large to be held without a disk must be read while it passes."""
        await flight.ready()
        if isinstance(flight.tape, Spool):
            await flight.tape.whole()
            if flight.tape.overflowing:
                return
        await flight.ended()

    async def _from_flight(
        self, flight: Flight, target: Target, good: Entry | None, mount: str, collapsed: str
    ) -> Answer | None:
        match self._outcome(flight, target, good):
            case None if good is not None and not (isinstance(flight.tape, Spool) and flight.tape.overflowing):
                return await self._kept(good, target, mount, "the upstream is slow")
            case None | Passed():
                return self._streaming(flight, target, mount, collapsed)
            case Landed(entry, "fetched"):
                was = "fwd=stale" if good else "fwd=uri-miss"
                return await self._stored(entry, target, mount, MISS, was, "fwd-status=200", "stored", collapsed)
            case Landed(entry, "revalidated" | "unchanged" as how):
                told = "fwd-status=304" if how == "revalidated" else "fwd-status=200"  # the status of a HEAD
                return await self._stored(entry, target, mount, REVALIDATED, "fwd=stale", told, collapsed)
            case Landed(entry):
                return await self._stored(entry, target, mount, HIT)
            case Kept(entry):
                return await self._stored(entry, target, mount, STALE, "fwd=stale", collapsed, detail=entry.failure)
            case Elsewhere():
                return await self._elsewhere(flight, target, good, mount)
            case Refused(status) if good is not None and status not in freshness.GONE:
                return await self._kept(good, target, mount, "the refetch failed here: see the pond's log")
            case Refused() as refused:
                return await self._stand_in(target, mount, refused) or self._refusal(target, refused)

    def _outcome(self, flight: Flight, target: Target, good: Entry | None) -> Outcome | None:
        """Say how a flight ended; an entry file that can't be kept is not given beside what is."""
        if isinstance(flight.outcome, Passed) and good is not None and self.coherence.leads(target):
            return Kept(replace(good, failure="there is no room to keep the new one"))
        return flight.outcome

    async def _stand_in(self, target: Target, mount: str, refused: Refused) -> Answer | None:
        """Answer with another representation that is stored, when this one can't be had; None: there is none."""
        if refused.status in freshness.GONE or not isinstance(self.remote.format, Varies):
            return None
        for other in self.remote.format.stand_ins(target):
            entry = await self._pond.catalog.find(self.name, other.path, other.variant)
            if entry is not None and not entry.negative and self.remote.format.serves(target, entry.content_type):
                return await self._stored(entry, other, mount, STALE, "fwd=uri-miss", detail=refused.reason)
        return None

    async def _kept(self, good: Entry, target: Target, mount: str, why: str) -> Answer | None:
        """Answer from the good copy that was at hand before the flight."""
        return await self._stored(good, target, mount, STALE, "fwd=stale", detail=why)

    async def _elsewhere(self, flight: Flight, target: Target, good: Entry | None, mount: str) -> Answer | None:
        """Another worker's flight ended: the catalog tells how."""
        brought = await self.brought(target, good)
        if brought is not None:
            same = good is not None and good.digest == brought.entry.digest
            outcome = STALE if brought.stale else REVALIDATED if same else MISS
            was = "fwd=stale" if good else "fwd=uri-miss"
            return await self._stored(brought.entry, target, mount, outcome, was, "collapsed")
        if flight.tape is not None and flight.tape.done and not target.rewritten:
            return self._streaming(flight, target, mount, "collapsed")
        return None

    async def brought(self, target: Target, good: Entry | None) -> Serve | None:
        """Give what another worker's flight brought; it need not be fresh any more (`no-cache`, a TTL of 0)."""
        decision = await self.decision(target)
        if isinstance(decision, Serve) or decision.entry is None:
            return decision if isinstance(decision, Serve) else None
        checked_at = decision.entry.checked_at
        newer = good is not None and checked_at > good.checked_at
        return Serve(decision.entry) if newer or self._pond.clock.now() - checked_at < COLLAPSED_S else None

    async def _stored(
        self, entry: Entry, target: Target, mount: str, outcome: str, *parts: str, detail: str = ""
    ) -> Answer | None:
        """Answer from the store; None: the blob is gone (evicted, or a disk was tampered with)."""
        now = self._pond.clock.now()
        if entry.negative:
            status = cache_status("hit", _ttl(entry, now), detail="negative")
            return Answer(entry.status, outcome, cache_status=status, reason="the upstream has no such object")
        answer = Answer(200, outcome, entry_head(entry), path=target.path, unchecked=entry.unchecked)
        answer.vary = "accept" if target.variant else ""
        answer.age_s = max(now - entry.validated_at, 0.0)
        if outcome == HIT and not entry.unchecked:
            answer.validated_at = entry.validated_at
            answer.fresh_until = entry.fresh_until if target.mutable else math.inf
        ttl = _ttl(entry, now) if target.mutable else ""
        told = detail or self._detail(entry, outcome)
        late_s = await self.coherence.expired(target, entry) if outcome == STALE else None
        if late_s is not None:
            self._pond.metrics.expired(self.name)
            told = f"{told}; its Valid-Until passed {late_s:.0f} s ago".removeprefix("; ")
        answer.cache_status = cache_status(*(parts or ("hit",)), ttl, detail=told)
        if target.rewritten and entry.digest is not None:
            return await self._rewritten(answer, entry, target, mount)
        assert entry.digest is not None  # noqa: S101 - narrowed by `negative` above
        answer.body = self._pond.catalog.blob_path(entry.digest)
        return answer

    @staticmethod
    def _detail(entry: Entry, outcome: str) -> str:
        return entry.failure if outcome == STALE else ("unchecked" if entry.unchecked else "")

    async def _rewritten(self, answer: Answer, entry: Entry, target: Target, mount: str) -> Answer | None:
        links = Links(mount, entry.source_url)
        assert entry.digest is not None  # noqa: S101 - a rewritten entry is a positive one
        try:
            document = await self._pond.derived.rewritten(
                self.remote.format.name, target, entry.content_type, entry.digest, links
            )
        except FileNotFoundError:
            return None
        except (UnsoundDocument, OSError) as error:
            return self._refusal(target, Refused(502, f"its stored index can't be rewritten: {error}", "unsound"))
        if target.part and not document.size:
            return self._refusal(target, Refused(404, f"{target.path} has no {target.part}", "no-part"))
        answer.body = document.path
        answer.head = replace(answer.head, tags=(document.etag,), size=document.size)
        return answer

    def _streaming(self, flight: Flight, target: Target, mount: str, collapsed: str) -> Answer | None:
        """Answer with the bytes as they arrive."""
        arriving = flight.arriving
        if arriving is None or flight.tape is None or not flight.tape.joinable:
            return None
        kept = arriving.spool and (flight.tape.shared if isinstance(flight.tape, Spool) else True)
        status = cache_status("fwd=uri-miss", "fwd-status=200", "stored" if kept else "", collapsed)
        answer = Answer(200, MISS, arriving_head(arriving), body=flight, cache_status=status, path=target.path)
        answer.age_s = arriving.age_s
        if target.rewritten and isinstance(self.remote.format, Rewrites):
            links = Links(mount, self._locator.index_url(target))
            answer.rewriter = self.remote.format.rewriter(target, arriving.content_type, links)
            answer.head = Head(arriving.content_type)
        answer.vary = "accept" if target.variant else ""
        return answer

    def _refusal(self, target: Target, refused: Refused) -> Answer:
        status = cache_status("fwd=uri-miss", detail=refused.kind or refused.reason)
        return Answer(
            refused.status,
            MISS,
            cache_status=status,
            reason=refused.reason,
            retry_after_s=refused.retry_after_s,
            path=target.path,
        )


def _ttl(entry: Entry, now: float) -> str:
    """Write the freshness that is left (RFC 9211 section 2.4): below zero for whatever is stale, if only just."""
    return f"ttl={math.floor(entry.fresh_until - now)}"
