"""The clients of the soak: keep-alive ones, slow ones, and those that keep the pond changing under them."""

from __future__ import annotations

import asyncio
import contextlib
import random
import socket
from collections import Counter
from collections.abc import Callable, Coroutine
from functools import lru_cache
from typing import Any

from tests.faults.traffic import content

from millpond.testing.pond import PondProcess
from millpond.testing.upstream import FakeUpstream

HOT = {f"hot/{number}.bin": size for number, size in enumerate([100, 2_000, 20_000, 40_000, 150_000, 300_000] * 7)}
LARGE = {f"large/{number}.bin": 1_200_000 + number for number in range(4)}
HANG_S = 120.0


@lru_cache(maxsize=128)
def body_of(name: str, size: int) -> bytes:
    return content(name, size)


class Soak:
    """One pond under load; `wrong` has what should not have happened."""

    def __init__(self, pond: PondProcess, origin: FakeUpstream, seconds: float) -> None:
        self._pond, self._origin = pond, origin
        self._dice = random.Random(1)
        self._until = asyncio.get_running_loop().time() + seconds
        self.done: Counter[str] = Counter()
        self.wrong: list[str] = []
        for name, size in (HOT | LARGE).items():
            origin.put(f"/{name}", body_of(name, size))

    async def run(self, keepalive: int, slow: int, pullers: int) -> None:
        """Run all of them to the end."""
        kinds = [*[self._regular] * keepalive, *[self._slow] * slow, *[self._puller] * pullers]
        kinds += [self._flusher, self._forgetter]
        await asyncio.gather(*(self._repeat(kind) for kind in kinds))

    async def _repeat(self, kind: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Begin again until the time is over; note what goes wrong, but not more than can be read."""
        await asyncio.sleep(self._dice.random() * 5)
        while not self._over and len(self.wrong) < 20:
            try:
                await kind()
            except Exception as error:  # noqa: BLE001 - whatever it is, it is what the soak looks for
                self.wrong.append(f"{kind.__name__}: {type(error).__name__} {error}")

    @property
    def _over(self) -> bool:
        return asyncio.get_running_loop().time() >= self._until

    # Those who only read.

    async def _regular(self) -> None:
        """Ask again and again on one connection, a little later each time."""
        reader, writer = await asyncio.open_connection(self._pond.host, self._pond.port)
        try:
            for _ in range(self._dice.randrange(20, 200)):
                if self._over:
                    return
                await self._ask(reader, writer)
                await asyncio.sleep(self._dice.uniform(0.3, 2.5))
        finally:
            writer.close()

    async def _ask(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        name, size = self._dice.choice(list(HOT.items()))
        kind = self._dice.choice(["GET", "GET", "GET", "GET", "HEAD", "part"])
        start = self._dice.randrange(size)
        extra = f"Range: bytes={start}-\r\n" if kind == "part" else ""
        method = "HEAD" if kind == "HEAD" else "GET"
        writer.write(f"{method} /files/{name} HTTP/1.1\r\nHost: pond.test\r\n{extra}\r\n".encode())
        async with asyncio.timeout(HANG_S):
            head = await reader.readuntil(b"\r\n\r\n")
            expected = {"GET": b" 200 ", "HEAD": b" 200 ", "part": b" 206 "}[kind]
            assert head.startswith(b"HTTP/1.1" + expected), head
            if method == "GET":
                whole = body_of(name, size)[start if kind == "part" else 0 :]
                assert await reader.readexactly(len(whole)) == whole, f"{name}: wrong bytes"
        self.done[kind] += 1

    async def _slow(self) -> None:
        """Take a large object in small sips, each client at its own pace; one in three leaves in the middle of it.

        At the slowest an object takes most of the two minutes that `make test` has, at the quickest some seconds.
        """
        pace_s = self._dice.uniform(0.1, 2.5)
        name, size = self._dice.choice(list(LARGE.items()))
        loop, whole = asyncio.get_running_loop(), body_of(name, size)
        leave = self._dice.randrange(size) if self._dice.random() < 0.33 else size
        with socket.socket() as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16 * 1024)
            client.setblocking(False)
            await loop.sock_connect(client, (self._pond.host, self._pond.port))
            await loop.sock_sendall(client, f"GET /files/{name} HTTP/1.1\r\nHost: pond.test\r\n\r\n".encode())
            head, at = b"", 0
            while at < leave and not self._over:
                piece = await asyncio.wait_for(loop.sock_recv(client, 40 * 1024), HANG_S)
                assert piece, f"{name}: broken off at {at} of {size}"
                if b"\r\n\r\n" not in head:
                    head += piece
                    piece = head.partition(b"\r\n\r\n")[2]
                    if b"\r\n\r\n" not in head:
                        continue
                    assert head.startswith(b"HTTP/1.1 200 "), head[:200]
                assert whole[at : at + len(piece)] == piece, f"{name}: wrong bytes at {at}"
                at += len(piece)
                await asyncio.sleep(pace_s)
        self.done["slow" if at == size else "left"] += 1

    # Those who keep it changing.

    async def _puller(self) -> None:
        """Fetch what nobody has fetched before, so that something else has to go."""
        self.done["pulled"] += 1
        name, size = f"cold/{self.done['pulled']}.bin", self._dice.randrange(1_000, 600_000)
        body = content(name, size)
        self._origin.put(f"/{name}", body)
        try:
            await self._once("GET", f"/files/{name}", body)
        finally:
            self._origin.remove(f"/{name}")
        await asyncio.sleep(self._dice.uniform(0.1, 0.6))

    async def _flusher(self) -> None:
        """Flush the repository, under everybody's feet."""
        await asyncio.sleep(self._dice.uniform(3, 9))
        await self._once("PUT", "/cache/flush", None)
        self.done["flushed"] += 1

    async def _forgetter(self) -> None:
        """Keep the upstream's list of what it was asked from growing."""
        await asyncio.sleep(5)
        self._origin.requests.clear()

    async def _once(self, method: str, path: str, body: bytes | None) -> None:
        reader, writer = await asyncio.open_connection(self._pond.host, self._pond.port)
        with contextlib.closing(writer):
            token = f"Authorization: Bearer {self._pond.admin_token}\r\n"
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: pond.test\r\n{token}Connection: close\r\n\r\n".encode())
            async with asyncio.timeout(HANG_S):
                head, _, got = (await reader.read()).partition(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head[:300]
        assert body is None or got == body, f"{path}: wrong bytes"
