"""Every way an upstream can fail, with nothing stored and with a good copy at hand: what comes of it, and the way back.

The clock is the test's own; the connections to the upstream are real.
"""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from tests.faults.inside import opened
from tests.faults.outages import (
    BLOB_FAULTS,
    BROKEN,
    CHANGING,
    CONFIG,
    EITHER,
    FAULTS,
    FINE,
    NEGATIVE_TTL_S,
    PATIENCE_S,
    READ_TIMEOUT_S,
    REFUSED,
    RETRY_AFTER_S,
    TTL_S,
    WRONG,
    Fault,
    Thing,
    World,
)
from tests.faults.traffic import sha256
from tests.wheels import JSON_TYPE, html_page

from millpond.testing.behaviours import Chunked, Slow, portal, reset, truncate
from millpond.testing.upstream import FakeUpstream

pytestmark = pytest.mark.fault
ids = pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name)


@pytest.fixture
async def world(tmp_path, request):
    """An upstream and a pond; only where it is slowness that counts, the pond is impatient."""
    callspec = getattr(request.node, "callspec", None)
    fault = callspec.params.get("fault") if callspec else None
    patience_s = PATIENCE_S if fault is not None and fault.cold == FINE else 20.0
    async with FakeUpstream() as upstream, FakeUpstream() as host:
        config = CONFIG.format(
            upstream=upstream.url, host=host.url, ttl=TTL_S, timeout=READ_TIMEOUT_S, patience=patience_s
        )
        async with opened(tmp_path, config) as pond:
            yield World(pond, upstream, host)


async def nothing_is_left(world: World, thing: Thing) -> None:
    await world.pond.landed()
    stored = await world.pond.stored(thing.repository)
    assert all(entry.digest is None for key, entry in stored.items() if key == thing.key)
    assert f"sha256:{sha256(thing.old)}" not in world.pond.blobs()
    assert world.pond.spooled() == []


async def the_way_back(world: World, thing: Thing, body: bytes) -> None:
    """Mended, the upstream's own bytes come, are stored, and are not asked for again."""
    seen = await world.get(thing)
    assert world.right(seen, thing, body)
    assert "stored" in seen.happened
    asked = world.asked(thing)
    again = await world.get(thing)
    assert world.right(again, thing, body)
    assert again.source == "cache"
    assert again.happened.startswith("millpond; hit")
    assert world.asked(thing) == asked


async def cold(world: World, thing: Thing, fault: Fault, outcome: str) -> None:
    world.offer(thing, thing.old)
    await world.breaks(thing, fault, thing.old)
    seen = await world.get(thing)
    assert "fwd=uri-miss" in seen.happened
    if outcome == FINE:
        assert world.right(seen, thing, thing.old)
        assert "stored" in seen.happened
        return
    if outcome == EITHER:
        outcome = REFUSED if seen.status == fault.status else BROKEN
    if outcome == REFUSED:
        assert (seen.status, seen.whole) == (fault.status, True)
        assert fault.kind in seen.happened
        assert seen.headers.get("retry-after", "") == fault.retry_after
        assert seen.headers["content-type"] == thing.errors
    else:
        assert (seen.status, seen.whole) == (200, False)
        assert len(seen.body) < len(thing.old)
        assert thing.old.startswith(seen.body)
    await nothing_is_left(world, thing)
    await world.mends(thing, fault)
    world.pond.clock.advance(RETRY_AFTER_S + 30)
    await the_way_back(world, thing, thing.old)


@ids
async def test_cold_generic(world, fault):
    await cold(world, world.generic(), fault, fault.cold)


@ids
async def test_cold_pypi_index(world, fault):
    await cold(world, world.index(), fault, fault.page)


@pytest.mark.parametrize("fault", [*FAULTS, WRONG], ids=lambda fault: fault.name)
async def test_cold_pypi_file(world, fault):
    await cold(world, world.file(), fault, fault.cold)


def in_oci(fault: Fault) -> Fault:
    """A registry's clients know no 410."""
    return replace(fault, status=404) if fault.status == 410 else fault


@ids
async def test_cold_docker_manifest(world, fault):
    await cold(world, world.manifest(), in_oci(fault), fault.page)


@pytest.mark.parametrize("fault", BLOB_FAULTS, ids=lambda fault: fault.name)
async def test_cold_docker_blob(world, fault):
    await cold(world, world.blob(), in_oci(fault), fault.cold)


@ids
async def test_cold_docker_tags(world, fault):
    await cold(world, world.tags(), in_oci(fault), fault.page)


@ids
async def test_stale_docker_tags(world, fault):
    await stale(world, world.tags(), in_oci(fault))


NOT_GONE = [fault for fault in FAULTS if fault.status not in {404, 410}]
"""An upstream that has no referrers (404) has an empty list of them: `tests/api/test_oci.py`."""


@pytest.mark.parametrize("fault", NOT_GONE, ids=lambda fault: fault.name)
async def test_cold_docker_referrers(world, fault):
    await cold(world, world.referrers(), fault, fault.page)


@pytest.mark.parametrize("fault", NOT_GONE, ids=lambda fault: fault.name)
async def test_stale_docker_referrers(world, fault):
    await stale(world, world.referrers(), fault)


SIGNED = [fault for fault in FAULTS if fault.status not in {404, 410} and fault.name not in {"401", "403"}]
"""An archive that shows no signature (403 is how object stores say 404) has none: `tests/artifacts/test_pairs.py`."""


@pytest.mark.parametrize("fault", SIGNED, ids=lambda fault: fault.name)
async def test_cold_debian_signature(world, fault):
    await cold(world, world.signature(), fault, fault.page)


@ids
async def test_cold_debian_entry_file(world, fault):
    await cold(world, world.entry_file(), fault, fault.page)


@pytest.mark.parametrize("fault", [*FAULTS, CHANGING], ids=lambda fault: fault.name)
async def test_cold_debian_index(world, fault):
    await cold(world, await world.member(), fault, fault.page)


@pytest.mark.parametrize("fault", [*FAULTS, CHANGING], ids=lambda fault: fault.name)
async def test_cold_debian_package(world, fault):
    await cold(world, await world.deb(), fault, EITHER if fault.cold == BROKEN else fault.cold)


@ids
async def test_stale_debian_entry_file(world, fault):
    await stale(world, world.entry_file(), fault)


@pytest.mark.parametrize("fault", [*FAULTS, CHANGING], ids=lambda fault: fault.name)
async def test_what_a_debian_generation_has_at_hand_needs_no_upstream(world, fault):
    await at_hand(world, await world.deb(), await world.member(), fault)


async def at_hand(world: World, package: Thing, index: Thing, fault: Fault) -> None:
    assert world.right(await world.get(package), package, package.old)
    for thing in (index, package):
        await world.breaks(thing, fault, thing.old)
    asked = world.asked(index), world.asked(package)
    world.pond.clock.advance(TTL_S * 1000)
    for thing in (index, package):
        seen = await world.get(thing)
        assert world.right(seen, thing, thing.old)
        assert (seen.happened, seen.source) == ("millpond; hit", "cache")
    assert (world.asked(index), world.asked(package)) == asked


@ids
async def test_cold_alpine_index(world, fault):
    await cold(world, world.apkindex(), fault, fault.page)


@pytest.mark.parametrize("fault", [*FAULTS, CHANGING], ids=lambda fault: fault.name)
async def test_cold_alpine_package(world, fault):
    await cold(world, await world.apk(), fault, EITHER if fault.cold == BROKEN else fault.cold)


@ids
async def test_stale_alpine_index(world, fault):
    await stale(world, world.apkindex(), fault)


@pytest.mark.parametrize("fault", [*FAULTS, CHANGING], ids=lambda fault: fault.name)
async def test_an_alpine_package_at_hand_needs_no_upstream(world, fault):
    package = await world.apk()
    assert world.right(await world.get(package), package, package.old)
    await world.breaks(package, fault, package.old)
    asked = world.asked(package)
    world.pond.clock.advance(TTL_S * 1000)
    seen = await world.get(package)
    assert world.right(seen, package, package.old)
    assert (seen.happened, seen.source, world.asked(package)) == ("millpond; hit", "cache", asked)


@ids
async def test_cold_list_of_rpm_mirrors(world, fault):
    await cold(world, world.mirrors(), fault, fault.page)


@ids
async def test_stale_list_of_rpm_mirrors(world, fault):
    await stale(world, world.mirrors(), fault)


@ids
async def test_cold_rpm_entry_file(world, fault):
    await cold(world, world.repomd(), fault, fault.page)


@pytest.mark.parametrize("fault", [*FAULTS, CHANGING], ids=lambda fault: fault.name)
async def test_cold_rpm_index(world, fault):
    await cold(world, await world.primary(), fault, fault.page)


@pytest.mark.parametrize("fault", [*FAULTS, CHANGING], ids=lambda fault: fault.name)
async def test_cold_rpm_package(world, fault):
    await cold(world, await world.rpm(), fault, EITHER if fault.cold == BROKEN else fault.cold)


@ids
async def test_stale_rpm_entry_file(world, fault):
    await stale(world, world.repomd(), fault)


@pytest.mark.parametrize("fault", [*FAULTS, CHANGING], ids=lambda fault: fault.name)
async def test_what_an_rpm_generation_has_at_hand_needs_no_upstream(world, fault):
    await at_hand(world, await world.rpm(), await world.primary(), fault)


@ids
async def test_cold_npm_packument(world, fault):
    await cold(world, world.packument(), fault, fault.page)


@pytest.mark.parametrize("fault", [*FAULTS, WRONG], ids=lambda fault: fault.name)
async def test_cold_npm_tarball(world, fault):
    await cold(world, world.tarball(), fault, fault.cold)


@pytest.mark.parametrize("package", ["pypi", "npm"])
@ids
async def test_a_file_whose_index_fails(world, fault, package):
    index, file = (world.index(), world.file()) if package == "pypi" else (world.packument(), world.tarball())
    world.offer(file, file.old)
    await world.breaks(index, fault, index.old)
    seen = await world.get(file)
    if fault.page == FINE:
        assert world.right(seen, file, file.old)
        return
    assert (seen.status, seen.whole) == (fault.status, True)
    assert seen.headers.get("retry-after", "") == fault.retry_after
    assert world.asked(file) == 0
    await nothing_is_left(world, file)
    await world.mends(index, fault)
    world.pond.clock.advance(RETRY_AFTER_S + 30)
    await the_way_back(world, file, file.old)


async def stale(world: World, thing: Thing, fault: Fault) -> None:
    world.offer(thing, thing.old)
    assert world.right(await world.get(thing), thing, thing.old)
    before = (await world.pond.stored(thing.repository))[thing.key]
    world.offer(thing, thing.new)
    await world.breaks(thing, fault, thing.new)
    world.pond.clock.advance(TTL_S + 7)
    asked = world.asked(thing)
    seen = await world.get(thing)
    if fault.status in {404, 410}:
        assert (seen.status, seen.whole) == (fault.status, True)
        await a_verdict_holds_for_a_while(world, thing, fault)
        return
    assert world.right(seen, thing, thing.old)
    assert "fwd=stale" in seen.happened
    assert "detail=" in seen.happened
    assert (seen.source, seen.headers["age"]) == ("cache", str(TTL_S + 7))
    assert "retry-after" not in seen.headers
    assert asked + (fault.make is not None) <= world.asked(thing) <= asked + 1 + thing.probed
    if fault.cold == FINE:
        await the_slow_one_lands(world, thing)
        return
    await world.pond.landed()  # an answer that hangs ends later than the patience of the one who asked
    kept = (await world.pond.stored(thing.repository))[thing.key]
    assert (kept.digest, kept.validated_at) == (before.digest, before.validated_at)
    assert kept.failure
    await it_is_left_alone(world, thing, fault)
    await world.mends(thing, fault)
    world.pond.clock.advance(RETRY_AFTER_S)
    await the_way_back(world, thing, thing.new)


async def it_is_left_alone(world: World, thing: Thing, fault: Fault) -> None:
    """During the back-off (the TTL, or longer if the upstream wishes) the copy is served without asking."""
    asked = world.asked(thing)
    wait_s = max(TTL_S, int(fault.retry_after or 0)) - 5
    world.pond.clock.advance(wait_s)
    for _ in range(3):
        seen = await world.get(thing)
        assert world.right(seen, thing, thing.old)
        assert seen.headers["age"] == str(TTL_S + 7 + wait_s)
        assert seen.happened.startswith("millpond; hit; ttl=-")
        assert "detail=" in seen.happened
    assert world.asked(thing) == asked
    assert world.pond.spooled() == []


async def the_slow_one_lands(world: World, thing: Thing) -> None:
    """What came too late for the one who asked is there for the next."""
    await world.pond.landed()
    seen = await world.get(thing)
    assert world.right(seen, thing, thing.new)
    assert seen.happened.startswith("millpond; hit")


async def a_verdict_holds_for_a_while(world: World, thing: Thing, fault: Fault) -> None:
    asked = world.asked(thing)
    seen = await world.get(thing)
    assert seen.status == fault.status
    assert "negative" in seen.happened
    assert world.asked(thing) == asked
    await world.mends(thing, fault)
    world.pond.clock.advance(NEGATIVE_TTL_S + 1)
    await the_way_back(world, thing, thing.new)


@ids
async def test_stale_generic(world, fault):
    await stale(world, world.generic(), fault)


@ids
async def test_stale_pypi_index(world, fault):
    await stale(world, world.index(), fault)


@ids
async def test_stale_docker_manifest(world, fault):
    await stale(world, world.manifest(), in_oci(fault))


@pytest.mark.parametrize("fault", BLOB_FAULTS, ids=lambda fault: fault.name)
async def test_a_docker_blob_at_hand_needs_no_upstream(world, fault):
    blob = world.blob()
    world.offer(blob, blob.old)
    assert world.right(await world.get(blob), blob, blob.old)
    await world.breaks(blob, fault, blob.old)
    world.pond.clock.advance(TTL_S * 1000)
    seen = await world.get(blob)
    assert world.right(seen, blob, blob.old)
    assert (seen.happened, world.asked(blob)) == ("millpond; hit", 1)


@ids
async def test_stale_npm_packument(world, fault):
    await stale(world, world.packument(), fault)


@pytest.mark.parametrize("package", ["pypi", "npm"])
@pytest.mark.parametrize("fault", [*FAULTS, WRONG], ids=lambda fault: fault.name)
async def test_a_file_at_hand_needs_no_upstream(world, fault, package):
    file, index = (world.file(), world.index()) if package == "pypi" else (world.tarball(), world.packument())
    world.offer(file, file.old)
    assert world.right(await world.get(file), file, file.old)
    for thing in (file, index):
        await world.breaks(thing, fault, thing.old)
    asked = world.asked(file), world.asked(index)
    world.pond.clock.advance(TTL_S * 1000)
    seen = await world.get(file)
    assert world.right(seen, file, file.old)
    assert (seen.happened, seen.source) == ("millpond; hit", "cache")
    assert (world.asked(file), world.asked(index)) == asked


@pytest.mark.parametrize("accept", [JSON_TYPE, "text/html"])
async def test_a_portals_page_never_takes_the_place_of_an_html_index(world, accept):
    """Where the real index is HTML too, nothing but the page itself tells the two apart."""
    pages = [html_page(world.wheels(count), f"{world.host.url}/packages") for count in (3, 4)]
    thing = Thing("/pypi/simple/demo/", "pypi", "", "/simple/demo/", *pages, "text/html; charset=utf-8", accept)
    world.offer(thing, thing.old)
    good = await world.get(thing)
    assert (good.status, good.whole, good.body.count(b"<a ")) == (200, True, 3)
    world.offer(thing, thing.new)
    world.pond.clock.advance(TTL_S + 7)
    world.upstream.script(thing.place, portal())
    during = await world.get(thing)
    assert (during.status, during.body) == (200, good.body)
    assert "fwd=stale" in during.happened
    world.pond.clock.advance(TTL_S + 1)
    after = await world.get(thing)
    assert (after.status, after.whole, after.body.count(b"<a ")) == (200, True, 4)


async def test_slow_but_steady_is_waited_for(world):
    """Longer than the time-out in all, and never silent for as long."""
    thing = world.generic()
    world.offer(thing, thing.old)
    world.upstream.script(thing.place, Slow(bytes_per_s=len(thing.old) / (READ_TIMEOUT_S * 1.5)))
    seen = await world.get(thing)
    assert world.right(seen, thing, thing.old)
    await the_way_back_is_a_hit(world, thing)


async def the_way_back_is_a_hit(world: World, thing: Thing) -> None:
    seen = await world.get(thing)
    assert world.right(seen, thing, thing.old)
    assert seen.happened.startswith("millpond; hit")
    assert world.asked(thing) == 1


async def test_of_500_truncations_no_bad_byte_is_stored(world):
    dice = random.Random(20)
    indexes = [world.index(), world.packument()]
    things = [world.generic(), world.file(), world.tarball()]
    for index in indexes:
        world.offer(index, index.old)
        await world.get(index)
    known = world.pond.blobs()
    for number in range(500):
        thing = things[number % 3]
        world.offer(thing, thing.old)
        cut = dice.choice([dice.randrange(len(thing.old)), len(thing.old) - dice.randint(1, 600), dice.randrange(600)])
        how = [truncate, reset, lambda after: Chunked(dice.randint(500, 70_000), stop_after=after)][number // 3 % 3]
        world.server(thing).script(thing.place, how(cut))
        seen = await world.get(thing)
        assert seen.status == 502 or (seen.status == 200 and not seen.whole), f"cut after {cut}: {seen.status}"
        assert seen.status == 502 or thing.old.startswith(seen.body)
        await world.pond.landed()
        assert world.pond.blobs() == known
    assert world.pond.spooled() == []
    for thing in things:
        await the_way_back(world, thing, thing.old)
