"""The ASGI extension `http.response.zerocopysend`: a file's bytes go from the kernel's memory to the socket.

uvicorn has no such extension. Its cycle keeps the head, the end and the order of answers; the file's bytes go past the
transport, on a duplicate of the socket, once the transport has nothing left to send. Secure connections have none.

Source: the ASGI specification's extensions, "Zero Copy Send".
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, ClassVar, TypeAlias

from uvicorn.protocols.http.httptools_impl import RequestResponseCycle

from millpond.server import stalls
from millpond.server.protocol import PondProtocol
from millpond.turns import Turnstile

EXTENSION = "http.response.zerocopysend"
BYTES_PER_CALL = 1 << 20
Message: TypeAlias = MutableMapping[str, Any]
Send: TypeAlias = Callable[[Message], Awaitable[None]]


class ZeroCopyProtocol(PondProtocol):
    """One connection whose application may send regions of files."""

    turnstile: ClassVar = Turnstile()
    """All connections pass through it with a new request, and with a region to send."""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take a duplicate of the socket."""
        super().connection_made(transport)
        self._waiter: asyncio.Future[None] | None = None
        self._sock: socket.socket | None = None
        if self.scheme == "http":
            raw = transport.get_extra_info("socket")
            self._sock = socket.socket(fileno=os.dup(raw.fileno()))
            self._sock.setblocking(False)

    def connection_lost(self, exc: Exception | None) -> None:
        """Let go of the duplicate, and of who waits for it."""
        if self._sock is not None:
            self._stop_waiting(self._sock)
            self._sock.close()
            self._sock = None
        super().connection_lost(exc)

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self._sock is not None:
            cycle.scope["extensions"] = {EXTENSION: {}}
            app = _Offering(self, cycle, app)
        super()._start_asgi_task(cycle, app)

    async def send_file(self, cycle: RequestResponseCycle, message: Message) -> None:
        """Send a region; returns early when the client is gone.

        Raises `EOFError` when the file is shorter, `RuntimeError` for what the specification forbids.
        """
        offset, count = _region(message)
        if cycle.disconnected or cycle.scope["method"] == "HEAD" or count == 0:
            return
        if not cycle.response_started or (not cycle.chunked_encoding and count > cycle.expected_content_length):
            raise RuntimeError("a region came before the head, or is longer than Content-Length said")
        if cycle.chunked_encoding:
            self.transport.write(b"%x\r\n" % count)
        await self._drained()
        try:
            await self._send_region(message["file"], offset, count)
        except OSError:  # reset, broken pipe, stalled: what the transport will learn a turn later
            cycle.disconnected = True
            self.transport.abort()
            return
        if cycle.chunked_encoding:
            self.transport.write(b"\r\n")
        else:
            cycle.expected_content_length -= count

    async def _send_region(self, fd: int, offset: int, count: int) -> None:
        await self.turnstile.enter()
        while count > 0 and self._sock is not None:
            try:
                taken = os.sendfile(self._sock.fileno(), fd, offset, min(count, BYTES_PER_CALL))
            except BlockingIOError:
                if not await self._writable(self._sock):
                    raise TimeoutError("the client takes nothing") from None
                continue
            if taken == 0:
                raise EOFError("the file is shorter than the region")
            offset, count = offset + taken, count - taken
        await asyncio.sleep(0)  # a fast client must not keep the others waiting

    async def _drained(self) -> None:
        """Wait until the transport has nothing left to send."""
        if self.transport.get_write_buffer_size():
            await asyncio.sleep(0)  # it sends what was written at the end of a turn
        if self.transport.get_write_buffer_size():
            self.transport.set_write_buffer_limits(high=0)
            await self.flow.drain()
            self.transport.set_write_buffer_limits()

    async def _writable(self, sock: socket.socket) -> bool:
        """Wait until the socket takes more; False: the client has taken nothing for too long."""
        self._waiter = waiter = self.loop.create_future()
        self.loop.add_writer(sock.fileno(), self._stop_waiting, sock)
        before = -1
        try:
            while not (await asyncio.wait({waiter}, timeout=stalls.STALL_S))[0]:
                now = stalls.untaken(sock)
                if now == before:
                    return False
                before = now
        finally:
            self._stop_waiting(sock)
        return True

    def _stop_waiting(self, sock: socket.socket) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter is not None:
            self.loop.remove_writer(sock.fileno())
            if not waiter.done():
                waiter.set_result(None)


class _Offering:
    """An application whose `send` knows the extension, for one request."""

    def __init__(self, protocol: ZeroCopyProtocol, cycle: RequestResponseCycle, app: Any) -> None:
        self._protocol, self._cycle, self._app = protocol, cycle, app

    async def __call__(self, scope: Any, receive: Any, send: Send) -> None:
        async def send_any(message: Message) -> None:
            if message["type"] != EXTENSION:
                await send(message)
                return
            await self._protocol.send_file(self._cycle, message)
            if not message.get("more_body", False):
                await send({"type": "http.response.body", "body": b"", "more_body": False})

        await self._protocol.turnstile.enter()
        return await self._app(scope, receive, send_any)  # type: ignore[no-any-return]


def _region(message: Message) -> tuple[int, int]:
    """Read offset and size; without them it is from where the file stands to its end."""
    fd: int = message["file"]
    offset = message.get("offset")
    start = os.lseek(fd, 0, os.SEEK_CUR) if offset is None else int(offset)
    count = message.get("count")
    return start, max(os.fstat(fd).st_size - start, 0) if count is None else int(count)
