"""Clients that read slowly, each at the same pace, with small receive buffers: what the server sends, it must keep.

``python -m bench.clients.slow`` reads an `Order` as JSON from its standard input. A line ``holding`` on its standard
output says that every client has its first body bytes; it goes on reading until it is terminated, or `seconds` are
over, and then writes how many clients were served well until then.
"""

from __future__ import annotations

import json
import socket
import sys
import time
from dataclasses import dataclass
from itertools import cycle, islice

BUFFER_BYTES = 16 << 10
TICK_S = 0.05
PATIENCE_S = 120.0


@dataclass(frozen=True, slots=True)
class Order:
    """`clients` connections, over the targets in turn, each reading `rate` bytes a second."""

    port: int
    targets: list[str]
    clients: int
    rate: int
    seconds: float


def opened(order: Order) -> list[socket.socket]:
    """Connect and ask."""
    found = []
    for target in islice(cycle(order.targets), order.clients):
        sock = socket.socket()
        # Before connecting, so that the window is small from the start.
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, BUFFER_BYTES)
        sock.connect(("127.0.0.1", order.port))
        sock.sendall(f"GET {target} HTTP/1.1\r\nHost: 127.0.0.1:{order.port}\r\n\r\n".encode())
        sock.setblocking(False)
        found.append(sock)
    return found


def read(sock: socket.socket, room: int) -> int:
    """Read up to `room` bytes; -1: the server has closed."""
    try:
        return len(sock.recv(room)) or -1
    except BlockingIOError:
        return 0
    except OSError:
        return -1


def main() -> None:
    """Carry out the order on the standard input."""
    order = Order(**json.loads(sys.stdin.read()))
    clients = opened(order)
    served = [0] * len(clients)
    room = max(int(order.rate * TICK_S), 1)
    until, told = time.monotonic() + PATIENCE_S, False
    while time.monotonic() < until:
        for number, sock in enumerate(clients):
            if served[number] >= 0:
                got = read(sock, room)
                served[number] = -1 if got < 0 else served[number] + got
        if not told and all(served):
            told, until = True, time.monotonic() + order.seconds
            sys.stdout.write("holding\n")
            sys.stdout.flush()
        time.sleep(TICK_S)
    sys.stdout.write(f"{sum(size > 0 for size in served)}\n")


if __name__ == "__main__":
    main()
