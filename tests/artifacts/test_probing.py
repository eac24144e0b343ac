"""Tags are asked by HEAD whether they have moved, before anything is fetched."""

from __future__ import annotations

import json

import pytest
from tests.images import MANIFEST, digest_of, image, offer_manifest

from millpond.testing.behaviours import Fixed, portal, status, truncate
from millpond.testing.resources import Request, respond

CONFIG = """
[repositories.reg]
package = "docker"
base_url = "URL"
mutable_ttl_s = 60
"""
OLD, NEW = image("old"), image("new")
PATH, PLACE = "/v2/reg/demo/manifests/latest", "/v2/demo/manifests/latest"


@pytest.fixture
async def pond(open_pond, origin):
    OLD.offer(origin, "demo")
    pond = await open_pond(CONFIG.replace("URL", origin.url))
    assert (await pond.get(PATH)).body == OLD.index
    return pond


def asked(origin) -> list[tuple[str, str]]:
    return [(one.method, one.path) for one in origin.requests[1:]]


async def test_unchanged_is_fresh_again_without_a_get(pond, origin, clock):
    clock.advance(61)
    answered = await pond.get(PATH)
    assert (answered.body, answered.headers["age"]) == (OLD.index, "0")
    assert answered.headers["cache-status"] == "millpond; fwd=stale; fwd-status=200; ttl=60"
    assert answered.headers["x-artifact-source"] == "cache"
    assert asked(origin) == [("HEAD", PLACE)]
    assert (await pond.get(PATH)).headers["cache-status"] == "millpond; hit; ttl=60"


async def test_moved_is_fetched(pond, origin, clock):
    clock.advance(61)
    NEW.offer(origin, "demo")
    answered = await pond.get(PATH)
    assert (answered.body, answered.headers["docker-content-digest"]) == (NEW.index, NEW.digest)
    assert answered.headers["x-artifact-source"] == "remote"
    assert asked(origin) == [("HEAD", PLACE), ("GET", PLACE)]


@pytest.mark.parametrize("how", [truncate(20), status(500), status(429), portal(), truncate(0)])
async def test_moved_and_not_to_be_had_the_good_copy_stays(pond, origin, clock, how):
    clock.advance(61)
    NEW.offer(origin, "demo")
    head = respond(origin._resources[PLACE], Request("HEAD", PLACE, {}, 0.0, 0))
    origin.always(PLACE, how)
    origin.script(PLACE, Fixed(head))
    answered = await pond.get(PATH)
    assert (answered.status, answered.body) == (200, OLD.index)
    assert "fwd=stale" in answered.headers["cache-status"]
    assert (await pond.get(PATH)).body == OLD.index
    assert len(asked(origin)) == 2, "left alone for its time"
    origin.always(PLACE, None)
    clock.advance(4000)
    assert (await pond.get(PATH)).body == NEW.index


@pytest.mark.parametrize("code", [401, 403, 429, 500, 503])
async def test_a_head_that_fails_leaves_the_good_copy(pond, origin, clock, code):
    clock.advance(61)
    origin.always(PLACE, status(code))
    answered = await pond.get(PATH)
    assert (answered.status, answered.body) == (200, OLD.index)
    assert f"answered {code}" in answered.headers["cache-status"]
    assert asked(origin) == [("HEAD", PLACE)]


async def test_a_tag_that_is_gone_is_gone(pond, origin, clock):
    clock.advance(61)
    origin.remove(PLACE)
    assert (await pond.get(PATH)).status == 404
    assert asked(origin) == [("HEAD", PLACE)]


@pytest.mark.parametrize("code", [405, 501])
async def test_a_registry_without_head_is_asked_by_get(pond, origin, clock, code):
    clock.advance(61)
    NEW.offer(origin, "demo")
    origin.script(PLACE, status(code))
    assert (await pond.get(PATH)).body == NEW.index
    assert asked(origin) == [("HEAD", PLACE), ("GET", PLACE)]


async def test_a_registry_that_tells_no_digest_is_asked_by_get(pond, origin, clock):
    clock.advance(61)
    offer_manifest(origin, "demo", "latest", NEW.index, promised="")
    assert (await pond.get(PATH)).body == NEW.index
    assert [method for method, _ in asked(origin)] == ["HEAD", "GET"]


async def test_a_digest_of_another_kind_is_checked_as_that(pond, origin, clock):
    from hashlib import sha512

    clock.advance(61)
    body = json.dumps({"mediaType": MANIFEST, "layers": []}).encode()
    told = "sha512:" + sha512(body).hexdigest()
    offer_manifest(origin, "demo", "latest", body, promised=told)
    offer_manifest(origin, "demo", told, body, promised=told)
    answered = await pond.get(PATH)
    assert (answered.body, answered.headers["docker-content-digest"]) == (body, digest_of(body))


async def test_it_goes_on_while_the_registry_is_down_and_says_how_old_it_is(pond, origin, clock):
    await origin.cut()
    clock.advance(1000)
    answered = await pond.get(PATH)
    assert (answered.body, answered.headers["age"]) == (OLD.index, "1000")
    assert (await pond.get(f"/v2/reg/demo/manifests/{OLD.digest}")).status == 200
    other_form = await pond.get(PATH, accept="application/vnd.oci.image.index.v1+json")
    assert other_form.body == OLD.index, "another form that the client reads stands in"
    assert (await pond.get(PATH, accept=MANIFEST)).status == 502


async def test_with_little_of_a_quota_left_a_tag_that_moved_is_not_fetched(pond, origin, clock):
    clock.advance(61)
    NEW.offer(origin, "demo")
    headers = {**origin._resources[PLACE].headers, "ratelimit-limit": "100;w=3600", "ratelimit-remaining": "3;w=3600"}
    origin.put(PLACE, NEW.index, headers=headers)
    answered = await pond.get(PATH)
    assert answered.body == OLD.index
    assert 'detail="it has changed; only 3 of 100 pulls are left in 1 h"' in answered.headers["cache-status"]
    assert asked(origin) == [("HEAD", PLACE)]
    shown = (await pond.get("/api/v1/repositories/reg")).json()["upstream"]
    assert (shown["quota_remaining"], shown["quota_limit"]) == (3, 100)
    clock.advance(3600)
    origin.put(PLACE, NEW.index, headers={**headers, "ratelimit-remaining": "100;w=3600"})
    assert (await pond.get(PATH)).body == NEW.index


async def test_with_nothing_stored_the_last_pulls_are_spent(pond, origin):
    NEW.offer(origin, "other")
    place = "/v2/other/manifests/latest"
    headers = {**origin._resources[place].headers, "ratelimit-limit": "100;w=3600", "ratelimit-remaining": "1;w=3600"}
    origin.put(place, NEW.index, headers=headers)
    assert (await pond.get("/v2/reg/other/manifests/latest")).status == 200
