"""APKINDEX: the packages of one folder (apk-index(8)). PURE.

Stanzas of lines ``X:value``; of a package ``P`` and ``V`` are its file's name, ``S`` its size, and ``C`` the SHA-1 of
its control segment (``Q1`` and Base64), by which apk knows it.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Iterator

from millpond.artifacts.formats.alpine.segments import contents
from millpond.artifacts.model import Checksum, Member

NAME = "APKINDEX.tar.gz"
INNER = "APKINDEX"
ALGORITHM = "apk-sha1"
"""Our name for what ``C:Q1`` is: a SHA-1, but not of the whole file."""
MIB = 1 << 20
MAX_BYTES, MAX_PLAIN_BYTES = 128 * MIB, 1024 * MIB
MAX_STANZA_BYTES = 16 * MIB
MAX_MEMBERS = 500_000
_FIELD = re.compile(rb"^([PVSC]):[ \t]*(.*?)[ \t]*$", re.MULTILINE)
_LINE = re.compile(rb"[A-Za-z]:")
_NAME = re.compile(rb"[A-Za-z0-9_][A-Za-z0-9._+~-]*")
_SHA1_BYTES = 20


def members(folder: str, chunks: Iterable[bytes]) -> Iterator[Member]:
    """List the packages of an index that lies in `folder` (with its slash). Raises `ValueError`."""
    for number, stanza in enumerate(_stanzas(contents(chunks, INNER, MAX_PLAIN_BYTES)), start=1):
        if number > MAX_MEMBERS:
            raise ValueError(f"it lists more than {MAX_MEMBERS} packages")
        yield from _package(folder, stanza)


def _stanzas(pieces: Iterable[bytes]) -> Iterator[bytes]:
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).split(b"\n\n")
        if len(rest) > MAX_STANZA_BYTES:
            raise ValueError(f"it has a stanza of more than {MAX_STANZA_BYTES} bytes")
        yield from (stanza for stanza in whole if stanza.strip())
    if rest.strip():
        yield rest


def _package(folder: str, stanza: bytes) -> Iterator[Member]:
    """Read a stanza; what has a name that no file can have here is nobody's to ask for."""
    if not _LINE.match(stanza.lstrip(b"\n")):
        raise ValueError(f"it has a stanza that is none: {stanza[:80]!r}")
    found = dict(_FIELD.findall(stanza))
    if b"P" not in found or b"V" not in found:
        raise ValueError(f"it has a stanza without a package: {stanza[:80]!r}")
    name, version = found[b"P"], found[b"V"]
    if _NAME.fullmatch(name) and _NAME.fullmatch(version):
        path = f"{folder}{name.decode()}-{version.decode()}.apk"
        size = found.get(b"S", b"")
        yield Member(path, path, tuple(_checksum(found.get(b"C", b""))), int(size[:18]) if size.isdigit() else None)


def _checksum(value: bytes) -> Iterator[Checksum]:
    """Read ``Q1...``; the longer ones are of packages of version 3, which are not looked into here."""
    try:
        raw = base64.b64decode(value.removeprefix(b"Q1"), validate=True) if value.startswith(b"Q1") else b""
    except binascii.Error:
        return
    if len(raw) == _SHA1_BYTES:
        yield Checksum(ALGORITHM, raw.hex())
