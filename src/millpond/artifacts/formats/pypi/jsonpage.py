"""JSON pages of an index: rewritten while they pass, and read (PEP 691, 700, 714). PURE.

Of a file only its link is changed, and its provenance (PEP 740), a link past the pond, is taken away. A file that
can't be served here (an odd name, a link to nowhere) is left out: its link would lead past the pond. All else stays.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from millpond.artifacts.formats.fields import epoch, resolve
from millpond.artifacts.formats.jsonwalk import Element, Event, Value, Walk
from millpond.artifacts.formats.pypi.listing import Listed
from millpond.artifacts.formats.pypi.names import checksum, file_url, is_distribution
from millpond.artifacts.model import Checksum, Links, Member

FILES, PROJECTS = "files", "projects"
MAX_CHECKSUMS = 16


class ProjectRewriter:
    """A `formats.base.Transducer` for a project's page."""

    def __init__(self, project: str, links: Links) -> None:
        self._project, self._links = project, links
        self._walk = Walk(frozenset({FILES}))
        self._listing = False

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; give those that are ready. Raises `ValueError` for what is no such document."""
        return "".join(self._pieces(self._walk.feed(chunk))).encode()

    def close(self) -> bytes:
        """Give the rest. Raises `ValueError` when it is cut off, or lists no files."""
        rest = "".join(self._pieces(self._walk.close()))
        _require(self._walk, FILES)
        return rest.encode()

    def _pieces(self, events: Iterable[Event]) -> Iterator[str]:
        for event in events:
            match event:
                case str():
                    self._listing = False
                    yield event
                case Element(_, value):
                    written = self._file(value)
                    if written:
                        yield "," + written if self._listing else written
                        self._listing = True
                case Value(key, value):
                    _check_version(key, value)

    def _file(self, value: object) -> str:
        read = _read(value, self._links.source)
        if read is None:
            return ""
        entry = read.entry | {"url": file_url(self._links.mount, self._project, read.filename)}
        if "provenance" in entry:
            entry["provenance"] = None
        try:
            return json.dumps(entry, allow_nan=False, separators=(",", ":"))
        except ValueError:  # a number too large for a float
            return ""


class RootChecker:
    """A `formats.base.Transducer` for the root index: its bytes pass as they are, once they are seen to be sound."""

    def __init__(self) -> None:
        self._walk = Walk(frozenset({PROJECTS}))

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes and hand them on. Raises `ValueError` for what is no such document."""
        for event in self._walk.feed(chunk):
            if isinstance(event, Value):
                _check_version(event.key, event.value)
        return chunk

    def close(self) -> bytes:
        """End it. Raises `ValueError` when it is cut off, or lists no projects."""
        for event in self._walk.close():
            if isinstance(event, Value):
                _check_version(event.key, event.value)
        _require(self._walk, PROJECTS)
        return b""


def listed(source: str, chunks: Iterable[bytes]) -> Iterator[Listed]:
    """Read a project's page whose URL is `source`. Raises `ValueError` when it is cut off, or lists no files."""
    walk = Walk(frozenset({FILES}))
    for events in _events(walk, chunks):
        for event in events:
            if isinstance(event, Value):
                _check_version(event.key, event.value)
            read = _read(event.value, source) if isinstance(event, Element) else None
            if read is not None:
                yield _listed(read)
    _require(walk, FILES)


def _events(walk: Walk, chunks: Iterable[bytes]) -> Iterator[list[Event]]:
    for chunk in chunks:
        yield walk.feed(chunk)
    yield walk.close()


@dataclass(frozen=True, slots=True)
class _File:
    """An entry whose name and link are usable; `url` is absolute."""

    entry: dict[str, object]
    filename: str
    url: str


def _read(value: object, source: str) -> _File | None:
    if not isinstance(value, dict):
        return None
    filename, link = value.get("filename"), value.get("url")
    if not isinstance(filename, str) or not isinstance(link, str) or not is_distribution(filename):
        return None
    parts = resolve(source, link)
    return None if parts is None else _File(value, filename, parts._replace(fragment="").geturl())


def _listed(read: _File) -> Listed:
    entry = read.entry
    size = entry.get("size")
    known = size if isinstance(size, int) and not isinstance(size, bool) and size >= 0 else None
    digests = _checksums(entry.get("hashes"))
    member = Member(read.filename, read.url, digests, known, epoch(entry.get("upload-time")))
    return Listed(member, _metadata(entry), signed=entry.get("gpg-sig") is True)


def _metadata(entry: dict[str, object]) -> tuple[Checksum, ...] | None:
    """Read PEP 714's key, else its older names; None: there is no metadata file."""
    for key in ("core-metadata", "data-dist-info-metadata", "dist-info-metadata"):
        if key in entry:
            value = entry[key]
            if isinstance(value, dict):
                return _checksums(value)
            return () if value is True else None
    return None


def _checksums(value: object) -> tuple[Checksum, ...]:
    if not isinstance(value, dict):
        return ()
    return tuple(
        found for name, digest in list(value.items())[:MAX_CHECKSUMS] if (found := checksum(name, digest)) is not None
    )


def _check_version(key: str, value: object) -> None:
    """Raise `ValueError` for a document of a later major version (PEP 629): its links may lie elsewhere."""
    if key != "meta" or not isinstance(value, dict):
        return
    version = value.get("api-version")
    if isinstance(version, str) and version.partition(".")[0] != "1":
        raise ValueError(f"the index is of version {version[:20]!r}; version 1 is understood")


def _require(walk: Walk, key: str) -> None:
    if key not in walk.seen:
        raise ValueError(f"the JSON document has no {key!r}, so it is no such page")
