from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from millpond.adapters.upstream import HttpUpstream, UpstreamOptions
from millpond.errors import UpstreamUnreachable
from millpond.testing.behaviours import Behaviour, Drop, redirect, reset, status, truncate
from millpond.testing.clock import FakeClock
from millpond.testing.resolver import FakeResolver
from millpond.testing.upstream import FakeUpstream

BODY = b"x" * 100_000


@pytest.fixture
async def server() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as upstream:
        upstream.put("/f", BODY)
        yield upstream


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock(now=10_000.0, monotonic=500.0)


@pytest.fixture
async def upstream(server: FakeUpstream, clock: FakeClock) -> AsyncIterator[HttpUpstream]:
    options = UpstreamOptions("r", server.url, circuit_failures=3, circuit_open_s=10.0, circuit_max_open_s=60.0)
    made = HttpUpstream(options, clock, resolver=FakeResolver(), jitter=lambda: 0.0)
    yield made
    await made.close()


async def get(upstream: HttpUpstream, url: str = "") -> int:
    async with upstream.request("GET", url or upstream.base_url + "f", {}) as reply:
        async for _ in reply.chunks(65536):
            pass
        return reply.head.status


async def kind(upstream: HttpUpstream, url: str = "") -> str:
    with pytest.raises(UpstreamUnreachable) as caught:
        await get(upstream, url)
    return caught.value.kind


@pytest.mark.parametrize("behaviour", [Drop(), truncate(10), reset(10), status(500), status(429)])
async def test_an_upstream_that_keeps_failing_is_left_alone(
    server: FakeUpstream, upstream: HttpUpstream, clock: FakeClock, behaviour: Behaviour
) -> None:
    server.always("/f", behaviour)
    for _ in range(3):
        try:
            await get(upstream)
        except UpstreamUnreachable as error:
            assert error.kind != "circuit"  # noqa: PT017 - either outcome is right here
    clock.advance(4)
    with pytest.raises(UpstreamUnreachable) as caught:
        await get(upstream)
    assert (caught.value.kind, caught.value.retry_after_s) == ("circuit", 6.0)
    assert server.count("/f") == 3
    assert (upstream.status()["state"], upstream.status()["open_until"]) == ("open", 10_010.0)


async def test_after_the_pause_one_probe_is_sent_and_closes_it(
    server: FakeUpstream, upstream: HttpUpstream, clock: FakeClock
) -> None:
    server.script("/f", *[status(500)] * 3)
    for _ in range(3):
        await get(upstream)
    clock.advance(10)
    hold = server.hold("/f", after_bytes=-1)
    probe = asyncio.create_task(get(upstream))
    await hold.reached()
    assert await kind(upstream) == "circuit"
    assert upstream.status()["state"] == "half-open"
    hold.release()
    assert await probe == 200
    assert (upstream.status()["state"], upstream.status()["failures"]) == ("closed", 0)
    assert await get(upstream) == 200


async def test_a_cancelled_probe_leaves_its_place_to_the_next(
    server: FakeUpstream, upstream: HttpUpstream, clock: FakeClock
) -> None:
    server.script("/f", *[status(500)] * 3)
    for _ in range(3):
        await get(upstream)
    clock.advance(10)
    hold = server.hold("/f", after_bytes=-1)
    probe = asyncio.create_task(get(upstream))
    await hold.reached()
    probe.cancel()
    await asyncio.gather(probe, return_exceptions=True)
    hold.release()
    assert await get(upstream) == 200


@pytest.mark.parametrize(("wish", "pause_s"), [("30", 30.0), ("Thu, 01 Jan 1970 02:47:00 GMT", 20.0), ("9999", 180.0)])
@pytest.mark.parametrize("code", [429, 503])
async def test_the_upstreams_own_pause_is_kept(
    server: FakeUpstream, upstream: HttpUpstream, clock: FakeClock, wish: str, pause_s: float, code: int
) -> None:
    server.script("/f", status(code, retry_after=wish))
    assert await get(upstream) == code
    with pytest.raises(UpstreamUnreachable) as caught:
        await get(upstream)
    assert caught.value.retry_after_s == pause_s
    clock.advance(pause_s)
    assert await get(upstream) == 200


@pytest.mark.parametrize("code", [401, 403, 404, 410])
async def test_answers_are_no_failures(server: FakeUpstream, upstream: HttpUpstream, code: int) -> None:
    server.script("/f", status(500), status(500), *[status(code)] * 9)
    for _ in range(11):
        await get(upstream)
    assert upstream.status()["failures"] == 0


async def test_who_leaves_early_says_nothing_about_the_upstream(server: FakeUpstream, upstream: HttpUpstream) -> None:
    for _ in range(5):
        async with upstream.request("GET", upstream.base_url + "f", {}):
            pass
    assert upstream.status()["state"] == "closed"
    assert await get(upstream) == 200


async def test_each_origin_has_a_circuit_of_its_own(server: FakeUpstream, clock: FakeClock) -> None:
    async with FakeUpstream() as other:
        other.put("/g", b"")
        other.always("/bad", status(500))
        server.always("/f", redirect(f"{other.url}/bad"))
        options = UpstreamOptions("r", server.url, trusted_origins=(other.url,), circuit_failures=2)
        upstream = HttpUpstream(options, clock, jitter=lambda: 0.0)
        assert [await get(upstream), await get(upstream)] == [500, 500]
        assert await kind(upstream) == "circuit"
        assert await kind(upstream, f"{other.url}/g") == "circuit"
        assert (upstream.status()["state"], upstream.status()["others"]) == ("closed", {other.url: "open"})
        server.always("/f", None)
        assert await get(upstream) == 200
        await upstream.close()


async def test_the_number_of_circuits_is_bounded(upstream: HttpUpstream) -> None:
    for number in range(200):
        assert await kind(upstream, f"http://h{number}.example/") == "connect"
    assert len(upstream._circuits) == 64


async def test_it_tells_how_it_goes(server: FakeUpstream, upstream: HttpUpstream, clock: FakeClock) -> None:
    assert upstream.status() == {
        "state": "closed", "failures": 0, "open_until": None, "last_error": "", "last_error_at": None,
        "last_success_at": None, "latency_s": 0.0, "in_flight": 0, "requests": 0, "bytes": 0, "others": {},
    }  # fmt: skip
    await get(upstream)
    clock.advance(5)
    server.script("/f", status(502), Drop())
    await get(upstream)
    now = upstream.status()
    assert (now["requests"], now["last_success_at"], now["last_error_at"]) == (2, 10_000.0, 10_005.0)
    assert (now["bytes"], now["failures"]) == (len(BODY) + len(b"status 502"), 1)
    assert now["last_error"] == f"{server.url} answered 502"


async def test_latency_is_the_time_to_the_first_byte_averaged(
    server: FakeUpstream, upstream: HttpUpstream, clock: FakeClock
) -> None:
    for delay_s, expected in ((1.0, 1.0), (2.0, 1.2)):
        hold = server.hold("/f", after_bytes=-1)
        asking = asyncio.create_task(get(upstream))
        await hold.reached()
        clock.advance(delay_s)
        hold.release()
        await asking
        assert upstream.status()["latency_s"] == pytest.approx(expected)
