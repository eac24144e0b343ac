from __future__ import annotations

import asyncio
import http.client
import urllib.error
import urllib.request
from collections.abc import AsyncIterator

import aiohttp
import pytest

from millpond.testing.behaviours import (
    Behaviour,
    Chunked,
    CloseDelimited,
    Drop,
    Hang,
    NeedsBasic,
    Raw,
    Slow,
    WrongBytes,
    portal,
    redirect,
    reset,
    status,
    truncate,
)  # fmt: skip
from millpond.testing.clock import FakeClock
from millpond.testing.upstream import FakeUpstream, ThreadedUpstream

BODY = bytes(range(256)) * 400


@pytest.fixture
async def upstream() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream(FakeClock(now=1000.0)) as server:
        server.put("/f", BODY)
        yield server


@pytest.fixture
async def client() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=10)) as session:
        yield session


async def test_it_serves_what_was_put_and_remembers_who_asked(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    async with client.get(f"{upstream.url}/f?x=1", headers={"X-A": "b"}) as reply:
        assert await reply.read() == BODY
        assert reply.content_length == len(BODY)
    (seen,) = upstream.requests
    assert (seen.method, seen.path, seen.query, seen.headers["x-a"], seen.at) == ("GET", "/f", "x=1", "b", 1000.0)


async def test_head_get_and_404_share_one_connection(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    async with client.head(f"{upstream.url}/f") as reply:
        assert (await reply.read(), reply.headers["Content-Length"]) == (b"", str(len(BODY)))
    async with client.get(f"{upstream.url}/f") as reply:
        await reply.read()
    async with client.get(f"{upstream.url}/missing") as reply:
        await reply.read()
        assert reply.status == 404
    assert upstream.connections == 1
    assert (upstream.count("/f"), upstream.count("/f", "HEAD")) == (2, 1)


async def test_a_304_and_a_range(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    async with client.get(f"{upstream.url}/f", headers={"Range": "bytes=1-3"}) as reply:
        assert (reply.status, await reply.read()) == (206, b"\x01\x02\x03")
        etag = reply.headers["ETag"]
    async with client.get(f"{upstream.url}/f", headers={"If-None-Match": etag}) as reply:
        assert (reply.status, await reply.read()) == (304, b"")


async def test_scripts_are_played_once_each_and_then_it_is_right_again(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    upstream.script("/f", status(500), status(429, retry_after="7"))
    upstream.script("*", status(503))
    seen = []
    for _ in range(4):
        async with client.get(f"{upstream.url}/f") as reply:
            seen.append((reply.status, reply.headers.get("Retry-After")))
    assert seen == [(500, None), (429, "7"), (503, None), (200, None)]


async def test_always_lasts_until_it_is_taken_back(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.always("/f", NeedsBasic("u", "p"))
    for headers, expected in ({}, 401), ({"Authorization": "Basic dTpw"}, 200), ({"Authorization": "Basic eDp5"}, 401):
        async with client.get(f"{upstream.url}/f", headers=headers) as reply:
            assert reply.status == expected
    upstream.always("/f", None)
    async with client.get(f"{upstream.url}/f") as reply:
        assert reply.status == 200


async def wire(upstream: FakeUpstream, behaviour: Behaviour, method: str = "GET") -> tuple[bytes, type[OSError] | None]:
    """Ask over a bare socket; give what came and how it ended."""
    upstream.script("/f", behaviour)
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(f"{method} /f HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    got, error = b"", None
    try:
        async with asyncio.timeout(60):
            while piece := await reader.read(65536):
                got += piece
    except ConnectionResetError:
        error = ConnectionResetError
    finally:
        writer.close()
    return got, error


@pytest.mark.parametrize(
    ("behaviour", "body", "error"),
    [
        (truncate(1000), BODY[:1000], None),
        (truncate(0), b"", None),
        (reset(1000), None, ConnectionResetError),
        (CloseDelimited(), BODY, None),
        (Chunked(50_000, stop_after=50_000), b"c350\r\n" + BODY[:50_000] + b"\r\n", None),
    ],
)
async def test_what_goes_wrong_on_the_wire(
    upstream: FakeUpstream, behaviour: Behaviour, body: bytes | None, error: type[OSError] | None
) -> None:
    got, ended = await wire(upstream, behaviour)
    head, _, sent = got.partition(b"\r\n\r\n")
    assert ended is error
    if body is not None:
        assert sent == body
        assert (b"content-length: 102400" in head) == (not isinstance(behaviour, CloseDelimited | Chunked))


async def test_nothing_at_all_or_raw_bytes(upstream: FakeUpstream) -> None:
    assert await wire(upstream, Drop()) == (b"", None)
    assert await wire(upstream, Drop(rst=True)) == (b"", ConnectionResetError)
    assert await wire(upstream, Raw(b"what?")) == (b"what?", None)


async def test_chunked_and_wrong_bytes_arrive_whole(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script("/f", Chunked(1000), WrongBytes(), portal(), redirect("/g"))
    async with client.get(f"{upstream.url}/f") as reply:
        assert (reply.content_length, await reply.read()) == (None, BODY)
    async with client.get(f"{upstream.url}/f") as reply:
        wrong = await reply.read()
        assert len(wrong) == len(BODY)
        assert not any(a == b for a, b in zip(wrong, BODY, strict=True))
    async with client.get(f"{upstream.url}/f") as reply:
        assert (reply.status, reply.content_type) == (200, "text/html")
    async with client.get(f"{upstream.url}/f", allow_redirects=False) as reply:
        assert (reply.status, reply.headers["Location"]) == (302, "/g")


async def test_slow_is_slow_and_whole(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    upstream.script("/f", Slow(bytes_per_s=1_024_000, delay_s=0.05))
    loop = asyncio.get_running_loop()
    before = loop.time()
    async with client.get(f"{upstream.url}/f") as reply:
        assert await reply.read() == BODY
    assert loop.time() - before >= 0.14


@pytest.mark.parametrize("after", [None, 100])
async def test_a_hang_lasts_until_the_client_gives_up(upstream: FakeUpstream, after: int | None) -> None:
    upstream.script("/f", Hang(after))
    reader, writer = await asyncio.open_connection("127.0.0.1", upstream.port)
    writer.write(b"GET /f HTTP/1.1\r\n\r\n")
    if after:
        await reader.readuntil(b"\r\n\r\n")
        assert await reader.readexactly(after) == BODY[:after]
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(reader.read(1), 0.05)
    assert upstream.open_connections == 1
    writer.close()
    async with asyncio.timeout(30):
        while upstream.open_connections:
            await asyncio.sleep(0.001)


async def test_a_hold_stops_mid_body_until_it_is_released(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    hold = upstream.hold("/f", after_bytes=100)
    async with client.get(f"{upstream.url}/f") as reply:
        await hold.reached()
        assert await reply.content.readexactly(100) == BODY[:100]
        more = asyncio.create_task(reply.content.read())
        assert await asyncio.wait({more}, timeout=0.03) == (set(), {more})
        hold.release()
        assert await more == BODY[100:]


async def test_a_hold_before_the_head(upstream: FakeUpstream, client: aiohttp.ClientSession) -> None:
    hold = upstream.hold("/f", after_bytes=-1)
    asking = asyncio.create_task(client.get(f"{upstream.url}/f"))
    await hold.reached()
    assert not asking.done()
    hold.release()
    async with await asking as reply:
        assert await reply.read() == BODY


async def test_a_cut_upstream_refuses_and_comes_back_on_its_port(
    upstream: FakeUpstream, client: aiohttp.ClientSession
) -> None:
    url = f"{upstream.url}/f"
    hold = upstream.hold("/f", after_bytes=10)
    async with client.get(url) as reply:
        await hold.reached()
        await upstream.cut()
        with pytest.raises(aiohttp.ClientPayloadError):
            await reply.read()
    with pytest.raises(aiohttp.ClientConnectorError):
        await client.get(url)
    hold.release()
    await upstream.restore()
    async with client.get(url) as reply:
        assert await reply.read() == BODY


def test_synchronous_tests_use_it_from_a_thread() -> None:
    with ThreadedUpstream() as upstream:
        upstream.put("/f", b"bytes")
        with urllib.request.urlopen(f"{upstream.url}/f", timeout=60) as reply:
            assert reply.read() == b"bytes"
        hold = upstream.hold("/f", after_bytes=2)
        connection = http.client.HTTPConnection("127.0.0.1", upstream.port, timeout=60)
        connection.request("GET", "/f")
        hold.wait_reached()
        hold.release()
        assert connection.getresponse().read() == b"bytes"
        connection.close()
        upstream.cut_now()
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(f"{upstream.url}/f", timeout=60)
        upstream.restore_now()
        with urllib.request.urlopen(f"{upstream.url}/f", timeout=60) as reply:
            assert reply.read() == b"bytes"
        assert upstream.count("/f") == 3
