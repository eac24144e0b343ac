"""The socket handling that the fakes share: a port that stays reserved while nothing listens, and a hard reset."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct

_LINGER_NOT = struct.pack("ii", 1, 0)  # close() sends RST instead of FIN


def bound(port: int) -> socket.socket:
    """Bind to loopback without listening (0: a free port).

    Several sockets of ours may hold one port; only the one that listens gets connections. A port that is bound and
    not listened on refuses them, and can't become somebody else's.
    """
    # With the protocol named, or asyncio would not set TCP_NODELAY: small answers would take 40 ms.
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    sock.bind(("127.0.0.1", port))
    return sock


def reset(writer: asyncio.StreamWriter) -> None:
    """Break a connection with a TCP RST."""
    sock: socket.socket = writer.get_extra_info("socket")
    with contextlib.suppress(OSError):  # already closed: nothing to break
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
    writer.transport.abort()


async def let_in() -> None:
    """Let the event loop finish the connections that it has accepted already, so that they can be closed by name."""
    for _ in range(10):  # accepting takes asyncio about five turns from the socket to the first line of the handler
        await asyncio.sleep(0)
