"""Coherent generations, carried out for one remote repository: who promises what, and what a publication withdraws.

The rules are in `generations`. Promises are looked up in the documents at hand: in the entry file for its members, in
the stored indexes for packages. Whoever publishes an entry file or an index tells all processes, before the commit and
after it, that what was remembered of the paths below has to be judged again: the fast lane never gives what a new
generation has withdrawn.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from millpond.artifacts import freshness, generations, refound, rows
from millpond.artifacts.catalog import Beside
from millpond.artifacts.derived import Listing, UnsoundDocument
from millpond.artifacts.flights import Flight
from millpond.artifacts.formats.base import Coherent
from millpond.artifacts.generations import Dates, Head, IndexAtHand, Leaf, Part, Promise, Role, Signature, vouching
from millpond.artifacts.landing import Located, Pond, Remote, public
from millpond.artifacts.model import Checksum, Decision, Entry, Fetch, Member, Serve, Target
from millpond.artifacts.pairs import Signatures
from millpond.errors import MillpondError, UpstreamUnreachable

MAX_INDEXES = 2000
"""Stored indexes that are asked for a package."""
MAX_CHANGED = 4000
"""Packages that are named one by one when an index changes; beyond, all that is remembered is judged again."""
MAX_REMEMBERED = 64
INDEXES = "\x00indexes"
"""What changes whenever another index, or another entry file, is at hand: a path that no client can ask for."""
log = structlog.get_logger(__name__)


class Fetching(Protocol):
    """What is needed of the proxy to have an entry file fetched."""

    async def decision(self, target: Target) -> Decision:
        """Say what a request for `target` would need now."""

    def join(self, target: Target, mount: str, *, force: bool = False) -> tuple[Flight, bool]:
        """Join or start the flight of a target."""


@dataclass(frozen=True, slots=True)
class _Index:
    """An index at hand, and the entry files to ask again when the upstream does not keep to it."""

    target: Target
    entry: Entry
    heads: tuple[str, ...]


class Coherence:
    """The generations of one repository; a format without them is judged by freshness alone."""

    def __init__(self, remote: Remote, pond: Pond, fetching: Fetching) -> None:
        self._remote, self._pond, self._fetching = remote, pond, fetching
        self._format = remote.format if isinstance(remote.format, Coherent) else None
        self._signatures = Signatures(remote, pond)
        self._indexes: OrderedDict[tuple[str, ...], tuple[int, list[_Index]]] = OrderedDict()

    def role(self, target: Target) -> Role | None:
        """Say what a target is within its generation; None: it belongs to none."""
        return None if self._format is None else self._format.role(target)

    async def decide(self, entry: Entry | None, target: Target) -> Decision:
        """Say what a request for `target` needs, given what is stored."""
        policy, now = self._remote.freshness, self._pond.clock.now()
        match self.role(target):
            case Part(digest=Checksum()) if entry is not None and not entry.negative:
                return Serve(entry)
            case Part() as part if entry is not None:
                promise = await self._named(part, target.path)
                return await self._checked(generations.decide_member(entry, promise, target, policy, now))
            case Leaf() as leaf if entry is not None:
                promises = await self._promises(leaf, target.path)
                return await self._checked(generations.decide_package(entry, promises, target, policy, now))
            case Signature(of=of) if entry is not None and await self._stored(of) is not None:
                return Serve(entry, promised=True)  # it has no time of its own
            case Signature():
                return Fetch()
        return freshness.decide(entry, target, policy, now)

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
                if not promises:
                    return Located(base + target.upstream_path, unchecked=True)
                one = promises[0]
                sums = () if generations.disagree(promises) else one.checksums
                return Located(base + target.upstream_path, sums, one.size, (), tuple(promises))
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
        return (found, promise) if promise is not None and isinstance(found, Target) else None

    async def _named(self, part: Part, path: str) -> Promise | None:
        """Look a member up in the entry files at hand; None: none of them names it."""
        for head in part.heads:
            entry = await self._stored(head)
            member = None if entry is None else await self._listed(head, entry, path)
            if entry is not None and member is not None:
                return await self._promised(member, head, entry)
        return None

    async def _promised(self, member: Member, head: Target, entry: Entry) -> Promise:
        assert self._format is not None  # noqa: S101 - there is a role
        paths = self._format.by_digest(member.url, member.checksums)
        known = bool(paths) and await self._listed(head, entry, paths[0]) is not None
        since, heads = entry.stored_at, (head.path,)
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
        return await self._stored(head) is not None

    async def _at_hand(self, part: Part) -> bool:
        """Whether one of a member's entry files is at hand."""
        return any([await self._stored(head) is not None for head in part.heads])

    async def _stored(self, target: Target) -> Entry | None:
        entry = await self._pond.catalog.find(self._remote.name, target.path, target.variant)
        return entry if entry is not None and not entry.negative else None

    async def _promises(self, leaf: Leaf, path: str) -> list[Promise]:
        found = []
        for index in await self._vouchers(leaf):
            member = await self._listed(index.target, index.entry, path)
            if member is not None:
                found.append(Promise(member.checksums, member.size, index.entry.stored_at, path, index.heads))
        return found

    async def _listed_by_now(self, leaf: Leaf, path: str) -> list[Promise]:
        """Have the indexes that could list a package brought up to date; what they promise then."""
        brought = [await self._brought(head) for head in leaf.heads]
        return await self._promises(leaf, path) if any(brought) else []

    async def _vouchers(self, leaf: Leaf) -> list[_Index]:
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

    async def _still_there(self, indexes: Sequence[_Index]) -> bool:
        """Whether none of them was flushed or evicted."""
        stored = [await self._stored(index.target) for index in indexes]
        return all(now is not None and now.digest == one.entry.digest for now, one in zip(stored, indexes, strict=True))

    async def _index(self, entry: Entry) -> tuple[IndexAtHand, _Index] | None:
        assert self._format is not None  # noqa: S101 - there is a role
        index = self._format.index(entry.path)
        if index is None:
            return None
        target, stem = index
        role = self._format.role(target)
        if not isinstance(role, Part):
            return IndexAtHand(entry.path, stem, stands=True), _Index(target, entry, (entry.path,))
        promise = await self._named(role, entry.path)
        stands = generations.kept(entry, promise) if promise is not None else not await self._at_hand(role)
        heads = promise.heads if promise is not None else ()
        return IndexAtHand(entry.path, stem, stands), _Index(target, entry, heads)

    def _listing(self, target: Target, entry: Entry) -> Listing:
        assert entry.digest is not None  # noqa: S101 - only what is stored is read
        return Listing(self._remote.format.name, target, entry.content_type, entry.digest, entry.source_url)

    async def _listed(self, target: Target, entry: Entry, path: str) -> Member | None:
        """Look a path up in a document at hand; one that can't be read, or is gone, promises nothing."""
        document = self._listing(target, entry)
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
        touching: list[str] | None = []
        match self.role(target):
            case Head(below=below, signature=signature):
                await self._rehearse(target, entry, spool)
                beside = [] if signature is None else [await self._signatures.fetch(signature, target, entry)]
                lists_packages = self._format is not None and self._format.index(target.path) is not None
                withdrawn = self._withdrawn(target, entry, spool, below) if lists_packages else self._all_below(below)
                touching = await withdrawn
            case Part(digest=None):
                beside = self._aliases(entry, located.promises)
                touching = await self._withdrawn(target, entry, spool)
        return await self._pond.catalog.publish(entry, spool, beside=beside, touching=touching)

    def _aliases(self, entry: Entry, promises: Sequence[Promise]) -> list[Beside]:
        """Keep a member under its paths by digest too, where the next generation does not take them away."""
        return [Beside(replace(entry, path=path)) for promise in promises for path in promise.by_digest]

    async def _rehearse(self, target: Target, entry: Entry, spool: Path | None) -> None:
        """Read an entry file once before it replaces a good one: one that can't be read is no better copy."""
        try:
            await self._pond.derived.listed(self._listing(target, entry), blob=spool)
        except UnsoundDocument as error:
            raise UpstreamUnreachable(f"the upstream's body is not {target.path}: {error}", kind="unsound") from error
        except OSError as error:
            log.warning("not read ahead", repository=self._remote.name, path=target.path, error=str(error))

    async def _all_below(self, prefix: str) -> list[str]:
        """List what is stored below a folder; more than `MAX_CHANGED` are as good as all."""
        read = partial(rows.paths_below, repository=self._remote.name, prefix=prefix, limit=MAX_CHANGED + 1)
        return [INDEXES, *await self._pond.catalog.db.read(read)]

    async def _withdrawn(self, target: Target, entry: Entry, spool: Path | None, below: str = "") -> list[str] | None:
        """List what must be judged again when a document takes its place (None: all there is).

        Of an index, these are the packages (all `below`) that it lists otherwise than the one before; without one,
        whatever is there.
        """
        assert self._format is not None  # noqa: S101 - there is a role
        if self._format.index(target.path) is None:
            return []
        before = await self._stored(target)
        if before is None:
            return await self._all_below(below)
        if before.digest == entry.digest:
            return [INDEXES]
        old, new = self._listing(target, before), self._listing(target, entry)
        try:
            found = await self._pond.derived.changed(old, new, MAX_CHANGED, blob=spool)
        except (UnsoundDocument, OSError) as error:
            log.warning("not compared", repository=self._remote.name, path=target.path, error=str(error))
            found = None
        return None if found is None else [INDEXES, *found]

    async def ask_again(self, located: Located) -> None:
        """Let the entry files whose promise was not kept be asked for again by whoever wants them next."""
        heads = generations.to_ask_again(located.promises)
        if heads:
            await self._pond.catalog.expire(self._remote.name, heads)
