"""A client that fetches as fast as it can, or at a pace, and notes when each answer began and ended.

``python -m bench.clients.fetch`` reads an `Order` as JSON from its standard input and writes a list of answers as JSON.
Bodies are discarded in the kernel (``MSG_TRUNC``, tcp(7)): so the client is never what is measured.

It knows HTTP/1.1 with a Content-Length, which is what the measured servers send; anything else is an answer with the
status 0, as is a body that ends early.
"""

from __future__ import annotations

import contextlib
import heapq
import json
import os
import selectors
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TypeAlias

HEAD_BYTES = 64 << 10
DISCARD_BYTES = 4 << 20
STALL_S = 120.0
Answer: TypeAlias = tuple[float, float, float, int, int]
"""Begun, first body byte, ended (monotonic seconds), body bytes, status (0: broken)."""


@dataclass(frozen=True, slots=True)
class Order:
    """What to fetch. A connection takes the next target when it has the last one."""

    port: int
    targets: list[str]
    connections: int
    gap_s: float = 0.0
    """The least time between two requests of one connection; 0: at once."""
    seconds: float = 0.0
    """No request is begun after so long; 0: when all targets are fetched."""
    urgent: bool = False
    """Ask for real-time scheduling: what waits for this process's core must not count as the server's time."""
    accept: str = "*/*"


@dataclass(slots=True)
class _Connection:
    sock: socket.socket
    begun: float = 0.0
    first: float = 0.0
    status: int = 0
    left: int = -1
    """Body bytes still to come; negative: the head is not whole yet."""
    size: int = 0
    head: bytearray = field(default_factory=bytearray)


class Fetching:
    """One order being carried out."""

    def __init__(self, order: Order) -> None:
        self._order = order
        self._targets: Iterator[str] = iter(order.targets)
        self._selector = selectors.DefaultSelector()
        self._due: list[tuple[float, int]] = []
        self._idle: dict[int, _Connection] = {}
        self._busy = 0
        self._answers: list[Answer] = []
        self._discard = bytearray(DISCARD_BYTES)

    def run(self) -> list[Answer]:
        """Fetch everything. Raises `TimeoutError` where nothing moves for long."""
        began = time.monotonic()
        self._until = began + self._order.seconds if self._order.seconds else float("inf")
        for number in range(self._order.connections):
            connection = _Connection(_connected(self._order.port))
            # Paced connections are spread over the gap, so that they do not ask all at once.
            self._rest(connection, began + self._order.gap_s * number / self._order.connections)
        while self._busy or self._due:
            self._turn()
        return self._answers

    def _turn(self) -> None:
        now = time.monotonic()
        while self._due and self._due[0][0] <= now:
            self._ask(self._idle.pop(heapq.heappop(self._due)[1]))
        if not self._busy and not self._due:
            return
        wait_s = max(self._due[0][0] - time.monotonic(), 0.0) if self._due else STALL_S
        ready = self._selector.select(wait_s)
        if not ready and not self._due:
            raise TimeoutError(f"nothing came for {STALL_S:.0f} s")
        for key, _ in ready:
            self._read(key.data)

    def _rest(self, connection: _Connection, until: float) -> None:
        self._idle[connection.sock.fileno()] = connection
        heapq.heappush(self._due, (until, connection.sock.fileno()))

    def _ask(self, connection: _Connection) -> None:
        target = next(self._targets, None) if time.monotonic() < self._until else None
        if target is None:
            connection.sock.close()
            return
        connection.head.clear()
        connection.left, connection.size, connection.status, connection.first = -1, 0, 0, 0.0
        connection.begun = time.monotonic()
        head = f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{self._order.port}\r\nAccept: {self._order.accept}\r\n\r\n"
        connection.sock.send(head.encode())
        self._selector.register(connection.sock, selectors.EVENT_READ, connection)
        self._busy += 1

    def _read(self, connection: _Connection) -> None:
        try:
            whole = self._read_head(connection) if connection.left < 0 else self._read_body(connection)
        except BlockingIOError:
            return
        except (OSError, ValueError):
            connection.status, whole = 0, True
        if whole:
            self._end(connection)

    def _read_head(self, connection: _Connection) -> bool:
        got = connection.sock.recv(HEAD_BYTES)
        if not got:
            raise ConnectionResetError
        connection.head += got
        end = connection.head.find(b"\r\n\r\n")
        if end < 0:
            return False
        lines = bytes(connection.head[:end]).lower().split(b"\r\n")
        connection.status = int(lines[0].split()[1])
        length = next((line for line in lines if line.startswith(b"content-length:")), b"")
        body = len(connection.head) - end - 4
        connection.size = int(length.partition(b":")[2])
        connection.left = connection.size - body
        if body or not connection.size:
            connection.first = time.monotonic()
        return connection.left <= 0

    def _read_body(self, connection: _Connection) -> bool:
        room = min(connection.left, DISCARD_BYTES)
        taken = connection.sock.recv_into(self._discard, room, socket.MSG_TRUNC)
        if not taken:
            raise ConnectionResetError
        connection.first = connection.first or time.monotonic()
        connection.left -= taken
        return connection.left == 0

    def _end(self, connection: _Connection) -> None:
        now = time.monotonic()
        self._selector.unregister(connection.sock)
        self._busy -= 1
        size = connection.size - max(connection.left, 0)
        self._answers.append((connection.begun, connection.first or now, now, size, connection.status))
        if not connection.status:
            connection.sock.close()
            connection.sock = _connected(self._order.port)
        self._rest(connection, max(now, connection.begun + self._order.gap_s))


def _connected(port: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), 30)
    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    sock.setblocking(False)
    return sock


def main() -> None:
    """Carry out the order on the standard input."""
    order = Order(**json.loads(sys.stdin.read()))
    if order.urgent:
        with contextlib.suppress(PermissionError):
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
    sys.stdout.write(json.dumps(Fetching(order).run()))


if __name__ == "__main__":
    main()
