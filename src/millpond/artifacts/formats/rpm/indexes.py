"""The indexes of packages: primary.xml, and prestodelta.xml for deltas. PURE.

They may have hundreds of megabytes; one package is in memory at a time.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from millpond.artifacts.formats.rpm import zchunk
from millpond.artifacts.formats.rpm.paths import REPODATA, below, compression, index_kind
from millpond.artifacts.formats.rpm.repomd import checksums, location, whole_number
from millpond.artifacts.formats.rpm.xmlrecords import Element, Record, records
from millpond.artifacts.formats.unpacking import unpacked
from millpond.artifacts.model import Member

MAX_MEMBERS = 500_000


def members(path: str, chunks: Iterable[bytes]) -> Iterator[Member]:
    """List the packages of an index by their paths. Raises `ValueError` for what is no such document."""
    root = path.rpartition("/")[0].removesuffix(REPODATA)
    packed = compression(path)
    pieces = zchunk.unpacked(chunks) if packed == "zck" else unpacked(packed, chunks)
    read = _deltas if index_kind(path) == "prestodelta" else _packages
    for count, member in enumerate(read(root, pieces)):
        if count >= MAX_MEMBERS:
            raise ValueError(f"it lists more than {MAX_MEMBERS} packages")
        yield member


def _packages(root: str, pieces: Iterable[bytes]) -> Iterator[Member]:
    for record in records(pieces, "metadata", "package", "checksum", "size", "location"):
        path = location(root, record)
        size = whole_number(record.get("size", Element()).attributes.get("package", ""))
        if path:
            yield Member(path, path, checksums(record.get("checksum")), size)


def _deltas(root: str, pieces: Iterable[bytes]) -> Iterator[Member]:
    for record in records(pieces, "prestodelta", "delta", "filename", "size", "checksum"):
        path = below(root, _text(record, "filename"), "")
        if path:
            yield Member(path, path, checksums(record.get("checksum")), whole_number(_text(record, "size")))


def _text(record: Record, name: str) -> str:
    return record.get(name, Element()).text.strip()
