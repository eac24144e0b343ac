from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Mapping
from typing import Any

import pytest

from millpond import __version__
from millpond.adapters.upstream import HttpUpstream, UpstreamOptions
from millpond.artifacts.model import Reply
from millpond.artifacts.ports import Upstream
from millpond.clock import SystemClock
from millpond.errors import UpstreamUnreachable
from millpond.testing.behaviours import (
    Behaviour,
    Chunked,
    CloseDelimited,
    Drop,
    Hang,
    NeedsBasic,
    Raw,
    reset,
    status,
    truncate,
)
from millpond.testing.clock import FakeClock
from millpond.testing.resolver import FakeResolver
from millpond.testing.upstream import FakeUpstream

BODY = bytes(range(256)) * 4000
CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.fixture
async def server() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        upstream.put("/f", BODY)
        yield upstream


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest.fixture
async def upstream(server: FakeUpstream, clock: FakeClock) -> AsyncIterator[HttpUpstream]:
    made = make(server, clock=clock)
    yield made
    await made.close()


def make(server: FakeUpstream, *, clock: FakeClock | None = None, **options: Any) -> HttpUpstream:
    values = {"name": "r", "base_url": f"{server.url}/", "read_timeout_s": 5.0, **options}
    return HttpUpstream(UpstreamOptions(**values), clock or SystemClock(), resolver=FakeResolver(), jitter=lambda: 0.0)


async def get(
    upstream: Upstream, path: str = "f", method: str = "GET", headers: Mapping[str, str] | None = None
) -> tuple[Reply, bytes]:
    async with upstream.request(method, upstream.base_url + path, headers or {}) as reply:
        return reply.head, b"".join([chunk async for chunk in reply.chunks(256 * 1024)])


async def failure(upstream: Upstream, path: str = "f", method: str = "GET") -> UpstreamUnreachable:
    with pytest.raises(UpstreamUnreachable) as caught:
        await get(upstream, path, method)
    return caught.value


async def test_it_gives_head_and_body(server: FakeUpstream, upstream: HttpUpstream) -> None:
    server.put("/f", BODY, headers={"Set-Cookie": "a=b", "ETag": '"x"', "Age": "7"})
    head, body = await get(upstream, "f?sig=1%2F2+3")
    assert body == BODY
    assert (head.status, head.length, head.url) == (200, len(BODY), f"{server.url}/f?sig=1%2F2+3")
    assert (head.headers["etag"], head.headers["age"]) == ('"x"', "7")
    assert "set-cookie" not in head.headers
    assert server.requests[0].target == "/f?sig=1%2F2+3"


async def test_it_says_who_asks_and_wants_the_bytes_as_they_are(server: FakeUpstream, upstream: HttpUpstream) -> None:
    await get(upstream, headers={"Accept": "text/x", "If-None-Match": '"a"'})
    sent = server.requests[0].headers
    assert sent["user-agent"] == f"millpond/{__version__}"
    assert (sent["accept-encoding"], sent["accept"], sent["if-none-match"]) == ("identity", "text/x", '"a"')
    assert "authorization" not in sent


async def test_an_encoding_that_was_asked_for_is_not_undone(server: FakeUpstream, upstream: HttpUpstream) -> None:
    packed = gzip.compress(BODY)
    server.put("/f", packed, headers={"Content-Encoding": "gzip"})
    head, body = await get(upstream, headers={"accept-encoding": "gzip"})
    assert (body, head.headers["content-encoding"]) == (packed, "gzip")
    assert server.requests[0].headers["accept-encoding"] == "gzip"


async def test_no_cookies_are_kept(server: FakeUpstream, upstream: HttpUpstream) -> None:
    server.put("/f", b"", headers={"Set-Cookie": "a=b; Path=/"})
    await get(upstream)
    await get(upstream)
    assert "cookie" not in server.requests[1].headers


async def test_repeated_headers_become_one(server: FakeUpstream, upstream: HttpUpstream) -> None:
    server.script("/f", Raw(b"HTTP/1.1 200 OK\r\nLink: <a>\r\nX: y\r\nlink: <b>\r\nContent-Length: 0\r\n\r\n"))
    head, _ = await get(upstream)
    assert head.headers["link"] == "<a>, <b>"


async def test_pieces_are_as_small_as_asked(upstream: HttpUpstream) -> None:
    async with upstream.request("GET", upstream.base_url + "f", {}) as reply:
        sizes = [len(chunk) async for chunk in reply.chunks(10_000)]
    assert sum(sizes) == len(BODY)
    assert max(sizes) == 10_000


async def test_a_body_read_to_its_end_gives_the_connection_back(server: FakeUpstream, upstream: HttpUpstream) -> None:
    for path in ("f", "missing", "f"):
        await get(upstream, path)
    await get(upstream, method="HEAD")
    await get(upstream, headers={"If-None-Match": "*"})
    assert (server.connections, len(server.requests)) == (1, 5)


async def test_a_reply_left_early_closes_its_connection(server: FakeUpstream, upstream: HttpUpstream) -> None:
    hold = server.hold("/f", after_bytes=100_000)
    async with upstream.request("GET", upstream.base_url + "f", {}) as reply:
        async for chunk in reply.chunks(1000):
            assert len(chunk) == 1000
            break
    hold.release()
    async with asyncio.timeout(30):
        while server.open_connections:
            await asyncio.sleep(0.001)
    await get(upstream)
    assert server.connections == 2


@pytest.mark.parametrize(
    ("behaviour", "kind"),
    [
        (truncate(0), "truncated"),
        (truncate(500_000), "truncated"),
        (Chunked(1000, stop_after=50_000), "truncated"),
        (reset(100_000), "reset"),
        (CloseDelimited(rst_after=100_000), "reset"),
        (Drop(), "reset"),
        (Drop(rst=True), "reset"),
        (Raw(b"220 mail.example ESMTP\r\n\r\n"), "unsound"),
        (Raw(b"HTTP/1.1 200 OK\r\nContent-Length: nine\r\n\r\n123456789"), "unsound"),
        (Raw(CHUNKED + b"zz\r\nxx\r\n0\r\n\r\n"), "unsound"),
        (Raw(CHUNKED + b"200000\r\n" + bytes(0x200000) + b"\r\nzz\r\nxx\r\n", keep=True), "truncated"),
    ],
)
async def test_what_does_not_arrive_whole_is_an_error(
    server: FakeUpstream, upstream: HttpUpstream, behaviour: Behaviour, kind: str
) -> None:
    server.script("/f", behaviour)
    assert (await failure(upstream)).kind == kind
    assert (await get(upstream))[1] == BODY


@pytest.mark.parametrize("after", [None, 1000])
async def test_an_upstream_that_falls_silent_times_out(server: FakeUpstream, after: int | None) -> None:
    upstream = make(server, read_timeout_s=0.1)
    server.script("/f", Hang(after))
    assert (await failure(upstream)).kind == "timeout"
    await upstream.close()


@pytest.mark.parametrize("behaviour", [Chunked(70_000), CloseDelimited()])
async def test_a_body_without_a_length_arrives_whole(
    server: FakeUpstream, upstream: HttpUpstream, behaviour: Behaviour
) -> None:
    server.script("/f", behaviour)
    head, body = await get(upstream)
    assert (head.length, body) == (None, BODY)


async def test_a_head_request_tells_the_length(upstream: HttpUpstream) -> None:
    head, body = await get(upstream, method="HEAD")
    assert (head.length, body) == (len(BODY), b"")


@pytest.mark.parametrize("code", [304, 401, 403, 404, 410, 429, 500, 503])
async def test_any_status_is_an_answer(server: FakeUpstream, upstream: HttpUpstream, code: int) -> None:
    server.script("/f", status(code, body=b"because"))
    head, body = await get(upstream)
    assert (head.status, body) == (code, b"" if code == 304 else b"because")


async def test_nobody_there_is_a_connection_error(server: FakeUpstream, upstream: HttpUpstream) -> None:
    await server.cut()
    error = await failure(upstream)
    assert error.kind == "connect"
    assert str(error) == f"{server.url}: no connection: connection refused"


async def test_a_name_that_does_not_exist_is_a_connection_error() -> None:
    upstream = HttpUpstream(UpstreamOptions("r", "http://gone.example/"), SystemClock(), resolver=FakeResolver())
    error = await failure(upstream)
    assert (error.kind, str(error)) == ("connect", "http://gone.example: its name can't be resolved")
    await upstream.close()


async def test_a_dead_pooled_connection_is_replaced(server: FakeUpstream, upstream: HttpUpstream) -> None:
    await get(upstream)
    for drop in (Drop(), Drop(rst=True)):
        server.script("/f", drop)
        assert (await get(upstream))[1] == BODY
    assert (server.connections, server.count("/f")) == (3, 5)
    assert upstream.status()["failures"] == 0


async def test_many_dead_pooled_connections_are_all_replaced(server: FakeUpstream, upstream: HttpUpstream) -> None:
    await asyncio.gather(*(get(upstream) for _ in range(5)))
    server.script("/f", *[Drop()] * server.connections)
    assert (await get(upstream))[1] == BODY


async def test_a_fresh_connection_that_dies_is_not_tried_again(server: FakeUpstream, upstream: HttpUpstream) -> None:
    server.script("/f", Drop())
    assert (await failure(upstream)).kind == "reset"
    assert server.count("/f") == 1


async def test_what_is_not_safe_is_never_sent_twice(server: FakeUpstream, upstream: HttpUpstream) -> None:
    await get(upstream)
    server.script("/f", Drop())
    assert (await failure(upstream, method="PUT")).kind == "reset"
    assert server.count("/f", "PUT") == 1


async def test_connections_are_limited_and_the_others_wait(server: FakeUpstream) -> None:
    upstream, hold = make(server, max_connections=2), server.hold("/f", after_bytes=10)
    asking = [asyncio.create_task(get(upstream)) for _ in range(6)]
    await hold.reached()
    while upstream.status()["in_flight"] != 2:
        await asyncio.sleep(0)
    hold.release()
    assert [body for _, body in await asyncio.gather(*asking)] == [BODY] * 6
    assert (server.connections, upstream.status()["in_flight"]) == (2, 0)
    await upstream.close()


async def test_who_waits_too_long_for_a_connection_is_told(server: FakeUpstream) -> None:
    upstream, hold = make(server, max_connections=1, queue_timeout_s=0.02), server.hold("/f", after_bytes=10)
    first = asyncio.create_task(get(upstream))
    await hold.reached()
    error = await failure(upstream)
    assert (error.kind, "all 1 connections were busy" in str(error)) == ("timeout", True)
    hold.release()
    assert (await first)[1] == BODY
    await upstream.close()


async def test_a_cancelled_request_gives_its_place_back(server: FakeUpstream) -> None:
    upstream, hold = make(server, max_connections=1), server.hold("/f", after_bytes=-1)
    first = asyncio.create_task(get(upstream))
    await hold.reached()
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    hold.release()
    assert (await get(upstream))[1] == BODY
    await upstream.close()


async def test_basic_credentials_are_sent_to_the_origin(server: FakeUpstream) -> None:
    server.always("/f", NeedsBasic("u", "p\u00e4ss"))
    upstream = make(server, username="u", password="p\u00e4ss")
    assert (await get(upstream))[0].status == 200
    await upstream.close()


async def test_a_password_without_a_user_name_is_a_bearer_token(server: FakeUpstream) -> None:
    upstream = make(server, password="tok")
    await get(upstream)
    assert server.requests[0].headers["authorization"] == "Bearer tok"
    await upstream.close()


async def test_credentials_in_the_base_url_are_taken_out_of_it(server: FakeUpstream) -> None:
    server.always("/x/f", NeedsBasic("u@h", "p:w"))
    server.put("/x/f", BODY)
    upstream = make(server, base_url=f"{server.url}/x".replace("://", "://u%40h:p%3Aw@"))
    assert upstream.base_url == f"{server.url}/x/"
    assert (await get(upstream))[1] == BODY
    await upstream.close()


async def test_the_caller_may_bring_credentials_of_its_own(server: FakeUpstream) -> None:
    upstream = make(server, username="u", password="p")
    await get(upstream, headers={"Authorization": "Bearer mine"})
    assert server.requests[0].headers["authorization"] == "Bearer mine"
    await upstream.close()


async def test_the_next_head_is_not_what_came_behind_a_body(server: FakeUpstream, upstream: HttpUpstream) -> None:
    """Bytes behind the announced length would otherwise answer somebody else's request."""
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil"
    server.script("/f", Raw(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok" + forged, keep=True))
    async with upstream.request("GET", upstream.base_url + "f", {}) as reply:
        first = b"".join([chunk async for chunk in reply.chunks(1000)])
    assert first == b"ok"
    assert (await get(upstream))[1] == BODY
