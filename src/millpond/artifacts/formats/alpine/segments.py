"""What apk's files of version 2 are made of (apk-v2(5)): gzip streams, one behind the other, that form one tar archive.

Both are read in pieces, as they come. The parts are told apart by where a gzip stream ends, which the archive within
says nothing of: signatures (``.SIGN.*``), then what they sign.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

PIECE_BYTES = 256 * 1024
BLOCK = 512
MAX_ENTRIES = 1_000_000
_CHECKSUM = slice(148, 156)
_GZIP = 31  # zlib's word for: with gzip's header and checksum
_EXTENSIONS = frozenset({"x", "g", "L", "K"})
"""Types of entries that only say something of the next one."""


@dataclass(frozen=True, slots=True)
class Piece:
    """Inflated bytes, or (`ends`) the end of a stream behind them; `raw` are the bytes that were read for them."""

    raw: bytes
    plain: bytes
    ends: bool


class Streams:
    """Inflates gzip streams, one behind the other (RFC 1952 section 2.2)."""

    def __init__(self) -> None:
        self._inner = zlib.decompressobj(wbits=_GZIP)
        self.begun = False
        """Whether it stands within a stream."""

    def feed(self, data: bytes) -> Iterator[Piece]:
        """Take bytes; gives pieces of at most `PIECE_BYTES` each, the last of a stream marked.

        Whoever stops after a piece has read up to its end, and no further. Raises `ValueError`.
        """
        more = False
        while data or more:
            self.begun = True
            try:
                plain = self._inner.decompress(data, PIECE_BYTES)
            except zlib.error as error:
                raise ValueError(f"it can't be decompressed: {error}") from error
            ends = self._inner.eof
            more = len(plain) == PIECE_BYTES and not ends  # some may be left in there, though all was read
            rest = self._inner.unused_data if ends else self._inner.unconsumed_tail
            raw, data = data[: len(data) - len(rest)], rest
            if ends:
                self._inner, self.begun = zlib.decompressobj(wbits=_GZIP), False
            yield Piece(raw, plain, ends)


class Entries:
    """Walks a tar archive (POSIX ustar) that comes in pieces; blocks of zeros between its parts are passed over."""

    def __init__(self) -> None:
        self._held = b""
        self._name: str | None = None
        self._left = self._padding = 0
        self._seen = 0

    @property
    def whole(self) -> bool:
        """Whether what came so far does not end in the middle of an entry."""
        return not self._held and not self._left

    def feed(self, data: bytes) -> Iterator[tuple[str, bytes]]:
        """Take bytes; gives the entries' names with their bytes, in pieces; the first piece of each may be empty.

        Raises `ValueError` for what is no such archive.
        """
        data = self._held + data
        at = 0
        while at < len(data):
            if self._left or self._padding:
                piece = data[at : at + self._left]
                skipped = min(self._padding, len(data) - at - len(piece))
                self._left, self._padding = self._left - len(piece), self._padding - skipped
                at += len(piece) + skipped
                if self._name is not None and piece:
                    yield self._name, piece
                continue
            if len(data) - at < BLOCK:
                break
            block, at = data[at : at + BLOCK], at + BLOCK
            if block.count(0) < BLOCK:
                self._header(block)
                if self._name is not None:
                    yield self._name, b""
        self._held = data[at:]

    def _header(self, block: bytes) -> None:
        told, size = _octal(block[_CHECKSUM]), _octal(block[124:136])
        if told != sum(block) - sum(block[_CHECKSUM]) + 8 * ord(" "):
            raise ValueError("it holds no tar archive")
        self._seen += 1
        if self._seen > MAX_ENTRIES:
            raise ValueError(f"it has more than {MAX_ENTRIES} entries")
        kind = chr(block[156])
        self._name = None if kind in _EXTENSIONS else block[:100].partition(b"\0")[0].decode("utf-8", "replace")
        self._left, self._padding = size, -size % BLOCK


def _octal(field: bytes) -> int:
    text = field.strip(b" \0")
    if not all(48 <= digit <= 55 for digit in text):  # noqa: PLR2004 - the digits 0 to 7
        raise ValueError("it holds no tar archive")
    return int(text or b"0", 8)


def contents(chunks: Iterable[bytes], wanted: str, max_bytes: int) -> Iterator[bytes]:
    """Give one file of such an archive, in pieces.

    Raises `ValueError` for what is none, has no such file, ends too early, or grows beyond `max_bytes`.
    """
    streams, entries, grown, there = Streams(), Entries(), 0, False
    for chunk in chunks:
        for piece in streams.feed(chunk):
            grown += len(piece.plain)
            if grown > max_bytes:
                raise ValueError(f"it grows beyond {max_bytes} bytes")
            for name, data in entries.feed(piece.plain):
                there = there or name == wanted
                if name == wanted and data:
                    yield data
    if streams.begun or not entries.whole:
        raise ValueError("it ends too early")
    if not there:
        raise ValueError(f"it has no {wanted}")
