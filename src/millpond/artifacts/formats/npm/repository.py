"""The paths of an npm registry, and what is known of each. PURE.

``{package}`` is its packument, in the variants ``full`` and ``abbreviated``; ``{package}/{version or tag}`` and
``-/package/{package}/dist-tags`` are parts of it, made of the very document that installs see, so that they can't
contradict it and need nothing of their own during an outage. ``{package}/-/{file}`` is a tarball, wherever the upstream
keeps it: the packument knows its URL and digest. Lock files made against the upstream have that spelling, and pnpm and
yarn leave it out of theirs, so it is the one that is written into packuments; ``files/{package}/{file}`` is the same
object. A scoped name is ``@scope/name`` or ``@scope%2fname``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from millpond.artifacts.formats.base import Transducer
from millpond.artifacts.formats.npm import services
from millpond.artifacts.formats.npm.names import is_tarball, is_version, take_package, upstream_name
from millpond.artifacts.formats.npm.negotiation import ABBREVIATED, ABBREVIATED_TYPE, FULL, UPSTREAM_ACCEPT, choose
from millpond.artifacts.formats.npm.packument import Rewriter, TagsReader, VersionReader, listed
from millpond.artifacts.model import Absent, Body, Errand, Expectation, Links, Member, Moved, Resolution, Said, Target

MIB = 1 << 20
MAX_PACKUMENT_BYTES, MAX_KEYS_BYTES, MAX_ATTESTATIONS_BYTES = 512 * MIB, MIB, 16 * MIB
TAGS, VERSION = "dist-tags", "version "
KEYS, ATTESTATIONS = "-/npm/v1/keys", "-/npm/v1/attestations/"
_GUIDE = "a registry has PACKAGE, PACKAGE/VERSION and PACKAGE/-/FILE.tgz: set the client's registry to this one's root"
_JSON = "application/json"


class Npm:
    """The registry protocol. The upstream's base URL is the registry's root."""

    name: ClassVar[str] = "npm"
    default_ttl_s: ClassVar[float] = 300.0
    rewrite_version: ClassVar[int] = 1
    escaped_scopes: ClassVar[bool] = True

    def resolve(self, path: str, query: str, accept: str) -> Resolution:
        """Read a path: a packument or a part of it, a tarball in one of its spellings, a small document beside."""
        del query  # npm sends ?write=true before it publishes; nothing here depends on it
        segments = path.split("/")
        match segments:
            case ["-", "npm", "v1", "keys"]:
                return _beside(KEYS)
            case ["-", "npm", "v1", "attestations", *rest]:
                return _attestations("/".join(rest))
            case ["-", "package", *rest] if rest and rest[-1] == TAGS:
                return _part(rest[:-1], TAGS)
            case ["files", first, *rest] if first != "-" and rest:
                found = take_package((first, *rest))
                if found is not None and len(found[1]) == 1:
                    return _tarball(found[0], found[1][0])
                return Absent("files/ has files/PACKAGE/FILE.tgz")
        return _of_package(path, segments, choose(accept))

    def expects(self, target: Target) -> Expectation:
        """Say what a document looks like, or which packument knows a tarball."""
        if target.rewritten:
            return Expectation(Body(prefixes=(b"{",), max_bytes=MAX_PACKUMENT_BYTES))
        if target.path == KEYS or target.path.startswith(ATTESTATIONS):
            limit = MAX_KEYS_BYTES if target.path == KEYS else MAX_ATTESTATIONS_BYTES
            return Expectation(Body(prefixes=(b"{",), max_bytes=limit))
        package, _, filename = target.path.rpartition("/-/")
        index, also = _packument(package, ABBREVIATED), (_packument(package, FULL),)
        return Expectation(Body(prefixes=(b"\x1f\x8b",)), index, filename, also)

    def stand_ins(self, target: Target) -> tuple[Target, ...]:
        """Give a packument's other form."""
        return tuple(replace(target, variant=v, accept=a) for v, a in UPSTREAM_ACCEPT.items() if v != target.variant)

    def serves(self, target: Target, content_type: str) -> bool:
        """Tell: the full form has all that the abbreviated one has, and not the other way round."""
        return target.variant == ABBREVIATED or ABBREVIATED_TYPE not in content_type

    def rewriter(self, target: Target, content_type: str, links: Links) -> Transducer:
        """Make a transducer for a packument, or for the part of it that is asked for."""
        del content_type
        if target.part == TAGS:
            return TagsReader(target.path)
        if target.part:
            return VersionReader(target.path, target.part.removeprefix(VERSION), links)
        return Rewriter(target.path, links)

    def members(self, target: Target, content_type: str, source: str, chunks: Iterable[bytes]) -> Iterator[Member]:
        """List a packument's tarballs. Raises `ValueError` for what is no packument, or has too many versions."""
        del content_type
        return listed(target.path, source, chunks)

    def errand(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Errand | Said | None:
        """Say what becomes of a request for a service (audit, search, ...); None: it is for an artifact."""
        return services.errand(method, path, query, headers)

    def explained(self, status: int, reason: str) -> tuple[str, bytes]:
        """Write an error as npm's clients read it."""
        return services.explained(status, reason)


def _of_package(path: str, segments: Sequence[str], variant: str) -> Resolution:
    bare = path.rstrip("/")
    if bare != path and bare:
        found_there = _of_package(bare, bare.split("/"), variant)
        return Moved(bare) if isinstance(found_there, Target) else found_there
    found = take_package(segments)
    if found is None:
        return Absent(f"{path[:80]!r} begins with no package's name; {_GUIDE}" if path else _GUIDE)
    package, rest = found
    match rest:
        case []:
            return _packument(package, variant)
        case [version] if is_version(version) and package != "-":  # a package's name too, but there are the services
            return _part(package.split("/"), VERSION + version)
        case ["-", filename]:
            return _tarball(package, filename)
        case ["-", scope, filename] if package.startswith(f"{scope}/"):  # as some registries write it
            return _tarball(package, filename)
    return Absent(_GUIDE)


def _packument(package: str, variant: str) -> Target:
    accept = UPSTREAM_ACCEPT[variant]
    return Target(package, upstream_name(package), mutable=True, variant=variant, accept=accept, rewritten=True)


def _part(segments: Sequence[str], part: str) -> Resolution:
    """Find a part of a packument: tags are in both forms, a version's whole manifest in the full one only."""
    found = take_package(segments) if segments else None
    if found is None or found[1]:
        return Absent("this names no package")
    return replace(_packument(found[0], ABBREVIATED if part == TAGS else FULL), part=part)


def _tarball(package: str, filename: str) -> Resolution:
    if not is_tarball(filename):
        return Absent(f"{filename[:80]!r} is no tarball's file name")
    return Target(f"{package}/-/{filename}", "", mutable=False)


def _beside(path: str) -> Target:
    return Target(path, path, mutable=True, accept=_JSON)


def _attestations(rest: str) -> Resolution:
    """Find a version's attestations: ``{package}@{version}``."""
    name, _, version = rest.rpartition("@")
    found = take_package(name.split("/")) if name else None
    if found is None or found[1] or not is_version(version):
        return Absent("attestations are those of PACKAGE@VERSION")
    upstream = f"{ATTESTATIONS}{upstream_name(name)}@{version}".replace("+", "%2B")
    return Target(f"{ATTESTATIONS}{name}@{version}", upstream, mutable=True, accept=_JSON)
