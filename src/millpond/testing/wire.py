"""What the fake counterparts share: a real HTTP server on loopback that answers or fails as the test says; webhooks.

A fault is used up by the requests that it meets. Webhooks are signed, kept in `sent`, and posted where `hook_url` says.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import TracebackType
from typing import Any, Self

import aiohttp
from aiohttp import web

from millpond.testing.sockets import bound

HANG_S = 600.0
Answering = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Fails(StrEnum):
    """How a request goes wrong."""

    TOO_MANY = "429"
    ERROR = "500"
    HANG = "hang"
    DROP = "drop"
    PAGE = "page"
    """A 200 with a login page, as a proxy in between gives."""
    LOST_PAGE = "404"
    """A 404 with a page, as a proxy in between gives while the server behind it starts."""


@dataclass(slots=True)
class Fault:
    """What happens to the next `times` requests whose method and path have these words in them."""

    how: Fails
    times: int = 1
    words: str = ""
    retry_after: str | None = None
    lost: bool = False
    """The request takes effect, and only its answer is lost."""


@dataclass(frozen=True, slots=True)
class Delivery:
    """A webhook as it was sent."""

    headers: Mapping[str, str]
    body: bytes


@dataclass
class WireServer:
    """The server; a subclass gives its `routes`. `requests` has method and path (with query) of all that came."""

    hook_url: str = ""
    hook_secret: str = ""
    requests: list[str] = field(default_factory=list)
    faults: list[Fault] = field(default_factory=list)
    sent: list[Delivery] = field(default_factory=list)
    failed_deliveries: int = 0
    before: Callable[[str], None] | None = None
    """Called with each request before it is answered."""

    def __post_init__(self) -> None:
        """Reserve a port."""
        self._socket = bound(0)
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        self._runner: web.AppRunner | None = None
        self._posting: set[asyncio.Task[None]] = set()
        self._client: aiohttp.ClientSession | None = None

    def routes(self) -> list[web.RouteDef]:
        """Give what it answers to."""
        raise NotImplementedError

    def attempts(self) -> int:
        """Say how often a webhook is sent in all when the receiver can't be reached."""
        return 1

    def allowed(self, request: web.Request) -> web.Response | None:
        """Refuse a request; None: it may pass."""
        del request
        return None

    def fail(
        self, how: Fails, times: int = 1, *, words: str = "", lost: bool = False, after: str | None = None
    ) -> None:
        """Let requests go wrong; `after` is a 429's ``Retry-After``."""
        self.faults.append(Fault(how, times, words, after, lost))

    async def __aenter__(self) -> Self:
        """Listen."""

        @web.middleware
        async def through(request: web.Request, handler: Answering) -> web.StreamResponse:
            return await self._through(request, handler)

        app = web.Application(middlewares=[through], client_max_size=8 << 20)
        app.add_routes(self.routes())
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, handler_cancellation=True)
        await self._runner.setup()
        await web.SockSite(self._runner, self._socket).start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop."""
        for task in self._posting:
            task.cancel()
        await asyncio.gather(*self._posting, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
        if self._runner is not None:
            await self._runner.cleanup()
        self._socket.close()

    async def delivered(self) -> None:
        """Wait until every webhook has been answered, or given up."""
        while self._posting:
            await asyncio.gather(*self._posting)

    def deliver(self, headers: Mapping[str, str], body: bytes) -> None:
        """Send a webhook (beside what goes on)."""
        self.sent.append(Delivery(headers, body))
        if self.hook_url:
            task = asyncio.get_running_loop().create_task(self._post(headers, body))
            self._posting.add(task)
            task.add_done_callback(self._posting.discard)

    def again(self, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Give the headers of the next attempt of a delivery."""
        return headers

    async def _post(self, headers: Mapping[str, str], body: bytes) -> None:
        self._client = self._client or aiohttp.ClientSession()
        for _ in range(self.attempts()):
            try:
                async with self._client.post(self.hook_url, data=body, headers=headers) as reply:
                    await reply.read()
            except (aiohttp.ClientError, OSError):
                headers = self.again(headers)
            else:
                return
        self.failed_deliveries += 1

    async def _through(self, request: web.Request, handler: Answering) -> web.StreamResponse:
        """Let a request through to its answer, or to its fault."""
        line = f"{request.method} {request.path_qs}"
        self.requests.append(line)
        if self.before is not None:
            self.before(line)
        fault = next((one for one in self.faults if one.times > 0 and one.words in line), None)
        if fault is None:
            return self.allowed(request) or await self.answered(request, handler)
        fault.times -= 1
        if fault.lost:
            await self.answered(request, handler)
        return await self._fail(request, fault)

    async def answered(self, request: web.Request, handler: Answering) -> web.StreamResponse:
        """Answer a request that is allowed."""
        try:
            return await handler(request)
        except web.HTTPNotFound:
            return web.json_response({"error": "Page not found."}, status=404)

    async def _fail(self, request: web.Request, fault: Fault) -> web.StreamResponse:
        match fault.how:
            case Fails.TOO_MANY:
                return self.too_many(fault.retry_after)
            case Fails.ERROR:
                return web.Response(status=500, text="<h1>Server Error (500)</h1>", content_type="text/html")
            case Fails.PAGE:
                return web.Response(text="<html>Log in first</html>", content_type="text/html")
            case Fails.LOST_PAGE:
                return web.Response(status=404, text="404 page not found\n")
            case Fails.HANG:
                await asyncio.sleep(HANG_S)
        if request.transport is not None:
            request.transport.abort()
        return web.Response()

    def too_many(self, retry_after: str | None) -> web.Response:
        """Answer 429."""
        headers = {} if retry_after is None else {"Retry-After": retry_after}
        return web.json_response({"message": "too many requests"}, status=429, headers=headers)


async def told(request: web.Request) -> dict[str, Any]:
    """Read a request's JSON; nothing: an empty object."""
    raw = await request.read()
    found = json.loads(raw) if raw else {}
    return found if isinstance(found, dict) else {}
