"""The limits of a connection, over real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
import uvicorn
import uvloop

from millpond.server import protocol
from millpond.server.protocol import MAX_HEAD_BYTES, PondProtocol

LARGE = 64 << 20


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@contextlib.asynccontextmanager
async def serving(application: Any) -> AsyncIterator[uvicorn.Server]:
    config = uvicorn.Config(application, http=PondProtocol, lifespan="off", log_config=None, ws="none", port=0)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    try:
        yield server
    finally:
        await server.shutdown()


def port_of(server: uvicorn.Server) -> int:
    return server.servers[0].sockets[0].getsockname()[1]


@pytest.fixture
async def port() -> AsyncIterator[int]:
    async with serving(echo) as server:
        yield port_of(server)


async def say(port: int, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 60)
    except ConnectionError:
        return b""
    finally:
        writer.close()


async def test_an_endless_header_is_refused(port: int):
    head = b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: "
    answer = await say(port, head, b"a" * MAX_HEAD_BYTES, b"a")
    assert answer.startswith(b"HTTP/1.1 431 ")


async def test_so_are_endless_headers(port: int):
    answer = await say(port, b"GET / HTTP/1.1\r\n", *(b"X-%d: %s\r\n" % (n, b"b" * 1000) for n in range(70)))
    assert b"HTTP/1.1 431 " in answer


async def test_a_large_body_is_no_large_head(port: int):
    body = b"c" * (4 * MAX_HEAD_BYTES)
    head = b"POST / HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body)
    answer = await say(port, head, body[:100_000], body[100_000:])
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert answer.endswith(body)


async def test_many_small_requests_on_one_connection_are_no_large_head(port: int):
    one = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    answer = await say(port, *([one * 100] * 40), last)
    assert answer.count(b"HTTP/1.1 200 ") == 4001


async def large(scope: Any, receive: Any, send: Any) -> None:
    """Answer with more than the kernel keeps for a client that reads nothing."""
    head = [(b"content-length", b"%d" % LARGE), (b"connection", b"close")]
    await send({"type": "http.response.start", "status": 200, "headers": head})
    await send({"type": "http.response.body", "body": bytes(LARGE)})


@pytest.mark.parametrize("loop", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_a_closed_connection_whose_client_reads_nothing_is_let_go_of(loop: Callable[[], asyncio.AbstractEventLoop]):
    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(lets_go())


async def lets_go() -> None:
    async with serving(large) as server:
        with socket.create_connection(("127.0.0.1", port_of(server))) as client:
            client.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            async with asyncio.timeout(30):
                while not [each for each in server.server_state.connections if each.transport.is_closing()]:
                    await asyncio.sleep(0.005)
            (connection,) = server.server_state.connections
            connection.let_go(1000.0)
            taken = await asyncio.to_thread(received, client, 1 << 20)
            connection.let_go(1059.0)
            connection.let_go(1118.0)
            await asyncio.sleep(0.01)
            assert server.server_state.connections, "59 s since the client took something"
            connection.let_go(1119.0)
            async with asyncio.timeout(30):
                while server.server_state.connections:
                    await asyncio.sleep(0.005)
            taken += await asyncio.to_thread(received, client, LARGE - taken)
            assert taken < LARGE, "the rest was dropped"


def received(client: socket.socket, count: int) -> int:
    """Read so many bytes, and give how many there were."""
    client.setblocking(True)
    left = count
    while left > 0 and (piece := client.recv(min(left, 1 << 16))):
        left -= len(piece)
    return count - left


async def test_one_that_is_not_closing_is_left_alone():
    async with serving(echo) as server:
        _, writer = await asyncio.open_connection("127.0.0.1", port_of(server))
        async with asyncio.timeout(30):
            while not server.server_state.connections:
                await asyncio.sleep(0.005)
        (connection,) = server.server_state.connections
        for now in (1000.0, 1100.0, 1200.0):
            connection.let_go(now)
        assert not connection.transport.is_closing()
        writer.close()
        await writer.wait_closed()


async def test_who_says_nothing_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.1)
    assert (await say(port)).startswith(b"HTTP/1.1 408 ")
    assert (await say(port, b"GET / HTTP/1.1\r\nHo")).startswith(b"HTTP/1.1 408 ")
