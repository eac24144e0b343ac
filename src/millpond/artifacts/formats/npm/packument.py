"""Packuments: the documents that have all versions of a package, rewritten and read while they pass. PURE.

Of a version only its links are changed: ``dist.tarball`` (always: whatever it was, nothing leads past the pond) and
``dist.attestations.url``. All else stays, so signatures, deprecations and tags are the upstream's own. A version whose
name no path can have is left out.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any

from millpond.artifacts.formats.fields import epoch, resolve
from millpond.artifacts.formats.jsonwalk import Event, Pair, Value, Walk
from millpond.artifacts.formats.npm.names import (
    attestations_url,
    checksums,
    is_tarball,
    is_version,
    tarball_of,
    tarball_url,
)
from millpond.artifacts.model import Links, Member

VERSIONS, TAGS, TIME = "versions", "dist-tags", "time"
MAX_MANIFEST = 8 * 1024 * 1024
MAX_VALUE = 32 * 1024 * 1024
"""``time`` has a line for each version, old documents a copy of the read-me; both are parsed as one value."""
MAX_VERSIONS = 1_000_000
MAX_HELD = 16 * 1024 * 1024
_ENCODER = json.JSONEncoder(allow_nan=False, separators=(",", ":"))


class _Reading:
    """A packument on its way: what every reader of it checks."""

    def __init__(self, package: str) -> None:
        self._package = package
        self._walk = Walk(objects=frozenset({VERSIONS}), max_element=MAX_MANIFEST, max_value=MAX_VALUE)
        self._unpublished = False

    def feed(self, chunk: bytes) -> list[Event]:
        """Take the next bytes. Raises `ValueError` for what is no such document."""
        return self._checked(self._walk.feed(chunk))

    def close(self) -> list[Event]:
        """Give the rest. Raises `ValueError` when it is cut off, or has no versions and never had any."""
        events = self._checked(self._walk.close())
        if VERSIONS not in self._walk.seen and not self._unpublished:
            raise ValueError(f"the JSON document has no {VERSIONS!r}, so it is no packument")
        return events

    def _checked(self, events: list[Event]) -> list[Event]:
        for event in events:
            if not isinstance(event, Value):
                continue
            if event.key == "name" and not self._same(event.value):
                raise ValueError(f"the packument is that of {str(event.value)[:80]!r}, not of {self._package!r}")
            if event.key == TIME and isinstance(event.value, dict) and "unpublished" in event.value:
                self._unpublished = True  # all versions were withdrawn: the document tells when, and by whom
        return events

    def _same(self, name: object) -> bool:
        return isinstance(name, str) and name.lower() == self._package.lower()


class Rewriter:
    """A `formats.base.Transducer` for a packument."""

    def __init__(self, package: str, links: Links) -> None:
        self._package, self._links = package, links
        self._reading = _Reading(package)
        self._begun = False

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; give those that are ready. Raises `ValueError` for what is no such document."""
        return "".join(self._pieces(self._reading.feed(chunk))).encode()

    def close(self) -> bytes:
        """Give the rest. Raises `ValueError` when it is cut off, or no packument."""
        return "".join(self._pieces(self._reading.close())).encode()

    def _pieces(self, events: Iterable[Event]) -> Iterator[str]:
        for event in events:
            match event:
                case str():
                    self._begun = False
                    yield event
                case Pair(_, version, manifest):
                    written = rewritten(self._package, version, manifest, self._links)
                    if written:
                        yield f"{',' if self._begun else ''}{json.dumps(version)}:{written}"
                        self._begun = True


def rewritten(package: str, version: str, manifest: object, links: Links) -> str:
    """Write one version's manifest with its links leading here; empty: it is none, or can't be served."""
    filename = tarball_of(package, version)
    if filename is None or not isinstance(manifest, dict):
        return ""
    dist = manifest.get("dist")
    if isinstance(dist, dict):
        dist = dist | {"tarball": tarball_url(links.mount, package, filename)}
        attestations = dist.get("attestations")
        if isinstance(attestations, dict) and "url" in attestations:
            dist["attestations"] = attestations | {"url": attestations_url(links.mount, package, version)}
        manifest = manifest | {"dist": dist}
    try:
        return _ENCODER.encode(manifest)
    except ValueError:  # a number too large for a float
        return ""


class VersionReader:
    """A `formats.base.Transducer` that gives one version's manifest, by version or by tag; nothing if there is none.

    Where the tags come after the versions, as some registries write them, what may be meant is held: at most `MAX_HELD`
    characters.
    """

    def __init__(self, package: str, wanted: str, links: Links) -> None:
        self._package, self._wanted, self._links = package, wanted, links
        self._reading = _Reading(package)
        self._tags: dict[str, Any] | None = None
        self._held: dict[str, str] = {}
        self._size = 0

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes. Raises `ValueError` for what is no such document."""
        self._note(self._reading.feed(chunk))
        return b""

    def close(self) -> bytes:
        """Give the manifest. Raises `ValueError` as `Rewriter.close` does."""
        self._note(self._reading.close())
        tagged = (self._tags or {}).get(self._wanted)
        found = self._held.get(self._wanted) or (self._held.get(tagged) if isinstance(tagged, str) else None)
        return (found or "").encode()

    def _note(self, events: Iterable[Event]) -> None:
        for event in events:
            match event:
                case Value(key, tags) if key == TAGS and isinstance(tags, dict):
                    self._tags = tags
                case Pair(_, version, manifest) if self._may_be(version):
                    self._hold(version, rewritten(self._package, version, manifest, self._links))

    def _may_be(self, version: str) -> bool:
        return self._tags is None or version in {self._wanted, self._tags.get(self._wanted)}

    def _hold(self, version: str, written: str) -> None:
        self._held[version] = written
        self._size += len(written)
        if self._size > MAX_HELD and self._tags is None:
            raise ValueError(f"the packument's {TAGS} come after more than {MAX_HELD} characters of versions")


class TagsReader:
    """A `formats.base.Transducer` that gives the tags of a packument, and nothing else."""

    def __init__(self, package: str) -> None:
        self._reading = _Reading(package)
        self._tags: dict[str, Any] = {}

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes. Raises `ValueError` for what is no such document."""
        self._note(self._reading.feed(chunk))
        return b""

    def close(self) -> bytes:
        """Give the tags. Raises `ValueError` as `Rewriter.close` does."""
        self._note(self._reading.close())
        return json.dumps({tag: one for tag, one in self._tags.items() if isinstance(one, str)}).encode()

    def _note(self, events: Iterable[Event]) -> None:
        for event in events:
            if isinstance(event, Value) and event.key == TAGS and isinstance(event.value, dict):
                self._tags = event.value


def listed(package: str, source: str, chunks: Iterable[bytes]) -> Iterator[Member]:
    """List the tarballs of a packument whose URL is `source`, with dates where it has them (the full form has).

    Each is called as npm writes it (``name-1.2.3.tgz``). Where the upstream calls it otherwise, that name leads to it
    too, as lock files may have it, unless it is another version's. Raises `ValueError` for what is no packument.
    """
    found, times = _read(package, source, chunks)
    others: dict[str, Member] = {}
    for version, member in found.items():
        published_at = epoch(times.get(version))
        for name in (member.name, member.url.partition("?")[0].rpartition("/")[2]):
            named = Member(name, member.url, member.checksums, published_at=published_at)
            if name == member.name:
                yield named
            elif is_tarball(name):
                others.setdefault(name, named)
    own = {member.name for member in found.values()}
    yield from (member for name, member in others.items() if name not in own)


def _read(package: str, source: str, chunks: Iterable[bytes]) -> tuple[dict[str, Member], dict[str, object]]:
    """Give the tarball of each version, and the times that the document has."""
    reading, found, times = _Reading(package), dict[str, Member](), dict[str, object]()
    for events in _events(reading, chunks):
        for event in events:
            match event:
                case Value(key, value) if key == TIME and isinstance(value, dict):
                    times = value
                case Pair(_, version, manifest):
                    member = _member(package, version, manifest, source)
                    if member is not None:
                        found[version] = member
                    if len(found) > MAX_VERSIONS:
                        raise ValueError(f"the packument has more than {MAX_VERSIONS} versions")
    return found, times


def _events(reading: _Reading, chunks: Iterable[bytes]) -> Iterator[list[Event]]:
    for chunk in chunks:
        yield reading.feed(chunk)
    yield reading.close()


def _member(package: str, version: str, manifest: object, source: str) -> Member | None:
    filename = tarball_of(package, version)
    dist = manifest.get("dist") if isinstance(manifest, dict) else None
    link = dist.get("tarball") if isinstance(dist, dict) else None
    if filename is None or not is_version(version) or not isinstance(dist, dict) or not isinstance(link, str):
        return None
    parts = resolve(source, link)
    if parts is None:
        return None
    url = parts._replace(fragment="").geturl()
    return Member(filename, url, checksums(dist.get("integrity"), dist.get("shasum")))
