"""``rpm``: what dnf asks for, and what is known of it. PURE.

repomd.xml is mutable and comes with its signature; its members stand as long as it promises their bytes, and packages
as long as the indexes vouch for them (`artifacts.generations`). All of that is as the upstream has it. Lists of mirrors
are rewritten, so that clients find the pond in them; a metalink leads, since it promises repomd.xml itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import ClassVar
from urllib.parse import quote

from millpond.artifacts.formats.base import Transducer
from millpond.artifacts.formats.rpm import indexes, lists, repomd
from millpond.artifacts.formats.rpm.paths import (
    ENTRY,
    METALINK,
    REPODATA,
    SIGNATURE,
    Kind,
    Place,
    classify,
    index_kind,
    stem,
)
from millpond.artifacts.generations import Dates, Head, Lead, Leaf, Part, Role, Signature
from millpond.artifacts.model import Absent, Body, Checksum, Expectation, Links, Member, Resolution, Target

MIB = 1 << 20
MAX_SIGNATURE_BYTES, MAX_MEMBER_BYTES = MIB, 2048 * MIB
_SAFE = "/!$&'()*,;=:@~^"  # no plus sign, which some object stores take for a space; dnf writes it as %2B too
_QUERY_SAFE = "/?!$&'()*+,;=:@~%[]|^"
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\?#\ud800-\udfff]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_PACKED = (".gz", ".xz", ".bz2", ".zst", ".zck")
_STARTS: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    (".drpm", (b"\xed\xab\xee\xdb", b"drpm")),
    (".rpm", (b"\xed\xab\xee\xdb",)),
    (".gz", (b"\x1f\x8b",)),
    (".xz", (b"\xfd7zXZ",)),
    (".bz2", (b"BZh",)),
    (".zst", (b"\x28\xb5\x2f\xfd",)),
    (".zck", (b"\0ZCK1",)),
    (".xml", (b"<",)),
    (SIGNATURE, (b"-----BEGIN PGP SIGNATURE-----",)),
)


class Rpm:
    """Repositories with ``repodata/repomd.xml``, one or many below one base."""

    name: ClassVar[str] = "rpm"
    default_ttl_s: ClassVar[float] = 600.0
    rewrite_version: ClassVar[int] = 1

    def resolve(self, path: str, query: str, accept: str) -> Resolution:
        """Read a path; only a list of mirrors has a query, which says of which repository."""
        del accept
        if not path or path.endswith("/"):
            return Absent("an RPM repository has files and no listings: name one, or point dnf's baseurl at its root")
        if _UNFIT.search(path):
            return Absent("no file of a repository has such a name: it has a control character, a query or a backslash")
        if {"", ".", ".."} & set(path.split("/")):
            return Absent("the path has an empty, . or .. segment")
        place = classify(path)
        if place.kind is not Kind.LIST or not query:
            return _target(place)
        if _SURROGATE.search(query):
            return Absent("the query is not Unicode text")
        return _target(place, f"?{quote(query, safe=_QUERY_SAFE)}")

    def expects(self, target: Target) -> Expectation:
        """Say what a file looks like: by its suffix, and never like a page for people."""
        place = classify(target.path)
        starts = next((starts for suffix, starts in _STARTS if place.path.endswith(suffix)), ())
        match place.kind:
            case Kind.ENTRY:
                return Expectation(Body(prefixes=starts, suffixes=(b">",), max_bytes=repomd.MAX_BYTES))
            case Kind.SIGNATURE:
                ends = (b"-----END PGP SIGNATURE-----",)
                return Expectation(Body(prefixes=starts, suffixes=ends, max_bytes=MAX_SIGNATURE_BYTES))
            case Kind.MEMBER:
                return Expectation(Body(prefixes=starts, max_bytes=MAX_MEMBER_BYTES))
            case Kind.LIST:
                return Expectation(Body(prefixes=(b"<",) if _is_metalink(place) else (), max_bytes=lists.MAX_BYTES))
        return Expectation(Body(prefixes=starts if place.kind is Kind.PACKAGE else ()))

    def role(self, target: Target) -> Role | None:
        """Say what a path is within its generation; None: a file beside all of them."""
        place = classify(target.path)
        match place.kind:
            case Kind.ENTRY:
                return Head(f"{place.root}{REPODATA}/", _beside(place, f"{REPODATA}/{SIGNATURE}"), _metalink(place))
            case Kind.SIGNATURE:
                return Signature(_entry(place))
            case Kind.MEMBER:
                return Part((_entry(place),), place.digest)
            case Kind.PACKAGE:
                return Leaf(_indexes(target.path))
            case Kind.LIST if target.path == f"{place.root}{METALINK}":
                return Lead(_entry(place))
        return None

    def index(self, path: str) -> tuple[Target, str] | None:
        """Give the target of an index that lies at a path, and what its encodings have in common; None: it is none."""
        return (_target(classify(path)), stem(path)) if index_kind(path) else None

    def by_digest(self, path: str, checksums: tuple[Checksum, ...]) -> tuple[str, ...]:
        """Give no other paths of a member: the name that has its digest is its only one."""
        del path, checksums
        return ()

    def dates(self, target: Target, chunks: Iterable[bytes]) -> Dates:
        """Read an entry file's date. Raises `ValueError`."""
        return repomd.dates(target.path, chunks)

    def members(self, target: Target, content_type: str, source: str, chunks: Iterable[bytes]) -> Iterator[Member]:
        """List what an entry file or an index names, by path in the repository. Raises `ValueError`."""
        del content_type, source
        place = classify(target.path)
        if place.kind is Kind.ENTRY:
            return repomd.members(target.path, chunks)
        if _is_metalink(place):
            return lists.promised(f"{place.root}{REPODATA}/{ENTRY}", chunks)
        return indexes.members(target.path, chunks) if index_kind(target.path) else iter(())

    def rewriter(self, target: Target, content_type: str, links: Links) -> Transducer:
        """Make a transducer for a list of mirrors: the pond takes the place of all of them."""
        del content_type
        place = classify(target.path)
        url = f"{links.mount}/{quote(place.root, safe=_SAFE)}"
        return lists.MetalinkRewriter(url) if _is_metalink(place) else lists.MirrorlistRewriter(url)


def _target(place: Place, query: str = "") -> Target:
    upstream = quote(place.path, safe=_SAFE) + query
    match place.kind:
        case Kind.PACKAGE:
            return Target(place.path, upstream, mutable=False)
        case Kind.ENTRY | Kind.SIGNATURE:
            return Target(place.path, upstream, mutable=True, complete=True)
        case Kind.LIST:
            return Target(place.path + query, upstream, mutable=True, rewritten=True)
    digest = place.digest
    known = f"sha256:{digest.hex}" if digest is not None and digest.algorithm == "sha256" else None
    packed = place.kind is Kind.MEMBER and place.path.endswith(_PACKED)
    return Target(place.path, upstream, mutable=digest is None, digest=known, packed=packed)


def _entry(place: Place) -> Target:
    return _beside(place, f"{REPODATA}/{ENTRY}")


def _metalink(place: Place) -> Target:
    return _beside(place, METALINK)


def _beside(place: Place, path: str) -> Target:
    return _target(classify(place.root + path))


def _is_metalink(place: Place) -> bool:
    return place.path.partition("?")[0].rpartition("/")[2] == METALINK


def _indexes(path: str) -> tuple[str, ...]:
    """Say where the indexes lie that may list a package: in the ``repodata`` of any folder above it."""
    folders = ["", *(path[: at + 1] for at, char in enumerate(path) if char == "/")]
    return tuple(f"{folder}{REPODATA}/" for folder in folders)
