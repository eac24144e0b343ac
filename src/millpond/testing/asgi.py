"""A client that calls an ASGI application in this process: no sockets, every message of the protocol under control.

What a real server guards is guarded here too: a response starts once, nothing follows its end, and its body has the
length that its head promised. A response that the application leaves unfinished is a broken transfer: `complete` is
False, as a client on a socket would see its connection closed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, MutableMapping
from dataclasses import dataclass, field
from typing import Any, TypeAlias
from urllib.parse import unquote

Message: TypeAlias = MutableMapping[str, Any]
Application: TypeAlias = Callable[
    [MutableMapping[str, Any], Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]], Awaitable[None]
]
NO_BODY = frozenset({204, 304})


@dataclass(slots=True)
class Answered:
    """An answer as the client saw it; header names in lower case, status 0 when none came."""

    status: int = 0
    headers: dict[str, str] = field(default_factory=dict)
    body: bytes = b""
    complete: bool = False

    def json(self) -> Any:
        """Read it as JSON."""
        return json.loads(self.body)


class AsgiClient:
    """Asks an ASGI application. `host` is the Host header that is sent, `peer` the address requests come from."""

    def __init__(self, application: Application, *, host: str = "pond.test", peer: str = "127.0.0.1") -> None:
        self.application, self.host, self.peer = application, host, peer

    async def get(self, target: str, **headers: str) -> Answered:
        """Ask GET; header names are written with underscores."""
        return await self.ask("GET", target, _named(headers))

    async def head(self, target: str, **headers: str) -> Answered:
        """Ask HEAD."""
        return await self.ask("HEAD", target, _named(headers))

    async def put(self, target: str, body: bytes | Iterable[bytes] = b"", **headers: str) -> Answered:
        """Ask PUT."""
        return await self.ask("PUT", target, _named(headers), body)

    async def delete(self, target: str, **headers: str) -> Answered:
        """Ask DELETE."""
        return await self.ask("DELETE", target, _named(headers))

    async def ask(
        self,
        method: str,
        target: str,
        headers: Mapping[str, str] | None = None,
        body: bytes | Iterable[bytes] = b"",
        *,
        leave_after: int | None = None,
    ) -> Answered:
        """Send one request and give the answer. `leave_after`: the client is gone after so many bytes of the body.

        `target` goes out as it is written. A body of several pieces is sent without a length.
        """
        exchange = _Exchange([body] if isinstance(body, bytes) else list(body), method, leave_after)
        await self.application(self._scope(method, target, headers or {}, body), exchange.receive, exchange.send)
        exchange.check()
        return exchange.answered

    def _scope(
        self, method: str, target: str, headers: Mapping[str, str], body: bytes | Iterable[bytes]
    ) -> dict[str, Any]:
        path, _, query = target.partition("?")
        named = {"host": self.host} | {name.lower(): value for name, value in headers.items()}
        if isinstance(body, bytes) and body:
            named.setdefault("content-length", str(len(body)))
        return {
            "type": "http",
            "asgi": {"version": "3.0", "spec_version": "2.3"},
            "http_version": "1.1",
            "method": method,
            "scheme": "http",
            "path": unquote(path),
            "raw_path": path.encode("latin-1"),
            "query_string": query.encode("latin-1"),
            "root_path": "",
            "headers": [(name.encode("latin-1"), value.encode("latin-1")) for name, value in named.items() if value],
            "client": (self.peer, 50_000),
            "server": ("127.0.0.1", 8080),
        }


class _Exchange:
    """The two ends of one exchange."""

    def __init__(self, pieces: list[bytes], method: str, leave_after: int | None) -> None:
        self.answered = Answered()
        self._pieces = pieces or [b""]
        self._method, self._leave_after = method, leave_after
        self._left = asyncio.Event()

    async def receive(self) -> Message:
        """Give the next piece of the request's body; then nothing, until the client leaves."""
        if self._pieces:
            piece = self._pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(self._pieces)}
        await self._left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: Message) -> None:
        """Take a message of the response."""
        answered = self.answered
        if answered.complete:
            raise AssertionError("something was sent after the response had ended")
        if message["type"] == "http.response.start":
            if answered.status:
                raise AssertionError("the response was started twice")
            answered.status = message["status"]
            answered.headers = {k.decode().lower(): v.decode("latin-1") for k, v in message.get("headers", ())}
            return
        if not answered.status:
            raise AssertionError("a body without a head")
        answered.body += message.get("body", b"")
        answered.complete = not message.get("more_body", False)
        if self._leave_after is not None and len(answered.body) >= self._leave_after:
            self._left.set()
        await asyncio.sleep(0)  # a socket would take turns too

    def check(self) -> None:
        """Hold a complete response to the length that it promised."""
        answered = self.answered
        promised = answered.headers.get("content-length")
        if not answered.complete:
            return
        if self._method == "HEAD" or answered.status in NO_BODY:
            if answered.body:
                raise AssertionError(f"{answered.status} to {self._method} has a body")
        elif promised is not None and int(promised) != len(answered.body):
            raise AssertionError(f"{promised} bytes were promised, {len(answered.body)} came")


def _named(headers: Mapping[str, str]) -> dict[str, str]:
    return {name.replace("_", "-"): value for name, value in headers.items()}
