"""The indexes: Packages, Sources, and the Index of patches (DebianRepository/Format). PURE.

They give packages by their paths in the repository. A stanza without digests lists a package nonetheless.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from itertools import islice

from millpond.artifacts.formats.debian.deb822 import fields, plain, stanzas
from millpond.artifacts.model import Checksum, Member

MAX_MEMBERS = 500_000
_BINARY = re.compile(
    rb"^(package|filename|size|md5sum|sha1|sha256|sha512):[ \t]*(.*?)[ \t]*$", re.MULTILINE | re.IGNORECASE
)
_ALGORITHMS = {b"sha512": "sha512", b"sha256": "sha256", b"sha1": "sha1", b"md5sum": "md5"}
_SOURCE = {b"checksums-sha512": "sha512", b"checksums-sha256": "sha256", b"checksums-sha1": "sha1", b"files": "md5"}
_PATCHES = {b"sha512-download": "sha512", b"sha256-download": "sha256", b"sha1-download": "sha1"}
_FIELD = re.compile(rb"[!-9;-~]+:")
_LENGTH = {"sha512": 128, "sha256": 64, "sha1": 40, "md5": 32}
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_HEX = re.compile(r"[0-9a-f]+", re.ASCII)


def members(path: str, chunks: Iterable[bytes]) -> Iterator[Member]:
    """List the packages of an index, or the patches of an Index. Raises `ValueError`."""
    name = path.rpartition("/")[2]
    pieces = plain(path, chunks)
    if name == "Index":
        found = _patches(path.rpartition("/")[0], pieces)
    else:
        read = _sources if name.startswith("Sources") else _packages
        found = (member for stanza in stanzas(pieces) for member in read(stanza))
    yield from islice(found, MAX_MEMBERS)
    if next(found, None) is not None:
        raise ValueError(f"it lists more than {MAX_MEMBERS} files")


def _packages(stanza: bytes) -> Iterator[Member]:
    if not _FIELD.match(stanza.lstrip(b"\n")):
        raise ValueError(f"it has a stanza that is none: {stanza[:80]!r}")
    found = {name.lower(): value for name, value in _BINARY.findall(stanza)}
    if b"package" not in found:
        raise ValueError(f"it has a stanza without a package: {stanza[:80]!r}")
    name = _path(found.get(b"filename", b""))
    if name:
        checksums = tuple(one for field, algorithm in _ALGORITHMS.items() for one in _sum(algorithm, found.get(field)))
        yield Member(name, name, checksums, _size(found.get(b"size", b"")))


def _sources(stanza: bytes) -> Iterator[Member]:
    found = fields(stanza, frozenset({b"package", b"directory", *_SOURCE}))
    if b"package" not in found:
        raise ValueError(f"it has a stanza without a package: {stanza[:80]!r}")
    folder = _path(found.get(b"directory", [b""])[0])
    yield from _listed(folder, found, _SOURCE)


def _patches(folder: str, pieces: Iterable[bytes]) -> Iterator[Member]:
    for stanza in stanzas(pieces):
        yield from _listed(folder, fields(stanza, frozenset(_PATCHES)), _PATCHES)


def _listed(folder: str, found: Mapping[bytes, list[bytes]], sections: Mapping[bytes, str]) -> Iterator[Member]:
    """Read sections of ``DIGEST SIZE NAME``."""
    files: dict[str, tuple[int | None, list[Checksum]]] = {}
    for section, algorithm in sections.items():
        for line in found.get(section, []):
            if not line:
                continue
            value, _, rest = line.partition(b" ")
            size, _, name = rest.strip().partition(b" ")
            path = _path(name.strip())
            if path:
                known = files.setdefault(path, (_size(size), []))
                known[1].extend(_sum(algorithm, value))
    for path, (size_bytes, checksums) in files.items():
        whole = f"{folder}/{path}".lstrip("/")
        yield Member(whole, whole, tuple(checksums), size_bytes)


def _path(value: bytes) -> str:
    """Give a path within the repository; empty: it is none, and nobody could ask for it here."""
    try:
        text = value.decode("utf-8").removeprefix("./")
    except UnicodeDecodeError:
        return ""
    unfit = _CONTROL.search(text) or not {"", ".", ".."}.isdisjoint(text.split("/"))
    return "" if unfit else text


def _sum(algorithm: str, value: bytes | None) -> Iterator[Checksum]:
    text = (value or b"").decode("latin-1").strip().lower()
    if len(text) == _LENGTH[algorithm] and _HEX.fullmatch(text):
        yield Checksum(algorithm, text)


def _size(value: bytes) -> int | None:
    return int(value[:18]) if value.isdigit() else None
