"""A registry as an upstream: token authentication, and how much of a quota is left. Implements `ports.Upstream`.

The specification of Docker's registry, "Token authentication": who asks without a token is told a realm, and that gives
one for a service and a scope. Invariants:

- Credentials go to a realm only if it is of the registry's own registrable domain, and in the clear only if the
  registry itself is asked so (CVE-2026-33540). A realm's address is checked like that of all that others name.
- Tokens are kept in memory, by realm, service and scope, until shortly before they expire; they are in no text.
- A refused token is changed for a new one once; what is refused then is the registry's answer.
"""

from __future__ import annotations

import asyncio
import json
from base64 import b64encode
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlencode

from millpond.adapters import challenges
from millpond.adapters.addresses import BadUrl, Location, Origin, origin_of, parse
from millpond.adapters.sites import same_site
from millpond.adapters.upstream import HttpReply, HttpUpstream
from millpond.artifacts.circuit import retry_after_s
from millpond.artifacts.model import Reply
from millpond.clock import Clock
from millpond.errors import UpstreamUnreachable

UNAUTHORIZED, OK = 401, 200
MAX_NAMES = MAX_TOKENS = 1024
MAX_ANSWER_BYTES, MAX_TOKEN_CHARS = 64 * 1024, 16 * 1024
DEFAULT_LIFETIME_S, MAX_LIFETIME_S, MARGIN_S = 60.0, 3600.0, 10.0
REFUSED, REFUSED_S = (401, 403), 30.0
"""A realm that refuses the credentials is not asked for the same again so soon: many wrong tries lock accounts."""
SPARED_SHARE, SPARED_PULLS = 0.1, 5
"""With less than this of a quota left (the share, or the number if that is more) a tag that moved is not fetched."""


@dataclass(frozen=True, slots=True)
class Credentials:
    """What a registry's realm is shown; without a user name, nothing."""

    username: str = field(default="", repr=False)
    password: str = field(default="", repr=False)

    def basic(self) -> str:
        """Write the header (RFC 7617); empty: there are none."""
        if not self.username:
            return ""
        return "Basic " + b64encode(f"{self.username}:{self.password}".encode()).decode()


@dataclass(frozen=True, slots=True)
class Demand:
    """What a registry wants to see: a token of this realm, or (without a realm) the credentials themselves."""

    realm: str = ""
    service: str = ""
    scope: str = ""

    def url(self) -> str:
        """Give the address at which the token is to be had."""
        pairs = [("service", self.service)] if self.service else []
        pairs += [("scope", one) for one in self.scope.split()]
        return self.realm + ("&" if "?" in self.realm else "?") + urlencode(pairs) if pairs else self.realm


@dataclass(frozen=True, slots=True)
class _Token:
    authorization: str = field(repr=False)
    good_until: float


@dataclass(frozen=True, slots=True)
class Quota:
    """How many pulls are left of how many in a window, as a registry told at a time (epoch seconds)."""

    limit: int
    remaining: int
    window_s: float
    told_at: float


class RegistryUpstream:
    """One registry; wraps the upstream that asks it."""

    def __init__(self, inner: HttpUpstream, credentials: Credentials, clock: Clock) -> None:
        self._inner, self._credentials, self._clock = inner, credentials, clock
        self.base_url = inner.base_url
        self._home = origin_of(inner.base_url)
        self._demands: OrderedDict[str, Demand] = OrderedDict()
        self._tokens: OrderedDict[Demand, _Token] = OrderedDict()
        self._fetching: dict[Demand, asyncio.Lock] = {}
        self._refusals: OrderedDict[Demand, tuple[float, UpstreamUnreachable]] = OrderedDict()
        self._quota: Quota | None = None

    def __repr__(self) -> str:
        return f"RegistryUpstream({self._inner!r})"

    @asynccontextmanager
    async def request(
        self, method: str, url: str, headers: Mapping[str, str], body: bytes = b""
    ) -> AsyncIterator[HttpReply]:
        """Ask, with a token where one is wanted. See `ports.Upstream`."""
        name = self._name_of(url)
        known = self._demands.get(name)
        shown = await self._authorization(known) if known is not None else ""
        async with self._inner.request(method, url, _with(headers, shown), body) as reply:
            demand = self._demanded(reply.head)
            if demand is None or (shown and not demand.realm):
                self._note_quota(reply.head)
                yield reply
                return
        self._remember(name, demand)
        shown = await self._authorization(demand, refused=shown)
        async with self._inner.request(method, url, _with(headers, shown), body) as reply:
            self._note_quota(reply.head)
            yield reply

    def status(self) -> Mapping[str, object]:
        """Tell how it goes, and what is left of a quota (None: the registry tells of none)."""
        quota = self._current()
        left = {"quota_remaining": quota.remaining, "quota_limit": quota.limit} if quota is not None else {}
        return {**self._inner.status(), **left}

    def short(self) -> str:
        """See `ports.Rationed`."""
        quota = self._current()
        if quota is None or quota.remaining >= max(quota.limit * SPARED_SHARE, SPARED_PULLS):
            return ""
        return f"only {quota.remaining} of {quota.limit} pulls are left in {quota.window_s / 3600:g} h"

    async def close(self) -> None:
        """Close the connections."""
        await self._inner.close()

    # What is wanted, and what is shown.

    def _name_of(self, url: str) -> str:
        """Give what requests with the same rights have in common: the image's name, from its URL."""
        return url.removeprefix(self.base_url).rpartition("/")[0].rpartition("/")[0]

    def _demanded(self, head: Reply) -> Demand | None:
        """Read what the registry itself wants to see; None: nothing that we could show."""
        if head.status != UNAUTHORIZED or parse(head.url).origin != self._home:
            return None
        found = challenges.read(head.headers.get("www-authenticate", ""))
        for one in found:
            if one.scheme == "bearer" and one.parameters.get("realm"):
                asked = one.parameters
                return Demand(asked["realm"], asked.get("service", ""), asked.get("scope", ""))
        basic = any(one.scheme == "basic" for one in found)
        return Demand() if basic and self._credentials.username else None

    def _remember(self, name: str, demand: Demand) -> None:
        self._demands[name] = demand
        self._demands.move_to_end(name)
        if len(self._demands) > MAX_NAMES:
            self._demands.popitem(last=False)

    async def _authorization(self, demand: Demand, refused: str = "") -> str:
        """Give the header for a demand; a token that was `refused`, or is too old, is changed for a new one."""
        if not demand.realm:
            return self._credentials.basic()
        lock = self._fetching.setdefault(demand, asyncio.Lock())
        try:
            async with lock:
                token = self._tokens.get(demand)
                if token is None or token.authorization == refused or self._clock.monotonic() >= token.good_until:
                    token = self._tokens[demand] = await self._fetched(demand)
                self._tokens.move_to_end(demand)
                if len(self._tokens) > MAX_TOKENS:
                    self._tokens.popitem(last=False)
                return token.authorization
        finally:
            if not lock.locked():
                self._fetching.pop(demand, None)

    async def _fetched(self, demand: Demand) -> _Token:
        """Get a token from the realm. Raises `UpstreamUnreachable`."""
        until, refusal = self._refusals.get(demand, (0.0, None))
        if refusal is not None and self._clock.monotonic() < until:
            raise UpstreamUnreachable(str(refusal), kind=refusal.kind, retry_after_s=refusal.retry_after_s)
        location = self._checked(demand)
        headers = {"Accept": "application/json"}
        if self._credentials.username:
            await self._guard_credentials(location.origin)
            headers["Authorization"] = self._credentials.basic()
        head, body = await self._inner.once(location, headers, MAX_ANSWER_BYTES)
        if head.status != OK:
            hint = " (check the repository's username and password)" if self._credentials.username else ""
            wish_s = retry_after_s(head.headers, self._clock.now())
            why = f"the token realm answered {head.status}{hint}"
            failure = self._failed(location.origin, why, f"status-{head.status}", wish_s)
            if head.status in REFUSED:
                self._refusals[demand] = (self._clock.monotonic() + REFUSED_S, failure)
                if len(self._refusals) > MAX_TOKENS:
                    self._refusals.popitem(last=False)
            raise failure
        return self._read(location.origin, body)

    def _checked(self, demand: Demand) -> Location:
        """Read the realm's address: one that a registry over https may name is asked over https too."""
        try:
            location = parse(demand.url())
        except BadUrl as error:
            raise self._failed(self._home, f"its token realm can't be asked: {error}", "blocked") from None
        if self._home.scheme == "https" and location.origin.scheme != "https":
            raise self._failed(self._home, "its token realm is not https", "blocked")
        return location

    async def _guard_credentials(self, realm: Origin) -> None:
        if realm == self._home or await asyncio.to_thread(same_site, self._home.host, realm.host):
            return
        why = f"its token realm {realm} is of another domain, and gets no credentials"
        raise self._failed(self._home, why, "blocked")

    def _read(self, realm: Origin, body: bytes) -> _Token:
        try:
            told: Any = json.loads(body)
            value = told.get("token") or told.get("access_token")
            lifetime_s = float(told.get("expires_in") or DEFAULT_LIFETIME_S)
        except (ValueError, AttributeError, TypeError, RecursionError):
            raise self._failed(realm, "the token realm's answer is no token", "unsound") from None
        if not isinstance(value, str) or not (0 < len(value) <= MAX_TOKEN_CHARS and _plain(value)):
            raise self._failed(realm, "the token realm's answer is no token", "unsound")
        lifetime_s = min(max(lifetime_s, 0.0), MAX_LIFETIME_S)
        good_s = max(lifetime_s - MARGIN_S, lifetime_s / 2)
        return _Token(f"Bearer {value}", self._clock.monotonic() + good_s)

    def _failed(self, origin: Origin, why: str, kind: str, wish_s: float | None = None) -> UpstreamUnreachable:
        return UpstreamUnreachable(f"{origin}: {why}", kind=kind, retry_after_s=wish_s)

    # The quota.

    def _note_quota(self, head: Reply) -> None:
        """Read what Docker Hub says of its quota: ``ratelimit-remaining: 76;w=21600``."""
        limit, window_s = _ration(head.headers.get("ratelimit-limit", ""))
        remaining, _ = _ration(head.headers.get("ratelimit-remaining", ""))
        if limit is not None and remaining is not None:
            self._quota = Quota(limit, remaining, window_s, self._clock.now())

    def _current(self) -> Quota | None:
        """Give what is known of the quota, unless its window has passed since."""
        quota = self._quota
        return quota if quota is not None and self._clock.now() - quota.told_at < quota.window_s else None


def _with(headers: Mapping[str, str], authorization: str) -> dict[str, str]:
    return {**headers, "Authorization": authorization} if authorization else dict(headers)


def _plain(value: str) -> bool:
    return value.isascii() and value.isprintable() and " " not in value


def _ration(value: str) -> tuple[int | None, float]:
    """Read a number and its window in seconds."""
    number, _, window = value.partition(";w=")
    sound = number.strip().isdecimal() and number.isascii() and len(number) < 10  # noqa: PLR2004 - no quota is longer
    seconds = window.strip()[:9]
    return int(number) if sound else None, float(seconds) if seconds.isascii() and seconds.isdigit() else 21600.0
