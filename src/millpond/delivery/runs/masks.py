"""Known secrets taken out of a stream as it passes, also where one comes in pieces. PURE; standard library only."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Iterator
from urllib.parse import quote

MASK = b"********"
MIN_SECRET = 6
"""Bytes; shorter values occur in any text."""


def forms(secret: str) -> Iterator[bytes]:
    """Give the forms in which a secret is said: as it is, each of its lines, quoted for URLs and JSON, in base64."""
    texts = [secret, secret.strip(), *(line.strip() for line in secret.splitlines())]
    for text in texts:
        raw = text.encode("utf-8", "surrogateescape")
        for form in (
            raw,
            quote(text, safe="", errors="replace").encode(),
            json.dumps(text)[1:-1].encode(),
            base64.b64encode(raw),
        ):
            if len(raw) >= MIN_SECRET:
                yield form


class StreamMask:
    """Masks one stream. What may be the beginning of a secret is held back until it is known."""

    def __init__(self, secrets: Iterable[bytes]) -> None:
        self._secrets = sorted({one for one in secrets if len(one) >= MIN_SECRET}, key=len, reverse=True)
        self._longest = len(self._secrets[0]) if self._secrets else 0
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; gives what can be shown by now."""
        data = self._held + data
        spans = self._spans(data)
        cut = len(data) - self._begun(data)
        cut = min([start for start, end in spans if start < cut < end], default=cut)
        self._held = data[cut:]
        return _masked(data[:cut], [span for span in spans if span[0] < cut])

    def close(self) -> bytes:
        """Give what was held back."""
        held, self._held = self._held, b""
        return _masked(held, self._spans(held))

    def _spans(self, data: bytes) -> list[tuple[int, int]]:
        """Find where secrets stand; those that overlap or touch are one."""
        found = sorted(span for secret in self._secrets for span in _places(data, secret))
        spans: list[tuple[int, int]] = []
        for start, end in found:
            if spans and start <= spans[-1][1]:
                spans[-1] = (spans[-1][0], max(end, spans[-1][1]))
            else:
                spans.append((start, end))
        return spans

    def _begun(self, data: bytes) -> int:
        """Give the length of the longest ending that a secret begins with."""
        for length in range(min(self._longest - 1, len(data)), 0, -1):
            ending = data[-length:]
            if any(len(secret) > length and secret.startswith(ending) for secret in self._secrets):
                return length
        return 0


def _places(data: bytes, secret: bytes) -> Iterator[tuple[int, int]]:
    at = data.find(secret)
    while at >= 0:
        yield at, at + len(secret)
        at = data.find(secret, at + 1)


def _masked(data: bytes, spans: Iterable[tuple[int, int]]) -> bytes:
    pieces: list[bytes] = []
    shown = 0
    for start, end in spans:
        pieces += [data[shown:start], MASK]
        shown = end
    return b"".join([*pieces, data[shown:]])
