"""Coherent generations: an entry file, and only what belongs to it. PURE.

An *entry file* (InRelease, repomd.xml, APKINDEX.tar.gz) names *members* with their digests, and some of those are
*indexes*, which name *packages* with theirs. A client that has one generation of the entry file can use only the
members of that generation; this module says what may be served beside what:

- A member has no lifetime of its own: it stands while its bytes are those that the entry file at hand promises,
  however stale that is. Bytes of another generation are never given in their place, not even during an outage.
- A package stands while any index at hand vouches for its bytes, or none of them lists it.
- "There is no such object" holds for the generation in which the upstream said so.
- A detached signature belongs to the bytes of one entry file: they are replaced together or not at all.
- A list that promises an entry file's own bytes (a metalink) leads it: a new list has the entry file checked, and what
  a fresh list does not name does not take its place.

Promises come in as values; who looks them up, and asks upstream, is `coherence`.
"""

from __future__ import annotations

import heapq
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from typing import TypeAlias

from millpond.artifacts import freshness
from millpond.artifacts.model import Checksum, Decision, Digest, Entry, Fetch, Freshness, Serve, Target

# What a path is within its generation; a format says it (`formats.base.Coherent`).


@dataclass(frozen=True, slots=True)
class Head:
    """An entry file. All that begins with `below` may be a member of it; `signature` is its detached signature.

    `lead`: the list that may promise the bytes of the entry file itself.
    """

    below: str
    signature: Target | None = None
    lead: Target | None = None


@dataclass(frozen=True, slots=True)
class Lead:
    """A list that promises the bytes of an entry file."""

    of: Target


@dataclass(frozen=True, slots=True)
class Signature:
    """The detached signature of an entry file."""

    of: Target


@dataclass(frozen=True, slots=True)
class Part:
    """A member. `heads`: the entry files that may name it, the most likely first; `digest`: what its own path says."""

    heads: tuple[Target, ...]
    digest: Checksum | None = None


@dataclass(frozen=True, slots=True)
class Leaf:
    """A package. `indexes`: where the indexes lie that may list it, as beginnings of their paths.

    `heads`: those of which it is known beforehand, and which are to be had before a package that nobody lists is asked.
    """

    indexes: tuple[str, ...]
    heads: tuple[Target, ...] = ()


Role: TypeAlias = Head | Lead | Signature | Part | Leaf


@dataclass(frozen=True, slots=True)
class Dates:
    """What an entry file says of its own time (epoch seconds); None: nothing."""

    issued_at: float | None = None
    valid_until: float | None = None


@dataclass(frozen=True, slots=True)
class Promise:
    """What a document at hand promises of a path.

    `since`: when that document came to hand; `heads`: the paths of the entry files to ask again when the upstream does
    not keep it; `url`: where the bytes lie, relative to the repository; `by_digest`: other paths with the same bytes,
    which never change, the strongest digest first; `stands`: the document is of the generation at hand.
    """

    checksums: tuple[Checksum, ...]
    size: int | None
    since: float
    url: str
    heads: tuple[str, ...] = ()
    by_digest: tuple[str, ...] = ()
    stands: bool = True

    @property
    def digest(self) -> Digest | None:
        """The promised SHA-256 as a blob's name; None: only other digests are promised."""
        return next((f"sha256:{one.hex}" for one in self.checksums if one.algorithm == "sha256"), None)


@dataclass(frozen=True, slots=True)
class Member:
    """One member of a generation."""

    checksums: tuple[Checksum, ...]
    size: int | None


@dataclass(frozen=True, slots=True)
class Generation:
    """One generation as a whole: what pins, prefetching and views of an earlier day are made of.

    `digest` names the entry file's bytes, `path` is where it lies; `members` are by path.
    """

    path: str
    digest: Digest
    issued_at: float | None
    valid_until: float | None
    members: Mapping[str, Member] = field(repr=False)


def kept(entry: Entry, promise: Promise) -> bool:
    """Whether stored bytes are the promised ones: by their SHA-256, else by what their own index called them.

    Where the two can't be compared, those are that were fetched (and so verified) since the promise is at hand.
    """
    if promise.digest is not None:
        return entry.digest == promise.digest
    if promise.size not in {None, entry.size}:
        return False
    algorithm, _, value = entry.identity.partition(":")
    same = [one.hex == value for one in promise.checksums if one.algorithm == algorithm]
    return any(same) if same else entry.stored_at >= promise.since


def named(entry: Entry, digest: Checksum) -> bool:
    """Whether stored bytes are those of a digest; one that can't be compared was verified when they came."""
    if digest.algorithm == "sha256":
        return entry.digest == f"sha256:{digest.hex}"
    return not entry.negative


def decide_member(
    entry: Entry | None, promise: Promise | None, target: Target, policy: Freshness, now: float
) -> Decision:
    """Say what a request for a member needs; `promise` None: no entry file at hand names it, so that its TTL counts."""
    if promise is None or entry is None:
        return freshness.decide(entry, target, policy, now)
    if entry.negative:
        return _absent(entry, (promise,), now)
    return Serve(entry, promised=True) if kept(entry, promise) else Fetch()


def decide_package(
    entry: Entry | None, promises: Sequence[Promise], target: Target, policy: Freshness, now: float
) -> Decision:
    """Say what a request for a package needs; `promises` are those of the indexes that vouch now."""
    if entry is None or not promises:
        return freshness.decide(entry, target, policy, now)
    if entry.negative:
        return _absent(entry, promises, now)
    return Serve(entry, promised=True) if any(kept(entry, promise) for promise in promises) else Fetch()


def decide_led(entry: Entry | None, lead: Entry | None, target: Target, policy: Freshness, now: float) -> Decision:
    """Say what a request for an entry file needs, given the list that leads it, if one is at hand.

    Clients that have that list believe no other entry file than those that it names: a new list has the entry file
    asked for, and while the list can't be renewed the entry file stands. One that is to be asked again (its promises
    were not kept, or the last try failed) is judged by itself.
    """
    if entry is None or entry.negative or lead is None or lead.negative or entry.failure or not entry.fresh_until:
        return freshness.decide(entry, target, policy, now)
    if lead.stored_at > entry.checked_at:
        return freshness.after_expiry(entry, policy)
    if lead.checked_at - freshness.CLOCK_SLACK_S <= now:
        entry = replace(entry, fresh_until=max(entry.fresh_until, lead.retry_at))
    return freshness.decide(entry, target, policy, now)


def _absent(entry: Entry, promises: Sequence[Promise], now: float) -> Decision:
    """Judge an absence: one that is older than the document that promises the object tells nothing of it."""
    in_time = entry.checked_at - freshness.CLOCK_SLACK_S <= now < entry.fresh_until
    return Serve(entry) if in_time and all(entry.checked_at > one.since for one in promises) else Fetch()


@dataclass(frozen=True, slots=True)
class IndexAtHand:
    """A stored index: its path, what all of its encodings have in common, and whether its entry file still names it."""

    path: str
    stem: str
    stands: bool


def vouching(indexes: Iterable[IndexAtHand]) -> list[str]:
    """Choose the indexes whose word counts: those of this generation; an older one as long as it has no successor."""
    ordered = sorted(indexes, key=lambda one: (one.stem, one.path))
    chosen: list[str] = []
    for _, group in groupby(ordered, key=lambda one: one.stem):
        same = list(group)
        current = [one.path for one in same if one.stands]
        chosen += current or [one.path for one in same]
    return chosen


MAX_ALTERNATES = 16
"""Generations of an entry file that a list which leads it may promise."""


def numbered(path: str, number: int) -> str:
    """Name the entry file's generations in such a list: the first by its path, the others as no path can be."""
    return f"{path}#{number}" if number else path


Line: TypeAlias = tuple[bytes, bytes]
"""A name and what is said of it."""


def changed(old: Iterable[Line], new: Iterable[Line]) -> Iterator[bytes]:
    """Give the names of which two lists say different things, in their order; both are sorted by name, each once.

    A name that only one of them has is not among them: who has the older list goes on asking for it.
    """
    merged = heapq.merge(((name, 0, said) for name, said in old), ((name, 1, said) for name, said in new))
    for name, group in groupby(merged, key=lambda one: one[0]):
        said = [one[2] for one in group]
        if len(said) > 1 and any(one != said[0] for one in said[1:]):
            yield name


def standing(promises: Sequence[Promise]) -> list[Promise]:
    """Leave out what only earlier generations promise, where the one at hand promises something too."""
    return [one for one in promises if one.stands] or list(promises)


def disagree(promises: Sequence[Promise]) -> bool:
    """Whether several documents promise different bytes of one path."""
    return len({(one.digest or one.checksums, one.size) for one in promises}) > 1


def beginning(path: str, stem: str) -> str:
    """Give what a path and the stem of its index have in common: where all of its encodings and generations lie."""
    length = next((at for at, (one, other) in enumerate(zip(path, stem, strict=False)) if one != other), None)
    return path[:length] if length is not None else min(path, stem, key=len)


def to_ask_again(promises: Iterable[Promise]) -> Collection[str]:
    """Give the entry files whose generation the upstream does not keep to."""
    return dict.fromkeys(path for promise in promises for path in promise.heads)
