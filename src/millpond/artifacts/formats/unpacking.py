"""Compressed documents, read in pieces of a limited size, and up to a limited size in all. PURE."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Iterable, Iterator
from typing import Protocol

MIB = 1 << 20
MAX_PLAIN_BYTES = 1024 * MIB
PIECE_BYTES = 256 * 1024
_MEMORY_BYTES = 256 * MIB
_ZSTD_WINDOW_BYTES = 128 * MIB
_ZSTD_BITE_BYTES = 512
"""A block of four bytes may stand for 128 KiB, and nobody asks before they are there: so much is taken at a time."""


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


class _Zstd:
    """zstandard's decompressor in the form of the others; a piece may be larger than it should, by some MiB."""

    def __init__(self, words: bytes = b"") -> None:
        import zstandard

        known = zstandard.ZstdCompressionDict(words) if words else None
        made = zstandard.ZstdDecompressor(dict_data=known, max_window_size=_ZSTD_WINDOW_BYTES)
        self._inner = made.decompressobj()
        self._data, self._at = b"", 0

    @property
    def eof(self) -> bool:
        return self._inner.eof

    @property
    def needs_input(self) -> bool:
        return self._at >= len(self._data)

    @property
    def unused_data(self) -> bytes:
        return self._inner.unused_data + self._data[self._at :]

    def decompress(self, data: bytes, max_length: int) -> bytes:
        import zstandard

        if data:
            self._data, self._at = self._data[self._at :] + data, 0
        pieces, size = [], 0
        try:
            while size < max_length and not self.eof and not self.needs_input:
                pieces.append(self._inner.decompress(self._data[self._at : self._at + _ZSTD_BITE_BYTES]))
                self._at += _ZSTD_BITE_BYTES
                size += len(pieces[-1])
        except zstandard.ZstdError as error:
            raise OSError(str(error)) from error
        return b"".join(pieces)


def unpacked(compression: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress a document, in pieces of about `PIECE_BYTES` at most. `compression`: ``gz``, ...; empty: none.

    Raises `ValueError` for what is no such file, ends too early, or grows beyond `MAX_PLAIN_BYTES`.
    """
    grown = 0
    pieces = _decompressed(compression, chunks) if compression else iter(chunks)
    try:
        for piece in pieces:
            grown += len(piece)
            if grown > MAX_PLAIN_BYTES:
                raise ValueError(f"it grows beyond {MAX_PLAIN_BYTES} bytes")
            yield piece
    except (zlib.error, lzma.LZMAError, OSError, EOFError) as error:
        raise ValueError(f"it can't be decompressed: {error}") from error


def unpacked_zstd(data: bytes, size: int, words: bytes = b"") -> bytes:
    """Decompress one zstd frame that should have `size` bytes; `words` is its dictionary.

    Raises `ValueError` for what is none, or as soon as it has more.
    """
    stream = _Zstd(words)
    try:
        found = stream.decompress(data, size + 1)
        while not stream.eof and not stream.needs_input and len(found) <= size:
            found += stream.decompress(b"", size + 1)
    except OSError as error:
        raise ValueError(f"it can't be decompressed: {error}") from error
    return found


def _fresh(compression: str) -> _Decompressor:
    match compression:
        case "gz":
            return _Gzip()
        case "bz2":
            return bz2.BZ2Decompressor()
        case "xz":
            return lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_MEMORY_BYTES)
        case "lzma":
            return lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_MEMORY_BYTES)
        case "zst":
            return _Zstd()
    raise ValueError("its compression is not known here")


def _decompressed(compression: str, chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Decompress one stream behind the other (RFC 1952 section 2.2), as parallel compressors write them."""
    stream = _fresh(compression)
    for chunk in chunks:
        data = chunk
        while True:
            if stream.eof:
                data = data.lstrip(b"\0")  # padding
                if not data:
                    break
                stream = _fresh(compression)
            yield stream.decompress(data, PIECE_BYTES)
            if not stream.eof and stream.needs_input:
                break
            data = stream.unused_data if stream.eof else b""
    if not stream.eof:
        raise ValueError("it ends too early")
