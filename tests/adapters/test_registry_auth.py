"""A registry that wants tokens: where credentials go and where not, how often tokens are fetched, what a quota says."""

from __future__ import annotations

import asyncio
import base64
import json
import logging
from collections.abc import AsyncIterator
from typing import Any

import pytest
from tests.images import image

from millpond.adapters.registry_auth import Credentials, RegistryUpstream
from millpond.adapters.upstream import HttpUpstream, UpstreamOptions
from millpond.errors import UpstreamUnreachable
from millpond.testing.behaviours import Fixed, NeedsBasic, redirect, status
from millpond.testing.clock import FakeClock
from millpond.testing.resolver import FakeResolver
from millpond.testing.resources import Answer
from millpond.testing.tokens import Realm
from millpond.testing.upstream import ANY, FakeUpstream

ONE = image("one")
PLACE = "/v2/a/b/manifests/latest"
SECRET = "canary-password"
BASIC = "Basic " + base64.b64encode(f"robot:{SECRET}".encode()).decode()


@pytest.fixture
async def registry() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as made:
        for name in ("a/b", "c"):
            ONE.offer(made, name)
        yield made


@pytest.fixture
async def desk() -> AsyncIterator[FakeUpstream]:
    async with FakeUpstream() as made:
        yield made


@pytest.fixture
async def made(clock: FakeClock) -> AsyncIterator[list[RegistryUpstream]]:
    ones: list[RegistryUpstream] = []
    yield ones
    for one in ones:
        await one.close()


@pytest.fixture
def make(made: list[RegistryUpstream], registry: FakeUpstream, clock: FakeClock):
    def build(*, credentials: bool = False, resolver: FakeResolver | None = None, **options: Any) -> RegistryUpstream:
        values = {"name": "r", "base_url": registry.url, "read_timeout_s": 5.0, **options}
        inner = HttpUpstream(UpstreamOptions(**values), clock, resolver=resolver or FakeResolver())
        shown = Credentials("robot", SECRET) if credentials else Credentials()
        made.append(RegistryUpstream(inner, shown, clock))
        return made[-1]

    return build


async def get(upstream: RegistryUpstream, place: str = PLACE, method: str = "GET") -> tuple[int, bytes]:
    async with upstream.request(method, upstream.base_url + place[1:], {"Accept": "*/*"}) as reply:
        return reply.head.status, b"".join([chunk async for chunk in reply.chunks(65536)])


async def failure(upstream: RegistryUpstream, place: str = PLACE) -> UpstreamUnreachable:
    with pytest.raises(UpstreamUnreachable) as caught:
        await get(upstream, place)
    return caught.value


async def test_an_anonymous_token_is_fetched_and_kept(registry, make):
    realm = Realm.at(registry, registry)
    upstream = make()
    for _ in range(3):
        assert await get(upstream) == (200, ONE.index)
    assert realm.scopes() == [["repository:a/b:pull"]]
    assert registry.count(PLACE) == 4, "once without"
    assert "authorization" not in realm.asked[0].headers
    assert (await get(upstream, "/v2/c/manifests/latest"))[0] == 200
    assert realm.scopes()[1:] == [["repository:c:pull"]]


async def test_fifty_at_once_get_one_token(registry, make):
    realm = Realm.at(registry, registry)
    upstream = make()
    assert {code for code, _ in await asyncio.gather(*(get(upstream) for _ in range(50)))} == {200}
    assert len(realm.asked) == 1


@pytest.mark.parametrize(("expires_in", "good_s"), [(300, 290), (None, 50), (10, 5), (1e9, 3590)])
async def test_a_token_is_renewed_before_it_expires(registry, make, clock, expires_in, good_s):
    realm = Realm.at(registry, registry)
    realm.expires_in = expires_in
    upstream = make()
    await get(upstream)
    clock.advance(good_s - 1)
    await get(upstream)
    assert len(realm.asked) == 1
    clock.advance(2)
    await get(upstream)
    assert len(realm.asked) == 2


async def test_a_refused_token_is_changed_once(registry, make):
    realm = Realm.at(registry, registry)
    upstream = make()
    await get(upstream)
    realm.good.clear()
    assert await get(upstream) == (200, ONE.index)
    assert len(realm.asked) == 2
    registry.always(PLACE, status(401, headers={"www-authenticate": f'Bearer realm="{realm.url}",service="s"'}))
    assert (await get(upstream))[0] == 401
    assert len(realm.asked) == 3


async def test_the_token_may_have_its_other_name(registry, make):
    realm = Realm.at(registry, registry)
    realm.key = "access_token"
    assert (await get(make()))[0] == 200


async def test_credentials_go_to_the_realm_and_only_tokens_to_the_registry(registry, make):
    realm = Realm.at(registry, registry, basic=BASIC)
    assert (await get(make(credentials=True)))[0] == 200
    assert realm.asked[0].headers["authorization"] == BASIC
    assert all(SECRET not in str(one.headers) for one in registry.requests if one.path != "/token")
    assert BASIC not in {one.headers.get("authorization") for one in registry.requests if one.path != "/token"}


async def test_wrong_credentials_are_said_to_be_wrong_and_not_tried_again_and_again(registry, make, clock):
    realm = Realm.at(registry, registry, basic="Basic other")
    upstream = make(credentials=True)
    for _ in range(5):
        error = await failure(upstream)
        assert error.kind == "status-401"
        assert "username and password" in str(error)
    assert len(realm.asked) == 1, "many wrong tries lock accounts"
    clock.advance(30)
    realm.basic = BASIC
    assert (await get(upstream))[0] == 200


async def test_a_realm_of_another_domain_gets_no_credentials(registry, desk, make, clock, monkeypatch):
    monkeypatch.delenv("http_proxy", raising=False)
    realm = Realm.at(registry, desk)
    realm.url = realm.url.replace("127.0.0.1", "auth.evil.example")
    resolver = FakeResolver({"auth.evil.example": ["127.0.0.1"], "reg.corp.example": ["127.0.0.1"]})
    base_url = registry.url.replace("127.0.0.1", "reg.corp.example")
    origin = realm.url.removesuffix("/token")
    trusting = {"resolver": resolver, "base_url": base_url, "trusted_origins": (origin,)}
    error = await failure(make(credentials=True, **trusting))
    assert error.kind == "blocked"
    assert "another domain" in str(error)
    assert desk.requests == []
    assert (await get(make(**trusting)))[0] == 200, "an anonymous token tells nothing"
    assert "authorization" not in desk.requests[0].headers


async def test_a_realm_of_the_same_domain_gets_them(registry, desk, make):
    realm = Realm.at(registry, desk, basic=BASIC)
    realm.url = realm.url.replace("127.0.0.1", "auth.corp.example")
    resolver = FakeResolver({"auth.corp.example": ["127.0.0.1"], "reg.corp.example": ["127.0.0.1"]})
    base_url = registry.url.replace("127.0.0.1", "reg.corp.example")
    origin = realm.url.removesuffix("/token")
    trusting = {"resolver": resolver, "base_url": base_url, "trusted_origins": (origin,)}
    assert (await get(make(credentials=True, **trusting)))[0] == 200


async def test_a_realm_at_a_private_address_is_not_asked_unless_it_is_trusted(registry, desk, make):
    Realm.at(registry, desk)
    error = await failure(make())
    assert error.kind == "blocked"
    assert desk.requests == []
    assert (await get(make(trusted_origins=(desk.url,))))[0] == 200


@pytest.mark.parametrize("realm", ["ftp://auth.example/", "http://user@auth.example/", "//auth"])
async def test_a_realm_that_is_no_place_to_ask(registry, make, realm):
    registry.always(ANY, status(401, headers={"www-authenticate": f'Bearer realm="{realm}"'}))
    assert (await failure(make())).kind == "blocked"


async def test_a_registry_over_https_names_no_realm_in_the_clear(make):
    upstream = make(base_url="https://reg.corp.example")
    from millpond.adapters.registry_auth import Demand

    with pytest.raises(UpstreamUnreachable, match="not https"):
        upstream._checked(Demand("http://auth.corp.example/token"))
    assert upstream._checked(Demand("https://auth.corp.example/token?a=b", "s", "x y")).url.endswith(
        "?a=b&service=s&scope=x&scope=y"
    )


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[]", b"null", b'{"token": 1}', b'{"token": ""}', b'{"token": "a b"}', b'{"token": "a\\r\\nb"}',
     b'{"token": "x", "expires_in": "soon"}', json.dumps({"token": "x" * 20_000}).encode(), b" " * 100_000],
)  # fmt: skip
async def test_what_is_no_token(registry, make, body):
    Realm.at(registry, registry)
    registry.always("/token", Fixed(Answer(200, {}, body)))
    assert (await failure(make())).kind == "unsound"


@pytest.mark.parametrize(("code", "wish"), [(429, 7.0), (500, 7.0), (302, 7.0)])
async def test_a_realm_that_fails(registry, make, code, wish):
    Realm.at(registry, registry)
    registry.always("/token", status(code, retry_after="7", headers={"location": "/elsewhere"}))
    error = await failure(make())
    assert (error.kind, error.retry_after_s) == (f"status-{code}", wish)
    assert registry.count("/elsewhere") == 0


async def test_a_basic_challenge_is_met_with_the_credentials(registry, make):
    registry.always(ANY, NeedsBasic("robot", SECRET))
    upstream = make(credentials=True)
    assert (await get(upstream))[0] == 200
    assert (await get(upstream))[0] == 200
    assert len(registry.requests) == 3
    assert (await get(make()))[0] == 401
    registry.always(ANY, NeedsBasic("robot", "other"))
    asked = len(registry.requests)
    assert (await get(make(credentials=True)))[0] == 401
    assert len(registry.requests) == asked + 2


async def test_a_redirected_blob_is_asked_without_the_token(registry, desk, make):
    realm = Realm.at(registry, registry)
    digest = ONE.layers[0]
    place = f"/v2/a/b/blobs/{digest}"
    desk.put("/signed", ONE.blobs[digest])
    upstream = make(trusted_origins=(desk.url,))
    await get(upstream)
    registry.always(place, redirect(f"{desk.url}/signed?sig=canary"))
    assert await get(upstream, place) == (200, ONE.blobs[digest])
    assert "authorization" not in desk.requests[0].headers
    assert len(realm.asked) == 1


async def test_a_challenge_from_elsewhere_is_not_answered(registry, desk, make):
    desk.always(ANY, status(401, headers={"www-authenticate": f'Bearer realm="{desk.url}/token"'}))
    registry.always(PLACE, redirect(f"{desk.url}/x"))
    assert (await get(make(credentials=True, trusted_origins=(desk.url,))))[0] == 401
    assert [one.path for one in desk.requests] == ["/x"]


async def test_no_secret_is_in_a_text(registry, make, caplog):
    caplog.set_level(logging.DEBUG)
    Realm.at(registry, registry, basic=BASIC)
    upstream = make(credentials=True)
    await get(upstream)
    registry.always(ANY, status(500))
    await get(upstream)
    texts = [repr(upstream), str(upstream.status()), repr(upstream._credentials), repr(upstream._tokens), caplog.text]
    assert not [text for text in texts if SECRET in text or "canary" in text]


# The quota.


def rationed(limit: str, remaining: str) -> dict[str, str]:
    return {"ratelimit-limit": limit, "ratelimit-remaining": remaining}


@pytest.mark.parametrize(
    ("limit", "remaining", "short"),
    [
        ("100;w=21600", "100;w=21600", False),
        ("100;w=21600", "10;w=21600", False),
        ("100;w=21600", "9;w=21600", True),
        ("20;w=3600", "5;w=3600", False),
        ("20;w=3600", "4;w=3600", True),
        ("200", "0", True),
        ("x", "0", False),
        ("-1", "0", False),
        ("", "0", False),
    ],
)
async def test_little_left_of_a_quota(registry, make, limit, remaining, short):
    registry.put(PLACE, b"{}", headers=rationed(limit, remaining))
    upstream = make()
    assert upstream.short() == ""
    await get(upstream, method="HEAD")
    assert bool(upstream.short()) is short
    assert ("quota_remaining" in upstream.status()) is limit[:1].isdigit()


async def test_what_was_told_of_a_quota_is_forgotten_with_its_window(registry, make, clock):
    registry.put(PLACE, b"{}", headers=rationed("100;w=3600", "1;w=3600"))
    upstream = make()
    await get(upstream)
    assert upstream.short() == "only 1 of 100 pulls are left in 1 h"
    clock.advance(3600)
    assert upstream.short() == ""
