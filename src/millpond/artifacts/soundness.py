"""Whether an upstream's body can be what was asked for. PURE.

A captive portal, a proxy's error page or a half-written file answers 200 like the real thing. The digest tells where
an index gives
one; elsewhere the media type and the first and last bytes do (`model.Body`), and what the good copy was before.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import Protocol

from millpond.artifacts.model import Body, Checksum, Entry, Reply

PROBE_BYTES = 512
_HTML = (b"<!doctype html", b"<html", b"<head", b"<body", b"<script")
_STRENGTH = ("sha512", "sha384", "sha256", "sha3_256", "blake2b", "sha224", "sha1", "md5")


def unsound_head(body: Body, reply: Reply, before: Entry | None) -> str | None:
    """Say why a reply's head can't belong to the target; None: it can."""
    if body.max_bytes is not None and reply.length is not None and reply.length > body.max_bytes:
        return f"the body has {reply.length} bytes, more than the {body.max_bytes} that such a document may have"
    kind = media_type(reply.headers.get("content-type", ""))
    if body.types and kind and kind not in body.types:
        return f"its content type is {kind}, not {' or '.join(body.types)}"
    if _portal(kind, before, html=body.html):
        return "it is an HTML page, which this can't be"
    return None


def unsound_start(body: Body, start: bytes, before: Entry | None) -> str | None:
    """Say why the first `PROBE_BYTES` bytes (or all, if fewer) can't belong to the target; None: they can."""
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    looks_html = text.startswith(_HTML)
    if looks_html and (not body.html or (before is not None and not _was_html(before))):
        return "it is an HTML page, which this can't be"
    if body.prefixes and not any(text.startswith(prefix.lower()) for prefix in body.prefixes):
        return "its first bytes are not those of such a file"
    return None


def unsound_end(body: Body, end: bytes) -> str | None:
    """Say why the last bytes can't be the end of the target; None: they can."""
    if body.suffixes and not end.rstrip().endswith(body.suffixes):
        return "it ends too early"
    return None


def media_type(value: str) -> str:
    """Give the media type without its parameters, in lower case (RFC 9110 section 8.3.1)."""
    return value.partition(";")[0].strip().lower()


def _portal(kind: str, before: Entry | None, *, html: bool) -> bool:
    is_html = kind in {"text/html", "application/xhtml+xml"}
    return is_html and (not html or (before is not None and not _was_html(before)))


def _was_html(entry: Entry) -> bool:
    return "html" in entry.content_type or entry.content_type == ""


class Hasher(Protocol):
    """The part of `hashlib`'s objects that is used here."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more bytes."""

    def hexdigest(self) -> str:
        """Give the digest so far."""


class Inspector(Protocol):
    """Looks into one body as it passes, where indexes promise something else than a digest of the whole.

    Its memory does not grow with the body, and it raises nothing: what it can't read is told by `fault`.
    """

    algorithms: frozenset[str]
    """The algorithms, as checksums name them, that it alone knows."""

    def update(self, data: bytes | memoryview, /) -> None:
        """Take more bytes, in order."""

    def found(self) -> Checksum | None:
        """Give what an index would call the body, after its last byte; None: it can't be told."""

    def fault(self) -> str | None:
        """Say how the body contradicts itself, after its last byte; None: it does not."""


class Verifier:
    """Hashes a body as it passes: always sha256 (the blob's name), and the strongest digest that is promised.

    A digest of the whole is stronger than what an `inspector` finds, whose own verdict counts whatever is promised.
    Where several documents promise different bytes, those of any of them are right.
    """

    def __init__(self, *promised: Iterable[Checksum], inspector: Inspector | None = None) -> None:
        self._sha256, self._inspector = hashlib.sha256(), inspector
        chosen = [self._strongest(tuple(one)) for one in promised]
        self._promised = [one for one in chosen if one is not None] if None not in chosen else []
        names = {one.algorithm for one in self._promised} - {"sha256"} - self._inspected
        self._others: dict[str, Hasher] = {name: hashlib.new(name, usedforsecurity=False) for name in names}

    @property
    def _inspected(self) -> frozenset[str]:
        return frozenset() if self._inspector is None else self._inspector.algorithms

    def _strongest(self, checksums: tuple[Checksum, ...]) -> Checksum | None:
        return strongest(checksums) or next((one for one in checksums if one.algorithm in self._inspected), None)

    def update(self, data: bytes | memoryview) -> None:
        """Take more bytes, in order."""
        self._sha256.update(data)
        for other in self._others.values():
            other.update(data)
        if self._inspector is not None:
            self._inspector.update(data)

    def digest(self) -> str:
        """Give the blob's name: ``sha256:`` and hex."""
        return "sha256:" + self._sha256.hexdigest()

    def mismatch(self) -> str | None:
        """Say how the bytes differ from what was promised, or from their own word; None: not, as far as known."""
        wrong = "" if self._inspector is None else self._inspector.fault() or ""
        if wrong:
            return wrong
        for one in self._promised:
            got = self._got(one.algorithm)
            if got == one.hex:
                return None
            wrong = wrong or f"its {one.algorithm} is {got or 'not to be told'}, the index says {one.hex}"
        return wrong or None

    def identity(self) -> str:
        """Give what an index calls these bytes where that is no SHA-256 of the whole; empty: nobody asked for it."""
        found = None if self._inspector is None else self._inspector.found()
        if found is None:
            found = next((one for one in self._promised if self._got(one.algorithm) == one.hex), None)
        return "" if found is None or found.algorithm == "sha256" else f"{found.algorithm}:{found.hex}"

    def _got(self, algorithm: str) -> str:
        if algorithm in self._inspected:
            found = None if self._inspector is None else self._inspector.found()
            return found.hex if found is not None and found.algorithm == algorithm else ""
        return self._others.get(algorithm, self._sha256).hexdigest()


def strongest(checksums: Iterable[Checksum]) -> Checksum | None:
    """Choose the checksum to verify; algorithms that this Python does not have are passed over."""
    known = [c for c in checksums if c.algorithm in _STRENGTH and c.algorithm in hashlib.algorithms_available]
    return min(known, key=lambda c: _STRENGTH.index(c.algorithm), default=None)
