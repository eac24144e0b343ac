"""``/v2/``: what a registry's client asks, and the protocol's own words for every answer."""

from __future__ import annotations

import json

import pytest
from tests import images
from tests.conftest import Inside
from tests.images import INDEX, MANIFEST, V2, digest_of, image, offer_blob, offer_manifest

from millpond.api.oci import MIRRORED, Registries
from millpond.errors import NotFound
from millpond.testing.asgi import AsgiClient
from millpond.testing.behaviours import Chunked, Fixed, portal, status
from millpond.testing.resources import Answer

CONFIG = """
[access]
anonymous = "MODE"
[repositories.reg]
package = "docker"
base_url = "URL"
mutable_ttl_s = 60
mirror_of = "docker.io"
MORE
[repositories.other]
package = "docker"
base_url = "http://other.example:5000"
[repositories.files]
package = "generic"
base_url = "URL"
"""
ONE = image("one")
TAG = "/v2/reg/library/demo/manifests/latest"
AT = "/v2/library/demo"


def config(origin, mode: str = "read", more: str = "") -> str:
    return CONFIG.replace("URL", origin.url).replace("MODE", mode).replace("MORE", more)


@pytest.fixture
async def pond(open_pond, origin):
    ONE.offer(origin, "library/demo")
    return await open_pond(config(origin))


@pytest.fixture
async def closed(open_pond, origin):
    ONE.offer(origin, "library/demo")
    return await open_pond(config(origin, "none"))


def error_of(answered) -> str:
    assert answered.headers["content-type"] == "application/json"
    assert answered.headers["docker-distribution-api-version"] == "registry/2.0"
    (one,) = answered.json()["errors"]
    assert one["message"]
    return one["code"]


async def test_the_root_says_that_it_is_a_registry(pond):
    for answered in (await pond.get("/v2/"), await pond.get("/v2")):
        assert (answered.status, answered.body) == (200, b"{}")
        assert answered.headers["docker-distribution-api-version"] == "registry/2.0"
    head = await pond.client.head("/v2/")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", "2")


@pytest.mark.parametrize("first", ["GET", "HEAD"])
async def test_a_tag_has_its_true_length_and_digest_cold_and_warm(pond, origin, first):
    for method in (first, "HEAD", "GET"):
        answered = await pond.client.ask(method, TAG)
        assert answered.status == 200
        assert answered.headers["content-length"] == str(len(ONE.index))
        assert answered.headers["docker-content-digest"] == ONE.digest
        assert answered.headers["content-type"] == INDEX
        assert answered.headers["docker-distribution-api-version"] == "registry/2.0"
        assert answered.headers["vary"] == "accept"
        assert answered.body == (b"" if method == "HEAD" else ONE.index)
    assert origin.count(f"{AT}/manifests/latest") == 1


async def test_a_head_tells_the_length_even_where_the_upstream_does_not(pond, origin):
    blob = b"\x1f\x8b" + bytes(200_000)
    offer_blob(origin, "library/demo", blob)
    origin.script(f"{AT}/blobs/{digest_of(blob)}", Chunked(7000))
    answered = await pond.client.head(f"/v2/reg/library/demo/blobs/{digest_of(blob)}")
    assert answered.headers["content-length"] == str(len(blob))
    assert answered.headers["docker-content-digest"] == digest_of(blob)


async def test_a_blob_is_bytes_whatever_the_upstream_calls_it(pond, origin):
    (digest, *_) = ONE.layers
    path = f"/v2/reg/library/demo/blobs/{digest}"
    origin.put(f"{AT}/blobs/{digest}", ONE.blobs[digest], headers={"content-type": "text/html"})
    for source in ("remote", "cache"):
        answered = await pond.get(path)
        assert (answered.body, answered.headers["x-artifact-source"]) == (ONE.blobs[digest], source)
        assert answered.headers["content-type"] == "application/octet-stream"
        assert answered.headers["docker-content-digest"] == digest
        await pond.landed()
    part = await pond.get(path, range="bytes=10-19")
    assert (part.status, part.body) == (206, ONE.blobs[digest][10:20])


async def test_what_a_tag_brought_is_not_fetched_again_by_digest(pond, origin):
    await pond.get(TAG)
    answered = await pond.get(f"/v2/reg/library/demo/manifests/{ONE.digest}")
    assert answered.body == ONE.index
    assert answered.headers["content-type"] == INDEX
    assert "vary" not in answered.headers
    assert origin.count(f"{AT}/manifests/{ONE.digest}") == 0


async def test_a_layer_that_images_share_is_fetched_once_for_a_repository_and_never_shared_beyond(pond, origin):
    (digest, *_) = ONE.layers
    await pond.get(f"/v2/reg/library/demo/blobs/{digest}")
    await pond.landed()
    shared = await pond.get(f"/v2/reg/own/thing/blobs/{digest}")
    assert shared.body == ONE.blobs[digest]
    assert origin.count(f"/v2/own/thing/blobs/{digest}") == 0
    elsewhere = await pond.get(f"/v2/other/own/thing/blobs/{digest}")
    assert elsewhere.status == 502, "that it is stored for another repository is no permission"


async def test_what_was_stored_as_a_blob_is_no_manifest_and_has_no_type_to_tell(pond, origin):
    (layer, *_) = ONE.layers
    await pond.get(f"/v2/reg/library/demo/blobs/{layer}")
    origin.put(f"{AT}/blobs/{ONE.digest}", ONE.index)
    first = await pond.get(f"/v2/reg/library/demo/blobs/{ONE.digest}")
    assert first.headers["content-type"] == "application/octet-stream"
    await pond.landed()
    assert (await pond.get(f"/v2/reg/library/demo/manifests/{layer}")).status == 404
    answered = await pond.get(f"/v2/reg/library/demo/manifests/{ONE.digest}")
    assert (answered.body, answered.headers["content-type"]) == (ONE.index, INDEX)


async def test_the_manifests_own_media_type_is_told(pond, origin):
    own = json.dumps({"schemaVersion": 2, "mediaType": V2, "config": {}, "layers": []}).encode()
    offer_manifest(origin, "library/demo", "own", own, kind="application/json")
    assert (await pond.get("/v2/reg/library/demo/manifests/own")).headers["content-type"] == V2
    large = json.dumps({"pad": "x" * 200_000, "mediaType": MANIFEST}).encode()
    offer_manifest(origin, "library/demo", "large", large, kind="text/plain")
    answered = await pond.get("/v2/reg/library/demo/manifests/large")
    assert (answered.headers["content-type"], answered.body) == (MANIFEST, large)


async def test_forms_are_kept_apart_by_what_is_accepted(pond, origin):
    await pond.get(TAG, accept=V2)
    await pond.get(TAG, accept=f"{V2}, {INDEX}")
    asked = [one.headers["accept"] for one in origin.requests]
    assert asked[0] == V2
    assert set(asked[1].split(", ")) == {V2, INDEX}
    assert len(asked) == 2


async def test_engines_send_one_accept_line_for_each_type(pond, origin):
    scope = pond.client._scope("GET", TAG, {}, b"")
    scope["headers"] += [(b"accept", V2.encode()), (b"accept", INDEX.encode())]
    sent = []

    async def send(message):
        sent.append(message)

    await pond.client.application(scope, None, send)
    assert sent[0]["status"] == 200
    assert set(origin.requests[0].headers["accept"].split(", ")) == {V2, INDEX}


# Nothing that does not match its digest is stored, or ends well.


async def test_a_manifest_must_match_the_promised_digest(pond, origin):
    offer_manifest(origin, "library/demo", "latest", ONE.index, promised="sha256:" + "0" * 64)
    answered = await pond.get(TAG)
    assert (answered.status, error_of(answered)) == (502, "UNAVAILABLE")
    assert "mismatch" in answered.headers["cache-status"]
    assert await pond.app.catalog.entries("reg") == []


@pytest.mark.parametrize("kind", ["manifests", "blobs"])
async def test_what_is_asked_by_digest_must_have_it(pond, origin, kind):
    wanted, wrong = "sha256:" + "1" * 64, b'{"mediaType": "x"}' + b" " * 200_000
    origin.put(f"{AT}/{kind}/{wanted}", wrong, headers={"content-type": MANIFEST})
    answered = await pond.get(f"/v2/reg/library/demo/{kind}/{wanted}")
    assert not answered.complete or answered.status == 502
    await pond.landed()
    assert await pond.app.catalog.entries("reg") == []


@pytest.mark.parametrize("body", [b"[1]", b"{", b'{"schemaVersion": 1}', b"\x1f\x8b", b'{"pad": "' + b"x" * (4 << 20)])
async def test_what_is_no_manifest_is_refused(pond, origin, body):
    origin.put(f"{AT}/manifests/latest", body, headers={"content-type": MANIFEST})
    answered = await pond.get(TAG)
    assert (answered.status, error_of(answered)) == (502, "UNAVAILABLE")
    assert await pond.app.catalog.entries("reg") == []


async def test_a_portals_page_is_no_manifest(pond, origin):
    origin.always(f"{AT}/manifests/latest", portal())
    assert (await pond.get(TAG)).status == 502


# Lists.


async def test_tags_come_in_pages_whose_links_lead_back_here(pond, origin):
    body = b'{"name": "library/demo", "tags": ["a", "b"]}'
    link = f'<{origin.url}{AT}/tags/list?last=b&n=2>; rel="next"'
    origin.put(f"{AT}/tags/list", body, headers={"content-type": "text/plain", "link": link})
    for _ in range(2):
        answered = await pond.get("/v2/reg/library/demo/tags/list?n=2")
        assert answered.body == body
        assert answered.headers["content-type"] == "application/json"
        assert answered.headers["link"] == '</v2/reg/library/demo/tags/list?last=b&n=2>; rel="next"'
        assert "docker-content-digest" not in answered.headers
    assert [one.query for one in origin.requests] == ["n=2"]
    await pond.get("/v2/reg/library/demo/tags/list?n=100000")
    assert origin.requests[-1].query == "n=1000"
    assert error_of(await pond.get("/v2/reg/library/demo/tags/list?n=x")) == "NAME_UNKNOWN"


async def test_an_upstream_without_referrers_has_none(pond, origin):
    path = f"/v2/reg/library/demo/referrers/{ONE.digest}"
    for _ in range(2):
        answered = await pond.get(path)
        assert answered.status == 200
        assert answered.headers["content-type"] == INDEX
        assert answered.json()["manifests"] == []
    assert origin.count(f"{AT}/referrers/{ONE.digest}") == 1
    listed = b'{"schemaVersion": 2, "manifests": [{"digest": "x"}]}'
    origin.put(f"{AT}/referrers/{digest_of(b'')}", listed)
    assert (await pond.get(f"/v2/reg/library/demo/referrers/{digest_of(b'')}")).body == listed


async def test_what_an_upstream_has_is_not_listed(pond):
    answered = await pond.get("/v2/_catalog")
    assert (answered.status, error_of(answered)) == (404, "UNSUPPORTED")
    assert (await pond.get("/v2/reg/_catalog")).status == 404


# Errors, in the protocol's words.


@pytest.mark.parametrize(
    ("path", "code", "status_"),
    [
        ("/v2/nope/a/manifests/latest", "NAME_UNKNOWN", 404),
        ("/v2/files/a/manifests/latest", "UNSUPPORTED", 400),
        ("/v2/reg/A/manifests/latest", "NAME_INVALID", 400),
        ("/v2/reg/a/manifests/.x", "MANIFEST_INVALID", 400),
        ("/v2/reg/a/blobs/sha256:1", "DIGEST_INVALID", 400),
        ("/v2/reg/a/blobs/sha512:" + "0" * 128, "UNSUPPORTED", 404),
        ("/v2/reg/a", "UNSUPPORTED", 404),
        ("/v2/reg/a/manifests/unknown", "MANIFEST_UNKNOWN", 404),
        ("/v2/reg/a/blobs/sha256:" + "0" * 64, "BLOB_UNKNOWN", 404),
        ("/v2/reg/a/tags/list", "NAME_UNKNOWN", 404),
        ("/v2/reg/a/../b/manifests/latest", "UNSUPPORTED", 400),
        ("/v2/reg/a%2fb/manifests/latest", "UNSUPPORTED", 400),
    ],
)
async def test_errors(pond, path, code, status_):
    answered = await pond.get(path)
    assert (answered.status, error_of(answered)) == (status_, code)
    head = await pond.client.head(path)
    assert (head.status, head.body) == (status_, b"")


@pytest.mark.parametrize("method", ["PUT", "POST", "PATCH", "DELETE"])
async def test_nothing_is_pushed_to_a_remote_repository(pond, method):
    for path in (TAG, "/v2/reg/a/blobs/uploads/", "/v2/"):
        answered = await pond.client.ask(method, path)
        assert (answered.status, error_of(answered)) == (405, "UNSUPPORTED")
        assert answered.headers["allow"] == "GET, HEAD"


async def test_patterns_bind_tags_too(open_pond, origin):
    ONE.offer(origin, "library/demo")
    ONE.offer(origin, "library/ubuntu")
    pond = await open_pond(config(origin, more='immutable_patterns = ["^library/demo/"]'))
    assert (await pond.get(TAG)).status == 200
    for path in ("manifests/latest", f"manifests/{ONE.digest}", "tags/list", f"referrers/{ONE.digest}"):
        answered = await pond.get(f"/v2/reg/library/ubuntu/{path}")
        assert (answered.status, error_of(answered)) == (403, "DENIED")
    assert origin.count("/v2/library/ubuntu/manifests/latest") == 0


async def test_a_mutable_pattern_makes_nothing_mutable_that_has_a_digest(open_pond, origin, clock):
    ONE.offer(origin, "library/demo")
    more = 'immutable_patterns = ["^none/"]\nmutable_patterns = ["^library/demo/"]'
    pond = await open_pond(config(origin, more=more))
    path = f"/v2/reg/library/demo/manifests/{ONE.digest}"
    assert (await pond.get(path)).status == 200
    clock.advance(100_000)
    assert (await pond.get(path)).status == 200
    assert origin.count(f"{AT}/manifests/{ONE.digest}") == 1


async def test_an_upstreams_failure_is_no_absence(pond, origin):
    origin.always(f"{AT}/manifests/latest", status(503, retry_after="7"))
    answered = await pond.get(TAG)
    assert (answered.status, error_of(answered), answered.headers["retry-after"]) == (502, "UNAVAILABLE", "7")


# Which repository is meant.


async def test_containerd_says_which_registry_it_means(pond, origin):
    assert (await pond.get(f"{AT}/manifests/latest?ns=docker.io")).body == ONE.index
    assert (await pond.get("/v2/demo/manifests/latest?ns=docker.io")).body == ONE.index
    host = origin.url.removeprefix("http://")
    assert (await pond.get(f"{AT}/manifests/latest?ns={host}")).body == ONE.index
    asked = len(origin.requests)
    answered = await pond.get(f"{AT}/manifests/latest?ns=elsewhere.example")
    assert (answered.status, error_of(answered)) == (404, "NAME_UNKNOWN")
    assert "docker.io" in answered.json()["errors"][0]["message"]
    assert len(origin.requests) == asked, "it is never dialled"
    assert all("ns=" not in one.target for one in origin.requests)


def mirrored(pond: Inside) -> AsgiClient:
    async def application(scope, receive, send):
        await pond.client.application({**scope, MIRRORED: True}, receive, send)

    return AsgiClient(application)


async def test_the_listener_for_mirrors_is_bound_to_one_repository(pond, origin):
    client = mirrored(pond)
    assert (await client.get(f"{AT}/manifests/latest")).body == ONE.index
    assert (await client.get("/v2/demo/manifests/latest")).body == ONE.index
    assert (await client.get("/v2/")).status == 200
    assert (await client.get(f"{AT}/manifests/latest?ns=elsewhere.example")).status == 404
    listed = {"link": '</v2/library/demo/tags/list?last=b>; rel="next"'}
    origin.put(f"{AT}/tags/list", b"{}", headers=listed)
    answered = await client.get(f"{AT}/tags/list")
    assert answered.headers["link"] == '</v2/library/demo/tags/list?last=b>; rel="next"'
    named = await client.get("/v2/reg/demo/manifests/latest")
    assert named.status == 404, "here it is an image's name"


def test_the_same_path_on_the_two_listeners_is_two_things():
    found = Registries({"reg": "docker", "library": "docker"}, {"docker.io": "reg"}, "reg")
    assert found.find("library/demo/x", "", mirrored=False) == ("library", "demo/x")
    assert found.find("library/demo/x", "", mirrored=True) == ("reg", "library/demo/x")
    assert found.find("library/demo/x", "docker.io", mirrored=False) == ("reg", "library/demo/x")
    assert found.find("library/demo/x", "other.example", mirrored=False) == ("library", "demo/x")
    with pytest.raises(NotFound):
        found.find("library/demo/x", "other.example", mirrored=True)
    with pytest.raises(NotFound):
        Registries({}, {}).find("a/b", "", mirrored=True)


async def test_hits_of_the_two_listeners_are_kept_apart(pond):
    await pond.get(TAG)
    await pond.get(TAG)
    await mirrored(pond).get(f"{AT}/manifests/latest")
    await mirrored(pond).get(f"{AT}/manifests/latest")
    assert {key[0] for key in pond.app.hits._hits} == {TAG.encode(), b"mirror /v2/library/demo/manifests/latest"}


# Who may.


async def test_where_reading_takes_a_token_the_root_says_where_to_get_one(closed):
    for path in ("/v2/", TAG):
        answered = await closed.get(path)
        assert (answered.status, error_of(answered)) == (401, "UNAUTHORIZED")
        assert 'Bearer realm="http://pond.test/api/v1/token",service="millpond"' in answered.headers["www-authenticate"]
    assert 'scope="repository:reg/library/demo:pull"' in answered.headers["www-authenticate"]


async def test_a_token_of_the_pond_may_be_shown_itself(closed):
    assert (await closed.get(TAG, **closed.admin)).status == 200
    assert (await closed.get("/v2/", **closed.admin)).status == 200
    assert (await closed.get("/v2/", authorization="Bearer wrong")).status == 401
    secret = (await closed.app.tokens.create("t", ["read:other"]))[1]
    answered = await closed.get(TAG, authorization=f"Bearer {secret}")
    assert (answered.status, error_of(answered)) == (403, "DENIED")


async def test_other_packages_do_not_make_clients_show_who_they_are(open_pond):
    pond = await open_pond('[access]\nanonymous = "none"\n[repositories.f]\npackage = "generic"\ntype = "local"\n')
    assert (await pond.get("/v2/")).status == 200


async def test_the_native_mount_serves_the_same_bytes(pond):
    answered = await pond.get("/reg/library/demo/manifests/latest")
    assert answered.body == ONE.index
    attached = await pond.get("/api/v1/remote/reg/library/demo/manifests/latest")
    assert attached.body == ONE.index
    assert "attachment" in attached.headers["content-disposition"]


async def test_a_tag_whose_form_is_refused_by_a_digest_answer_of_another_kind(pond, origin):
    origin.script(f"{AT}/manifests/latest", Fixed(Answer(200, {"content-type": images.MANIFEST}, b"")))
    assert (await pond.get(TAG)).status == 502
