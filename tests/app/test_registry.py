"""The registries that images come from, through the pond's own repositories."""

from __future__ import annotations

import json

import pytest
from tests.images import digest_of, image, offer_manifest

from millpond.app.registry import PondRegistry
from millpond.hosts.model import Kind
from millpond.hosts.ports import NotPulled
from millpond.hosts.references import parse_reference
from millpond.testing.behaviours import status

CONFIG = """
[repositories.hub]
package = "docker"
base_url = "URL"
mirror_of = "docker.io"
mutable_ttl_s = 60
[repositories.quay]
package = "docker"
base_url = "http://quay.example:5000"
[repositories.some]
package = "docker"
base_url = "http://some.example"
immutable_patterns = ["^allowed/"]
[repositories.files]
package = "generic"
base_url = "URL"
"""
POND = "pond.lan:8080"
ONE = image("one")
REFERENCE = parse_reference("demo:1")
PINNED = parse_reference(f"demo@{ONE.digest}")


@pytest.fixture
async def app(open_pond, origin):
    ONE.offer(origin, "library/demo", "1")
    return (await open_pond(CONFIG.replace("URL", origin.url))).app


@pytest.fixture
def registry(app) -> PondRegistry:
    return PondRegistry(app, POND)


def asked(origin, what: str) -> list[str]:
    return [one.path for one in origin.requests if what in one.path and one.method == "GET"]


@pytest.mark.parametrize(
    ("reference", "name"),
    [
        ("nginx:1.27", f"{POND}/hub/library/nginx"),
        ("team/app", f"{POND}/hub/team/app"),
        ("quay.example:5000/a/b:1", f"{POND}/quay/a/b"),
        (f"{POND}/hub/library/nginx:1", f"{POND}/hub/library/nginx"),
    ],
)
def test_an_image_is_named_under_the_pond(registry: PondRegistry, reference: str, name: str):
    assert registry.name(parse_reference(reference)) == name


@pytest.mark.parametrize(
    ("reference", "told"),
    [
        ("ghcr.example/a:1", 'write [repositories.NAME] with package = "docker"'),
        (f"{POND}/files/a:1", "no docker repository 'files'"),
        (f"{POND}/nope/a:1", "no docker repository 'nope'"),
    ],
)
def test_what_no_repository_stands_for_is_told_with_what_to_write(registry: PondRegistry, reference: str, told: str):
    with pytest.raises(NotPulled) as caught:
        registry.name(parse_reference(reference))
    assert told in caught.value.text
    assert caught.value.kind is Kind.PERMANENT


async def test_a_tag_is_pinned_to_the_index_or_to_a_platform_s_manifest(registry: PondRegistry):
    assert await registry.pin(REFERENCE, "") == ONE.digest
    assert await registry.pin(REFERENCE, "linux/arm64") == ONE.of("arm64")
    with pytest.raises(NotPulled, match="no matching manifest for linux/s390x in demo:1"):
        await registry.pin(REFERENCE, "linux/s390x")


async def test_the_upstream_gives_one_copy_for_each_platform_and_none_again(registry: PondRegistry, origin):
    heard: list[tuple[int, int]] = []
    layers = await registry.warm(PINNED, ["linux/amd64"], lambda *one: heard.append(one))
    assert heard[-1] == (sum(layers["linux/amd64"].values()),) * 2
    blobs = asked(origin, "/blobs/")
    assert len(blobs) == len(set(blobs)) == 3
    await registry.warm(PINNED, ["linux/amd64", "linux/arm64"], lambda *_: None)
    both = asked(origin, "/blobs/")
    assert len(both) == len(set(both)) == 6
    origin.requests.clear()
    await registry.warm(PINNED, ["linux/amd64", "linux/arm64"], lambda *_: None)
    assert asked(origin, "/v2/") == []


async def test_a_manifest_without_an_index_is_for_everybody(registry: PondRegistry, origin):
    body = ONE.manifests[ONE.of("amd64")]
    offer_manifest(origin, "library/demo", "plain", body)
    reference = parse_reference("demo:plain")
    assert await registry.pin(reference, "linux/arm64") == digest_of(body)
    layers = await registry.warm(parse_reference(f"demo@{digest_of(body)}"), ["linux/arm64"], lambda *_: None)
    assert len(layers["linux/arm64"]) == 3


@pytest.mark.parametrize(
    ("code", "kind"),
    [(404, Kind.PERMANENT), (401, Kind.CREDENTIALS), (429, Kind.WAIT), (500, Kind.TRANSIENT), (503, Kind.TRANSIENT)],
)
async def test_a_registry_s_failures_are_classed(registry: PondRegistry, origin, code: int, kind: Kind):
    origin.always("/v2/library/nope/manifests/1", status(code))
    with pytest.raises(NotPulled) as caught:
        await registry.pin(parse_reference("nope:1"), "")
    assert caught.value.kind is kind, caught.value.text


async def test_a_pattern_that_refuses_is_permanent(registry: PondRegistry):
    with pytest.raises(NotPulled, match="refused") as caught:
        await registry.pin(parse_reference("some.example/other/app:1"), "")
    assert caught.value.kind is Kind.PERMANENT


async def test_with_the_upstream_away_what_is_stored_is_pinned(registry: PondRegistry, origin, clock):
    await registry.pin(REFERENCE, "")
    clock.advance(3600)
    origin.always("/v2/library/demo/manifests/1", status(503))
    assert await registry.pin(REFERENCE, "") == ONE.digest


async def test_a_refresh_asks_the_upstream_within_the_ttl_and_does_without_it(registry: PondRegistry, origin):
    assert await registry.pin(REFERENCE, "") == ONE.digest
    two = image("two")
    two.offer(origin, "library/demo", "1")
    assert await registry.pin(REFERENCE, "") == ONE.digest, "what is fresh is not asked for again"
    assert await registry.pin(REFERENCE, "", refresh=True) == two.digest
    origin.always("/v2/library/demo/manifests/1", status(503))
    assert await registry.pin(REFERENCE, "", refresh=True) == two.digest
    with pytest.raises(NotPulled, match="refused"):
        await registry.pin(parse_reference("some.example/other/app:1"), "", refresh=True)


async def test_what_is_damaged_in_the_pond_goes_and_is_fetched_again(registry: PondRegistry, app, origin):
    await registry.warm(PINNED, ["linux/amd64"], lambda *_: None)
    assert await registry.drop(PINNED) == 0
    layer = json.loads(ONE.manifests[ONE.of("amd64")])["layers"][0]["digest"]
    path = app.catalog.blob_path(layer)
    good = path.read_bytes()
    path.chmod(0o600)
    path.write_bytes(b"x" * len(good))
    assert await registry.drop(PINNED) == 1
    await registry.warm(PINNED, ["linux/amd64"], lambda *_: None)
    assert app.catalog.blob_path(layer).read_bytes() == good
    assert await registry.drop(PINNED) == 0
