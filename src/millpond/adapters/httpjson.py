"""A counterpart's JSON API over HTTP, as trackers and forges have it: bounded, counted, its failures the port's own.

Invariants:
- The token goes to the configured address and nowhere else: redirects are not followed.
- An answer has a limit in bytes and in time; above 64 KiB it is parsed elsewhere (`Large`), never on the event loop.
- What is no usable answer is raised; what is one (also 404, 409, ...) is a value. A body that should be JSON and is not
  (a login page, a proxy's error) is no answer, whatever its status is: a proxy says 404, too, while the server behind
  it starts, and that says nothing of what was asked for.
- Nothing is tried again here: who asks does, with what the failure says of when.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Protocol, cast
from urllib.parse import quote, urlencode

import aiohttp
from yarl import URL

from millpond import __version__
from millpond.adapters import failures
from millpond.adapters.addresses import BadUrl, Origin, parse
from millpond.adapters.dialling import Proxies
from millpond.artifacts.freshness import retry_after_s
from millpond.delivery.model import Json
from millpond.delivery.ratebudget import BudgetSpent, RateBudget
from millpond.delivery.rates import Use
from millpond.errors import ConfigError, MillpondError

INLINE_BYTES = 64 << 10
MAX_BYTES = 8 << 20
MAX_SAID = 200
MAX_DIGITS = 9
NOT_FOUND = 404
UNAUTHORISED_S = 60.0
"""How soon a key that was refused is tried again: it may be mended without a restart."""
Large = Callable[[bytes], Awaitable[Json]]
"""Parses JSON that is large, in another process."""


class Fault(Protocol):
    """How a port's failure is made."""

    def __call__(self, message: str, *, permanent: bool = False, after_s: float | None = None) -> MillpondError:
        """Make it."""


async def in_a_thread(text: bytes) -> Json:
    """Parse JSON in a thread."""
    return cast("Json", await asyncio.to_thread(json.loads, text))


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """Where an API is and how it is asked. `headers` have the key; `name` is for people."""

    name: str
    base_url: str
    headers: Mapping[str, str] = field(repr=False)
    timeout_s: float = 30.0
    connect_timeout_s: float = 10.0
    max_bytes: int = MAX_BYTES
    max_connections: int = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """A usable answer; `body` is None where there was none."""

    status: int
    body: Json
    headers: Mapping[str, str]
    cut: bool = False
    """There was more than the limit, and nothing of it is here."""

    @property
    def ok(self) -> bool:
        """Whether it says yes (2xx)."""
        return self.status // 100 == 2  # noqa: PLR2004 - the class of a status

    @property
    def foreign(self) -> bool:
        """Whether it says no (4xx) without the object or list in which an API says so: who said it is not known."""
        return self.status // 100 == 4 and not isinstance(self.body, dict | list)  # noqa: PLR2004

    @property
    def said(self) -> str:
        """What it says, cut short, for people."""
        body = self.body
        if isinstance(body, dict):
            for name in ("message", "error", "detail", "error_message"):
                if isinstance(body.get(name), str):
                    return str(body[name])[:MAX_SAID]
        return "" if body is None else json.dumps(body)[:MAX_SAID]


class JsonApi:
    """One API. Use it from one event loop; `close` it."""

    def __init__(
        self,
        options: ApiOptions,
        fault: Fault,
        *,
        now: Callable[[], float],
        budget: RateBudget | None = None,
        large: Large = in_a_thread,
    ) -> None:
        self.options, self.budget = options, budget
        self._fault, self._now, self._large = fault, now, large
        self._origin = _origin(options)
        self._proxies = Proxies()
        self._session: aiohttp.ClientSession | None = None

    async def ask(
        self,
        method: str,
        path: str,
        *,
        use: Use,
        query: Mapping[str, str] | None = None,
        body: Json = None,
        may_cut: bool = False,
        may_lack: bool = False,
    ) -> Answer:
        """Send one request and give its answer; `path` is quoted already (`segment`). Raises the port's fault.

        An answer above the limit is a fault, unless it `may_cut`: then it has no body. So is a 404 that is no JSON,
        unless the server `may_lack` this address: then it has no body either, and anybody may have said it.
        """
        await self._turn(use)
        try:
            async with asyncio.timeout(self.options.timeout_s):
                answer = await self._send(method, path, query or {}, body, may_cut=may_cut)
        except TimeoutError as error:
            raise self._fault(f"{self._what} did not answer within {self.options.timeout_s:g} s") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            _, why = failures.named(error, connect_s=self.options.timeout_s, read_s=self.options.timeout_s)
            raise self._fault(f"{self._what} can't be reached: {why}") from error
        if answer.foreign and not (may_lack and answer.status == NOT_FOUND):
            text = f"{self._what} answered {answer.status} with no JSON, as a proxy does, or a server that is no API"
            raise self._fault(text)
        return answer

    async def close(self) -> None:
        """Close every connection."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    @property
    def _what(self) -> str:
        return f"{self.options.name} at {self._origin}"

    async def _turn(self, use: Use) -> None:
        if self.budget is None:
            return
        try:
            await self.budget.draw(use)
        except BudgetSpent as error:
            raise self._fault(f"{self._what}: {error}", after_s=error.after_s) from error

    async def _send(self, method: str, path: str, query: Mapping[str, str], body: Json, *, may_cut: bool) -> Answer:
        url = f"{self.options.base_url.rstrip('/')}/{path}" + (f"?{urlencode(query)}" if query else "")
        session = self._opened()
        async with session.request(
            method,
            URL(url, encoded=True),
            json=body,
            allow_redirects=False,
            proxy=self._proxies.pick(self._origin),
        ) as reply:
            self._count(reply)
            if reply.status // 100 == 5:  # noqa: PLR2004 - the class of a status
                raise self._fault(f"{self._what} answered {reply.status}", after_s=self._after(reply))
            raw = await self._read(reply)
            if raw is None and may_cut and reply.status // 100 == 2:  # noqa: PLR2004 - the class of a status
                return Answer(reply.status, None, reply.headers, cut=True)
            if raw is None:
                raise self._fault(f"{self._what} answered with more than {self.options.max_bytes} bytes")
            return Answer(reply.status, await self._parse(reply, raw), reply.headers)

    def _opened(self) -> aiohttp.ClientSession:
        if self._session is None:
            options = self.options
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=options.max_connections),
                timeout=aiohttp.ClientTimeout(total=None, connect=options.connect_timeout_s),
                headers={
                    "Accept": "application/json",
                    "User-Agent": f"millpond/{__version__}",
                    **options.headers,
                },
                cookie_jar=aiohttp.DummyCookieJar(),
            )
        return self._session

    def _count(self, reply: aiohttp.ClientResponse) -> None:
        """Take what an answer says of the rate into account; raise what is no answer at all."""
        remaining = reply.headers.get("X-RateLimit-Remaining", "")
        if self.budget is not None and remaining.isascii() and remaining.isdigit() and len(remaining) < MAX_DIGITS:
            self.budget.told(float(remaining))
        match reply.status:
            case 429:
                after_s = self._after(reply)
                if self.budget is not None:
                    self.budget.refused(after_s)
                raise self._fault(f"{self._what} has had too many requests (429)", after_s=after_s)
            case 401 | 403:
                text = f"{self._what} refuses the token ({reply.status}): see that it is right and may do this"
                raise self._fault(text, after_s=UNAUTHORISED_S)
            case 301 | 302 | 303 | 307 | 308:
                text = f"{self._what} leads elsewhere ({reply.status}): write the address that it leads to"
                raise self._fault(text, after_s=UNAUTHORISED_S)

    def _after(self, reply: aiohttp.ClientResponse) -> float | None:
        return retry_after_s({"retry-after": reply.headers.get("Retry-After", "")}, self._now())

    async def _read(self, reply: aiohttp.ClientResponse) -> bytes | None:
        """Read a body up to the limit; None: there is more."""
        raw = bytearray()
        async for piece in reply.content.iter_any():
            raw += piece
            if len(raw) > self.options.max_bytes:
                reply.close()
                return None
        return bytes(raw)

    async def _parse(self, reply: aiohttp.ClientResponse, raw: bytes) -> Json:
        if not raw.strip():
            return None
        try:
            return cast("Json", json.loads(raw)) if len(raw) <= INLINE_BYTES else await self._large(raw)
        except (ValueError, RecursionError) as error:
            if reply.status // 100 == 4:  # noqa: PLR2004 - a page that says no: see `Answer.foreign`
                return None
            raise self._fault(f"{self._what} answered with something that is no JSON ({reply.status})") from error


def segment(text: str) -> str:
    """Quote one segment of a path."""
    return quote(text, safe="")


def _origin(options: ApiOptions) -> Origin:
    """Read the address. Raises `ConfigError`."""
    try:
        return parse(options.base_url).origin
    except BadUrl as error:
        raise ConfigError(f"{options.name}: {options.base_url!r} is no address: {error}") from error
