"""A scriptable upstream on loopback: a right HTTP/1.1 server, except where a test tells it to be wrong.

It speaks raw sockets, so that it can misbehave at the level of bytes. While it is stopped its port stays reserved and
refuses connections: a cut upstream is never somebody else's server by chance.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
import sys
import threading
from collections import defaultdict, deque
from collections.abc import Mapping
from types import TracebackType
from typing import Self

from millpond.clock import Clock, SystemClock
from millpond.testing.behaviours import Behaviour, Exchange
from millpond.testing.loopthread import LoopThread
from millpond.testing.resources import Request, Resource, respond
from millpond.testing.sockets import bound, let_in

__all__ = ["FakeUpstream", "Hold", "ThreadedUpstream"]

ANY = "*"
_MISSING = Resource(b"no such thing here", {"content-type": "text/plain"}, 404)
_NO_LIMIT = sys.maxsize


class Hold:
    """A gate in a path's answers: they stop after so many body bytes (-1: before the head) until `release`.

    All methods may be called from any thread, `reached` from any loop.
    """

    def __init__(self, after_bytes: int) -> None:
        self._after = after_bytes
        self._released = False
        self._waiters: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._lock = threading.Lock()
        self._arrived = threading.Event()

    def release(self) -> None:
        """Let them go on, those who come later too."""
        with self._lock:
            self._released = True
            waiters, self._waiters = self._waiters, []
        for loop, event in waiters:
            with contextlib.suppress(RuntimeError):  # that loop is closed: nobody waits any more
                loop.call_soon_threadsafe(event.set)

    async def reached(self, timeout_s: float = 60.0) -> None:
        """Wait until an answer stands at the gate. Raises `TimeoutError`."""
        await asyncio.to_thread(self.wait_reached, timeout_s)

    def wait_reached(self, timeout_s: float = 60.0) -> None:
        """Do the same from a thread without a loop. Raises `TimeoutError`."""
        if not self._arrived.wait(timeout_s):
            raise TimeoutError("no answer came to the gate")

    async def pass_through(self, sent: int) -> int:
        """Wait at the gate if `sent` is where it stands; give how many bytes may be sent until it is."""
        if self._released or sent > self._after:
            return _NO_LIMIT
        if sent < self._after:
            return self._after - max(sent, 0)
        event = asyncio.Event()
        with self._lock:
            if self._released:
                return _NO_LIMIT
            self._waiters.append((asyncio.get_running_loop(), event))
        self._arrived.set()
        await event.wait()
        return _NO_LIMIT


class FakeUpstream:
    """The server. Paths are compared as they were sent, without the query; `requests` has all that came."""

    def __init__(self, clock: Clock | None = None, tls: ssl.SSLContext | None = None) -> None:
        self._clock = clock or SystemClock()
        self._tls = tls
        self._resources: dict[str, Resource] = {}
        self._scripts: defaultdict[str, deque[Behaviour]] = defaultdict(deque)
        self._always: dict[str, Behaviour] = {}
        self._holds: dict[str, Hold] = {}
        self._server: asyncio.Server | None = None
        self._reserve: socket.socket | None = None
        self._open: dict[asyncio.Task[None], asyncio.StreamWriter] = {}
        self.requests: list[Request] = []
        self.connections = 0
        """How many connections were ever accepted."""
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL, without a trailing slash."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    @property
    def open_connections(self) -> int:
        """How many connections are open now."""
        return len(self._open)

    def put(
        self, path: str, body: bytes, *, headers: Mapping[str, str] | None = None, status: int = 200,
        modified_at: float | None = None,
    ) -> None:  # fmt: skip
        """Serve `body` at `path`, with an ETag and Last-Modified (`modified_at`, epoch seconds; else now)."""
        at = self._clock.now() if modified_at is None else modified_at
        self._resources[path] = Resource.of(body, headers or {}, status, at)

    def remove(self, path: str) -> None:
        """Serve 404 there again."""
        self._resources.pop(path, None)

    def script(self, path: str, *behaviours: Behaviour) -> None:
        """Queue behaviours, one for each of the next requests to `path` (``*``: to any path)."""
        self._scripts[path].extend(behaviours)

    def always(self, path: str, behaviour: Behaviour | None) -> None:
        """Behave like that at `path` (``*``: at any) until told otherwise by None."""
        if behaviour is None:
            self._always.pop(path, None)
        else:
            self._always[path] = behaviour

    def hold(self, path: str, after_bytes: int = 0) -> Hold:
        """Stop the answers of `path` after so many body bytes (-1: before the head) until the hold is released."""
        self._holds[path] = hold = Hold(after_bytes)
        return hold

    def count(self, path: str, method: str | None = None) -> int:
        """Count the requests for `path` (without query)."""
        return sum(1 for seen in self.requests if seen.path == path and method in {None, seen.method})

    async def start(self) -> None:
        """Listen on loopback; after `stop`, on the same port as before."""
        if self._reserve is None:
            self._reserve = bound(0)
            self.port = self._reserve.getsockname()[1]
        self._server = await asyncio.start_server(self._accept, sock=bound(self.port), ssl=self._tls)

    async def stop(self) -> None:
        """Break every connection and refuse new ones; the port stays ours."""
        if self._server is None:
            return
        self._server.close()
        await let_in()
        for task, writer in list(self._open.items()):
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)
        await self._server.wait_closed()
        self._server = None

    cut, restore = stop, start

    async def close(self) -> None:
        """Stop for good and give the port back."""
        await self.stop()
        if self._reserve is not None:
            self._reserve.close()
            self._reserve = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        number, task = self.connections, asyncio.current_task()
        if task is None:  # pragma: no cover - a coroutine always runs in a task
            return
        self._open[task] = writer
        try:
            while (request := await self._read(reader, number)) is not None:
                if not await self._answer(request, reader, writer):
                    break
        except (OSError, EOFError, asyncio.LimitOverrunError):
            pass  # the client went away; that is its right
        except asyncio.CancelledError:
            pass  # stopped
        finally:
            writer.close()
            with contextlib.suppress(OSError, asyncio.CancelledError):
                await writer.wait_closed()
            self._open.pop(task, None)

    async def _read(self, reader: asyncio.StreamReader, connection: int) -> Request | None:
        try:
            head = await reader.readuntil(b"\r\n\r\n")
        except asyncio.IncompleteReadError:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ", 2)
        pairs = (line.partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, _, value in pairs}
        body = await reader.readexactly(int(headers.get("content-length", "0")))
        request = Request(method, target, headers, self._clock.now(), connection, body)
        self.requests.append(request)
        return request

    async def _answer(self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        resource = self._resources.get(request.path, _MISSING)
        hold = self._holds.get(request.path)

        async def gate(sent: int) -> int:
            return _NO_LIMIT if hold is None else await hold.pass_through(sent)

        exchange = Exchange(request, respond(resource, request), reader, writer, gate)
        behaviour = self._behaviour(request.path)
        alive = await (exchange.deliver(exchange.answer) if behaviour is None else behaviour.play(exchange))
        return alive and request.headers.get("connection", "").lower() != "close"

    def _behaviour(self, path: str) -> Behaviour | None:
        for key in (path, ANY):
            if self._scripts[key]:
                return self._scripts[key].popleft()
        return self._always.get(path, self._always.get(ANY))


class ThreadedUpstream(FakeUpstream):
    """A `FakeUpstream` for synchronous tests: its loop runs in a thread, the methods below block."""

    def __init__(self, clock: Clock | None = None, tls: ssl.SSLContext | None = None) -> None:
        super().__init__(clock, tls)
        self._thread: LoopThread | None = None

    def __enter__(self) -> Self:
        self._thread = LoopThread("fake-upstream")
        self._thread.run(self.start())
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        thread = self._running()
        thread.run(self.close())
        thread.close()
        self._thread = None

    def cut_now(self) -> None:
        """Break every connection and refuse new ones."""
        self._running().run(self.stop())

    def restore_now(self) -> None:
        """Listen again, on the same port."""
        self._running().run(self.start())

    def _running(self) -> LoopThread:
        if self._thread is None:
            raise RuntimeError("not running: use it as a context manager")
        return self._thread
