"""``debian``: what apt asks for, and what is known of it. PURE.

Nothing is rewritten, since all of it is signed. The entry files are mutable; a member stands as long as they promise
its bytes; what is asked for by hash never changes, and packages do not as long as the indexes vouch for them
(`artifacts.generations`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import ClassVar
from urllib.parse import quote

from millpond.artifacts.formats.debian import indexes, release
from millpond.artifacts.formats.debian.paths import (
    COMPRESSIONS,
    DISTS,
    INRELEASE,
    RELEASE,
    SIGNATURE,
    Kind,
    Place,
    by_hash_paths,
    classify,
    is_index,
    stem,
)
from millpond.artifacts.generations import Dates, Head, Leaf, Part, Role, Signature
from millpond.artifacts.model import Absent, Body, Checksum, Expectation, Member, Resolution, Target

MIB = 1 << 20
MAX_SIGNATURE_BYTES, MAX_MEMBER_BYTES = MIB, 2048 * MIB
_SAFE = "/!$&'()*,;=:@~"  # no plus sign, which some object stores take for a space; apt writes it as %2B too
_UNFIT = re.compile(r"[\x00-\x1f\x7f\\?#\ud800-\udfff]")
_STARTS: tuple[tuple[str, tuple[bytes, ...]], ...] = (
    (".deb", (b"!<arch>",)),
    (".udeb", (b"!<arch>",)),
    (".ddeb", (b"!<arch>",)),
    (".gz", (b"\x1f\x8b",)),
    (".xz", (b"\xfd7zXZ",)),
    (".bz2", (b"BZh",)),
    (".zst", (b"\x28\xb5\x2f\xfd",)),
    (".dsc", (b"-----BEGIN PGP", b"Format:")),
    (SIGNATURE, (b"-----BEGIN PGP SIGNATURE-----",)),
    (INRELEASE, (release.BEGIN,)),
)


class Debian:
    """A repository with suites (``dists/``, ``pool/``), or a flat one."""

    name: ClassVar[str] = "debian"
    default_ttl_s: ClassVar[float] = 600.0
    plain_dots: ClassVar[bool] = True

    def resolve(self, path: str, query: str, accept: str) -> Resolution:
        """Read a path; there is one object at each, whatever the query."""
        del query, accept
        if not path or path.endswith("/"):
            return Absent("a Debian repository has files and no listings: name one, or point apt's sources at its root")
        if _UNFIT.search(path):
            return Absent("no file of a repository has such a name: it has a control character, a query or a backslash")
        if {"", ".", ".."} & set(path.split("/")):
            return Absent("the path has an empty, . or .. segment")
        return _target(classify(path))

    def expects(self, target: Target) -> Expectation:
        """Say what a file looks like: by its suffix, and never like a page for people."""
        place = classify(target.path)
        starts = next((starts for suffix, starts in _STARTS if target.path.endswith(suffix)), ())
        match place.kind:
            case Kind.ENTRY:
                suffixes = (release.END,) if target.path.endswith(INRELEASE) else ()
                return Expectation(Body(prefixes=starts, suffixes=suffixes, max_bytes=release.MAX_BYTES))
            case Kind.SIGNATURE:
                ends = (b"-----END PGP SIGNATURE-----",)
                return Expectation(Body(prefixes=starts, suffixes=ends, max_bytes=MAX_SIGNATURE_BYTES))
            case Kind.MEMBER:
                return Expectation(Body(prefixes=starts, max_bytes=MAX_MEMBER_BYTES))
            case Kind.BY_HASH:
                return Expectation(Body(max_bytes=MAX_MEMBER_BYTES))
        return Expectation(Body(prefixes=starts))

    def role(self, target: Target) -> Role | None:
        """Say what a path is within its generation; None: a file beside all of them."""
        place = classify(target.path)
        match place.kind:
            case Kind.ENTRY:
                below = f"{place.folders[0]}/" if place.folders[0] else ""
                paired = target.path.endswith(f"/{RELEASE}") or target.path == RELEASE
                return Head(below, _beside(place, SIGNATURE) if paired else None)
            case Kind.SIGNATURE:
                return Signature(_beside(place, RELEASE))
            case Kind.MEMBER | Kind.BY_HASH:
                return Part(_heads(place), place.digest)
            case Kind.PACKAGE:
                return Leaf(_indexes(target.path))
        return None

    def index(self, path: str) -> tuple[Target, str] | None:
        """Give the target of an index that lies at a path, and what its encodings have in common; None: it is none."""
        return (_target(classify(path)), stem(path)) if is_index(path) else None

    def by_digest(self, path: str, checksums: tuple[Checksum, ...]) -> tuple[str, ...]:
        """Give a member's paths by hash."""
        return by_hash_paths(path, checksums)

    def dates(self, target: Target, chunks: Iterable[bytes]) -> Dates:
        """Read an entry file's dates. Raises `ValueError`."""
        return release.dates(target.path, chunks)

    def members(self, target: Target, content_type: str, source: str, chunks: Iterable[bytes]) -> Iterator[Member]:
        """List what an entry file or an index names, by path in the repository. Raises `ValueError`."""
        del content_type, source
        if classify(target.path).kind is Kind.ENTRY:
            return release.members(target.path, chunks)
        return indexes.members(target.path, chunks) if is_index(target.path) else iter(())


def _target(place: Place) -> Target:
    upstream = quote(place.path, safe=_SAFE)
    match place.kind:
        case Kind.BY_HASH:
            digest = place.digest
            known = digest is not None and digest.algorithm == "sha256"
            return Target(
                place.path, upstream, mutable=False, digest=f"sha256:{digest.hex}" if digest and known else None
            )
        case Kind.PACKAGE:
            return Target(place.path, upstream, mutable=False)
        case Kind.ENTRY | Kind.SIGNATURE:
            return Target(place.path, upstream, mutable=True, complete=True)
    return Target(place.path, upstream, mutable=True, packed=place.path.endswith(COMPRESSIONS))


def _beside(place: Place, name: str) -> Target:
    folder = place.folders[0]
    return _target(classify(f"{folder}/{name}" if folder else name))


def _heads(place: Place) -> tuple[Target, ...]:
    """List a member's possible entry files: InRelease wins over Release in one folder, as it does in apt."""
    names = [f"{folder}/{name}".lstrip("/") for folder in place.folders for name in (INRELEASE, RELEASE)]
    return tuple(_target(classify(name)) for name in names)


def _indexes(path: str) -> tuple[str, ...]:
    """Say where the indexes lie that may list a package: below ``dists/``, or (flat) in a folder above it."""
    if path.startswith(DISTS):
        return (DISTS,)
    folders = [path[:at] for at, char in enumerate(path) if char == "/"]
    return (DISTS, *(f"{folder}/{name}".lstrip("/") for folder in ("", *folders) for name in ("Packages", "Sources")))
