"""The fast lane: hits leave from the protocol, without an ASGI cycle; everything else goes uvicorn's own way.

Once a request's head is parsed, its raw target is looked up among the servable hits. The lane takes GET and HEAD
over HTTP/1.1 without a
body, with nothing queued before them, in the clear. Conditions it knows are an If-None-Match that is the hit's own
tag and a single
Range; any other is left to the long way, so that both ways give the same bytes. Small bodies leave with their head
in one send; larger
ones by `os.sendfile` on a duplicate of the socket, a bounded number of calls per turn, with reading paused and a
writer callback while the
socket is full.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
from dataclasses import dataclass
from typing import ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from millpond.api.conditional import Part, Unsatisfiable, Whole, select_range
from millpond.artifacts.hits import Hit, Hits, OpenFile
from millpond.clock import Clock
from millpond.server.protocol import PondProtocol

MSG_MORE = getattr(socket, "MSG_MORE", 0)
CALLS_PER_TURN = 4
BYTES_PER_CALL = 1 << 20
STALL_S = 60.0
_LEFT_TO_OTHERS = frozenset(
    b"content-length transfer-encoding upgrade expect if-match if-modified-since if-unmodified-since if-range "
    b"x-forwarded-host x-forwarded-proto".split()
)


class Doorkeeper(Protocol):
    """Who may read what, without I/O."""

    def token_for(self, authorization: str, repository: str) -> str | None:
        """Give the caller's name (empty: anonymous) if it may read; None: ask the long way."""


@dataclass(frozen=True, slots=True)
class Lane:
    """What the lane serves from."""

    hits: Hits
    doorkeeper: Doorkeeper
    clock: Clock


class _Occupied:
    """Stands for uvicorn's cycle while the lane answers, so that uvicorn queues what is pipelined behind."""

    __slots__ = ("body", "disconnected", "keep_alive", "message_event", "more_body", "response_complete")

    def __init__(self) -> None:
        self.response_complete = self.disconnected = False
        self.more_body, self.keep_alive, self.body = True, True, b""
        self.message_event = _Unheard()


class _Unheard:
    """An event that nobody waits for."""

    def set(self) -> None:
        """Nothing."""


class FastLane(PondProtocol):
    """One connection with a fast lane; `lane` is set by `protocol`."""

    lane: ClassVar[Lane]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a duplicate of the socket; a secure connection has none to send to."""
        super().connection_made(transport)
        self._sock: socket.socket | None = None
        self._file: OpenFile | None = None
        self._offset = self._end = self._sent = 0
        self._mine = _Occupied()
        self._hit: Hit | None = None
        self._token = ""
        self._writing = False
        self._stalled: asyncio.TimerHandle | None = None
        if self.scheme == "http":
            raw = transport.get_extra_info("socket")
            self._sock = socket.socket(fileno=os.dup(raw.fileno()))
            self._sock.setblocking(False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        self._release()
        if self._sock is not None:
            self._sock.close()
            self._sock = None
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        """Begin a request; uvicorn's scope is built only when it is needed."""
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Serve a hit, or hand the request to uvicorn."""
        self.head_complete()
        if not self._serve():
            url, headers, expect = self.url, self.headers, self.expect_100_continue
            HttpToolsProtocol.on_message_begin(self)
            self.url, self.expect_100_continue = url, expect
            self.headers.extend(headers)
            super().on_headers_complete()

    def _serve(self) -> bool:
        """Answer if the lane can; False: it can't."""
        if self._sock is None or self.pipeline or self.answering():
            return False
        fields = dict(self.headers)
        method = self.parser.get_method()
        if method not in {b"GET", b"HEAD"} or self.parser.get_http_version() != "1.1":
            return False
        now = self.lane.clock.now()
        accept, host = fields.get(b"accept", b""), fields.get(b"host", b"")
        hit = self.lane.hits.find(self.url, accept, host, now)
        if hit is None or not _LEFT_TO_OTHERS.isdisjoint(fields) or self.transport.get_write_buffer_size():
            return False
        token = self.lane.doorkeeper.token_for(fields.get(b"authorization", b"").decode("latin-1"), hit.repository)
        if token is None:
            return False
        condition, wanted = fields.get(b"if-none-match"), fields.get(b"range")
        if condition is not None and condition != hit.tag:
            return False
        if condition is not None:
            self._bodiless(hit, now, 304, b"")
            return True
        chosen = (
            select_range(wanted.decode("latin-1"), hit.size) if wanted is not None and method == b"GET" else Whole()
        )
        if isinstance(chosen, Unsatisfiable):
            self._bodiless(hit, now, 416, b"content-range: bytes */%d\r\ncontent-length: 0\r\n" % hit.size)
            return True
        return self._body(hit, token, now, chosen, method)

    def _body(self, hit: Hit, token: str, now: float, chosen: Part | Whole, method: bytes) -> bool:
        start, end = (chosen.start, chosen.end) if isinstance(chosen, Part) else (0, hit.size)
        opened = None
        if hit.body is None and method == b"GET" and end > start:
            accept, host = (dict(self.headers).get(name, b"") for name in (b"accept", b"host"))
            opened = self.lane.hits.opened(self.url, accept, host, hit)
            if opened is None:
                return False
        extra = b"content-length: %d\r\n" % (end - start)
        if isinstance(chosen, Part):
            extra = b"content-range: bytes %d-%d/%d\r\n" % (start, end - 1, hit.size) + extra
        head = self._head(hit, now, 206 if isinstance(chosen, Part) else 200, extra)
        self._occupy()
        self._hit, self._token, self._sent = hit, token, end - start if method == b"GET" else 0
        if opened is None:
            body = b"" if method == b"HEAD" else (hit.body or b"")[start:end]
            self._write(head + body)
            self._finish(now, body=method == b"GET")
            return True
        self._file, self._offset, self._end = opened, start, end
        if not self._write_more(head):
            return True
        self._pump()
        return True

    def _head(self, hit: Hit, now: float, status: int, extra: bytes) -> bytes:
        """Write the head as uvicorn writes it: its own headers first, Connection last."""
        defaults = b"".join(b"%b: %b\r\n" % pair for pair in self.server_state.default_headers)
        close = b"" if self.parser.should_keep_alive() else b"connection: close\r\n"
        return STATUS_LINE[status] + defaults + hit.head(now) + extra + close + b"\r\n"

    def _bodiless(self, hit: Hit, now: float, status: int, extra: bytes) -> None:
        self._occupy()
        self._write(self._head(hit, now, status, extra))
        self._done()

    def _occupy(self) -> None:
        self._mine = _Occupied()
        self._mine.keep_alive = self.parser.should_keep_alive()
        self.cycle = self._mine  # type: ignore[assignment]

    def _write(self, data: bytes) -> None:
        """Send at once what the socket takes; the transport keeps the rest."""
        assert self._sock is not None  # noqa: S101 - checked before anything is served
        try:
            taken = self._sock.send(data)
        except BlockingIOError:
            taken = 0
        except OSError:
            self.transport.abort()
            return
        if taken < len(data):
            self.transport.write(data[taken:])

    def _write_more(self, head: bytes) -> bool:
        """Send a head that a file follows; False: the connection is gone, or the socket is full and the pump waits."""
        assert self._sock is not None  # noqa: S101 - checked before anything is served
        try:
            taken = self._sock.send(head, MSG_MORE)
        except BlockingIOError:
            taken = 0
        except OSError:
            self.transport.abort()
            return False
        self._rest = head[taken:]
        return True

    _rest = b""

    def _pump(self) -> None:
        """Send from the file until the socket is full, the turn is over, or the end is reached."""
        assert self._sock is not None  # noqa: S101 - the writer is removed before the socket is closed
        assert self._file is not None  # noqa: S101 - likewise
        try:
            if self._rest:
                self._rest = self._rest[self._sock.send(self._rest, MSG_MORE) :]
            for _ in range(CALLS_PER_TURN):
                if self._rest or self._offset >= self._end:
                    break
                left = min(self._end - self._offset, BYTES_PER_CALL)
                taken = os.sendfile(self._sock.fileno(), self._file.fd, self._offset, left)
                if taken == 0:
                    raise ConnectionAbortedError  # shorter than it was: a broken transfer, not a short file
                self._offset += taken
        except BlockingIOError:
            self._wait()
            return
        except OSError:
            self.transport.abort()
            return
        if self._offset < self._end:
            self._wait()
        else:
            self._finish(self.lane.clock.now())

    def _wait(self) -> None:
        """Go on when the socket takes more; give up on a client that takes nothing for too long."""
        if self._stalled is not None:
            self._stalled.cancel()
        self._stalled = self.loop.call_later(STALL_S, self.transport.abort)
        if not self._writing and self._sock is not None:
            self._writing = True
            self.flow.pause_reading()
            self.loop.add_writer(self._sock.fileno(), self._pump)

    def _finish(self, now: float, *, body: bool = True) -> None:
        """Note a whole answer and make way for the next request."""
        if self._hit is not None:
            self.lane.hits.served(self._hit, self._token, self._sent, now, body=body)
        self._release()
        self._done()

    def _release(self) -> None:
        if self._stalled is not None:
            self._stalled.cancel()
            self._stalled = None
        if self._writing and self._sock is not None:
            self._writing = False
            self.loop.remove_writer(self._sock.fileno())
        if self._file is not None:
            self._file.release()
            self._file = None
        self._hit, self._rest = None, b""

    def _done(self) -> None:
        """End the cycle as uvicorn does: the next in the pipeline, or the keep-alive timer, or close."""
        self._mine.response_complete = True  # `cycle` may be that of a request queued behind by now
        if not self._mine.keep_alive:
            with contextlib.suppress(OSError, AttributeError):
                self.transport.close()
        self.on_response_complete()


def protocol(lane: Lane) -> type[FastLane]:
    """Make the protocol class of one application."""
    return type("FastLane", (FastLane,), {"lane": lane, "__doc__": FastLane.__doc__})
