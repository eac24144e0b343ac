"""A TCP relay on loopback that breaks what passes through it: for clients and servers that can't be told to misbehave.

The faults apply to what flows from the server to the client (`latency_s` to both directions) and may be changed while
connections are open; a change is felt from the next piece on. Counters (`reset_after`, `truncate_after`) count each
connection's own bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from millpond.testing.loopthread import LoopThread
from millpond.testing.sockets import bound, let_in, reset

PIECE_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Faults:
    """What goes wrong; the defaults break nothing. Seconds and bytes.

    `blackhole`: connections are accepted and nothing ever passes, which is how a dropped route looks. `slice_bytes`:
    pieces of at most that size, `slice_delay_s` apart. `bandwidth`: bytes per second. `truncate_after`: a clean end
    after so many bytes; `reset_after`: a TCP reset.
    """

    latency_s: float = 0.0
    bandwidth: float = 0.0
    slice_bytes: int = 0
    slice_delay_s: float = 0.0
    truncate_after: int | None = None
    reset_after: int | None = None
    blackhole: bool = False


NONE = Faults()


class FaultProxy:
    """Relays 127.0.0.1:`port` to a target; `faults` may be replaced at any time."""

    def __init__(self, target_port: int, target_host: str = "127.0.0.1") -> None:
        self._target = (target_host, target_port)
        self._server: asyncio.Server | None = None
        self._reserve: socket.socket | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.faults = NONE
        self.port = 0
        self.connections = 0
        """How many connections were ever accepted."""

    async def up(self) -> None:
        """Listen; after `down`, on the same port as before."""
        if self._reserve is None:
            self._reserve = bound(0)
            self.port = self._reserve.getsockname()[1]
        self._server = await asyncio.start_server(self._accept, sock=bound(self.port))

    async def down(self) -> None:
        """Break every connection and refuse new ones; the port stays ours."""
        if self._server is None:
            return
        self._server.close()
        await let_in()
        for task, writer in list(self._open.items()):
            reset(writer)
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    async def close(self) -> None:
        """Stop for good and give the port back."""
        await self.down()
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None

    async def __aenter__(self) -> Self:
        await self.up()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        if task is None:  # pragma: no cover - a coroutine always runs in a task
            return
        self._open[task] = writer
        try:
            await self._relay(reader, writer)
        except (OSError, asyncio.CancelledError):
            writer.transport.abort()
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._open.pop(task, None)

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self.faults.blackhole:
            await _swallow(reader)
            return
        far_reader, far_writer = await asyncio.open_connection(*self._target)
        up = asyncio.create_task(self._upwards(reader, far_writer))
        try:
            await self._downwards(far_reader, writer)
        finally:
            up.cancel()
            far_writer.transport.abort()  # before the first await: a second cancellation may come there
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await asyncio.gather(up, return_exceptions=True)
                await far_writer.wait_closed()

    async def _upwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while piece := await reader.read(PIECE_BYTES):
            await asyncio.sleep(self.faults.latency_s)
            if not self.faults.blackhole:
                writer.write(piece)
                await writer.drain()
        writer.write_eof()

    async def _downwards(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        passed = 0
        while piece := await reader.read(PIECE_BYTES):
            await asyncio.sleep(self.faults.latency_s)
            while piece:
                limit = _limit(self.faults, passed)
                if limit == 0:
                    return self._cut(writer)
                now, piece = piece[:limit], piece[limit:]
                passed += len(now)
                await self._pass(now, writer)
        return None

    def _cut(self, writer: asyncio.StreamWriter) -> None:
        if self.faults.reset_after is not None:
            reset(writer)

    async def _pass(self, piece: bytes, writer: asyncio.StreamWriter) -> None:
        faults = self.faults
        if faults.blackhole:
            return
        writer.write(piece)
        await writer.drain()
        pause_s = faults.slice_delay_s if faults.slice_bytes else 0.0
        await asyncio.sleep(pause_s + (len(piece) / faults.bandwidth if faults.bandwidth else 0.0))


class ThreadedFaultProxy(FaultProxy):
    """A `FaultProxy` for synchronous tests: its loop runs in a thread."""

    def __init__(self, target_port: int, target_host: str = "127.0.0.1") -> None:
        super().__init__(target_port, target_host)
        self._thread: LoopThread | None = None

    def __enter__(self) -> Self:
        self._thread = LoopThread("fault-proxy")
        self._thread.run(self.up())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        thread = self._running()
        thread.run(self.close())
        thread.close()
        self._thread = None

    def down_now(self) -> None:
        """Break every connection and refuse new ones."""
        self._running().run(self.down())

    def up_now(self) -> None:
        """Listen again, on the same port."""
        self._running().run(self.up())

    def _running(self) -> LoopThread:
        if self._thread is None:
            raise RuntimeError("not running: use it as a context manager")
        return self._thread


def _limit(faults: Faults, passed: int) -> int:
    """Say how many bytes may pass in the next piece; 0: the connection ends here."""
    limits = [PIECE_BYTES]
    if faults.slice_bytes:
        limits.append(faults.slice_bytes)
    if faults.bandwidth:
        limits.append(max(int(faults.bandwidth / 20), 1))
    ends = (faults.truncate_after, faults.reset_after)
    limits += [max(end - passed, 0) for end in ends if end is not None]
    return min(limits)


async def _swallow(reader: asyncio.StreamReader) -> None:
    while await reader.read(PIECE_BYTES):
        pass
