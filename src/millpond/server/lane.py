"""The fast lane: hits leave from the protocol, without an ASGI cycle; everything else goes uvicorn's own way.

Once a request's head is parsed, its raw target is looked up among the servable hits. The lane takes GET and HEAD over
HTTP/1.1 without a body, with nothing queued before them, in the clear. Conditions it knows are an If-None-Match that is
the hit's own tag and a single Range; any other is left to the long way, so that both ways give the same bytes.

What a request was answered with is kept as a `recall.Order` under the request's bytes: whoever asks for the same thing
in the same words (the machines of one build, a poller) is answered without parsing. An order is no answer: hit, rights
and time are checked each time.

Small bodies leave with their head in one send; larger ones by `os.sendfile` on a duplicate of the socket, a bounded
number of calls per turn, with reading paused and a writer callback while the socket is full (`pump`).
"""

from __future__ import annotations

import asyncio
import os
import socket
from dataclasses import dataclass, field
from typing import ClassVar, Protocol

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

from millpond.api.conditional import Part, Unsatisfiable, Whole, select_range
from millpond.api.oci import MIRRORED, mirror_key
from millpond.artifacts.hits import Hits, OpenFile
from millpond.clock import Clock
from millpond.server import stalls
from millpond.server.recall import MAX_REQUEST_BYTES, Order, Recall
from millpond.server.zerocopy import ZeroCopyProtocol
from millpond.turns import Shares

MSG_MORE = getattr(socket, "MSG_MORE", 0)
TURN_BYTES = 4 << 20
"""What all transfers together send in one turn of the loop; about 3 ms."""
SHARE_BYTES = 128 * 1024
"""What each of them may send at least."""
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
    mirror_port: int = 0
    """The local port of the listener for registry mirrors, whose targets mean something else; 0: there is none."""
    recall: Recall = field(default_factory=Recall)
    mirror_recall: Recall = field(default_factory=Recall)


class _Unheard:
    """An event that nobody waits for."""

    def set(self) -> None:
        """Nothing."""


class _Turn:
    """Stands for uvicorn's cycle while the lane answers, so that uvicorn queues what is pipelined behind."""

    __slots__ = ("body", "disconnected", "keep_alive", "message_event", "more_body", "response_complete")

    def __init__(self, *, keep_alive: bool = True, complete: bool = False) -> None:
        self.response_complete, self.keep_alive = complete, keep_alive
        self.disconnected, self.more_body, self.body = False, True, b""
        self.message_event = _Unheard()


@dataclass(slots=True)
class _Transfer:
    """A file on its way to one client: what is left of the head, and the region that is left."""

    order: Order
    file: OpenFile
    turn: _Turn
    head: bytes
    offset: int
    end: int
    untaken: int = 0
    """What the client had not taken at the last look; any sending since then sets it to -1."""
    watch: asyncio.TimerHandle | None = None
    waiting: bool = False


class FastLane(ZeroCopyProtocol):
    """One connection with a fast lane; `lane` is set by `protocol`."""

    lane: ClassVar[Lane]
    shares: ClassVar = Shares(TURN_BYTES, SHARE_BYTES)
    """All transfers from files share the turns of the loop."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Begin between two requests."""
        super().connection_made(transport)
        port = self.server[1] if self.server else 0
        self._mirrored = bool(port) and port == self.lane.mirror_port
        self._recall = self.lane.mirror_recall if self._mirrored else self.lane.recall
        self.cycle = _Turn(complete=True)  # type: ignore[assignment]
        self._between = True  # no request has begun that has not been read to its end
        self._begun = 0
        self._order: Order | None = None
        self._transfer: _Transfer | None = None
        self._answered_at = 0.0

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of everything."""
        self._end_transfer()
        if self.timeout_keep_alive_task is not None:
            self.timeout_keep_alive_task.cancel()
            self.timeout_keep_alive_task = None
        super().connection_lost(exc)

    # The way in: by the request's bytes, or by its parsed head.

    def data_received(self, data: bytes) -> None:
        """Answer a request whose very bytes are known, or parse it."""
        if not self._between or len(data) > MAX_REQUEST_BYTES:
            super().data_received(data)
            return
        order = self._recall.get(data)
        if order is not None and self._free():
            now = self.lane.clock.now()
            if self._stands(order, now) and self._give(order, now):
                self.head_complete()
                return
        self._order, self._begun = None, 0
        super().data_received(data)
        if self._order is not None and self._begun == 1 and self._between:
            self._recall.note(data, self._order)

    def on_message_begin(self) -> None:
        """Begin a request; uvicorn's scope is built only when it is needed."""
        self._between = False
        self._begun += 1
        self.url = b""
        self.expect_100_continue = False
        self.headers = []

    def on_headers_complete(self) -> None:
        """Serve a hit, or hand the request to uvicorn."""
        self.head_complete()
        now = self.lane.clock.now()
        order = self._ordered(now) if self._free() else None
        if order is not None and self._give(order, now):
            self._order = order
            return
        url, headers, expect = self.url, self.headers, self.expect_100_continue
        HttpToolsProtocol.on_message_begin(self)
        self.url, self.expect_100_continue = url, expect
        self.headers.extend(headers)
        if self._mirrored:
            self.scope[MIRRORED] = True  # type: ignore[literal-required]
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Finish a request."""
        self._between = True
        super().on_message_complete()

    def _free(self) -> bool:
        """Whether an answer may be sent now, past the transport."""
        return (
            self._sock is not None
            and self.cycle.response_complete
            and not self.pipeline
            and not self.transport.get_write_buffer_size()
            and not self.transport.is_closing()
        )

    def _ordered(self, now: float) -> Order | None:
        """Read the request's head into an order; None: it is none of the lane's."""
        fields = dict(self.headers)
        method = self.parser.get_method()
        if method not in {b"GET", b"HEAD"} or self.parser.get_http_version() != "1.1":
            return None
        hits = self.lane.hits
        accepts = [value for name, value in self.headers if name == b"accept"]
        target = mirror_key(self.url) if self._mirrored else self.url
        hit = hits.find(target, b", ".join(accepts), fields.get(b"host", b""), now)
        alone = len(fields) + max(len(accepts) - 1, 0) == len(self.headers)  # but for Accept, no line is there twice
        if hit is None or not alone or not _LEFT_TO_OTHERS.isdisjoint(fields):
            return None
        authorization = fields.get(b"authorization", b"").decode("latin-1")
        token = self.lane.doorkeeper.token_for(authorization, hit.repository)
        if token is None:
            return None
        condition = fields.get(b"if-none-match")
        if condition is not None and condition != hit.tag:
            return None
        order = Order(hit, hits.tally(hit, token), authorization, keep_alive=self.parser.should_keep_alive())
        if condition is not None:
            order.answer(304)
        elif method == b"HEAD":
            order.answer(200, b"content-length: %d\r\n" % hit.size)
        else:
            _choose(order, fields.get(b"range"))
        return order

    def _stands(self, order: Order, now: float) -> bool:
        """Whether an order may be carried out once more."""
        if not self.lane.hits.stands(order.hit, now):
            return False
        if not order.authorization:  # changed settings empty the table of hits
            return True
        return self.lane.doorkeeper.token_for(order.authorization, order.hit.repository) == order.tally.token

    # The way out.

    def _give(self, order: Order, now: float) -> bool:
        """Send an order's answer, or begin to; False: its file is gone."""
        hit = order.hit
        head = order.head(now, self.server_state.default_headers)
        if order.size and hit.body is None:
            return self._give_file(order, head)
        if order.size:
            head += hit.body if order.size == hit.size else hit.body[order.start : order.end]  # type: ignore[index,operator]
        self._write(head)
        self._served(order)
        return True

    def _write(self, data: bytes) -> None:
        """Send at once what the socket takes; the transport keeps the rest."""
        try:
            taken = self._sock.send(data)  # type: ignore[union-attr] # `_free` has looked
        except BlockingIOError:
            taken = 0
        except OSError:
            self.transport.abort()
            return
        if taken < len(data):
            self.transport.write(data[taken:])

    def _give_file(self, order: Order, head: bytes) -> bool:
        """Send head and file at once if the socket takes them; what it does not take is left to the pump."""
        file, sock = self.lane.hits.opened(order.hit), self._sock
        if file is None or sock is None:
            return False
        told = taken = 0
        try:
            told = sock.send(head, MSG_MORE)
            if told == len(head):
                most = order.size if order.size <= SHARE_BYTES else min(order.size, self.shares.take(self.loop))
                taken = os.sendfile(sock.fileno(), file.fd, order.start, most)
        except BlockingIOError:
            pass
        except OSError:
            self.transport.abort()
            return True
        if taken == order.size:
            self._served(order)
            return True
        turn = _Turn(keep_alive=order.keep_alive)
        self.cycle = turn  # type: ignore[assignment]
        place = order.start + taken
        self._transfer = _Transfer(order, file, turn, head[told:], place, order.end)
        file.hold()
        self._pump()
        return True

    def _pump(self) -> None:
        """Send from the file until the socket is full, the turn is over, or the end is reached."""
        transfer, sock = self._transfer, self._sock
        if transfer is None or sock is None:  # pragma: no cover - the writer is removed with them
            return
        try:
            if transfer.head:
                transfer.head = transfer.head[sock.send(transfer.head, MSG_MORE) :]
            share = 0 if transfer.head else min(transfer.end - transfer.offset, self.shares.take(self.loop))
            while share > 0:
                taken = os.sendfile(sock.fileno(), transfer.file.fd, transfer.offset, share)
                if taken == 0:
                    raise ConnectionAbortedError  # shorter than it was: a broken transfer, not a short file
                transfer.offset += taken
                transfer.untaken = -1
                share -= taken
        except BlockingIOError:
            pass
        except OSError:
            self.transport.abort()
            return
        if transfer.offset < transfer.end:
            self._wait(transfer)
            return
        self._end_transfer()
        transfer.turn.response_complete = True  # `cycle` may be that of a request queued behind by now
        self._served(transfer.order, keep_alive=transfer.turn.keep_alive)

    def _wait(self, transfer: _Transfer) -> None:
        """Go on when the socket takes more."""
        if not transfer.waiting and self._sock is not None:
            transfer.waiting = True
            transfer.watch = self.loop.call_later(stalls.STALL_S, self._watch, transfer)
            self.flow.pause_reading()
            self.loop.add_writer(self._sock.fileno(), self._pump)

    def _watch(self, transfer: _Transfer) -> None:
        """Give up on a client that has taken nothing since the last look."""
        if self._sock is None:  # pragma: no cover - the timer is cancelled before
            return
        before, transfer.untaken = transfer.untaken, stalls.untaken(self._sock)
        if transfer.untaken == before:
            self.transport.abort()
        else:
            transfer.watch = self.loop.call_later(stalls.STALL_S, self._watch, transfer)

    def _end_transfer(self) -> None:
        transfer, self._transfer = self._transfer, None
        if transfer is None:
            return
        transfer.file.release()
        if transfer.watch is not None:
            transfer.watch.cancel()
        if transfer.waiting and self._sock is not None:
            self.loop.remove_writer(self._sock.fileno())

    # Between two requests.

    def _served(self, order: Order, *, keep_alive: bool = True) -> None:
        """End a turn as uvicorn does: the next in the pipeline, or the keep-alive timer, or close.

        `keep_alive` False: the server is shutting down, whatever the client wants.
        """
        self.lane.hits.served(order.tally, order.size, order.bodies)
        if self.pipeline or not (keep_alive and order.keep_alive):
            if not (keep_alive and order.keep_alive):
                self.transport.close()
            self.on_response_complete()
            return
        self.server_state.total_requests += 1
        self._answered_at = self.loop.time()
        if self.flow.read_paused:
            self.flow.resume_reading()
        if self.timeout_keep_alive_task is None:
            self._keep_alive(self.timeout_keep_alive)

    def on_response_complete(self) -> None:
        """End a cycle of uvicorn's, which sets a timer of its own."""
        earlier, self.timeout_keep_alive_task = self.timeout_keep_alive_task, None
        self._answered_at = self.loop.time()
        super().on_response_complete()
        if earlier is not None:
            earlier.cancel()

    def _unset_keepalive_if_required(self) -> None:
        """Leave the timer: to set one for each answer costs more than to look again when it fires."""

    def timeout_keep_alive_handler(self) -> None:
        """Close a connection on which nothing was asked for long enough; else look again later."""
        self.timeout_keep_alive_task = None
        if self.transport.is_closing():
            return
        busy = not (self._between and self.cycle.response_complete)
        left_s = self.timeout_keep_alive - (0.0 if busy else self.loop.time() - self._answered_at)
        if left_s > 0:
            self._keep_alive(left_s)
        else:
            self.transport.close()

    def _keep_alive(self, left_s: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(left_s, self.timeout_keep_alive_handler)


def _choose(order: Order, wanted: bytes | None) -> None:
    """Choose the region that a GET wants (RFC 9110 section 14)."""
    size = order.hit.size
    chosen = Whole() if wanted is None else select_range(wanted.decode("latin-1"), size)
    if isinstance(chosen, Unsatisfiable):
        order.answer(416, b"content-range: bytes */%d\r\ncontent-length: 0\r\n" % size)
    elif isinstance(chosen, Part):
        told = b"content-range: bytes %d-%d/%d\r\n" % (chosen.start, chosen.end - 1, size)
        order.body(206, told, chosen.start, chosen.end)
    else:
        order.body(200, b"", 0, size)


def protocol(lane: Lane) -> type[FastLane]:
    """Make the protocol class of one application."""
    return type("FastLane", (FastLane,), {"lane": lane, "__doc__": FastLane.__doc__})
