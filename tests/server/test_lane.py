"""The fast lane gives what the plain ASGI path gives, byte for byte, and nothing that was removed."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
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
from millpond.app import App, Source, load
from millpond.server import lane as lanes
from millpond.server.lane import Lane, protocol
from millpond.server.protocol import PondProtocol
from millpond.testing.clock import FakeClock
from millpond.testing.loopthread import LoopThread

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
    app = await App.open(config, source, clock=FakeClock(1_700_000_000.0))
    surface = site(app)
    served: list[str] = []

    class Watched(protocol(Lane(app.hits, surface.doorkeeper, app.clock))):  # type: ignore[misc]
        def _serve(self) -> bool:
            done: bool = super()._serve()
            served.append("lane" if done else "plain")
            return done

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


async def say(port: int, *pieces: bytes) -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
        return await asyncio.wait_for(reader.read(), 20)
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


def written(asked: list[tuple[str, str, list[tuple[str, str]]]]) -> bytes:
    out = b""
    for number, (method, name, headers) in enumerate(asked):
        last = [("Connection", "close")] if number == len(asked) - 1 else []
        lines = "".join(f"{key}: {value}\r\n" for key, value in [("Host", "x"), *headers, *last])
        out += f"{method} /files/{name} HTTP/1.1\r\n{lines}\r\n".encode()
    return out


@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(asked=st.lists(request, min_size=1, max_size=4), cuts=st.lists(st.integers(0, 400), max_size=3))
def test_the_lane_and_the_plain_path_give_the_same_bytes(pair: tuple[LoopThread, Two], asked: Any, cuts: list[int]):
    thread, two = pair
    data = written(asked)
    places = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    pieces = [data[a:b] for a, b in itertools.pairwise(places)]
    fast, slow = thread.run(say(two.lane, *pieces)), thread.run(say(two.plain, *pieces))
    same = fast == slow  # so that a difference of megabytes is not drawn
    assert same, f"{len(fast)} and {len(slow)} bytes: {fast[:300]!r} ... {slow[:300]!r}"


def test_the_lane_was_really_taken(pair: tuple[LoopThread, Two]):
    thread, two = pair
    two.served.clear()
    get = b"GET /files/%b HTTP/1.1\r\nHost: x\r\nConnection: close\r\n%b\r\n"
    for name in SIZES:
        assert thread.run(say(two.lane, get % (name.encode(), b""))).startswith(b"HTTP/1.1 200 ")
    assert thread.run(say(two.lane, get % (b"large.bin", b"Range: bytes=5-9\r\n"))).startswith(b"HTTP/1.1 206 ")
    assert two.served == ["lane"] * (len(SIZES) + 1)


@pytest.fixture
async def two(tmp_path: Path) -> AsyncIterator[Two]:
    made, servers = await opened(tmp_path)
    yield made
    for server in servers:
        await server.shutdown()
    await made.app.close()


GET = b"GET /files/%b HTTP/1.1\r\nHost: x\r\n%b\r\n"
CLOSE = b"Connection: close\r\n"


async def test_what_was_removed_is_never_served_again(two: Two):
    for _ in range(2):
        assert (await say(two.lane, GET % (b"large.bin", CLOSE))).startswith(b"HTTP/1.1 200 ")
    assert two.served[-1] == "lane"
    token = (two.app.data / "admin-token").read_text().strip().encode()
    gone = b"DELETE /api/v1/remote/files/large.bin HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %b\r\n%b\r\n" % (
        token,
        CLOSE,
    )
    assert (await say(two.plain, gone)).startswith(b"HTTP/1.1 204 ")
    assert (await say(two.lane, GET % (b"large.bin", CLOSE))).startswith(b"HTTP/1.1 404 ")
    two.app.hits.flush()
    assert two.app.hits.open_files == 0, "its disk space is given back"


async def test_every_hit_is_counted_and_noted(two: Two):
    for _ in range(5):
        await say(two.lane, GET % (b"small.bin", CLOSE))
    two.app.hits.flush()
    await two.app.usage.flush()
    records = await two.app.usage.records(repository="files", path="small.bin")
    assert [record.size for record in records] == [2048] * 5
    assert two.app.metrics.values()['millpond_requests_total{outcome="local",repository="files"}'] == 5


async def test_without_a_token_the_lane_gives_nothing_away(tmp_path: Path):
    made, servers = await opened(tmp_path, anonymous="none")
    token = (made.app.data / "admin-token").read_text().strip().encode()
    mine = b"Authorization: Bearer %b\r\n" % token + CLOSE
    for _ in range(2):
        assert (await say(made.lane, GET % (b"small.bin", mine))).startswith(b"HTTP/1.1 200 ")
    assert made.served[-1] == "lane"
    assert (await say(made.lane, GET % (b"small.bin", CLOSE))).startswith(b"HTTP/1.1 401 ")
    wrong = b"Authorization: Bearer mp_wrong\r\n" + CLOSE
    assert (await say(made.lane, GET % (b"small.bin", wrong))).startswith(b"HTTP/1.1 401 ")
    for server in servers:
        await server.shutdown()
    await made.app.close()


async def test_a_client_that_stops_reading_is_given_up(two: Two, monkeypatch: pytest.MonkeyPatch):
    await say(two.lane, GET % (b"large.bin", CLOSE))
    monkeypatch.setattr(lanes, "STALL_S", 0.2)
    with socket.socket() as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        client.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(client, ("127.0.0.1", two.lane))
        await loop.sock_sendall(client, (GET % (b"large.bin", b"")) * 20)
        await asyncio.sleep(0.6)
        got = 0
        with contextlib.suppress(ConnectionError):
            while piece := await asyncio.wait_for(loop.sock_recv(client, 1 << 16), 10):
                got += len(piece)
    assert got < 20 * SIZES["large.bin"]


async def test_pipelined_hits_behind_a_large_one_come_in_order(two: Two):
    await say(two.lane, GET % (b"large.bin", CLOSE))
    await say(two.lane, GET % (b"tiny.txt", CLOSE))
    got = await say(two.lane, GET % (b"large.bin", b"") + GET % (b"tiny.txt", b"") + GET % (b"tiny.txt", CLOSE))
    assert got.count(b"HTTP/1.1 200 OK") == 3
    assert got.index(b"content-length: 1500000") < got.index(b"content-length: 10\r\n")
    assert got.endswith(bytes(range(10)))
