"""Single requests to what is measured: filling it, and looking whether its answers are right. Not for timing."""

from __future__ import annotations

import http.client
from collections.abc import Mapping
from dataclasses import dataclass
from urllib.parse import urlsplit

OK, PARTIAL, NOT_MODIFIED = 200, 206, 304


@dataclass(frozen=True, slots=True)
class Got:
    """An answer; of its body only the size is kept."""

    url: str
    status: int
    headers: Mapping[str, str]
    size: int
    start: bytes = b""

    def sound(self, size: int) -> Got:
        """Insist on 200 and a size. Raises `RuntimeError`."""
        if self.status != OK or self.size != size:
            raise RuntimeError(f"{self.url} answered {self.status} with {self.size} bytes instead of {size}")
        return self


def get(
    url: str,
    headers: Mapping[str, str] | None = None,
    *,
    method: str = "GET",
    body: bytes | None = None,
    wait_s: float = 60,
) -> Got:
    """Ask once; an error status is an answer. Raises `OSError`, `http.client.HTTPException`."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=wait_s)
    try:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        connection.request(method, target, body=body, headers=dict(headers or {}))
        response = connection.getresponse()
        start, size = b"", 0
        while chunk := response.read(1 << 20):
            start, size = start or chunk, size + len(chunk)
        return Got(url, response.status, {k.lower(): v for k, v in response.headers.items()}, size, start)
    finally:
        connection.close()
