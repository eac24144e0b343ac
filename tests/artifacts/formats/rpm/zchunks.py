"""Writes zchunk files, as the tool `zck` does, in a few lines."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import zstandard


def number(value: int) -> bytes:
    """Write a number as zchunk does."""
    out = bytearray()
    while value > 127:
        out.append(value & 127)
        value >>= 7
    return bytes([*out, value | 128])


def zchunk(body: bytes, *, chunk: int = 500, words: bytes = b"", zstd: bool = True, flags: int = 0) -> bytes:
    """Make a file of chunks of so many bytes. `words`: its dictionary."""
    known = zstandard.ZstdCompressionDict(words) if words else None
    plain = [body[at : at + chunk] for at in range(0, len(body), chunk)]
    packed = [zstandard.ZstdCompressor(dict_data=known).compress(one) if zstd else one for one in plain]
    first = zstandard.ZstdCompressor().compress(words) if words and zstd else words
    return assembled([(first, len(words)), *zip(packed, map(len, plain), strict=True)], zstd=zstd, flags=flags)


def assembled(chunks: Sequence[tuple[bytes, int]], *, zstd: bool = True, flags: int = 0) -> bytes:
    """Put a file together of its chunks, the dictionary first, each with the size that it is said to have."""
    twice = 2 if flags & 4 else 1
    index = number(3) + number(len(chunks))
    for data, size in chunks:
        index += hashlib.sha512(data).digest()[:16] * twice + number(len(data)) + number(size)
    data = b"".join(one for one, _ in chunks)
    elements = number(1) + number(7) + number(3) + b"abc" if flags & 2 else b""
    preface = hashlib.sha256(data).digest() + number(flags) + number(2 if zstd else 0) + elements
    header = preface + number(len(index)) + index + number(0)
    lead = b"\0ZCK1" + number(1) + number(len(header))
    return lead + hashlib.sha256(lead + header).digest() + header + data
