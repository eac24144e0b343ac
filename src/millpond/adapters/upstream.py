"""One remote repository's upstream over HTTP: redirects, credentials, limits, circuit. Implements `ports.Upstream`.

Invariants:
- Credentials go to the origin of `base_url` and nowhere else (RFC 6454: scheme, host, port); other origins get a short
  list of harmless headers. Once a request was sent elsewhere, it carries none any more, even if it is sent back.
- Redirects are followed here, one by one (RFC 9110 section 15.4): http and https only, never from https to http, never
  in a circle, each target checked like the first (`addresses`, `dialling`).
- A body that did not arrive whole ends in an exception, never quietly. Left early, its connection is closed.
- No text of an exception, status or log holds a password, a token or a URL's query.
"""

from __future__ import annotations

import asyncio
import random
from base64 import b64encode
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from urllib.parse import unquote

import aiohttp
from aiohttp.abc import AbstractResolver

from millpond import __version__
from millpond.adapters.addresses import BadUrl, Location, Origin, follow, origin_of, parse
from millpond.adapters.dialling import Dialler
from millpond.artifacts.circuit import Circuit, Limits, Ticket, Wait, fails, retry_after_s
from millpond.artifacts.model import Reply
from millpond.clock import Clock
from millpond.errors import ConfigError, UpstreamUnreachable

__all__ = ["HttpUpstream", "UpstreamOptions", "origin_of"]

REDIRECTS = frozenset({301, 302, 303, 307, 308})
NOT_MODIFIED = 304
MAX_CIRCUITS = 64
EWMA_WEIGHT = 0.2
# How often a body that does not come is looked after: aiohttp's C parser, when it meets broken chunks, closes the
# connection, stops the read timer and leaves the body's reader waiting for ever.
LOOK_S = 0.5
# What another origin than base_url's may be told.
HARMLESS = frozenset(
    {"accept", "accept-encoding", "accept-language", "cache-control", "if-modified-since", "if-none-match",
     "if-range", "pragma", "range", "user-agent"}
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class UpstreamOptions:
    """How one upstream is asked.

    With a `username` the password is sent as Basic authentication (RFC 7617); without one it is a Bearer token
    (RFC 6750). A user name and password within `base_url` are taken out of it. `trusted_origins`
    (``http://files.lan:8080``) may be at private addresses, but get no credentials. `read_timeout_s` limits the wait
    for the first byte and between two reads, `queue_timeout_s` the wait for one of the `max_connections`.
    """

    name: str
    base_url: str
    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)
    trusted_origins: tuple[str, ...] = ()
    connect_timeout_s: float = 10.0
    read_timeout_s: float = 30.0
    queue_timeout_s: float = 120.0
    max_connections: int = 32
    max_redirects: int = 5
    circuit_failures: int = 5
    circuit_open_s: float = 10.0
    circuit_max_open_s: float = 300.0

    def __post_init__(self) -> None:
        """Take the credentials out of the URL before anybody prints it. Raises `ConfigError`."""
        scheme, separator, rest = self.base_url.partition("://")
        authority = rest.partition("/")[0]
        userinfo, at, _ = authority.rpartition("@")
        if at:
            object.__setattr__(self, "base_url", f"{scheme}{separator}{rest[len(userinfo) + 1 :]}")
            if not self.username and not self.password:
                username, _, password = userinfo.partition(":")
                object.__setattr__(self, "username", unquote(username))
                object.__setattr__(self, "password", unquote(password))
        if not self.password.isprintable() or not (self.password.isascii() or self.username):
            raise ConfigError(f"repository {self.name}: the password has characters that can't be sent")

    def authorization(self) -> str:
        """Give the Authorization header; empty: none."""
        if self.username:
            return "Basic " + b64encode(f"{self.username}:{self.password}".encode()).decode()
        return f"Bearer {self.password}" if self.password else ""


class HttpReply:
    """An answer whose body has not been read yet (`ports.UpstreamReply`)."""

    def __init__(
        self,
        head: Reply,
        response: aiohttp.ClientResponse,
        received: Callable[[int], None],
        done: Callable[[UpstreamUnreachable | None], None],
    ) -> None:
        self.head = head
        self._response, self._received, self._done = response, received, done
        connection = response.connection
        self._protocol = connection.protocol if connection is not None else None

    async def chunks(self, size: int) -> AsyncIterator[bytes]:
        """Give the body in pieces of at most `size` bytes. Raises `UpstreamUnreachable`: reset, timeout, truncated."""
        while chunk := await self._read(size):
            self._received(len(chunk))
            yield chunk
        if self._unframed() and self._reset():
            raise self._failed("reset", "the connection broke within the body")
        self._done(None)

    async def _read(self, size: int) -> bytes:
        while True:
            try:
                async with asyncio.timeout(LOOK_S):
                    return await self._response.content.read(size)
            except aiohttp.ServerTimeoutError:
                raise self._failed("timeout", "the body stopped coming") from None
            except TimeoutError:
                found = None if self._protocol is None else self._protocol.exception()
                if isinstance(found, aiohttp.ServerTimeoutError):  # both time-outs came in the same turn of the loop
                    raise self._failed("timeout", "the body stopped coming") from None
                if found is not None:
                    raise self._failed("truncated", "the body's framing is broken") from None
            except (aiohttp.ClientError, OSError):
                kind = "reset" if self._reset() else "truncated"
                raise self._failed(kind, "the connection ended before the body did") from None

    def _unframed(self) -> bool:
        """Whether only the connection's end ends the body; aiohttp takes a reset for such an end too."""
        return self.head.length is None and "chunked" not in self.head.headers.get("transfer-encoding", "").lower()

    def _reset(self) -> bool:
        return self._protocol is not None and isinstance(self._protocol.exception(), aiohttp.ClientOSError)

    def _failed(self, kind: str, why: str) -> UpstreamUnreachable:
        error = UpstreamUnreachable(f"{parse(self.head.url).origin}: {why}", kind=kind)
        self._done(error)
        return error


class HttpUpstream:
    """The upstream of one remote repository; make it anywhere, use it in one event loop."""

    def __init__(
        self, options: UpstreamOptions, clock: Clock, *, resolver: AbstractResolver | None = None,
        jitter: Callable[[], float] = random.random,
    ) -> None:  # fmt: skip
        self._options, self._clock, self._jitter = options, clock, jitter
        self._home = _configured(options, options.base_url)
        self._trusted = {self._home, *(_configured(options, url) for url in options.trusted_origins)}
        self.base_url = options.base_url if options.base_url.endswith("/") else f"{options.base_url}/"
        """Always with a slash at the end."""
        self._dialler = Dialler(
            self._home, clock, resolver=resolver,
            connect_timeout_s=options.connect_timeout_s, read_timeout_s=options.read_timeout_s,
        )  # fmt: skip
        self._limits = Limits(options.circuit_failures, options.circuit_open_s, options.circuit_max_open_s)
        self._circuit = Circuit(self._limits)
        self._services = Circuit(self._limits)
        self._circuits: OrderedDict[Origin, Circuit] = OrderedDict()
        self._slots = asyncio.Semaphore(options.max_connections)
        self._in_flight = self._requests = self._bytes = 0
        self._latency_s = 0.0
        self._last_error = ""
        self._last_error_at: float | None = None
        self._last_success_at: float | None = None

    def __repr__(self) -> str:
        return f"HttpUpstream({self._options.name!r}, {self._home})"

    @asynccontextmanager
    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> AsyncIterator[HttpReply]:
        """Ask for an absolute URL, following redirects. See `ports.Upstream`."""
        self._requests += 1
        try:
            location = parse(url)
        except BadUrl as error:
            raise self._noted(UpstreamUnreachable(f"this URL is not asked: {error}", kind="blocked")) from None
        await self._take_slot()
        self._in_flight += 1
        try:
            response, reply = await self._follow(method, location, headers, body)
            try:
                yield reply
            finally:
                response.close()  # a body that was read to its end has given the connection back already
        finally:
            self._in_flight -= 1
            self._slots.release()

    async def once(self, location: Location, headers: Mapping[str, str], max_bytes: int) -> tuple[Reply, bytes]:
        """Ask one place for something small (GET), with just these headers, following nothing; gives head and body.

        For who has decided what that origin may be told. Raises `UpstreamUnreachable`.
        """
        await self._take_slot()
        try:
            own = {"accept-encoding": "identity", "user-agent": f"millpond/{__version__}"}
            response, ticket = await self._hop("GET", location, {**own, **headers}, b"")
            reply = self._reply("GET", location, response, ticket)
            body = b""
            try:
                async for chunk in reply.chunks(max_bytes):
                    body += chunk
                    if len(body) > max_bytes:
                        raise UpstreamUnreachable(f"{location.origin}: its answer is too large", kind="unsound")
            finally:
                response.close()
            return reply.head, body
        finally:
            self._slots.release()

    def status(self) -> Mapping[str, object]:
        """Tell how it goes; times are epoch seconds or None. `others`: circuits of other origins, if not closed."""
        now, monotonic = self._clock.now(), self._clock.monotonic()
        is_open = self._circuit.state == "open"
        return {
            "state": self._circuit.state,
            "failures": self._circuit.failures,
            "open_until": now + self._circuit.open_until - monotonic if is_open else None,
            "last_error": self._last_error,
            "last_error_at": self._last_error_at,
            "last_success_at": self._last_success_at,
            "latency_s": self._latency_s,
            "in_flight": self._in_flight,
            "requests": self._requests,
            "bytes": self._bytes,
            "others": {str(o): c.state for o, c in self._circuits.items() if c.state != "closed"},
        }

    async def close(self) -> None:
        """Close the connections."""
        await self._dialler.close()

    def _count(self, size: int) -> None:
        self._bytes += size

    async def _take_slot(self) -> None:
        try:
            async with asyncio.timeout(self._options.queue_timeout_s):
                await self._slots.acquire()
        except TimeoutError:
            limit = self._options.max_connections
            text = f"{self._home}: all {limit} connections were busy for {self._options.queue_timeout_s:g} s"
            raise self._noted(UpstreamUnreachable(text, kind="timeout")) from None

    async def _follow(
        self, method: str, location: Location, headers: Mapping[str, str], body: bytes
    ) -> tuple[aiohttp.ClientResponse, HttpReply]:
        seen, strayed = {location.url}, False
        while True:
            strayed = strayed or location.origin != self._home
            response, ticket = await self._hop(method, location, self._headers(headers, strayed=strayed), body)
            target = response.headers.get("Location", "")
            if response.status not in REDIRECTS or not target or method not in {"GET", "HEAD"}:
                return response, self._reply(method, location, response, ticket)
            response.close()
            self._circuit_of(location.origin, method).succeeded(ticket)
            location = self._target(location, target, seen)
            seen.add(location.url)

    def _target(self, location: Location, target: str, seen: set[str]) -> Location:
        """Check where a redirect leads."""
        try:
            target_location = follow(location, target)
        except BadUrl as error:
            raise self._lost_way(location, str(error)) from None
        if location.origin.scheme == "https" and target_location.origin.scheme == "http":
            raise self._lost_way(location, "it redirects from https to http")
        if target_location.url in seen:
            raise self._lost_way(location, "it redirects in a circle")
        if len(seen) > self._options.max_redirects:
            raise self._lost_way(location, f"it redirects more than {self._options.max_redirects} times")
        return target_location

    def _lost_way(self, location: Location, why: str) -> UpstreamUnreachable:
        return self._noted(UpstreamUnreachable(f"{location.origin}: {why}", kind="redirect"))

    async def _hop(
        self, method: str, location: Location, headers: Mapping[str, str], body: bytes
    ) -> tuple[aiohttp.ClientResponse, Ticket]:
        """Send one request if the origin's circuit lets it."""
        circuit = self._circuit_of(location.origin, method)
        started = self._clock.monotonic()
        ticket = circuit.admit(started)
        if isinstance(ticket, Wait):
            text = f"{location.origin}: not asked, it failed too often lately"
            raise UpstreamUnreachable(text, kind="circuit", retry_after_s=ticket.retry_after_s)
        try:
            trusted = location.origin in self._trusted
            response = await self._dialler.send(method, location, headers, trusted=trusted, body=body)
        except UpstreamUnreachable as error:
            self._ended(circuit, ticket, error)
            raise
        except BaseException:  # cancelled: that says nothing about the upstream
            circuit.abandoned(ticket)
            raise
        self._judge(circuit, ticket, response, location.origin)
        self._note_latency(self._clock.monotonic() - started)
        return response, ticket

    def _judge(self, circuit: Circuit, ticket: Ticket, response: aiohttp.ClientResponse, origin: Origin) -> None:
        """Tell the circuit what a head says."""
        if not fails(response.status):
            self._last_success_at = self._clock.now()
            return circuit.answered(ticket)
        wish_s = retry_after_s({"retry-after": response.headers.get("Retry-After", "")}, self._clock.now())
        circuit.failed(ticket, self._clock.monotonic(), self._jitter(), wish_s)
        self._noted(UpstreamUnreachable(f"{origin} answered {response.status}", kind="status"))
        return None

    def _ended(self, circuit: Circuit, ticket: Ticket, error: UpstreamUnreachable | None) -> None:
        """Tell the circuit how a transfer ended."""
        if error is None:
            circuit.succeeded(ticket)
        elif error.kind == "blocked":
            circuit.abandoned(ticket)
            self._noted(error)
        else:
            circuit.failed(ticket, self._clock.monotonic(), self._jitter())
            self._noted(error)

    def _reply(self, method: str, location: Location, response: aiohttp.ClientResponse, ticket: Ticket) -> HttpReply:
        circuit = self._circuit_of(location.origin, method)
        failing = fails(response.status)

        def done(error: UpstreamUnreachable | None) -> None:
            if not failing:  # a 5xx has been counted already
                self._ended(circuit, ticket, error)

        head = _head(location, response)
        if method == "HEAD" or not 200 <= head.status < 300:  # noqa: PLR2004 - a body that matters
            done(None)
        return HttpReply(head, response, self._count, done)

    def _headers(self, asked: Mapping[str, str], *, strayed: bool) -> dict[str, str]:
        """Say what is sent. `strayed`: the request goes, or once went, to another origin."""
        named = {name.lower(): value for name, value in asked.items()}
        named.setdefault("accept-encoding", "identity")
        named["user-agent"] = f"millpond/{__version__}"
        if strayed:
            return {name: value for name, value in named.items() if name in HARMLESS}
        if authorization := self._options.authorization():
            named.setdefault("authorization", authorization)
        return named

    def _circuit_of(self, origin: Origin, method: str) -> Circuit:
        if method == "POST":
            return self._services
        if origin == self._home:
            return self._circuit
        circuit = self._circuits.setdefault(origin, Circuit(self._limits))
        self._circuits.move_to_end(origin)
        if len(self._circuits) > MAX_CIRCUITS:
            self._circuits.popitem(last=False)
        return circuit

    def _note_latency(self, seconds: float) -> None:
        self._latency_s += (seconds - self._latency_s) * (EWMA_WEIGHT if self._latency_s else 1.0)

    def _noted(self, error: UpstreamUnreachable) -> UpstreamUnreachable:
        self._last_error, self._last_error_at = str(error), self._clock.now()
        return error


def _configured(options: UpstreamOptions, url: str) -> Origin:
    try:
        return origin_of(url)
    except BadUrl as error:
        raise ConfigError(f"repository {options.name}: a configured upstream can't be used: {error}") from None


def _head(location: Location, response: aiohttp.ClientResponse) -> Reply:
    headers: dict[str, str] = {}
    for name, value in response.headers.items():
        key = name.lower()
        if key not in {"set-cookie", "set-cookie2"}:
            headers[key] = f"{headers[key]}, {value}" if key in headers else value
    length = headers.get("content-length", "")
    framed = length.isascii() and length.isdigit() and "transfer-encoding" not in headers
    return Reply(response.status, headers, location.url, int(length) if framed else None)
