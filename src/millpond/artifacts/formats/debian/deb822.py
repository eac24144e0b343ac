"""Debian's control files, read in pieces: stanzas of fields (deb822), compressed or not. PURE.

Each reader has limits: of a line, of a stanza, and of what a compressed file may grow to.
"""

from __future__ import annotations

import bz2
import lzma
import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Protocol

MIB = 1 << 20
MAX_PLAIN_BYTES = 1024 * MIB
MAX_STANZA_BYTES = 16 * MIB
PIECE_BYTES = 256 * 1024
_MEMORY_BYTES = 256 * MIB
_FIELD = re.compile(rb"[!-9;-~]+:[^\x00]*")


class _Decompressor(Protocol):
    """The part of the standard library's decompressors that is used here."""

    @property
    def eof(self) -> bool:
        """Whether one stream has ended."""

    @property
    def needs_input(self) -> bool:
        """Whether there is nothing left to give."""

    @property
    def unused_data(self) -> bytes:
        """What came behind the end."""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        """Take bytes, give at most `max_length`."""


class _Gzip:
    """zlib's decompressor in the form of the others."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=31)
        self._held_back = False

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return not self._held_back

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data

    def decompress(self, data: bytes, max_length: int) -> bytes:
        piece = self._inner.decompress(self._inner.unconsumed_tail + data, max_length)
        self._held_back = len(piece) == max_length and not self._inner.eof
        return piece


def plain(path: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress a document as its suffix says, in pieces of at most `PIECE_BYTES`.

    Raises `ValueError` for what is no such file, ends too early, or grows beyond `MAX_PLAIN_BYTES`.
    """
    grown = 0
    pieces = iter(chunks) if "." not in path.rpartition("/")[2] else _decompressed(path, chunks)
    try:
        for piece in pieces:
            grown += len(piece)
            if grown > MAX_PLAIN_BYTES:
                raise ValueError(f"it grows beyond {MAX_PLAIN_BYTES} bytes")
            yield piece
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise ValueError(f"it can't be decompressed: {error}") from error


def _fresh(path: str) -> _Decompressor:
    match path.rpartition(".")[2]:
        case "gz":
            return _Gzip()
        case "bz2":
            return bz2.BZ2Decompressor()
        case "xz":
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_BYTES)
        case "lzma":
            return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY_BYTES)
    raise ValueError("its compression is not known here")


def _decompressed(path: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress one stream behind the other (RFC 1952 section 2.2), as parallel compressors write them."""
    stream = _fresh(path)
    for chunk in chunks:
        data = chunk
        while True:
            if stream.eof:
                data = data.lstrip(b"\0")  # padding
                if not data:
                    break
                stream = _fresh(path)
            yield stream.decompress(data, PIECE_BYTES)
            if not stream.eof and stream.needs_input:
                break
            data = stream.unused_data if stream.eof else b""
    if not stream.eof:
        raise ValueError("it ends too early")


def stanzas(pieces: Iterable[bytes]) -> Iterator[bytes]:
    """Cut a document into its stanzas. Raises `ValueError` for one of more than `MAX_STANZA_BYTES`."""
    rest = b""
    for piece in pieces:
        *whole, rest = (rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
        if len(rest) > MAX_STANZA_BYTES:
            raise ValueError(f"it has a stanza of more than {MAX_STANZA_BYTES} bytes")
        yield from (stanza for stanza in whole if stanza.strip())
    if rest.strip():
        yield rest


def fields(stanza: bytes, wanted: frozenset[bytes]) -> dict[bytes, list[bytes]]:
    """Read some fields of a stanza: the lines of each, without white space at their ends.

    `wanted` has the names in lower case, and so has the result. Raises `ValueError` for what is no stanza.
    """
    found: dict[bytes, list[bytes]] = {}
    lines: list[bytes] | None = None
    for line in stanza.strip(b"\n").split(b"\n"):
        if line[:1] in {b" ", b"\t"}:
            if lines is not None:
                lines.append(line.strip())
        elif line[:1] == b"#":
            continue
        elif not _FIELD.fullmatch(line):
            raise ValueError(f"it has a line that is no field: {line[:80]!r}")
        else:
            raw, _, value = line.partition(b":")
            name = raw.lower()
            lines = found.setdefault(name, []) if name in wanted else None
            if lines is not None:
                lines.append(value.strip())
    return found
