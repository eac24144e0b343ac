"""How an upstream misbehaves, byte by byte. Each behaviour plays one exchange and says whether the connection lives on.

A test scripts them: ``upstream.script("/file", truncate(1000), status(503, retry_after="7"))``.
"""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Protocol

from millpond.testing import sockets
from millpond.testing.resources import Answer, Request

PIECE_BYTES = 256 * 1024
BODILESS = frozenset({204, 304})
Gate = Callable[[int], Awaitable[int]]


class Exchange:
    """One request and the means to answer it, well or badly.

    `answer` is what a good server would say; `gate(sent)` waits while a test holds the path, and says how many bytes
    may be sent before it is asked again.
    """

    def __init__(
        self, request: Request, answer: Answer, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, gate: Gate
    ) -> None:
        self.request, self.answer = request, answer
        self._reader, self._writer, self._gate = reader, writer, gate

    async def send(self, data: bytes) -> None:
        """Send bytes as they are, and wait until they have left."""
        self._writer.write(data)
        await self._writer.drain()

    async def head(self, answer: Answer, *, version: str = "1.1", framing: Mapping[str, str] | None = None) -> None:
        """Send status line and headers. `framing`: instead of the true Content-Length."""
        length = {} if answer.status in BODILESS else {"content-length": str(len(answer.body))}
        headers = {**answer.headers, **(length if framing is None else framing)}
        phrase = HTTPStatus(answer.status).phrase if answer.status in set(HTTPStatus) else "Unknown"
        lines = [f"HTTP/{version} {answer.status} {phrase}", *(f"{name}: {value}" for name, value in headers.items())]
        await self.send("\r\n".join([*lines, "", ""]).encode("utf-8", "surrogateescape"))

    async def body(self, data: bytes) -> None:
        """Send body bytes in pieces, through the gate. HEAD gets none."""
        if self.request.method == "HEAD":
            return
        view, sent = memoryview(data), 0
        while True:
            room = await self._gate(sent)
            if sent >= len(view):
                return
            piece = view[sent : sent + min(room, PIECE_BYTES)]
            await self.send(bytes(piece))
            sent += len(piece)

    async def deliver(self, answer: Answer) -> bool:
        """Send a whole answer as it should be."""
        await self._gate(-1)
        await self.head(answer)
        if answer.status not in BODILESS:
            await self.body(answer.body)
        return True

    async def gone(self) -> None:
        """Wait until the client gives up."""
        while await self._reader.read(PIECE_BYTES):
            pass

    def reset(self) -> None:
        """Break the connection with a TCP RST."""
        sockets.reset(self._writer)


class Behaviour(Protocol):
    """One way to answer."""

    async def play(self, exchange: Exchange) -> bool:
        """Answer; tell whether the connection can be used again."""


@dataclass(frozen=True, slots=True)
class Fixed:
    """The same answer whatever is asked."""

    answer: Answer

    async def play(self, exchange: Exchange) -> bool:
        """Answer."""
        return await exchange.deliver(self.answer)


def status(code: int, *, retry_after: str = "", headers: Mapping[str, str] | None = None, body: bytes = b"") -> Fixed:
    """Make an answer of that status, with Retry-After (seconds or a date) where given."""
    wish = {"retry-after": retry_after} if retry_after else {}
    return Fixed(Answer(code, {"content-type": "text/plain", **wish, **(headers or {})}, body or b"status %d" % code))


def redirect(location: str, code: int = 302) -> Fixed:
    """Make a redirect."""
    return Fixed(Answer(code, {"location": location}, b"over there"))


def portal() -> Fixed:
    """Make a captive portal's page: HTML with status 200, whatever was asked."""
    page = b"<!DOCTYPE html>\n<html><head><title>Welcome</title></head><body>Please log in</body></html>\n"
    return Fixed(Answer(200, {"content-type": "text/html; charset=utf-8"}, page))


@dataclass(frozen=True, slots=True)
class Broken:
    """The right head, and only the first `after` bytes of the body; then the connection ends (`rst`: by a reset)."""

    after: int
    rst: bool = False

    async def play(self, exchange: Exchange) -> bool:
        """Answer in part."""
        await exchange.head(exchange.answer)
        await exchange.body(exchange.answer.body[: self.after])
        if self.rst:
            exchange.reset()
        return False


def truncate(after: int) -> Broken:
    """Make a body that ends after so many bytes although its Content-Length says more."""
    return Broken(after)


def reset(after: int) -> Broken:
    """Make a connection that is reset after so many body bytes."""
    return Broken(after, rst=True)


@dataclass(frozen=True, slots=True)
class Drop:
    """Closes the connection without a byte (`rst`: by a reset)."""

    rst: bool = False

    async def play(self, exchange: Exchange) -> bool:
        """Answer nothing."""
        if self.rst:
            exchange.reset()
        return False


@dataclass(frozen=True, slots=True)
class Slow:
    """The right answer, `delay_s` late and at `bytes_per_s` (0: at full speed); seconds."""

    bytes_per_s: float = 0.0
    delay_s: float = 0.0

    async def play(self, exchange: Exchange) -> bool:
        """Answer slowly."""
        await asyncio.sleep(self.delay_s)
        if not self.bytes_per_s:
            return await exchange.deliver(exchange.answer)
        await exchange.head(exchange.answer)
        step = max(int(self.bytes_per_s / 20), 1)
        for start in range(0, len(exchange.answer.body), step):
            await asyncio.sleep(step / self.bytes_per_s)
            await exchange.send(exchange.answer.body[start : start + step])
        return True


@dataclass(frozen=True, slots=True)
class Hang:
    """Never answers; with `after`, stops for good after the head and so many body bytes."""

    after: int | None = None

    async def play(self, exchange: Exchange) -> bool:
        """Leave the client waiting until it gives up."""
        if self.after is not None:
            await exchange.head(exchange.answer)
            await exchange.body(exchange.answer.body[: self.after])
        await exchange.gone()
        return False


@dataclass(frozen=True, slots=True)
class WrongBytes:
    """The right length and headers; every byte is another."""

    async def play(self, exchange: Exchange) -> bool:
        """Answer wrongly."""
        wrong = bytes(byte ^ 0x55 for byte in exchange.answer.body)
        return await exchange.deliver(Answer(exchange.answer.status, exchange.answer.headers, wrong))


@dataclass(frozen=True, slots=True)
class Chunked:
    """Chunked transfer coding in chunks of `size` bytes; `stop_after` bytes of body the connection ends unfinished."""

    size: int = 1000
    stop_after: int | None = None

    async def play(self, exchange: Exchange) -> bool:
        """Answer without a length."""
        body = exchange.answer.body[: self.stop_after]
        await exchange.head(exchange.answer, framing={"transfer-encoding": "chunked"})
        if exchange.request.method == "HEAD":
            return True
        for start in range(0, len(body), self.size):
            chunk = body[start : start + self.size]
            await exchange.send(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        if self.stop_after is not None:
            return False
        await exchange.send(b"0\r\n\r\n")
        return True


@dataclass(frozen=True, slots=True)
class CloseDelimited:
    """HTTP/1.0 without a length: the end of the connection is the end of the body. `rst_after`: cut off by a reset."""

    rst_after: int | None = None

    async def play(self, exchange: Exchange) -> bool:
        """Answer and close."""
        await exchange.head(exchange.answer, version="1.0", framing={})
        await exchange.body(exchange.answer.body[: self.rst_after])
        if self.rst_after is not None:
            exchange.reset()
        return False


@dataclass(frozen=True, slots=True)
class NeedsBasic:
    """401 until the right user name and password come (RFC 7617)."""

    username: str
    password: str = field(repr=False)

    async def play(self, exchange: Exchange) -> bool:
        """Answer those who may."""
        pair = base64.b64encode(f"{self.username}:{self.password}".encode()).decode()
        if exchange.request.headers.get("authorization") == f"Basic {pair}":
            return await exchange.deliver(exchange.answer)
        return await exchange.deliver(Answer(401, {"www-authenticate": 'Basic realm="upstream"'}, b"who are you?"))


@dataclass(frozen=True, slots=True)
class Raw:
    """These bytes instead of an answer; then the connection ends, unless `keep`."""

    data: bytes
    keep: bool = False

    async def play(self, exchange: Exchange) -> bool:
        """Send the bytes."""
        await exchange.send(self.data)
        return self.keep
