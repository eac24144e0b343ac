"""zchunk files, read from beginning to end: a header that names the chunks, then the chunks (zchunk_format.txt). PURE.

The header's and the chunks' own digests are for who has only some of them; here the whole file has been verified.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from millpond.artifacts.formats.unpacking import MAX_PLAIN_BYTES, unpacked_zstd

MAGIC = b"\0ZCK1"
MAX_HEADER_BYTES = 64 * (1 << 20)
MAX_CHUNK_BYTES = 64 * (1 << 20)
_SUM_BYTES = {0: 20, 1: 32, 2: 64, 3: 16}
_STREAMS, _ELEMENTS, _UNCOMPRESSED_SUMS = 1, 2, 4
_NONE, _ZSTD = 0, 2
_LEAD_BYTES = 5 + 2 * 10
_LAST = 0x80


@dataclass(frozen=True, slots=True)
class _Chunk:
    packed: int
    size: int


class _Bytes:
    """A header's bytes, read one thing after the other. Raises `ValueError` behind their end."""

    def __init__(self, data: bytes) -> None:
        self.data, self.at = data, 0

    def take(self, size: int) -> bytes:
        if size > len(self.data) - self.at:
            raise ValueError("its zchunk header ends too early")
        self.at += size
        return self.data[self.at - size : self.at]

    def number(self) -> int:
        """Read a number: seven bits a byte, the lowest first; the last byte has its highest bit set."""
        value = 0
        for place in range(10):
            (byte,) = self.take(1)
            value |= (byte & ~_LAST) << (7 * place)
            if byte & _LAST:
                return value
        raise ValueError("its zchunk header has a number that is too large")

    def sum_bytes(self) -> int:
        kind = self.number()
        if kind not in _SUM_BYTES:
            raise ValueError("its zchunk header has a digest of a kind that is not known here")
        return _SUM_BYTES[kind]


class _Source:
    """Chunks of bytes as a thing to read from."""

    def __init__(self, chunks: Iterable[bytes]) -> None:
        self._chunks, self._held = iter(chunks), bytearray()

    def take(self, size: int, *, short: bool = False) -> bytes:
        """Give so many bytes. Raises `ValueError` when there are fewer, unless it may be `short`."""
        while len(self._held) < size:
            chunk = next(self._chunks, None)
            if chunk is None:
                break
            self._held += chunk
        if len(self._held) < size and not short:
            raise ValueError("it ends too early")
        found = bytes(self._held[:size])
        del self._held[:size]
        return found

    def give_back(self, data: bytes) -> None:
        self._held[:0] = data


def unpacked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Give what a zchunk file holds, a chunk at a time. Raises `ValueError` for what is none."""
    source = _Source(chunks)
    kind, listed = _header(source)
    if sum(one.size for one in listed) > MAX_PLAIN_BYTES:
        raise ValueError(f"it grows beyond {MAX_PLAIN_BYTES} bytes")
    words = _content(source, listed[0], kind, b"") if listed and listed[0].packed else b""
    for chunk in listed[1:]:
        yield _content(source, chunk, kind, words)


def _content(source: _Source, chunk: _Chunk, kind: int, words: bytes) -> bytes:
    """Read one chunk; `words` is the dictionary."""
    if max(chunk.packed, chunk.size) > MAX_CHUNK_BYTES:
        raise ValueError(f"it has a chunk of more than {MAX_CHUNK_BYTES} bytes")
    data = source.take(chunk.packed)
    if kind == _ZSTD and data:
        data = unpacked_zstd(data, chunk.size, words)
    if len(data) != chunk.size:
        raise ValueError(f"it has a chunk of {len(data)} bytes that should have {chunk.size}")
    return data


def _header(source: _Source) -> tuple[int, list[_Chunk]]:
    """Read the header: how chunks are compressed, and their sizes, the dictionary's first."""
    start = source.take(_LEAD_BYTES, short=True)
    lead = _Bytes(start)
    if lead.take(len(MAGIC)) != MAGIC:
        raise ValueError("it is no zchunk file")
    sum_bytes, size = lead.sum_bytes(), lead.number()
    if size > MAX_HEADER_BYTES:
        raise ValueError(f"its zchunk header has more than {MAX_HEADER_BYTES} bytes")
    source.give_back(start[lead.at :])
    source.take(sum_bytes)
    header = _Bytes(source.take(size))
    header.take(sum_bytes)
    flags, kind = header.number(), header.number()
    if kind not in {_NONE, _ZSTD} or flags & _STREAMS:
        raise ValueError("its chunks are compressed in a way that is not known here")
    for _ in range(header.number() if flags & _ELEMENTS else 0):
        header.number()
        header.take(header.number())
    return kind, _chunks(_Bytes(header.take(header.number())), twice=bool(flags & _UNCOMPRESSED_SUMS))


def _chunks(index: _Bytes, *, twice: bool) -> list[_Chunk]:
    """Read the index, the dictionary first. `twice`: there are digests of the uncompressed chunks too."""
    sum_bytes = index.sum_bytes() * (2 if twice else 1)
    index.number()  # their number, which the index's size tells as well
    found = []
    while index.at < len(index.data):
        index.take(sum_bytes)
        found.append(_Chunk(index.number(), index.number()))
    return found
