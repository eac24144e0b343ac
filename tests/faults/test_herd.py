"""200 clients of one cold object, two workers, one flight: it belongs to nobody, and whoever stays gets every byte."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import struct
from collections import Counter

import pytest
from tests.faults.traffic import blobs, content, fetch, operate, sha256, until

from millpond.testing.pond import PondProcess
from millpond.testing.upstream import Hold, ThreadedUpstream

pytestmark = pytest.mark.fault
CLIENTS = 200
SIZE = 6 << 20
HELD_AT = 2 << 20
NO_LINGER = struct.pack("ii", 1, 0)
CONFIG = """
[repositories.files]
package = "generic"
base_url = "{upstream}"
"""


class Client:
    """One connection, whose worker is known before it asks for the object."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer
        self.worker = -1
        self.status = 0
        self.length = 0
        self.happened = ""

    @classmethod
    async def connect(cls, pond: PondProcess) -> Client:
        client = cls(*await asyncio.open_connection(pond.host, pond.port))
        await client.ask("/health")
        await client.head()
        client.worker = json.loads(await client.body())["worker"]
        return client

    async def ask(self, path: str) -> None:
        self._writer.write(f"GET {path} HTTP/1.1\r\nHost: pond.test\r\n\r\n".encode())
        await self._writer.drain()

    async def head(self) -> None:
        first, *lines = (await self._reader.readuntil(b"\r\n\r\n")).decode().lower().split("\r\n")
        headers = dict(line.split(": ", 1) for line in lines if line)
        self.status, self.length = int(first.split()[1]), int(headers["content-length"])
        self.happened = headers.get("cache-status", "")

    async def body(self) -> bytes:
        return await self._reader.readexactly(self.length)

    async def leave(self, *, rudely: bool = False) -> None:
        """Close the connection; `rudely`: by a reset."""
        if rudely:
            sock = self._writer.get_extra_info("socket")
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self._writer.close()
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()


async def crowd(pond: PondProcess, count: int) -> list[Client]:
    """Connect that many clients, as equally shared by both workers as the kernel lets it be."""
    taken: dict[int, list[Client]] = {0: [], 1: []}
    async with asyncio.timeout(40):
        while min(map(len, taken.values())) < count // 2:
            for client in await asyncio.gather(*(Client.connect(pond) for _ in range(20))):
                if len(taken[client.worker]) < count // 2:
                    taken[client.worker].append(client)
                else:
                    await client.leave()
    return [client for pair in zip(*taken.values(), strict=True) for client in pair]


@pytest.fixture
def pond(make_pond, upstream):
    return make_pond(CONFIG.format(upstream=upstream.url), workers=2)


async def gathered(clients: list[Client], path: str) -> asyncio.Task[None]:
    """Let the first client ask, then all others; gives the task that reads their heads."""
    await asyncio.gather(*(client.ask(path) for client in clients))
    return asyncio.create_task(_heads(clients))


async def _heads(clients: list[Client]) -> None:
    await asyncio.gather(*(client.head() for client in clients))


def joined(pond: PondProcess) -> int:
    """How many requests joined a flight that was under way."""
    text = fetch(pond, "/metrics").body.decode()
    lines = [line for line in text.splitlines() if "joined_total{" in line and 'repository="files"' in line]
    return sum(int(float(line.rpartition(" ")[2])) for line in lines)


async def finish(clients: list[Client], hold: Hold, body: bytes) -> None:
    """Open the gate; whoever is left gets every byte."""
    hold.release()
    async with asyncio.timeout(60):
        for bodies in [await asyncio.gather(*(client.body() for client in clients))]:
            assert [sha256(got) for got in bodies] == [sha256(body)] * len(clients)
    assert {client.status for client in clients} == {200}
    for client in clients:
        await client.leave()


async def test_the_first_ones_leave_in_the_middle_and_the_rest_finish(pond, upstream: ThreadedUpstream):
    body = content("herd", SIZE)
    upstream.put("/big.bin", body)
    hold = upstream.hold("/big.bin", after_bytes=HELD_AT)
    first, *others = await crowd(pond, CLIENTS)
    await first.ask("/files/big.bin")
    await hold.reached()
    await asyncio.wait_for(await gathered(others, "/files/big.bin"), 30)
    await first.head()
    assert first.status == 200
    assert all("fwd=uri-miss" in client.happened for client in (first, *others))
    leaving, staying = others[:119], others[119:]
    for number, client in enumerate([first, *leaving]):
        await client.leave(rudely=number % 2 == 0)
    assert Counter(client.worker for client in staying) == {0: 40, 1: 40}
    await finish(staying, hold, body)
    assert upstream.count("/big.bin") == 1
    again = await asyncio.to_thread(fetch, pond, "/files/big.bin")
    assert (again.body, again.source) == (body, "cache")
    assert upstream.count("/big.bin") == 1
    assert blobs(pond) == {sha256(body)}


async def test_the_first_ones_leave_before_the_upstream_has_answered(pond, upstream: ThreadedUpstream):
    body = content("herd", SIZE)
    upstream.put("/big.bin", body)
    hold = upstream.hold("/big.bin", after_bytes=-1)
    first, *others = await crowd(pond, CLIENTS)
    await first.ask("/files/big.bin")
    await hold.reached()
    leaving, staying = others[:119], others[119:]
    heads = await gathered(staying, "/files/big.bin")
    await asyncio.gather(*(client.ask("/files/big.bin") for client in leaving))
    # One of each worker has no flight to join in its own process.
    await asyncio.to_thread(until, lambda: joined(pond) >= CLIENTS - 2, "not everybody joined the flight")
    for number, client in enumerate([first, *leaving]):
        await client.leave(rudely=number % 2 == 1)
    assert upstream.count("/big.bin") == 1
    hold.release()
    await asyncio.wait_for(heads, 30)
    await finish(staying, hold, body)
    assert upstream.count("/big.bin") == 1


async def test_what_everybody_left_is_stored_all_the_same(pond, upstream: ThreadedUpstream):
    body = content("herd", SIZE)
    upstream.put("/big.bin", body)
    hold = upstream.hold("/big.bin", after_bytes=HELD_AT)
    clients = await crowd(pond, 20)
    heads = await gathered(clients, "/files/big.bin")
    await asyncio.wait_for(heads, 30)
    for client in clients:
        await client.leave(rudely=True)
    hold.release()
    await asyncio.to_thread(until, lambda: blobs(pond) == {sha256(body)}, "the flight did not land")
    shown = await asyncio.to_thread(operate_in_thread, pond)
    assert [one["digest"] for one in shown["entries"]] == [f"sha256:{sha256(body)}"]
    seen = await asyncio.to_thread(fetch, pond, "/files/big.bin")
    assert (seen.body, seen.source) == (body, "cache")
    assert upstream.count("/big.bin") == 1


def operate_in_thread(pond: PondProcess) -> dict[str, list[dict[str, object]]]:
    return operate(pond, "repo_show", name="files")


async def test_a_range_of_a_cold_object_fetches_the_whole_once(pond, upstream: ThreadedUpstream):
    body = content("herd", SIZE)
    upstream.put("/big.bin", body)

    def part(number: int) -> bytes:
        begin = number * SIZE // 40
        seen = fetch(pond, "/files/big.bin", headers={"Range": f"bytes={begin}-{begin + 9999}"})
        assert (seen.status, seen.whole) == (206, True)
        assert seen.headers["content-range"] == f"bytes {begin}-{begin + 9999}/{SIZE}"
        assert seen.body == body[begin : begin + 10_000]
        return seen.body

    await asyncio.gather(*(asyncio.to_thread(part, number) for number in range(40)))
    assert [(seen.method, seen.headers.get("range")) for seen in upstream.requests] == [("GET", None)]
