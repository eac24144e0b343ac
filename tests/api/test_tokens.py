"""``/api/v1/token``: credentials for pull tokens, and what those are good for."""

from __future__ import annotations

import base64

import pytest
from tests.images import image

from millpond.access.pulls import LIFETIME_S
from millpond.api.oci import MIRRORED
from millpond.testing.asgi import AsgiClient

CONFIG = """
[access]
anonymous = "none"
[repositories.reg]
package = "docker"
base_url = "URL"
mirror_of = "docker.io"
[repositories.other]
package = "docker"
base_url = "URL"
[repositories.files]
package = "generic"
base_url = "URL"
"""
ONE = image("one")
TAG = "/v2/reg/library/demo/manifests/latest"
SCOPE = "repository:reg/library/demo:pull"


@pytest.fixture
async def pond(open_pond, origin):
    ONE.offer(origin, "library/demo")
    return await open_pond(CONFIG.replace("URL", origin.url))


@pytest.fixture
async def secret(pond) -> str:
    return (await pond.app.tokens.create("builder", ["read:reg"]))[1]


def basic(secret: str, user: str = "anybody") -> dict[str, str]:
    return {"authorization": "Basic " + base64.b64encode(f"{user}:{secret}".encode()).decode()}


async def token(pond, *scopes: str, client: AsgiClient | None = None, **headers: str) -> dict[str, str]:
    query = "&".join(["service=millpond", *(f"scope={scope}" for scope in scopes)])
    answered = await (client or pond.client).get(f"/api/v1/token?{query}", **headers)
    assert answered.status == 200
    assert answered.headers["cache-control"] == "no-store"
    told = answered.json()
    assert told["token"] == told["access_token"]
    assert told["expires_in"] == LIFETIME_S
    return {"authorization": f"Bearer {told['token']}"}


async def test_credentials_are_changed_for_a_token_that_pulls(pond, secret):
    shown = await token(pond, SCOPE, **basic(secret))
    assert (await pond.get(TAG, **shown)).body == ONE.index
    assert (await pond.get("/v2/", **shown)).status == 200
    assert secret not in shown["authorization"]


async def test_login_asks_for_no_scope_and_gets_nothing_but_an_answer(pond, secret):
    shown = await token(pond, **basic(secret))
    assert (await pond.get("/v2/", **shown)).status == 200
    answered = await pond.get(TAG, **shown)
    assert answered.status == 401
    assert 'error="insufficient_scope"' in answered.headers["www-authenticate"]


@pytest.mark.parametrize("headers", [basic("wrong"), basic(""), {"authorization": "Bearer mpull_x.y"}])
async def test_a_wrong_password_is_refused_at_login(pond, headers):
    answered = await pond.get("/api/v1/token?service=millpond", **headers)
    assert answered.status == 401
    assert answered.json()["errors"][0]["code"] == "UNAUTHORIZED"


async def test_everybody_gets_a_token_with_the_rights_that_everybody_has(open_pond, origin):
    ONE.offer(origin, "library/demo")
    closed = await open_pond(CONFIG.replace("URL", origin.url), folder="closed")
    assert (await closed.get(TAG, **await token(closed, SCOPE))).status == 401
    opened = await open_pond(CONFIG.replace("URL", origin.url).replace("none", "read"), folder="opened")
    assert (await opened.get(TAG, **await token(opened, SCOPE))).status == 200


async def test_a_token_has_only_what_was_asked_for(pond):
    shown = await token(pond, SCOPE, **pond.admin)
    assert (await pond.get(TAG, **shown)).status == 200
    assert (await pond.get("/v2/other/library/demo/manifests/latest", **shown)).status == 401
    assert (await pond.get("/files/a", **shown)).status == 401
    assert (await pond.client.put("/cache/flush", **shown)).status == 401


@pytest.mark.parametrize(
    "scope",
    [
        "repository:other/library/demo:pull",
        "repository:files/x:pull",
        "registry:catalog:*",
        "x",
        "",
        "repository:reg/a:push",
    ],
)
async def test_other_scopes_give_nothing(pond, secret, scope):
    shown = await token(pond, scope, **basic(secret))
    assert (await pond.get(TAG, **shown)).status == 401


async def test_several_scopes_in_one_or_more_parameters(pond):
    for scopes in ((SCOPE, "repository:other/a:pull"), (f"{SCOPE}%20repository:other/a:pull,push",)):
        shown = await token(pond, *scopes, **pond.admin)
        for name in ("reg", "other"):
            assert (await pond.get(f"/v2/{name}/library/demo/manifests/latest", **shown)).status == 200


async def test_it_ends_with_its_time_and_with_the_token_behind_it(pond, secret, clock):
    shown = await token(pond, SCOPE, **basic(secret))
    assert (await pond.get(TAG, **shown)).status == 200
    clock.advance(LIFETIME_S)
    assert (await pond.get(TAG, **shown)).status == 401
    shown = await token(pond, SCOPE, **basic(secret))
    assert (await pond.get(TAG, **shown)).status == 200
    await pond.app.tokens.revoke("builder")
    assert (await pond.get(TAG, **shown)).status == 401


async def test_the_fast_lane_judges_it_likewise(pond, secret):
    doorkeeper = pond.client.application.doorkeeper
    shown = (await token(pond, SCOPE, **basic(secret)))["authorization"]
    await pond.get(TAG, authorization=shown)
    assert doorkeeper.token_for(shown, "reg") == "builder"
    assert doorkeeper.token_for(shown, "other") is None
    assert doorkeeper.token_for(shown + "x", "reg") is None
    await pond.app.tokens.revoke("builder")
    assert doorkeeper.token_for(shown, "reg") is None


async def test_on_the_listener_for_mirrors_names_are_those_of_its_repository(pond, secret):
    async def application(scope, receive, send):
        await pond.client.application({**scope, MIRRORED: True}, receive, send)

    client = AsgiClient(application)
    shown = await token(pond, "repository:library/demo:pull", client=client, **basic(secret))
    assert (await client.get("/v2/library/demo/manifests/latest", **shown)).status == 200
    elsewhere = await token(pond, "repository:library/demo:pull", **basic(secret))
    assert (await pond.get(TAG, **elsewhere)).status == 401


async def test_oauth2(pond, secret):
    form = f"grant_type=password&service=millpond&client_id=x&username=u&password={secret}&scope={SCOPE}"
    answered = await pond.client.ask("POST", "/api/v1/token", {}, form.encode())
    assert answered.status == 200
    shown = {"authorization": f"Bearer {answered.json()['access_token']}"}
    assert (await pond.get(TAG, **shown)).status == 200
    again = f"grant_type=refresh_token&refresh_token={secret}&scope={SCOPE}"
    assert (await pond.client.ask("POST", "/api/v1/token", {}, again.encode())).status == 200


@pytest.mark.parametrize(
    ("form", "status"),
    [
        (b"grant_type=password&password=wrong", 401),
        (b"grant_type=password", 400),
        (b"grant_type=other&password=x", 400),
        (b"", 400),
        (b"\xff\xfe", 400),
        (b"&".join(b"a%d=1" % n for n in range(200)), 400),
        (b"a" * 100_000, 413),
    ],
)
async def test_a_bad_form(pond, form, status):
    assert (await pond.client.ask("POST", "/api/v1/token", {}, form)).status == status
