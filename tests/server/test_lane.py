"""The fast lane gives what the plain ASGI path gives, byte for byte, and nothing that was removed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import re
import socket
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from millpond.api.site import site
from millpond.app.application import App
from millpond.app.opening import open_app
from millpond.app.sourcing import Source, load
from millpond.server import lane as lanes
from millpond.server import protocol as heads
from millpond.server import stalls
from millpond.server.lane import Lane, protocol
from millpond.server.protocol import PondProtocol
from millpond.testing.clock import FakeClock
from millpond.testing.loopthread import LoopThread

pytestmark = pytest.mark.whole

CONFIG = """
[repositories.files]
package = "generic"
type = "local"

[access]
anonymous = "{anonymous}"
"""
SIZES = {"empty": 0, "tiny.txt": 10, "small.bin": 2048, "medium.bin": 100_000, "large.bin": 1_500_000}
EXAMPLES = int(os.environ.get("MILLPOND_TEST_REQUESTS", "300"))


@dataclass
class Two:
    """One application behind two servers: with the lane, and without."""

    app: App
    lane: int
    plain: int
    served: list[str]


async def listen(app: Any, http: type[PondProtocol]) -> tuple[uvicorn.Server, int]:
    config = uvicorn.Config(
        app, http=http, lifespan="off", log_config=None, ws="none", port=0, date_header=False, server_header=False
    )
    server = uvicorn.Server(config)
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    return server, server.servers[0].sockets[0].getsockname()[1]


async def opened(folder: Path, anonymous: str = "read") -> tuple[Two, list[uvicorn.Server]]:
    (folder / "millpond.toml").write_text(CONFIG.format(anonymous=anonymous))
    source = Source(folder / "millpond.toml", {"server.data": str(folder / "data")}, folder)
    config = load(source.path, source.overrides, {}, folder)
    app = await open_app(config, source, clock=FakeClock(1_700_000_000.0))
    surface = site(app)
    served: list[str] = []

    class Watched(protocol(Lane(app.hits, surface.doorkeeper, app.clock))):  # type: ignore[misc]
        def _give(self, order: Any, now: float) -> bool:
            done: bool = super()._give(order, now)
            served.extend(["lane"] * done)
            return done

        def _start_asgi_task(self, *cycle: Any) -> None:
            served.append("plain")
            super()._start_asgi_task(*cycle)

    with_lane, lane_port = await listen(surface, Watched)
    without, plain_port = await listen(surface, PondProtocol)
    two = Two(app, lane_port, plain_port, served)
    for name, size in SIZES.items():
        await put(two, name, bytes(n % 251 for n in range(size)))
    return two, [with_lane, without]


async def put(two: Two, name: str, body: bytes) -> None:
    token = (two.app.data / "admin-token").read_text().strip()
    head = f"PUT /api/v1/remote/files/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    head += f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n"
    assert (await say(two.plain, head.encode() + body)).startswith(b"HTTP/1.1 20")


async def say(port: int, *pieces: bytes, limit: int = -1) -> bytes:
    """Send pieces and read to the end; or until `limit` bytes are there, and leave."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        async with asyncio.timeout(30):
            if limit < 0:
                return await reader.read()
            with contextlib.suppress(asyncio.IncompleteReadError):
                return await reader.readexactly(limit)
            return b"the end came before"
    finally:
        writer.close()


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[LoopThread, Two]]:
    with contextlib.closing(LoopThread("lane")) as thread:
        two, servers = thread.run(opened(tmp_path_factory.mktemp("lane")))
        for name in SIZES:
            for method in ("GET", "HEAD"):
                request = f"{method} /files/{name} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
                thread.run(say(two.lane, request.encode()))
        yield thread, two
        for server in servers:
            thread.run(server.shutdown())
        thread.run(two.app.close())


TAG = f'"sha256:{hashlib.sha256(bytes(range(10))).hexdigest()}"'
RANGES = ["bytes=0-0", "bytes=5-", "bytes=-3", "bytes=10-4", "bytes=9999999-", "bytes=0-1,3-4", "x=1-2"]
RANGES += ["bytes=1-99999999"]
header = st.one_of(
    st.tuples(st.just("Range"), st.sampled_from(RANGES)),
    st.tuples(st.just("If-None-Match"), st.sampled_from([TAG, "*", '"x"', "W/" + TAG, f'"x", {TAG}'])),
    st.tuples(st.just("If-Modified-Since"), st.just("Sun, 06 Nov 2044 08:49:37 GMT")),
    st.tuples(st.just("If-Range"), st.sampled_from([TAG, '"x"'])),
    st.tuples(st.just("If-Match"), st.sampled_from([TAG, '"x"', "*"])),
    st.tuples(st.just("Accept"), st.sampled_from(["*/*", "text/html"])),
    st.tuples(st.just("Content-Length"), st.just("0")),
    st.tuples(st.just("Authorization"), st.just("Bearer wrong")),
)
request = st.tuples(
    st.sampled_from(["GET", "GET", "GET", "HEAD", "POST", "OPTIONS"]),
    st.sampled_from([*SIZES, "nope", "tiny.txt?x=1", "%2e%2e/x"]),
    st.lists(header, max_size=3, unique_by=lambda pair: pair[0]),
)


Asked = list[tuple[str, str, list[tuple[str, str]]]]


def written(asked: Asked, *, close: bool = True) -> list[bytes]:
    """Write requests; the last one ends the connection."""
    out = []
    for number, (method, name, headers) in enumerate(asked):
        last = [("Connection", "close")] if close and number == len(asked) - 1 else []
        lines = "".join(f"{key}: {value}\r\n" for key, value in [("Host", "x"), *headers, *last])
        out.append(f"{method} /files/{name} HTTP/1.1\r\n{lines}\r\n".encode())
    return out


def same(fast: bytes, slow: bytes) -> None:
    equal = fast == slow  # so that a difference of megabytes is not drawn
    assert equal, f"{len(fast)} and {len(slow)} bytes: {fast[:300]!r} ... {slow[:300]!r}"


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(request, min_size=1, max_size=4), cuts=st.lists(st.integers(0, 400), max_size=3))
def test_pipelines_split_anywhere_get_the_same_bytes_both_ways(
    pair: tuple[LoopThread, Two], asked: Asked, cuts: list[int]
):
    thread, two = pair
    data = b"".join(written(asked))
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    same(*(thread.run(say(port, *pieces)) for port in (two.lane, two.plain)))


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(request, min_size=1, max_size=4))
def test_requests_one_after_another_get_the_same_bytes_both_ways(pair: tuple[LoopThread, Two], asked: Asked):
    """Each comes twice in the same words, so that the second of a hit is answered from what the first was read as."""
    thread, two = pair
    requests = [one for one in written(asked, close=False) for _ in range(2)]
    fast, slow = (thread.run(converse(port, requests)) for port in (two.lane, two.plain))
    for each in zip(fast, slow, strict=True):
        same(*each)


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(request, min_size=1, max_size=3), limit=st.integers(0, 2_000_000))
def test_clients_that_leave_early_got_the_same_bytes_both_ways(pair: tuple[LoopThread, Two], asked: Asked, limit: int):
    thread, two = pair
    data = b"".join(written(asked))
    same(*(thread.run(say(port, data, limit=limit)) for port in (two.lane, two.plain)))


async def converse(port: int, requests: list[bytes]) -> list[bytes]:
    """Ask on one connection, each time when the answer before is whole; gives the answers, until the server closes."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    answers = []
    with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
        for one in requests:
            answers.append(await answer(reader, writer, one))  # noqa: PERF401 - those before the end count
    writer.close()
    return answers


async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, asked: bytes) -> bytes:
    writer.write(asked)
    async with asyncio.timeout(30):
        head = await reader.readuntil(b"\r\n\r\n")
        length = re.search(rb"\r\ncontent-length: (\d+)\r\n", head)
        bodiless = asked.startswith(b"HEAD ") or head.startswith(b"HTTP/1.1 304 ")
        return head if bodiless or length is None else head + await reader.readexactly(int(length.group(1)))


def test_the_lane_was_really_taken(pair: tuple[LoopThread, Two]):
    thread, two = pair
    two.served.clear()
    get = b"GET /files/%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b\r\n"
    for name in SIZES:
        assert thread.run(say(two.lane, get % (name.encode(), b""))).startswith(b"HTTP/1.1 200 ")
    assert thread.run(say(two.lane, get % (b"large.bin", b"Range: bytes=5-9\r\n"))).startswith(b"HTTP/1.1 206 ")
    assert two.served == ["lane"] * (len(SIZES) + 1)


@contextlib.asynccontextmanager
async def only(folder: Path, anonymous: str = "read") -> AsyncIterator[Two]:
    made, servers = await opened(folder, anonymous)
    yield made
    for server in servers:
        await server.shutdown()
    await made.app.close()


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    async with only(tmp_path) as made:
        yield made


async def remove(two: Two, name: str) -> None:
    token = (two.app.data / "admin-token").read_text().strip()
    head = f"DELETE /api/v1/remote/files/{name} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    assert (await say(two.plain, f"{head}Connection: close\r\n\r\n".encode())).startswith(b"HTTP/1.1 204 ")


async def test_the_same_words_are_not_parsed_again_and_still_judged(two: Two, monkeypatch: pytest.MonkeyPatch):
    reader, writer = await asyncio.open_connection("127.0.0.1", two.lane)
    first = await answer(reader, writer, GET % (b"small.bin", b""))
    assert await answer(reader, writer, GET % (b"small.bin", b"")) == first
    parsed = []
    monkeypatch.setattr(lanes.FastLane, "_ordered", lambda lane, _: parsed.append(lane.url))
    assert await answer(reader, writer, GET % (b"small.bin", b"")) == first
    assert parsed == []
    two.app.clock.advance(5)
    assert b"\r\nage: 5\r\n" in await answer(reader, writer, GET % (b"small.bin", b""))
    await remove(two, "small.bin")
    assert (await answer(reader, writer, GET % (b"small.bin", b""))).startswith(b"HTTP/1.1 404 ")
    assert parsed == [b"/files/small.bin"]
    writer.close()


async def test_known_words_end_the_wait_for_a_request(two: Two, monkeypatch: pytest.MonkeyPatch):
    for _ in range(2):
        await converse(two.lane, [GET % (b"tiny.txt", b"")])
    monkeypatch.setattr(heads, "HEAD_TIMEOUT_S", 2)
    reader, writer = await asyncio.open_connection("127.0.0.1", two.lane)
    first = await answer(reader, writer, GET % (b"tiny.txt", b""))
    await asyncio.sleep(2.5)
    assert await answer(reader, writer, GET % (b"tiny.txt", b"")) == first
    writer.close()


async def test_a_revoked_token_opens_nothing_in_the_same_words(tmp_path: Path):
    async with only(tmp_path, anonymous="none") as two:
        _, secret = await two.app.tokens.create("ci", ["read:files"])
        asked = GET % (b"small.bin", b"Authorization: Bearer %b\r\n" % secret.encode())
        reader, writer = await asyncio.open_connection("127.0.0.1", two.lane)
        for _ in range(3):
            assert (await answer(reader, writer, asked)).startswith(b"HTTP/1.1 200 ")
        assert two.served[-1] == "lane"
        await two.app.tokens.revoke("ci")
        assert (await answer(reader, writer, asked)).startswith(b"HTTP/1.1 401 ")
        writer.close()


async def test_a_request_in_the_body_of_another_is_a_body(two: Two):
    """What looks like a known request is one only where a request begins (request smuggling)."""
    token = (two.app.data / "admin-token").read_text().strip()
    reader, writer = await asyncio.open_connection("127.0.0.1", two.lane)
    known = GET % (b"small.bin", b"")
    for _ in range(3):
        await answer(reader, writer, known)
    head = f"PUT /api/v1/remote/files/up.bin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {token}\r\n"
    writer.write(f"{head}Content-Length: {2 * len(known)}\r\n\r\n".encode())
    await asyncio.sleep(0.1)
    writer.write(known)
    await asyncio.sleep(0.1)
    assert (await answer(reader, writer, known)).startswith(b"HTTP/1.1 201 ")
    assert (await answer(reader, writer, GET % (b"up.bin", b""))).endswith(known + known)
    writer.close()


async def test_an_idle_connection_is_closed_and_a_used_one_is_not(two: Two, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(lanes.FastLane, "timeout_keep_alive", property(lambda _: 3.0, lambda *_: None), raising=False)
    reader, writer = await asyncio.open_connection("127.0.0.1", two.lane)
    for _ in range(8):
        assert (await answer(reader, writer, GET % (b"tiny.txt", b""))).startswith(b"HTTP/1.1 200 ")
        await asyncio.sleep(0.5)
    async with asyncio.timeout(30):
        assert await reader.read() == b"", "closed by the server"
    writer.close()


GET = b"GET /files/%b HTTP/1.1\r\nHost: x\r\n%b\r\n"
CLOSE = b"Connection: close\r\n"


async def test_what_was_removed_is_never_served_again(two: Two):
    for _ in range(2):
        assert (await say(two.lane, GET % (b"large.bin", CLOSE))).startswith(b"HTTP/1.1 200 ")
    assert two.served[-1] == "lane"
    await remove(two, "large.bin")
    assert (await say(two.lane, GET % (b"large.bin", CLOSE))).startswith(b"HTTP/1.1 404 ")
    two.app.hits.flush()
    assert two.app.hits.open_files == 0, "its disk space is given back"


async def test_every_hit_is_counted_and_noted(two: Two):
    for _ in range(5):
        await say(two.lane, GET % (b"small.bin", CLOSE))
    two.app.hits.flush()
    await two.app.usage.flush()
    records = await two.app.usage.records(repository="files", path="small.bin")
    assert sum(record.count for record in records) == 5
    assert sum(record.size for record in records) == 5 * 2048
    assert two.app.metrics.values()['millpond_requests_total{outcome="local",repository="files"}'] == 5


async def test_without_a_token_the_lane_gives_nothing_away(tmp_path: Path):
    async with only(tmp_path, anonymous="none") as two:
        token = (two.app.data / "admin-token").read_text().strip().encode()
        mine = b"Authorization: Bearer %b\r\n" % token + CLOSE
        for _ in range(2):
            assert (await say(two.lane, GET % (b"small.bin", mine))).startswith(b"HTTP/1.1 200 ")
        assert two.served[-1] == "lane"
        assert (await say(two.lane, GET % (b"small.bin", CLOSE))).startswith(b"HTTP/1.1 401 ")
        wrong = b"Authorization: Bearer mp_wrong\r\n" + CLOSE
        assert (await say(two.lane, GET % (b"small.bin", wrong))).startswith(b"HTTP/1.1 401 ")


async def test_a_client_that_stops_reading_is_given_up(two: Two, monkeypatch: pytest.MonkeyPatch):
    await say(two.lane, GET % (b"large.bin", CLOSE))
    monkeypatch.setattr(stalls, "STALL_S", 0.2)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", two.lane))
        await loop.sock_sendall(client, (GET % (b"large.bin", b"")) * 20)
        await asyncio.sleep(1)
        got = 0
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.wait_for(loop.sock_recv(client, 1 << 16), 10):
                got += len(piece)
    assert got < 20 * SIZES["large.bin"]


async def test_a_slow_client_is_not_given_up(two: Two, monkeypatch: pytest.MonkeyPatch):
    """It takes little at a time, so that the socket is never said to be writable between two looks."""
    await say(two.lane, GET % (b"large.bin", CLOSE))
    monkeypatch.setattr(stalls, "STALL_S", 2)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", two.lane))
        asked = GET % (b"large.bin", b"") * 9 + GET % (b"large.bin", CLOSE)
        await loop.sock_sendall(client, asked)
        got = 0
        for _ in range(60):
            got += len(await asyncio.wait_for(loop.sock_recv(client, 4096), 30))
            await asyncio.sleep(0.08)
        while piece := await asyncio.wait_for(loop.sock_recv(client, 1 << 20), 30):
            got += len(piece)
    assert got > 10 * SIZES["large.bin"]


async def test_pipelined_hits_behind_a_large_one_come_in_order(two: Two):
    await say(two.lane, GET % (b"large.bin", CLOSE))
    await say(two.lane, GET % (b"tiny.txt", CLOSE))
    got = await say(two.lane, GET % (b"large.bin", b"") + GET % (b"tiny.txt", b"") + GET % (b"tiny.txt", CLOSE))
    assert got.count(b"HTTP/1.1 200 OK") == 3
    assert got.index(b"content-length: 1500000") < got.index(b"content-length: 10\r\n")
    assert got.endswith(bytes(range(10)))
