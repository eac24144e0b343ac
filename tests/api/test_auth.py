"""Tokens over HTTP: scopes, expiry, revocation, and credentials that are wrong."""

from __future__ import annotations

import base64

import pytest

from millpond.api.auth import read_secret

CONFIG = """
[access]
anonymous = "MODE"
[repositories.one]
package = "generic"
type = "local"
[repositories.two]
package = "generic"
type = "local"
"""
ONE, TWO = "/api/v1/remote/one/a", "/api/v1/remote/two/a"


@pytest.fixture
async def pond(open_pond):
    """Reading is open."""
    return await filled(await open_pond(CONFIG.replace("MODE", "read")))


@pytest.fixture
async def closed(open_pond):
    """Reading takes a token."""
    return await filled(await open_pond(CONFIG.replace("MODE", "none")))


async def filled(pond):
    for url in (ONE, TWO):
        assert (await pond.client.put(url, b"x", **pond.admin)).status == 201
    return pond


async def token(pond, *scopes: str, **more) -> dict[str, str]:
    secret = (await pond.app.tokens.create("t", list(scopes), **more))[1]
    return {"authorization": f"Bearer {secret}"}


@pytest.mark.parametrize(
    "path", ["/one/a", ONE, "/", "/health", "/metrics", "/config", "/api/v1/repositories", "/one/nope"]
)
async def test_without_open_reading_everything_takes_a_token(closed, path):
    got = await closed.get(path)
    assert got.status == 401
    assert got.headers["www-authenticate"] == 'Basic realm="millpond", charset="UTF-8"'
    assert got.headers["content-type"] == "application/problem+json"
    assert "token" in got.json()["detail"]
    assert (await closed.get(path, **await token(closed, "read:*"))).status in {200, 404}


async def test_a_scope_is_for_its_own_repository(closed):
    reader = await token(closed, "read:one")
    assert (await closed.get("/one/a", **reader)).status == 200
    got = await closed.get("/two/a", **reader)
    assert got.status == 403
    assert "read:two" in got.json()["detail"]
    assert (await closed.get("/config", **reader)).status == 403, "lists are for who may read everything"


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/metrics?format=json"])
@pytest.mark.parametrize("scope", ["read:one", "write:two", "read:gone", "admin"])
async def test_who_may_read_anything_may_watch_the_pond(closed, path, scope):
    got = await closed.get(path, **await token(closed, scope))
    assert got.status == 200
    assert got.body


async def test_that_the_bytes_are_shared_is_no_permission(closed):
    """The same blob is in both repositories; rights belong to the repository."""
    one, two = await closed.get("/one/a", **closed.admin), await closed.get("/two/a", **closed.admin)
    assert one.headers["etag"] == two.headers["etag"]
    reader = await token(closed, "read:one")
    assert (await closed.get("/two/a", if_none_match=one.headers["etag"], **reader)).status == 403


@pytest.mark.parametrize(
    ("scope", "read", "write"),
    [
        ("read:one", 200, 403),
        ("write:one", 200, 201),
        ("write:*", 200, 201),
        ("admin", 200, 201),
        ("write:two", 403, 403),
    ],
)
async def test_writing_implies_reading_and_admin_everything(closed, scope, read, write):
    who = await token(closed, scope)
    assert (await closed.get("/one/a", **who)).status == read
    assert (await closed.client.put("/api/v1/remote/one/new", b"y", **who)).status == write
    assert (await closed.client.delete(ONE, **who)).status == {201: 204}.get(write, write)


@pytest.mark.parametrize("path", ["/one/a", ONE, "/health", "/", "/v2/", "/metrics"])
@pytest.mark.parametrize(
    "value",
    ["Bearer wrong", "Bearer mp_" + "x" * 43, "Bearer ", "Basic !!!", "Basic " + base64.b64encode(b"u:wrong").decode(),
     "Digest x", "nonsense", "Bearer " + "x" * 5000, "Bearer \xff"],
)  # fmt: skip
async def test_a_wrong_credential_is_refused_even_where_none_is_needed(pond, path, value):
    got = await pond.client.ask("GET", path, {"authorization": value})
    assert (got.status, "www-authenticate" in got.headers) == (401, True)


async def test_basic_takes_the_token_as_password_with_any_user_name(closed):
    secret = closed.admin["authorization"].removeprefix("Bearer ")
    for user in ("", "__token__", "me@x", "a:b"):
        value = base64.b64encode(f"{user.replace(':', '')}:{secret}".encode()).decode()
        assert (await closed.get("/one/a", authorization=f"Basic {value}")).status == 200
    assert (await closed.get("/one/a", authorization=f"bearer {secret}")).status == 200


async def test_a_token_ends_at_its_time(closed):
    who = await token(closed, "read:*", expires_at=closed.clock.now() + 60)
    closed.clock.advance(59)
    assert (await closed.get("/one/a", **who)).status == 200
    closed.clock.advance(1)
    assert (await closed.get("/one/a", **who)).status == 401


async def test_a_revoked_token_ends_at_once_in_every_worker(open_pond):
    config = CONFIG.replace("MODE", "none")
    one, two = await filled(await open_pond(config)), await open_pond(config)
    who = await token(one, "read:*")
    assert (await one.get("/one/a", **who)).status == (await two.get("/one/a", **who)).status == 200
    await two.app.tokens.revoke("t")
    assert (await one.get("/one/a", **who)).status == (await two.get("/one/a", **who)).status == 401


async def test_an_error_never_quotes_the_credential(closed):
    got = await closed.get("/one/a", authorization="Bearer mp_canary-secret")
    assert b"canary" not in got.body
    assert "canary" not in str(got.headers)


@pytest.mark.parametrize(
    ("value", "secret"),
    [
        ("Bearer abc", "abc"),
        ("BEARER  abc ", "abc"),
        ("Basic " + base64.b64encode(b"u:p:q").decode(), "p:q"),
        ("Basic " + base64.b64encode(b"no colon").decode(), ""),
        ("Basic " + base64.b64encode(b"\xff\xfe").decode(), ""),
        ("Basic", ""),
        ("", ""),
    ],
)
def test_secrets_are_read_out_of_the_header(value, secret):
    assert read_secret(value) == secret
