"""uvicorn's HTTP protocol with the limits that it lacks.

They are on the size of a request's head, on the time it may take, and on the time that a connection which is to be
closed waits for its client to read. Without them a client that sends one endless header, or that sends or reads nothing
at all, holds memory or a connection for ever.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol, RequestResponseCycle

from millpond.server.stalls import STALL_S, untaken

MAX_HEAD_BYTES = 64 * 1024
HEAD_TIMEOUT_S = 30.0


class PondProtocol(HttpToolsProtocol):
    """One connection. A head is what comes before a request's body: the request line and the header fields."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._head_bytes = 0
        self._head_timer: asyncio.TimerHandle | None = None
        self._unread: int | None = None
        self._unread_since = 0.0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin to wait for the first head."""
        super().connection_made(transport)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop waiting."""
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take bytes; those of a head are counted, since the parser would collect them without end."""
        before = self._head_bytes = self._head_bytes + len(data)
        super().data_received(data)
        if self._head_bytes != before or self._in_body():
            return
        if before > MAX_HEAD_BYTES:
            self._refuse(431, f"the request's head is larger than {MAX_HEAD_BYTES} bytes")
        elif self._head_timer is None:
            self._await_head()  # a head that did not come whole has to come in time

    def on_headers_complete(self) -> None:
        """Finish the head."""
        self.head_complete()
        super().on_headers_complete()

    def head_complete(self) -> None:
        """Stop counting and waiting."""
        self._head_bytes = 0
        if self._head_timer is not None:
            self._stop_timer()

    def on_body(self, body: bytes) -> None:
        """Take a piece of the body; it does not count as head."""
        self._head_bytes = 0
        super().on_body(body)

    def let_go(self, now: float) -> None:
        """Abort a connection that is closing while its client has taken nothing for `STALL_S`.

        To be called every few seconds; `now` is the loop's time. By itself a transport that was closed waits for what
        is unsent, however long that takes.
        """
        if not self.transport.is_closing():
            return
        unread = self.transport.get_write_buffer_size() + untaken(self.transport.get_extra_info("socket"))
        if self._unread is None or unread < self._unread:
            self._unread, self._unread_since = unread, now
        elif now - self._unread_since >= STALL_S:
            self.transport.abort()

    def answering(self) -> bool:
        """Whether an answer is under way."""
        cycle: RequestResponseCycle | None = self.cycle  # uvicorn says it is never None; before the first request it is
        return cycle is not None and not cycle.response_complete

    def _in_body(self) -> bool:
        return self.answering() and self.cycle.more_body

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_TIMEOUT_S, self._too_slow)

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _too_slow(self) -> None:
        self._head_timer = None
        self._refuse(408, f"no request came within {HEAD_TIMEOUT_S:.0f} s")

    def _refuse(self, status: int, reason: str) -> None:
        """Say why, and close; while another answer is under way, only close."""
        if self.transport.is_closing():
            return
        if not self.answering():
            text = reason.encode()
            head = b"content-type: text/plain; charset=utf-8\r\nconnection: close\r\ncontent-length: %d\r\n\r\n" % len(
                text
            )
            self.transport.write(STATUS_LINE[status] + head + text)
        self.transport.close()
