"""The leader's part of a flight: locate, ask upstream, settle; `landing` receives and stores.

The decisions are in `freshness` and `soundness`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, replace
from typing import TypeAlias

import structlog

from millpond.artifacts import freshness, refound
from millpond.artifacts.coherence import Coherence
from millpond.artifacts.flights import LEFT, Flight, Kept, Landed, Outcome, Refused
from millpond.artifacts.landing import Landing, Located, Pond, Remote, public
from millpond.artifacts.model import (
    Entry,
    Fetch,
    Freshen,
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
from millpond.artifacts.pairs import CHANGING
from millpond.artifacts.ports import UpstreamReply
from millpond.artifacts.probing import Prober
from millpond.errors import MillpondError, UpstreamUnreachable

CHANGING_S = 5.0
"""What a client is told to wait while an upstream is being changed."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Seen:
    """What the catalog had of a target, and the path's stamp before it was looked up."""

    entry: Entry | None
    stamp: int


Locate: TypeAlias = Callable[[Target], Awaitable[Located | Refused]]


class Fetcher:
    """Leads flights for one remote repository."""

    def __init__(self, remote: Remote, pond: Pond, locate: Locate, coherence: Coherence) -> None:
        self._remote, self._pond, self._locate, self._coherence = remote, pond, locate, coherence
        self._prober = Prober(remote.format, remote.upstream, remote.freshness)
        self._failing = False

    async def lead(
        self, target: Target, mount: str, flight: Flight, *, seen: Seen | None = None, force: bool = False
    ) -> Outcome:
        """Bring the catalog up to date for `target`.

        `mount`: for rewriting; `seen`: what whoever asked found, so that it isn't looked up again unless it has
        changed; `force`: ask even if the copy is fresh.
        """
        entry = await self._entry(target, seen)
        decision = await self._coherence.decide(entry, target)
        if isinstance(decision, Serve):
            if not (force or decision.refresh):  # another flight ended between the look-up and here
                return Kept(decision.entry) if decision.stale else Landed(decision.entry, "hit")
            decision = freshness.after_expiry(decision.entry, self._remote.freshness)
        try:
            return await self._ask(target, mount, flight, decision)
        except UpstreamUnreachable as error:
            if error.kind == LEFT:
                return await self._left(entry, str(error))
            self._pond.metrics.upstream_failed(self._remote.name, error.kind)
            self._failed(target, str(error))
            if error.kind == CHANGING:  # the next one to ask finds it done, as a rule: no reason to wait for the TTL
                return Kept(entry) if entry and not entry.negative else Refused(503, str(error), CHANGING, CHANGING_S)
            fault = Unreachable(str(error), error.kind, error.retry_after_s)
            return await self._conclude(self._settle(decision, fault, target), target, error.kind)

    async def _left(self, entry: Entry | None, why: str) -> Outcome:
        """Note that nobody waited: the upstream did nothing wrong, and is not asked again by every client at once."""
        if entry is None or entry.negative:
            return Refused(502, why, LEFT)
        now = self._pond.clock.now()
        await self._record(replace(entry, checked_at=now, retry_at=now + freshness.MIN_BACKOFF_S))
        return Kept(entry)

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
        if located.promises:
            kept = await self._coherence.take(target, located)
        else:
            kept = await self._taken_back(target, decision, located)
        if kept is not None:
            return Landed(kept, "hit")
        probed = await self._probed(target, decision, located)
        if probed is not None:
            return await self._conclude(probed, target, "status-head", "unchanged")
        headers = {"Accept": target.accept}
        if isinstance(decision, Revalidate):
            headers |= freshness.validators(decision.entry)
            self._pond.metrics.revalidating(self._remote.name)
        places = [located.url, *located.others]
        for place in places:
            async with self._remote.upstream.request("GET", place, headers) as reply:
                if reply.head.status not in freshness.GONE or place == places[-1]:
                    return await self._answered(reply, target, mount, flight, decision, located)
        raise AssertionError(places)  # pragma: no cover - the last place's answer counts

    async def _answered(
        self,
        reply: UpstreamReply,
        target: Target,
        mount: str,
        flight: Flight,
        decision: Revalidate | Fetch,
        located: Located,
    ) -> Outcome:
        settlement = self._settle(decision, reply.head, target)
        self._heard(settlement, target)
        if not isinstance(settlement, Store):
            if located.promises and reply.head.status in freshness.GONE:
                await self._coherence.ask_again(located)
            if isinstance(settlement, Freshen):
                await self._coherence.confirmed(target, settlement.entry)
            return await self._conclude(settlement, target, f"status-{reply.head.status}")
        role = self._coherence.role(target)
        if self._coherence.leads(target) and not settlement.keep:
            # What it names is judged by it, so it has to be at hand; it is stale at once.
            settlement = replace(settlement, keep=True, fresh_until=settlement.validated_at)
        promised = (*located.checksums, *self._prober.promised(target, reply.head))
        sure = replace(located, checksums=promised)
        publish = self._coherence.publish if role is not None else None
        landing = Landing(self._remote, self._pond, flight, target, decision.entry, sure, mount, publish)
        try:
            return await landing.receive(reply, settlement)
        except UpstreamUnreachable as error:
            if error.kind != "mismatch" or not located.promises:
                raise
            return await self._changing(target, located, error)

    async def _changing(self, target: Target, located: Located, error: UpstreamUnreachable) -> Refused:
        """Refuse what is not what its own index promises: as a rule the upstream is just being changed."""
        self._pond.metrics.upstream_failed(self._remote.name, error.kind)
        self._failed(target, str(error))
        await self._coherence.ask_again(located)
        reason = f"{error}; the upstream is changing: ask again, from the entry file on"
        return Refused(503, reason, error.kind, CHANGING_S)

    async def _probed(self, target: Target, decision: Revalidate | Fetch, located: Located) -> Settlement | None:
        """Ask first whether a name still points at the good copy; None: fetch."""
        good = decision.entry
        if good is None or good.negative:
            return None
        found = await self._prober.look(target, good, located.url, self._pond.clock.now())
        if found is not None:
            self._heard(found, target)
        return found

    async def _taken_back(self, target: Target, decision: Revalidate | Fetch, located: Located) -> Entry | None:
        """Find a file again that was cached before the catalog was lost, by the digest that its index promises."""
        promised = next((c.hex for c in located.checksums if c.algorithm == "sha256"), None)
        if promised is None or target.mutable or decision.entry is not None:
            return None
        url = public(located.url)
        catalog, digest = self._pond.catalog, f"sha256:{promised}"
        if target.digest is not None and target.path not in self._remote.rules.digests:
            own = await refound.take_own(catalog, self._remote.name, target, digest)
            if own is not None or not await self._vouched(target, digest, located.url):
                return own
        return await refound.take_back(catalog, self._remote.name, target, digest, url)

    async def _vouched(self, target: Target, digest: str, url: str) -> bool:
        """Whether what the client named is here since the catalog was lost, and the upstream has it for us too."""
        if not target.content_type or not await refound.waits(self._pond.catalog, digest):
            return False
        async with self._remote.upstream.request("HEAD", url, {"Accept": target.accept}) as reply:
            return reply.head.status == freshness.OK

    def _settle(self, decision: Revalidate | Fetch, answer: Reply | Unreachable, target: Target) -> Settlement:
        return freshness.settle(decision.entry, answer, target, self._remote.freshness, self._pond.clock.now())

    async def _unlocated(self, refused: Refused, decision: Revalidate | Fetch, target: Target) -> Outcome:
        if refused.status != 502:  # noqa: PLR2004 - Bad Gateway
            return refused
        fault = Unreachable(refused.reason, refused.kind, refused.retry_after_s)
        return await self._conclude(self._settle(decision, fault, target), target, refused.kind)

    async def _conclude(
        self, settlement: Settlement, target: Target, kind: str, unchanged: str = "revalidated"
    ) -> Outcome:
        """Record everything that brings no new body; `unchanged`: how it was found out that there is none."""
        match settlement:
            case Freshen(entry):
                await self._record(entry)
                return Landed(entry, unchanged)
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
