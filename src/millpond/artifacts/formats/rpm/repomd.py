"""The entry file: repomd.xml, which names the members of its repository with their digests. PURE."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from millpond.artifacts.formats.rpm.paths import below, classify, compression
from millpond.artifacts.formats.rpm.xmlrecords import Element, Record, records
from millpond.artifacts.generations import Dates
from millpond.artifacts.model import Checksum, Member

MAX_BYTES = 8 * (1 << 20)
MAX_FILES = 10_000
_ALGORITHMS = {
    "sha": "sha1", "sha1": "sha1", "sha224": "sha224", "sha256": "sha256", "sha384": "sha384", "sha512": "sha512",
    "md5": "md5",
}  # fmt: skip
_LENGTHS = {"md5": 32, "sha1": 40, "sha224": 56, "sha256": 64, "sha384": 96, "sha512": 128}
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)


def members(path: str, chunks: Iterable[bytes]) -> Iterator[Member]:
    """List what an entry file names, by their paths. Raises `ValueError` for what is no such file."""
    root = classify(path).root
    found = records(limited(chunks), "repomd", "data", "checksum", "open-checksum", "location", "size")
    for count, record in enumerate(found):
        if count >= MAX_FILES:
            raise ValueError(f"it names more than {MAX_FILES} files")
        where = location(root, record)
        if not where:
            continue
        sums = checksums(record.get("checksum"))
        if not compression(where):  # what is in it is what it is
            sums += tuple(one for one in checksums(record.get("open-checksum")) if one not in sums)
        yield Member(where, where, sums, whole_number(record.get("size", Element()).text))


def dates(path: str, chunks: Iterable[bytes]) -> Dates:
    """Read when it was made: its revision, which createrepo sets to the time. Raises `ValueError`."""
    del path
    revision = [one["revision"].text for one in records(limited(chunks), "repomd", "repomd", "revision") if one]
    seconds = whole_number(revision[0].strip()) if revision else None
    return Dates(float(seconds) if seconds else None, None)


def location(root: str, record: Record) -> str:
    """Give the path that a record's location names; empty: none, or none here."""
    found = record.get("location", Element()).attributes
    return below(root, found.get("href", ""), found.get("xml:base", ""))


def checksums(element: Element | None) -> tuple[Checksum, ...]:
    """Read a checksum; none where it is missing, or its algorithm is not known."""
    if element is None:
        return ()
    algorithm, value = _ALGORITHMS.get(element.attributes.get("type", ""), ""), element.text.strip().lower()
    sound = len(value) == _LENGTHS.get(algorithm) and _HEX.fullmatch(value)
    return (Checksum(algorithm, value),) if sound else ()


def whole_number(text: str) -> int | None:
    """Read a size or a time; None: it is none."""
    text = text.strip()
    return int(text[:18]) if text.isascii() and text.isdigit() else None


def limited(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Pass a document on up to its limit. Raises `ValueError`."""
    size = 0
    for chunk in chunks:
        size += len(chunk)
        if size > MAX_BYTES:
            raise ValueError(f"it has more than {MAX_BYTES} bytes")
        yield chunk
