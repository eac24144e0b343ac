"""Where the entry file is the index: what is served beside which APKINDEX, through the whole application."""

from __future__ import annotations

from dataclasses import replace
from email.utils import formatdate

import pytest
from tests.apks import Apk, Mirror, config

from millpond.testing.behaviours import Hang, portal, status

TTL_S = 60
OLD, OTHER = Apk(payload=b"old" * 100), Apk("other", payload=b"other")
REBUILT, NEWER = Apk(payload=b"new" * 101), Apk(version="1.1-r0", payload=b"newer")


@pytest.fixture
async def mirror(origin):
    made = Mirror(origin)
    made.publish(OLD, OTHER)
    return made


@pytest.fixture
async def pond(open_pond, mirror):
    return await open_pond(config(mirror, ttl_s=TTL_S))


async def get(pond, path, **headers):
    return await pond.get(f"/alpine/{path}", **headers)


async def index(pond, mirror, **headers):
    return await get(pond, mirror.index_path, **headers)


async def package(pond, mirror, one):
    return await get(pond, mirror.path(one))


async def test_index_and_packages_come_as_they_are_and_once(pond, mirror):
    for _ in range(2):
        assert (await index(pond, mirror)).body == mirror.index
        for one in (OLD, OTHER):
            assert (await package(pond, mirror, one)).body == mirror.body(one)
    assert [mirror.asked(path) for path in (mirror.index_path, mirror.path(OLD), mirror.path(OTHER))] == [1, 1, 1]


async def test_a_package_stands_as_long_as_the_index_names_it(pond, mirror):
    await index(pond, mirror)
    await package(pond, mirror, OLD)
    await mirror.server.cut()
    pond.clock.advance(TTL_S * 1000)
    got = await package(pond, mirror, OLD)
    assert (got.body, got.headers["cache-status"]) == (mirror.body(OLD), "millpond; hit")


async def test_an_index_that_changes_takes_no_package_along_that_it_names_as_before(pond, mirror):
    await index(pond, mirror)
    for one in (OLD, OTHER):
        await package(pond, mirror, one)
    mirror.publish(NEWER, OTHER)
    pond.clock.advance(TTL_S + 1)
    assert (await index(pond, mirror)).body == mirror.index
    assert (await package(pond, mirror, NEWER)).body == mirror.body(NEWER)
    assert (await package(pond, mirror, OTHER)).body == mirror.body(OTHER)
    assert mirror.asked(mirror.path(OTHER)) == 1


@pytest.mark.parametrize("rebuilt", [REBUILT, Apk(payload=b"odl" * 100)], ids=["larger", "as large or nearly"])
async def test_a_package_rebuilt_under_its_name_is_fetched_when_the_index_says_so(pond, mirror, rebuilt):
    await index(pond, mirror)
    await package(pond, mirror, OLD)
    mirror.publish(rebuilt, OTHER)
    assert (await package(pond, mirror, OLD)).body == mirror.body(OLD), "the index at hand names the old one"
    pond.clock.advance(TTL_S + 1)
    await index(pond, mirror)
    assert (await package(pond, mirror, rebuilt)).body == mirror.body(rebuilt)


async def test_a_rebuilt_package_is_never_replaced_by_the_old_one_not_even_in_an_outage(pond, mirror):
    await index(pond, mirror)
    await package(pond, mirror, OLD)
    mirror.publish(REBUILT, OTHER)
    pond.clock.advance(TTL_S + 1)
    await index(pond, mirror)
    await mirror.server.cut()
    assert (await package(pond, mirror, OLD)).status == 502


async def test_a_package_that_the_old_index_does_not_name_is_told_in_words_and_the_index_is_asked_again(pond, mirror):
    await index(pond, mirror)
    mirror.publish(REBUILT, OTHER)
    got = await package(pond, mirror, REBUILT)
    assert (got.status, got.headers["retry-after"]) == (503, "5")
    assert "changing" in got.json()["detail"]
    assert await pond.app.catalog.find("alpine", mirror.path(REBUILT), "") is None
    assert (await index(pond, mirror)).body == mirror.index
    assert (await package(pond, mirror, REBUILT)).body == mirror.body(REBUILT)


async def test_a_version_that_the_upstream_dropped_is_absent_unless_it_is_stored(pond, mirror):
    await index(pond, mirror)
    await package(pond, mirror, OTHER)
    mirror.publish(NEWER)
    assert (await package(pond, mirror, OLD)).status == 404
    assert (await package(pond, mirror, OTHER)).body == mirror.body(OTHER)
    assert (await index(pond, mirror)).body == mirror.index, "it was asked again, since it promised what is not there"
    assert (await package(pond, mirror, OTHER)).body == mirror.body(OTHER), "who has the old index goes on"


async def test_a_package_asked_for_alone_brings_its_index_and_is_checked(pond, mirror):
    got = await package(pond, mirror, OLD)
    assert got.body == mirror.body(OLD)
    assert mirror.asked(mirror.index_path) == 1
    entry = await pond.app.catalog.find("alpine", mirror.path(OLD), "")
    assert entry is not None
    assert not entry.unchecked
    assert entry.identity == f"apk-sha1:{OLD.identity.hex()}"


async def test_a_package_that_a_stale_index_does_not_list_is_looked_up_in_a_newer_one(pond, mirror):
    await index(pond, mirror)
    mirror.publish(NEWER, OTHER)
    pond.clock.advance(TTL_S + 1)
    await package(pond, mirror, NEWER)
    entry = await pond.app.catalog.find("alpine", mirror.path(NEWER), "")
    assert entry is not None
    assert not entry.unchecked
    assert mirror.asked(mirror.index_path) == 2


async def test_without_any_index_a_package_is_marked_and_still_has_to_be_one(pond, mirror, origin):
    origin.remove(f"/{mirror.place}/{mirror.index_path}")
    for _ in range(2):
        got = await package(pond, mirror, OLD)
        assert got.body == mirror.body(OLD)
    assert "unchecked" in got.headers["warning"]
    body = bytearray(mirror.body(OTHER))
    body[-20] ^= 1
    origin.put(f"/{mirror.place}/{mirror.path(OTHER)}", bytes(body))
    got = await package(pond, mirror, OTHER)
    assert got.status == 502
    assert ".PKGINFO says" in got.json()["detail"]


async def test_what_was_stored_unchecked_is_checked_by_its_name_when_an_index_comes(pond, mirror, origin):
    origin.remove(f"/{mirror.place}/{mirror.index_path}")
    for one in (OLD, OTHER):
        await package(pond, mirror, one)
    mirror.publish(REBUILT, OTHER)
    pond.clock.advance(TTL_S + 1)
    await index(pond, mirror)
    got = await package(pond, mirror, OTHER)
    assert "warning" not in got.headers
    assert mirror.asked(mirror.path(OTHER)) == 1
    assert (await package(pond, mirror, REBUILT)).body == mirror.body(REBUILT)


@pytest.mark.parametrize("one", [OLD, replace(OLD, has_datahash=False)], ids=["with datahash", "of old"])
async def test_a_package_with_one_bit_wrong_is_refused(pond, mirror, origin, one):
    mirror.publish(one)
    await index(pond, mirror)
    for at in (-1, -len(one.data) + 30, -len(one.data) - 20):
        body = bytearray(mirror.body(one))
        body[at] ^= 4
        origin.put(f"/{mirror.place}/{mirror.path(one)}", bytes(body))
        assert (await package(pond, mirror, one)).status == 503
    assert await pond.app.catalog.find("alpine", mirror.path(one), "") is None


@pytest.mark.parametrize(
    "body",
    [b"<html>please log in</html>", b"", b"\x1f\x8bno gzip", Apk().body()],
    ids=["html", "empty", "odd", "a package"],
)
async def test_what_is_no_index_never_takes_the_place_of_one(pond, mirror, origin, body):
    good = (await index(pond, mirror)).body
    origin.put(f"/{mirror.place}/{mirror.index_path}", body)
    pond.clock.advance(TTL_S + 1)
    got = await index(pond, mirror)
    assert got.body == good
    assert "fwd=stale" in got.headers["cache-status"]
    assert (await package(pond, mirror, OLD)).body == mirror.body(OLD)


@pytest.mark.parametrize("fault", [status(500), portal(), Hang()], ids=["500", "portal", "hang"])
async def test_in_an_outage_the_whole_generation_goes_on(open_pond, mirror, fault):
    pond = await open_pond(config(mirror, ttl_s=TTL_S, more="[upstream]\nread_timeout_s = 0.3"))
    bodies = {path: (await get(pond, path)).body for path in (mirror.index_path, mirror.path(OLD))}
    mirror.publish(REBUILT, OTHER)
    mirror.server.always("*", fault)
    pond.clock.advance(TTL_S + 1)
    for path, body in bodies.items():
        assert (await get(pond, path)).body == body


async def test_a_client_that_tells_the_time_of_its_own_download_gets_what_came_here_since(pond, mirror):
    old = (await index(pond, mirror)).body
    mirror.publish(NEWER, OTHER)
    pond.clock.advance(TTL_S / 2)
    downloaded = formatdate(pond.clock.now(), usegmt=True)
    assert (await index(pond, mirror)).body == old, "made before, and not here yet"
    pond.clock.advance(TTL_S)
    for _ in range(2):
        got = await index(pond, mirror, **{"if-modified-since": downloaded})
        assert (got.status, got.body) == (200, mirror.index)
    pond.clock.advance(1)
    later = formatdate(pond.clock.now(), usegmt=True)
    assert (await index(pond, mirror, **{"if-modified-since": later})).status == 304


async def test_other_workers_are_told(pond, mirror, open_pond):
    other = await open_pond(config(mirror, ttl_s=TTL_S))
    for one in (pond, other):
        await index(one, mirror)
        assert (await package(one, mirror, OLD)).body == mirror.body(OLD)
    mirror.publish(REBUILT, OTHER)
    pond.clock.advance(TTL_S + 1)
    await index(pond, mirror)
    assert (await package(other, mirror, REBUILT)).body == mirror.body(REBUILT)


async def test_only_what_an_index_says_otherwise_is_judged_again(pond, mirror):
    await index(pond, mirror)
    for one in (OLD, OTHER):
        await package(pond, mirror, one)
    stamps = [pond.app.catalog.stamp("alpine", mirror.path(one)) for one in (OLD, OTHER)]
    mirror.publish(REBUILT, OTHER)
    pond.clock.advance(TTL_S + 1)
    await index(pond, mirror)
    now = [pond.app.catalog.stamp("alpine", mirror.path(one)) for one in (OLD, OTHER)]
    assert [was == new for was, new in zip(stamps, now, strict=True)] == [False, True]


async def test_an_index_that_comes_back_after_a_flush_has_everything_judged_again(pond, mirror):
    await index(pond, mirror)
    await package(pond, mirror, OLD)
    await pond.app.catalog.remove("alpine", mirror.index_path)
    stamp = pond.app.catalog.stamp("alpine", mirror.path(OLD))
    mirror.publish(REBUILT, OTHER)
    await index(pond, mirror)
    assert pond.app.catalog.stamp("alpine", mirror.path(OLD)) != stamp
    assert (await package(pond, mirror, REBUILT)).body == mirror.body(REBUILT)


async def test_an_index_is_never_read_in_the_daemon_s_own_process(pond, mirror, monkeypatch):
    from millpond.artifacts.formats.alpine import index as apkindex

    monkeypatch.setattr(apkindex, "MAX_MEMBERS", "not a number: whoever reads here falls over")
    await index(pond, mirror)
    assert (await package(pond, mirror, OLD)).body == mirror.body(OLD)


async def test_two_folders_of_a_mirror_have_nothing_to_do_with_each_other(pond, mirror, origin):
    other = Mirror(origin, folder="edge/main/x86_64")
    other.publish(REBUILT)
    for one, has in ((mirror, OLD), (other, REBUILT)):
        await index(pond, one)
        assert (await package(pond, one, has)).body == one.body(has)


async def test_why_tells_of_the_promise(pond, mirror):
    from millpond.app.explain import explain

    await package(pond, mirror, OLD)
    told = await explain(pond.app, pond.app.repositories["alpine"], mirror.path(OLD), "")
    assert told["verdict"].startswith("stands")
