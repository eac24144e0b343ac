"""The daemon around an application: what it does beside serving."""

from __future__ import annotations

import asyncio
import socket

import pytest

from millpond.server import daemon, protocol
from millpond.server.daemon import Daemon, bind
from millpond.server.protocol import PondProtocol

LARGE = 64 << 20


class Application:
    async def started(self):
        pass

    async def reload(self):
        pass

    async def drained(self, drain_s):
        pass


async def large(scope, receive, send):
    """Answer with more than the kernel keeps for a client that reads nothing."""
    head = [(b"content-length", b"%d" % LARGE), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": bytes(LARGE)})


async def test_it_lets_go_of_clients_that_never_read(monkeypatch):
    monkeypatch.setattr(daemon, "LET_GO_S", 0.01)
    monkeypatch.setattr(protocol, "STALL_S", 0.05)
    lost = asyncio.Event()

    class Watched(PondProtocol):
        def connection_lost(self, exc):
            super().connection_lost(exc)
            lost.set()

    ready = asyncio.Event()

    async def announced():
        ready.set()

    sock = bind("127.0.0.1", 0)
    address = sock.getsockname()
    made = Daemon(Application(), large, [sock], drain_s=0.0, protocol=Watched)
    running = asyncio.create_task(made.run(None, announced))
    async with asyncio.timeout(30):
        await ready.wait()
        with socket.create_connection(address) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            await lost.wait()
        made.stop()
        await running


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_an_address_that_is_taken_is_an_error(host):
    with bind(host, 0) as first, pytest.raises(OSError, match="in use"):
        bind(host, first.getsockname()[1])
