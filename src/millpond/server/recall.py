"""What requests were answered with, under their very bytes: a request in the same words is not parsed again.

A build's machines ask with one client for the same things, so that their requests differ in nothing. Since a parser
that stands between two requests makes the same of the same bytes, what it made the first time can be kept. Only what
does not change with time is: an order names a hit, which is asked each time whether it still stands.
"""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from millpond.artifacts.hits import Hit, Tally

MAX_REQUEST_BYTES = 2048
MAX_REQUESTS = 8192


class Order:
    """How to answer one request from a hit: status, head, and the region `start` to `end` of the body.

    `authorization` is the request's own header, to be judged each time; empty: there was none.
    """

    __slots__ = (
        "_close", "_defaults", "_extra", "_head", "_second", "_status",
        "authorization", "bodies", "end", "hit", "keep_alive", "size", "start", "tally",
    )  # fmt: skip

    def __init__(self, hit: Hit, tally: Tally, authorization: str, *, keep_alive: bool) -> None:
        self.hit, self.tally, self.authorization, self.keep_alive = hit, tally, authorization, keep_alive
        self.start = self.end = self.size = self.bodies = 0
        self._close = b"" if keep_alive else b"connection: close\r\n"
        self._status, self._extra, self._head = b"", b"", b""
        self._second = -1
        self._defaults: list[tuple[bytes, bytes]] | None = None

    def answer(self, status: int, extra: bytes = b"") -> None:
        """Let it be an answer without a body; `extra` are header lines."""
        self._status, self._extra = STATUS_LINE[status], extra

    def body(self, status: int, extra: bytes, start: int, end: int) -> None:
        """Let it be an answer with the bytes from `start` up to, not including, `end`."""
        self.answer(status, b"%bcontent-length: %d\r\n" % (extra, end - start))
        self.start, self.end, self.size, self.bodies = start, end, end - start, 1

    def head(self, now: float, defaults: list[tuple[bytes, bytes]]) -> bytes:
        """Write the head as uvicorn writes it: its own headers (`defaults`) first, Connection last; once a second."""
        if int(now) != self._second or defaults is not self._defaults:
            self._second, self._defaults = int(now), defaults
            own = b"".join(b"%b: %b\r\n" % pair for pair in defaults)
            self._head = b"".join((self._status, own, self.hit.head(now), self._extra, self._close, b"\r\n"))
        return self._head


class Recall:
    """The orders of one process, by the bytes of their requests; bounded, the oldest go first."""

    def __init__(self, max_requests: int = MAX_REQUESTS) -> None:
        self._orders: dict[bytes, Order] = {}
        self._max_requests = max_requests
        self.get = self._orders.get
        """Give the order of a request; None: none is known."""

    def __len__(self) -> int:
        """Count the orders."""
        return len(self._orders)

    def note(self, request: bytes, order: Order) -> None:
        """Keep an order, unless it ends the connection: a parser that has seen its last request is not between two."""
        if not order.keep_alive:
            return
        self._orders.pop(request, None)
        self._orders[request] = order
        if len(self._orders) > self._max_requests:
            del self._orders[next(iter(self._orders))]
