from __future__ import annotations

import asyncio
import urllib.error
import urllib.request
from collections.abc import AsyncIterator

import pytest

from millpond.testing.tcpfaults import NONE, FaultProxy, Faults, ThreadedFaultProxy
from millpond.testing.upstream import FakeUpstream, ThreadedUpstream

BODY = b"x" * 100_000


@pytest.fixture
async def proxy() -> AsyncIterator[FaultProxy]:
    async with FakeUpstream() as upstream, FaultProxy(upstream.port) as relay:
        upstream.put("/f", BODY)
        yield relay


async def get(proxy: FaultProxy, timeout_s: float = 60.0) -> bytes:
    """Ask for the file over a bare socket until the connection ends, or the body is whole."""
    reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
    got = b""
    try:
        async with asyncio.timeout(timeout_s):
            writer.write(b"GET /f HTTP/1.1\r\nConnection: close\r\n\r\n")
            while piece := await reader.read(65536):
                got += piece
    finally:
        writer.close()
    return got


async def test_without_faults_everything_passes(proxy: FaultProxy) -> None:
    assert (await get(proxy)).endswith(b"\r\n\r\n" + BODY)


async def test_truncate_ends_cleanly_after_so_many_bytes(proxy: FaultProxy) -> None:
    proxy.faults = Faults(truncate_after=5000)
    assert len(await get(proxy)) == 5000


async def test_reset_breaks_the_connection(proxy: FaultProxy) -> None:
    proxy.faults = Faults(reset_after=5000)
    with pytest.raises(ConnectionResetError):
        await get(proxy)


async def test_a_black_hole_never_answers(proxy: FaultProxy) -> None:
    proxy.faults = Faults(blackhole=True)
    with pytest.raises(TimeoutError):
        await get(proxy, 0.05)


async def test_slices_are_small_and_complete(proxy: FaultProxy) -> None:
    proxy.faults = Faults(slice_bytes=5000, slice_delay_s=0.0)
    assert (await get(proxy)).endswith(BODY)


async def test_bandwidth_and_latency_take_their_time(proxy: FaultProxy) -> None:
    loop = asyncio.get_running_loop()
    for faults, least_s in (Faults(bandwidth=1_000_000), 0.1), (Faults(latency_s=0.05), 0.1):
        proxy.faults = faults
        before = loop.time()
        assert (await get(proxy)).endswith(BODY)
        assert loop.time() - before >= least_s


async def test_down_refuses_and_up_is_on_the_same_port(proxy: FaultProxy) -> None:
    await proxy.down()
    with pytest.raises(ConnectionRefusedError):
        await get(proxy)
    await proxy.up()
    assert (await get(proxy)).endswith(BODY)


async def test_faults_may_change_while_a_connection_is_open(proxy: FaultProxy) -> None:
    proxy.faults = Faults(slice_bytes=1000, slice_delay_s=10.0)
    asking = asyncio.create_task(get(proxy))
    while not proxy.connections:
        await asyncio.sleep(0.001)
    await proxy.down()
    with pytest.raises(ConnectionResetError):
        await asking
    proxy.faults = NONE
    await proxy.up()
    assert (await get(proxy)).endswith(BODY)


def test_synchronous_tests_use_it_from_a_thread() -> None:
    with ThreadedUpstream() as upstream, ThreadedFaultProxy(upstream.port) as proxy:
        upstream.put("/f", BODY)
        url = f"http://127.0.0.1:{proxy.port}/f"
        with urllib.request.urlopen(url, timeout=60) as reply:
            assert reply.read() == BODY
        proxy.down_now()
        with pytest.raises(urllib.error.URLError):
            urllib.request.urlopen(url, timeout=60)
        proxy.up_now()
        with urllib.request.urlopen(url, timeout=60) as reply:
            assert reply.read() == BODY
