"""Coherent generations, carried out for one remote repository: who promises what, and what a publication withdraws.

The rules are in `generations`. Promises are looked up in the documents at hand: in the entry file for its members, in
the stored indexes for packages. Whoever publishes an entry file or an index tells all processes, before the commit and
after it, that what was remembered of the paths below has to be judged again: the fast lane never gives what a new
generation has withdrawn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from millpond.artifacts import freshness, generations, refound, rows
from millpond.artifacts.catalog import Beside
from millpond.artifacts.derived import Listing, UnsoundDocument
from millpond.artifacts.flights import Flight
from millpond.artifacts.formats.base import Coherent
from millpond.artifacts.generations import (
    Dates,
    Head,
    IndexAtHand,
    Lead,
    Leaf,
    Part,
    Promise,
    Role,
    Signature,
    vouching,
)
from millpond.artifacts.landing import Located, Pond, Remote, public
from millpond.artifacts.model import Checksum, Decision, Entry, Fetch, Member, Serve, Target
from millpond.artifacts.pairs import Signatures
from millpond.artifacts.superseding import INDEXES, MAX_INDEXES, Index, Superseding, Withdrawn
from millpond.errors import MillpondError, UpstreamUnreachable

MAX_REMEMBERED = 64
log = structlog.get_logger(__name__)


class Fetching(Protocol):
    """What is needed of the proxy to have an entry file fetched."""

    async def decision(self, target: Target) -> Decision:
        """Say what a request for `target` would need now."""

    def join(self, target: Target, mount: str, *, force: bool = False) -> tuple[Flight, bool]:
        """Join or start the flight of a target."""


class Coherence:
    """The generations of one repository; a format without them is judged by freshness alone."""

    def __init__(self, remote: Remote, pond: Pond, fetching: Fetching) -> None:
        self._remote, self._pond, self._fetching = remote, pond, fetching
        self._format = remote.format if isinstance(remote.format, Coherent) else None
        self._signatures = Signatures(remote, pond)
        self._superseding = Superseding(remote, pond, self)
        self._indexes: OrderedDict[tuple[str, ...], tuple[int, list[Index]]] = OrderedDict()

    def role(self, target: Target) -> Role | None:
        """Say what a target is within its generation; None: it belongs to none."""
        return None if self._format is None else self._format.role(target)

    def leads(self, target: Target) -> bool:
        """Whether a target is an entry file, which others are judged by."""
        return isinstance(self.role(target), Head)

    async def decide(self, entry: Entry | None, target: Target) -> Decision:
        """Say what a request for `target` needs, given what is stored."""
        policy, now = self._remote.freshness, self._pond.clock.now()
        match self.role(target):
            case Part(digest=Checksum() as own) if entry is not None and generations.named(entry, own):
                return Serve(entry)
            case Head(lead=lead):
                return await self._decide_head(entry, target, lead)
            case Part() as part if entry is not None:
                promise = await self._named(part, target.path)
                return await self._checked(generations.decide_member(entry, promise, target, policy, now))
            case Leaf() as leaf if entry is not None:
                promises = await self._promises(leaf, target.path)
                return await self._checked(generations.decide_package(entry, promises, target, policy, now))
            case Signature(of=of) if entry is not None and await self.stored(of) is not None:
                return Serve(entry, promised=True)  # it has no time of its own
            case Signature():
                return Fetch()
        return freshness.decide(entry, target, policy, now)

    async def _decide_head(self, entry: Entry | None, target: Target, lead: Target | None) -> Decision:
        """Judge an entry file; one that is stale is never renewed behind the answer.

        The client would get the members of a generation whose entry file it has not got.
        """
        policy, now = self._remote.freshness, self._pond.clock.now()
        if lead is None:
            found = freshness.decide(entry, target, policy, now)
        else:
            led_by = await self._pond.catalog.find(self._remote.name, lead.path, lead.variant)
            found = generations.decide_led(entry, led_by, target, policy, now)
        return freshness.after_expiry(found.entry, policy) if isinstance(found, Serve) and found.refresh else found

    async def _checked(self, decision: Decision) -> Decision:
        """Note that a document at hand promises by now what was stored without one."""
        if not isinstance(decision, Serve) or not decision.promised or not decision.entry.unchecked:
            return decision
        checked = replace(decision.entry, unchecked=False, checked_at=self._pond.clock.now())
        await self._pond.catalog.update(checked)
        return replace(decision, entry=checked)

    async def expired(self, target: Target, entry: Entry) -> float | None:
        """Say for how many seconds an entry file has not been valid any more; None: it is, or says nothing of it."""
        if entry.digest is None or not isinstance(self.role(target), Head):
            return None
        dates = await self.dates(target, entry)
        now = self._pond.clock.now()
        until = None if dates is None else dates.valid_until
        return now - until if until is not None and until < now else None

    async def dates(self, target: Target, entry: Entry) -> Dates | None:
        """Say what an entry file tells of its own time; None: nothing that could be read now."""
        if entry.digest is None or not isinstance(self.role(target), Head):
            return None
        try:
            return await self._pond.derived.dates(self._remote.format.name, target, entry.digest)
        except (UnsoundDocument, OSError):
            return None

    def signs(self, target: Target) -> Target | None:
        """Give the entry file that a target is the detached signature of; None: of none."""
        role = self.role(target)
        return role.of if isinstance(role, Signature) else None

    async def confirmed(self, target: Target, entry: Entry) -> None:
        """See to the signature of an entry file that has not changed: it may be another one by now.

        Raises as `publish`.
        """
        role = self.role(target)
        if not isinstance(role, Head) or role.signature is None:
            return
        found = await self._signatures.fetch(role.signature, target, entry)
        there = await self._pond.catalog.find(self._remote.name, role.signature.path, role.signature.variant)
        if there is None or there.digest != found.entry.digest:
            await self._pond.catalog.publish(entry, None, beside=[found])
        elif found.spool is not None:
            found.spool.unlink(missing_ok=True)

    # Promises.

    async def locate(self, target: Target) -> Located | None:
        """Say where a target's bytes lie and what they must be; None: nothing but its path tells."""
        base = self._remote.upstream.base_url
        match self.role(target):
            case Part(digest=own) as part:
                promise = await self._named(part, target.path) or await self._had(part, target.path)
                if promise is None:
                    unchecked = own is None and not await self._at_hand(part)
                    return Located(base + target.upstream_path, (own,) if own else (), unchecked=unchecked)
                paths = dict.fromkeys([*((target.path,) if own else promise.by_digest[:1]), promise.url])
                first, *others = [base + self._upstream_path(path) for path in paths]
                return Located(first, promise.checksums, promise.size, tuple(others), (promise,))
            case Leaf() as leaf:
                promises = await self._promises(leaf, target.path) or await self._listed_by_now(leaf, target.path)
                if promises and not promises[0].stands:
                    promises = await self._renewed(leaf, target.path)
                return Located.promised(base + target.upstream_path, promises)
            case Head(lead=Target() as lead):
                promises = await self._led(target.path, lead)
                return Located.promised(base + target.upstream_path, promises) if promises else None
        return None

    def _upstream_path(self, path: str) -> str:
        found = self._remote.format.resolve(path, "", "")
        return found.upstream_path if isinstance(found, Target) else path

    async def stands_for(self, target: Target) -> tuple[Target, Promise] | None:
        """Give the member that a path by digest is another name of, as the entry file at hand has it; None: of none."""
        role = self.role(target)
        if not isinstance(role, Part) or role.digest is None:
            return None
        promise = await self._named(role, target.path)
        found = None if promise is None else self._remote.format.resolve(promise.url, "", "")
        if promise is None or not isinstance(found, Target) or found.path == target.path:
            return None
        return found, promise

    async def _named(self, part: Part, path: str) -> Promise | None:
        """Look a member up in the entry files at hand; None: none of them names it."""
        for head in part.heads:
            entry = await self.stored(head)
            member = None if entry is None else await self.listed(head, entry, path)
            if entry is not None and member is not None:
                return await self.promised(member, head, entry)
        return None

    async def _led(self, path: str, lead: Target) -> list[Promise]:
        """Say what the list that leads an entry file promises of it, if it is at hand and fresh: any of them is right.

        It is asked for anew where it is not, so that one that nobody asks for any more holds nobody up.
        """
        if await self.stored(lead) is None:
            return []
        await self._brought(lead)
        entry = await self.stored(lead)
        if entry is None or entry.fresh_until <= self._pond.clock.now():
            return []
        names = (generations.numbered(path, number) for number in range(generations.MAX_ALTERNATES))
        listed = [await self.listed(lead, entry, name) for name in names]
        return [
            Promise(one.checksums, one.size, entry.stored_at, path, (path, lead.path))
            for one in listed
            if one is not None
        ]

    async def promised(self, member: Member, head: Target, entry: Entry) -> Promise:
        """Give what an entry file promises of a member."""
        assert self._format is not None  # noqa: S101 - there is a role
        paths = self._format.by_digest(member.url, member.checksums)
        known = bool(paths) and await self.listed(head, entry, paths[0]) is not None
        role = self.role(head)
        lead = role.lead if isinstance(role, Head) else None
        since, heads = entry.stored_at, (head.path, *((lead.path,) if lead is not None else ()))
        return Promise(member.checksums, member.size, since, member.url, heads, paths if known else ())

    async def _had(self, part: Part, path: str) -> Promise | None:
        """Have a member's entry file fetched, if none is at hand; what it promises, or None."""
        if await self._at_hand(part):
            return None
        for head in part.heads:
            if isinstance(self.role(head), Head) and await self._brought(head):
                return await self._named(part, path)
        return None

    async def _brought(self, head: Target) -> bool:
        """Have an entry file brought up to date; whether one is at hand then."""
        if not isinstance(await self._fetching.decision(head), Serve):
            flight, _ = self._fetching.join(head, "")
            try:
                await flight.ended()
            finally:
                flight.release()
        return await self.stored(head) is not None

    async def _at_hand(self, part: Part) -> bool:
        """Whether one of a member's entry files is at hand."""
        return any([await self.stored(head) is not None for head in part.heads])

    async def stored(self, target: Target) -> Entry | None:
        """Give a document at hand; None: it is not."""
        entry = await self._pond.catalog.find(self._remote.name, target.path, target.variant)
        return entry if entry is not None and not entry.negative else None

    async def _promises(self, leaf: Leaf, path: str) -> list[Promise]:
        found = []
        for index in await self.vouchers(leaf):
            member = await self.listed(index.target, index.entry, path)
            if member is not None:
                since, stands = index.entry.stored_at, index.stands
                found.append(Promise(member.checksums, member.size, since, path, index.heads, stands=stands))
        return generations.standing(found)

    async def _listed_by_now(self, leaf: Leaf, path: str) -> list[Promise]:
        """Have the indexes that could list a package brought up to date; what they promise then."""
        brought = [await self._brought(head) for head in leaf.heads]
        return await self._promises(leaf, path) if any(brought) else []

    async def _renewed(self, leaf: Leaf, path: str) -> list[Promise]:
        """Have the indexes of an earlier generation that list a package renewed; what they promise then.

        What only an earlier generation promises is no promise for what the upstream has now.
        """
        for index in await self.vouchers(leaf):
            if not index.stands and await self.listed(index.target, index.entry, path) is not None:
                flight, _ = self._fetching.join(index.target, "")
                try:
                    await flight.ended()
                finally:
                    flight.release()
        return [promise for promise in await self._promises(leaf, path) if promise.stands]

    async def vouchers(self, leaf: Leaf) -> list[Index]:
        """List the indexes at hand whose word counts; remembered until another one, or entry file, comes to hand."""
        catalog = self._pond.catalog
        stamp = catalog.stamp(self._remote.name, INDEXES)
        known = self._indexes.get(leaf.indexes)
        if known is not None and known[0] == stamp and await self._still_there(known[1]):
            return known[1]
        read = partial(rows.cached_below, repository=self._remote.name, prefixes=leaf.indexes, limit=MAX_INDEXES)
        judged = [await self._index(entry) for entry in await catalog.db.read(read)]
        there = {one[0].path: one for one in judged if one is not None}
        found = [there[path][1] for path in vouching(one[0] for one in there.values())]
        self._indexes[leaf.indexes] = (stamp, found)
        while len(self._indexes) > MAX_REMEMBERED:
            self._indexes.popitem(last=False)
        return found

    async def _still_there(self, indexes: Sequence[Index]) -> bool:
        """Whether none of them was flushed or evicted."""
        stored = [await self.stored(index.target) for index in indexes]
        return all(now is not None and now.digest == one.entry.digest for now, one in zip(stored, indexes, strict=True))

    async def _index(self, entry: Entry) -> tuple[IndexAtHand, Index] | None:
        assert self._format is not None  # noqa: S101 - there is a role
        index = self._format.index(entry.path)
        if index is None:
            return None
        target, stem = index
        role = self._format.role(target)
        if not isinstance(role, Part):
            return IndexAtHand(entry.path, stem, stands=True), Index(target, entry, (entry.path,))
        promise = await self._named(role, entry.path)
        stands = generations.kept(entry, promise) if promise is not None else not await self._at_hand(role)
        heads = promise.heads if promise is not None else ()
        return IndexAtHand(entry.path, stem, stands), Index(target, entry, heads, stands)

    def listing(self, target: Target, entry: Entry) -> Listing:
        """Name the list of what a document promises."""
        assert entry.digest is not None  # noqa: S101 - only what is stored is read
        return Listing(self._remote.format.name, target, entry.content_type, entry.digest, entry.source_url)

    async def listed(self, target: Target, entry: Entry, path: str) -> Member | None:
        """Look a path up in a document at hand; one that can't be read, or is gone, promises nothing."""
        document = self.listing(target, entry)
        try:
            return await self._pond.derived.member(
                document.format_name, target, document.content_type, document.digest, document.source, path
            )
        except FileNotFoundError:
            await self._pond.catalog.missing(entry)
            self._indexes.clear()
        except (UnsoundDocument, OSError) as error:
            log.warning("not read", repository=self._remote.name, path=target.path, error=str(error))
        return None

    # Publications.

    async def take(self, target: Target, located: Located) -> Entry | None:
        """Make a target's entry of promised bytes that the repository has under another name; None: it has none."""
        catalog = self._pond.catalog
        if isinstance(self.role(target), Head):  # which of its generations the upstream has now, only that can tell
            return None
        for digest in dict.fromkeys(one.digest for one in located.promises if one.digest is not None):
            own = await refound.own(catalog, self._remote.name, target, digest)
            if own is not None:
                try:
                    return await self.publish(target, located, own, None)
                except MillpondError:
                    continue  # it was evicted meanwhile
            back = await refound.take_back(catalog, self._remote.name, target, digest, public(located.url))
            if back is not None:
                catalog.touched(self._remote.name, INDEXES)
                return back
        return None

    async def publish(self, target: Target, located: Located, entry: Entry, spool: Path | None) -> Entry:
        """Store a target and withdraw what it replaces. Raises as `Catalog.publish`; `UpstreamUnreachable`: unsound."""
        entry = replace(entry, unchecked=located.unchecked)
        beside: list[Beside] = []
        withdrawn = Withdrawn([])
        match self.role(target):
            case Head(below=below, signature=signature):
                await self._rehearse(target, entry, spool)
                beside = [] if signature is None else [await self._signatures.fetch(signature, target, entry)]
                withdrawn = await self._superseding.by_head(target, entry, below, spool)
            case Lead(of=of):
                withdrawn = Withdrawn([of.path])
            case Part(digest=own):
                beside = self._aliases(entry, located.promises) if own is None else []
                withdrawn = await self._superseding.by_member(target, entry, spool)
        return await self._pond.catalog.publish(
            entry, spool, beside=beside, touching=withdrawn.paths, touching_below=withdrawn.below
        )

    def _aliases(self, entry: Entry, promises: Sequence[Promise]) -> list[Beside]:
        """Keep a member under its paths by digest too, where the next generation does not take them away."""
        return [Beside(replace(entry, path=path)) for promise in promises for path in promise.by_digest]

    async def _rehearse(self, target: Target, entry: Entry, spool: Path | None) -> None:
        """Read an entry file once before it replaces a good one: one that can't be read is no better copy."""
        try:
            await self._pond.derived.listed(self.listing(target, entry), blob=spool)
        except UnsoundDocument as error:
            raise UpstreamUnreachable(f"the upstream's body is not {target.path}: {error}", kind="unsound") from error
        except OSError as error:
            log.warning("not read ahead", repository=self._remote.name, path=target.path, error=str(error))

    async def ask_again(self, located: Located) -> None:
        """Let the entry files whose promise was not kept be asked for again by whoever wants them next."""
        heads = generations.to_ask_again(located.promises)
        if heads:
            await self._pond.catalog.expire(self._remote.name, heads)
