"""Whether a client still takes what it is sent.

A socket says that it takes more only when a good part of its buffer is free again, and the kernel lets that buffer grow
to megabytes: a client on a slow line may need minutes for it. What it has not taken yet (unsent or unacknowledged)
tells the truth: a client is given up when that has not become less for `STALL_S`.
"""

from __future__ import annotations

import array
import fcntl
import socket
import termios

STALL_S = 60.0


def untaken(sock: socket.socket) -> int:
    """Count the bytes in a socket's send queue that the other side has not acknowledged (SIOCOUTQ, tcp(7))."""
    held = array.array("i", [0])
    fcntl.ioctl(sock.fileno(), termios.TIOCOUTQ, held)
    return held[0]
