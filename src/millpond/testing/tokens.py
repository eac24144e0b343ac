"""A registry's token authentication, as behaviours of a `FakeUpstream`: a door that wants tokens, a desk with them.

Docker's registry, "Token authentication". What was asked at the desk is kept, so that a test can look at it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from urllib.parse import parse_qs

from millpond.testing.behaviours import Exchange
from millpond.testing.resources import Answer, Request
from millpond.testing.upstream import ANY, FakeUpstream

SERVICE = "fake.registry"


@dataclass(slots=True)
class Realm:
    """Issues tokens and knows which are good. `url` is the desk's; `basic`: the only Authorization that it takes."""

    url: str
    basic: str = ""
    expires_in: float | None = 300
    key: str = "token"
    good: dict[str, str] = field(default_factory=dict)
    """Good tokens, each with the scope it was given for."""
    asked: list[Request] = field(default_factory=list)

    @classmethod
    def at(cls, registry: FakeUpstream, desk: FakeUpstream, *, basic: str = "") -> Realm:
        """Put the door before everything of a registry, and the desk at ``/token``; they may be one server."""
        realm = cls(f"{desk.url}/token", basic)
        registry.always(ANY, Door(realm))
        desk.always("/token", Desk(realm))
        return realm

    def scopes(self) -> list[list[str]]:
        """Give the scopes of each request at the desk."""
        return [parse_qs(one.query).get("scope", []) for one in self.asked]


@dataclass(frozen=True, slots=True)
class Door:
    """401 with a challenge, until a good token for the image comes."""

    realm: Realm

    async def play(self, exchange: Exchange) -> bool:
        """Answer those who may."""
        name = exchange.request.path.removeprefix("/v2/").rsplit("/", 2)[0]
        scope = f"repository:{name}:pull"
        shown = exchange.request.headers.get("authorization", "").removeprefix("Bearer ")
        if self.realm.good.get(shown) == scope:
            return await exchange.deliver(exchange.answer)
        told = f'Bearer realm="{self.realm.url}",service="{SERVICE}",scope="{scope}"'
        return await exchange.deliver(Answer(401, {"www-authenticate": told}, b"{}"))


@dataclass(frozen=True, slots=True)
class Desk:
    """Gives a new token at each request."""

    realm: Realm

    async def play(self, exchange: Exchange) -> bool:
        """Answer who shows the right credentials."""
        self.realm.asked.append(exchange.request)
        if exchange.request.headers.get("authorization", "") != self.realm.basic:
            return await exchange.deliver(Answer(401, {}, b"{}"))
        token = f"canary-token-{len(self.realm.asked)}"
        self.realm.good[token] = parse_qs(exchange.request.query).get("scope", [""])[0]
        told: Mapping[str, object] = {self.realm.key: token}
        if self.realm.expires_in is not None:
            told = {**told, "expires_in": self.realm.expires_in}
        return await exchange.deliver(Answer(200, {"content-type": "application/json"}, json.dumps(told).encode()))
