"""Zero-copy send gives what body chunks give, byte for byte, and ends as they do when something breaks."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.server import stalls, zerocopy
from millpond.server.protocol import PondProtocol
from millpond.server.zerocopy import EXTENSION, ZeroCopyProtocol
from millpond.testing.loopthread import LoopThread

EXAMPLES = int(os.environ.get("MILLPOND_TEST_REQUESTS", "300"))
SIZE = 3_000_000
CONTENT = bytes(itertools.islice(itertools.cycle(range(251)), SIZE))
App = Callable[[Any, Any, Any], Awaitable[None]]


class Server:
    """uvicorn with a protocol of ours; `app` may be changed while it runs."""

    def __init__(self, protocol: type[PondProtocol]) -> None:
        self.protocol, self.app, self.port = protocol, None, 0
        self.offered: list[bool] = []
        self.ended: list[BaseException | None] = []

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.offered.append(EXTENSION in scope.get("extensions", {}))
        try:
            await self.app(scope, receive, send)
        except BaseException as error:
            self.ended.append(error)
            raise
        self.ended.append(None)

    async def start(self) -> None:
        config = uvicorn.Config(
            self, http=self.protocol, lifespan="off", log_config=None, ws="none", port=0, date_header=False,
            server_header=False,
        )  # fmt: skip
        self._server = uvicorn.Server(config)
        config.load()
        self._server.lifespan = config.lifespan_class(config)
        await self._server.startup()
        self.port = self._server.servers[0].sockets[0].getsockname()[1]

    async def stop(self) -> None:
        await self._server.shutdown()


async def say(port: int, asked: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(asked)
    async with asyncio.timeout(30):
        got = await reader.read()
    writer.close()
    return got


GET = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LoopThread, Server, Server, int]]:
    path = tmp_path_factory.mktemp("zero") / "content"
    path.write_bytes(CONTENT)
    fd = os.open(path, os.O_RDONLY)
    zero, plain = Server(ZeroCopyProtocol), Server(PondProtocol)
    with contextlib.closing(LoopThread("zero")) as thread:
        for server in (zero, plain):
            thread.run(server.start())
        yield thread, zero, plain, fd
        for server in (zero, plain):
            thread.run(server.stop())
    os.close(fd)


piece = st.tuples(st.booleans(), st.integers(0, SIZE - 1), st.sampled_from([0, 1, 10, 5_000, 300_000, 1_200_000]))


def answering(pieces: list[tuple[bool, int, int]], fd: int, *, length: bool, last: bool) -> App:
    """Make an application that sends pieces of the file: regions where it may and a piece asks for it, else bytes."""
    parts = [(region, start, min(size, SIZE - start)) for region, start, size in pieces]

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del receive
        told = [(b"content-length", str(sum(size for *_, size in parts)).encode())] if length else []
        await send({"type": "http.response.start", "status": 200, "headers": told})
        for number, (region, start, size) in enumerate(parts):
            more = not (last and number == len(parts) - 1)
            if region and EXTENSION in scope.get("extensions", {}):
                await send({"type": EXTENSION, "file": fd, "offset": start, "count": size, "more_body": more})
            else:
                body = CONTENT[start : start + size]
                await send({"type": "http.response.body", "body": body, "more_body": more})
        if not (last and parts):
            await send({"type": "http.response.body"})

    return app


@pytest.mark.heavy
@settings(max_examples=EXAMPLES, deadline=None)
@given(
    pieces=st.lists(piece, max_size=4), length=st.booleans(), last=st.booleans(),
    method=st.sampled_from([b"GET", b"GET", b"HEAD"]), pipelined=st.integers(1, 3),
)  # fmt: skip
def test_regions_and_chunks_give_the_same_bytes(
    pair: tuple[LoopThread, Server, Server, int], pieces: Any, length: bool, last: bool, method: bytes, pipelined: int
):
    thread, zero, plain, fd = pair
    zero.app = plain.app = answering(pieces, fd, length=length, last=last)
    asked = (b"%b / HTTP/1.1\r\nHost: x\r\n\r\n" % method) * (pipelined - 1) + GET.replace(b"GET", method)
    got, expected = thread.run(say(zero.port, asked)), thread.run(say(plain.port, asked))
    same = got == expected  # so that a difference of megabytes is not drawn
    assert same, f"{len(got)} and {len(expected)} bytes"
    assert (zero.offered[-1], plain.offered[-1]) == (True, False)


@pytest.fixture
async def server() -> AsyncIterator[Server]:
    made = Server(ZeroCopyProtocol)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def content(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "content").write_bytes(CONTENT)
    fd = os.open(tmp_path / "content", os.O_RDONLY)
    yield fd
    os.close(fd)


def one_region(fd: int, length: int, **place: int) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        head = [(b"content-length", str(length).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": EXTENSION, "file": fd, **place})

    return app


async def test_without_offset_and_count_it_is_the_rest_of_the_file(server: Server, content: int):
    os.lseek(content, SIZE - 7, os.SEEK_SET)
    server.app = one_region(content, 7)
    assert (await say(server.port, GET)).endswith(b"\r\n\r\n" + CONTENT[-7:])


async def test_more_than_was_promised_is_refused(server: Server, content: int):
    server.app = one_region(content, 5, offset=0, count=6)
    assert (await say(server.port, GET)).endswith(b"\r\n\r\n")
    assert isinstance(server.ended[-1], RuntimeError)


async def test_a_file_that_is_shorter_ends_in_a_broken_transfer(server: Server, content: int):
    server.app = one_region(content, 100, offset=SIZE - 50, count=100)
    got = await say(server.port, GET)
    assert got.endswith(b"\r\n\r\n" + CONTENT[-50:])
    assert isinstance(server.ended[-1], EOFError)


async def test_a_region_before_the_head_is_refused(server: Server, content: int):
    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        await send({"type": EXTENSION, "file": content, "offset": 0, "count": 5})

    server.app = app
    assert (await say(server.port, GET)).startswith(b"HTTP/1.1 500 ")


async def slow(port: int) -> socket.socket:
    """A client that asks and reads nothing."""
    client = socket.socket()
    client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    client.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(client, ("127.0.0.1", port))
    await loop.sock_sendall(client, GET)
    return client


def endless(fd: int, times: int = 20) -> App:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        head = [(b"content-length", str(times * SIZE).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        for number in range(times):
            message = {"type": EXTENSION, "file": fd, "offset": 0, "count": SIZE, "more_body": number < times - 1}
            await send(message)

    return app


async def test_a_slow_client_gets_everything(server: Server, content: int):
    server.app = endless(content)
    client = await slow(server.port)
    await asyncio.sleep(0.1)
    got, loop = 0, asyncio.get_running_loop()
    async with asyncio.timeout(60):
        while piece := await loop.sock_recv(client, 1 << 20):
            got += len(piece)
    client.close()
    assert got > 20 * SIZE
    assert server.ended == [None]


async def test_a_client_that_leaves_while_the_socket_is_full_frees_the_application(server: Server, content: int):
    server.app = endless(content)
    client = await slow(server.port)
    await asyncio.sleep(0.2)
    assert server.ended == []
    client.close()
    async with asyncio.timeout(30):
        while not server.ended:
            await asyncio.sleep(0.01)
    assert server.ended == [None]


async def test_a_head_that_waits_in_the_transport_goes_first(server: Server, content: int, monkeypatch: Any):
    """Bytes written before must leave before the region's, also when the socket is full by then."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        del scope, receive
        head = [(b"content-length", str(8_000_000 + 10).encode())]
        await send({"type": "http.response.start", "status": 200, "headers": head})
        await send({"type": "http.response.body", "body": b"x" * 8_000_000, "more_body": True})
        await send({"type": EXTENSION, "file": content, "offset": 0, "count": 10})

    server.app = app
    monkeypatch.setattr(zerocopy, "BYTES_PER_CALL", 3)
    client = await slow(server.port)
    await asyncio.sleep(0.1)
    got, loop = b"", asyncio.get_running_loop()
    async with asyncio.timeout(60):
        while piece := await loop.sock_recv(client, 1 << 20):
            got += piece
    client.close()
    assert got.endswith(b"x" + CONTENT[:10])
    assert len(got.partition(b"\r\n\r\n")[2]) == 8_000_010


async def test_a_client_that_stops_reading_is_given_up(server: Server, content: int, monkeypatch: Any):
    monkeypatch.setattr(stalls, "STALL_S", 0.2)
    server.app = endless(content)
    with contextlib.closing(await slow(server.port)):
        async with asyncio.timeout(30):
            while not server.ended:
                await asyncio.sleep(0.01)
    assert server.ended == [None]
