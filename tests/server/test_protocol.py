"""The limits of a connection, over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import uvicorn

from millpond.server import protocol
from millpond.server.protocol import MAX_HEAD_BYTES, PondProtocol


async def echo(scope: Any, receive: Any, send: Any) -> None:
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"%d" % len(body))]})
    await send({"type": "http.response.body", "body": body})


@pytest.fixture
async def port() -> AsyncIterator[int]:
    config = uvicorn.Config(echo, http=PondProtocol, lifespan="off", log_config=None, ws="none", port=0)
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    yield server.servers[0].sockets[0].getsockname()[1]
    await server.shutdown()


async def say(port: int, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 10)
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


async def test_who_says_nothing_is_not_waited_for(port: int, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(protocol, "HEAD_TIMEOUT_S", 0.1)
    assert (await say(port)).startswith(b"HTTP/1.1 408 ")
    assert (await say(port, b"GET / HTTP/1.1\r\nHo")).startswith(b"HTTP/1.1 408 ")
