"""Generations through the whole application: what is served beside which entry file, whatever the upstream does."""

from __future__ import annotations

import hashlib

import pytest
from tests.archives import Archive, Deb, config

from millpond.testing.behaviours import Hang, portal, status

TTL_S = 60
OLD, NEW = Deb(payload=b"old" * 100), Deb(payload=b"new" * 101)
OTHER = Deb("other", payload=b"other")


@pytest.fixture(params=["suite", "flat"])
async def archive(request, origin):
    made = Archive(origin, flat=request.param == "flat")
    made.publish(OLD, OTHER)
    return made


@pytest.fixture
async def pond(open_pond, archive):
    return await open_pond(config(archive, ttl_s=TTL_S))


async def get(pond, path, **headers):
    return await pond.get(f"/debian/{path}", **headers)


def entry_file(archive) -> str:
    return f"{archive.suite}InRelease"


def index(archive, suffix: str = ".xz") -> str:
    return archive.suite + archive.index + suffix


async def test_a_member_stands_as_long_as_its_entry_file_and_is_not_asked_again(pond, archive):
    await get(pond, entry_file(archive))
    body = (await get(pond, index(archive))).body
    pond.clock.advance(TTL_S * 1000)
    again = await get(pond, index(archive))
    assert again.body == body == archive.members[archive.index + ".xz"]
    assert again.headers["cache-status"] == "millpond; hit"
    assert again.headers["x-artifact-source"] == "cache"


async def test_a_member_is_asked_for_by_its_digest_where_that_is_offered(pond, archive):
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    name = archive.index + ".xz"
    assert archive.asked(archive.suite + archive.hashed(name, archive.members[name])) == 1
    assert archive.asked(index(archive)) == 0


async def test_where_nothing_lies_by_digest_the_plain_name_is_asked(pond, archive, origin):
    await get(pond, entry_file(archive))
    name = archive.index + ".xz"
    origin.remove(f"/archive/{archive.suite}{archive.hashed(name, archive.members[name])}")
    assert (await get(pond, index(archive))).body == archive.members[name]


async def test_one_fetch_for_all_names_of_a_member(pond, archive):
    await get(pond, entry_file(archive))
    name = archive.index + ".xz"
    before = len(archive.server.requests)
    for algorithm in ("SHA512", "SHA256", "SHA512"):
        got = await get(pond, archive.suite + archive.hashed(name, archive.members[name], algorithm))
        assert got.body == archive.members[name]
    assert (await get(pond, index(archive))).body == archive.members[name]
    assert len(archive.server.requests) == before + 1


async def test_a_new_entry_file_takes_its_members_along(pond, archive):
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    archive.publish(NEW, OTHER)
    assert (await get(pond, index(archive))).body != archive.members[archive.index + ".xz"], (
        "its entry file is as it was"
    )
    pond.clock.advance(TTL_S + 1)
    assert b"Description: 2" in (await get(pond, entry_file(archive))).body
    assert (await get(pond, index(archive))).body == archive.members[archive.index + ".xz"]


async def test_an_old_member_is_never_given_beside_a_new_entry_file(pond, archive):
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    archive.publish(NEW, OTHER)
    pond.clock.advance(TTL_S + 1)
    await get(pond, entry_file(archive))
    await archive.server.cut()
    got = await get(pond, index(archive))
    assert got.status == 502


async def test_a_client_of_the_older_generation_gets_its_members_by_digest(pond, archive):
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    name, old = archive.index + ".xz", archive.members[archive.index + ".xz"]
    archive.publish(NEW, OTHER, keep_by_hash=False)
    pond.clock.advance(TTL_S + 1)
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    for algorithm in ("SHA256", "SHA512"):
        assert (await get(pond, archive.suite + archive.hashed(name, old, algorithm))).body == old


async def test_bytes_that_are_not_the_promised_ones_are_told_in_words_and_the_entry_file_is_asked_again(pond, archive):
    archive.by_hash = False
    archive.publish(OLD, OTHER)
    await get(pond, entry_file(archive))
    archive.publish(NEW, OTHER)
    got = await get(pond, index(archive))
    assert (got.status, got.headers["retry-after"]) == (503, "5")
    assert "changing" in got.json()["detail"]
    stored = await pond.app.catalog.find("debian", index(archive), "")
    assert stored is None
    assert b"Description: 3" in (await get(pond, entry_file(archive))).body
    assert (await get(pond, index(archive))).body == archive.members[archive.index + ".xz"]


async def test_a_member_that_is_gone_upstream_has_the_entry_file_asked_again(pond, archive, origin):
    await get(pond, entry_file(archive))
    name = archive.index + ".xz"
    old = archive.suite + archive.hashed(name, archive.members[name])
    archive.publish(NEW, OTHER, keep_by_hash=False)
    origin.remove(f"/archive/{index(archive)}")
    assert (await get(pond, old)).status == 404
    origin.put(f"/archive/{index(archive)}", archive.members[name])
    assert b"Description: 2" in (await get(pond, entry_file(archive))).body
    assert (await get(pond, index(archive))).body == archive.members[name], "an absence is of its own generation"


async def test_a_package_is_what_the_index_at_hand_says(pond, archive, origin):
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    origin.put(f"/archive/{archive.pool(OLD)}", NEW.body)
    got = await get(pond, archive.pool(OLD))
    assert got.status == 503
    assert "the index says" in got.json()["detail"]
    assert await pond.app.catalog.find("debian", archive.pool(OLD), "") is None
    origin.put(f"/archive/{archive.pool(OLD)}", OLD.body)
    assert (await get(pond, archive.pool(OLD))).body == OLD.body
    pond.clock.advance(TTL_S * 1000)
    assert (await get(pond, archive.pool(OLD))).headers["cache-status"] == "millpond; hit"
    assert archive.asked(archive.pool(OLD)) == 2


async def test_new_bytes_under_an_old_name_are_fetched_when_the_index_says_so(pond, archive):
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    for deb in (OLD, OTHER):
        await get(pond, archive.pool(deb))
    archive.publish(NEW, OTHER)
    assert (await get(pond, archive.pool(OLD))).body == OLD.body
    pond.clock.advance(TTL_S + 1)
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    assert (await get(pond, archive.pool(NEW))).body == NEW.body
    assert (await get(pond, archive.pool(OTHER))).body == OTHER.body
    assert archive.asked(archive.pool(OTHER)) == 1


async def test_a_package_that_vanished_from_the_index_is_still_given(pond, archive):
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    await get(pond, archive.pool(OTHER))
    archive.publish(NEW)
    pond.clock.advance(TTL_S + 1)
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    assert (await get(pond, archive.pool(OTHER))).body == OTHER.body


async def test_without_an_index_a_package_is_marked_until_one_vouches(pond, archive):
    for _ in range(2):
        got = await get(pond, archive.pool(OLD))
        assert got.body == OLD.body
    assert "unchecked" in got.headers["warning"]
    assert "unchecked" in got.headers["cache-status"]
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    got = await get(pond, archive.pool(OLD))
    assert "warning" not in got.headers
    entry = await pond.app.catalog.find("debian", archive.pool(OLD), "")
    assert entry is not None
    assert not entry.unchecked
    assert archive.asked(archive.pool(OLD)) == 1


async def test_without_an_index_a_wrong_package_is_found_out_when_one_comes(pond, archive, origin):
    origin.put(f"/archive/{archive.pool(OLD)}", NEW.body)
    assert (await get(pond, archive.pool(OLD))).body == NEW.body
    origin.put(f"/archive/{archive.pool(OLD)}", OLD.body)
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    assert (await get(pond, archive.pool(OLD))).body == OLD.body


async def test_a_member_asked_for_alone_brings_its_entry_file(pond, archive):
    assert (await get(pond, index(archive))).body == archive.members[archive.index + ".xz"]
    assert archive.asked(entry_file(archive)) == 1
    entry = await pond.app.catalog.find("debian", index(archive), "")
    assert entry is not None
    assert not entry.unchecked


async def test_without_an_entry_file_a_member_is_stored_marked_and_has_a_lifetime(pond, archive, origin):
    origin.remove(f"/archive/{entry_file(archive)}")
    for _ in range(2):
        got = await get(pond, index(archive, ".gz"))
        assert got.body == archive.members[archive.index + ".gz"]
    assert "unchecked" in got.headers["cache-status"]
    pond.clock.advance(TTL_S + 1)
    got = await get(pond, index(archive, ".gz"))
    assert "fwd-status=304" in got.headers["cache-status"]


async def test_of_two_encodings_the_one_of_this_generation_vouches(pond, archive):
    await get(pond, entry_file(archive))
    await get(pond, index(archive, ".gz"))
    archive.publish(NEW, OTHER)
    pond.clock.advance(TTL_S + 1)
    await get(pond, entry_file(archive))
    await get(pond, index(archive, ".xz"))
    assert (await get(pond, archive.pool(NEW))).body == NEW.body


@pytest.mark.parametrize(
    "body", [b"<html>please log in</html>", b"", b"Origin: x\n", b"-----BEGIN PGP SIGNED MESSAGE-----\n"]
)
async def test_what_is_no_entry_file_never_takes_the_place_of_one(pond, archive, origin, body):
    good = (await get(pond, entry_file(archive))).body
    origin.put(f"/archive/{entry_file(archive)}", body)
    pond.clock.advance(TTL_S + 1)
    got = await get(pond, entry_file(archive))
    assert got.body == good
    assert "fwd=stale" in got.headers["cache-status"]
    assert (await get(pond, index(archive))).status == 200


@pytest.mark.parametrize("fault", [status(500), portal(), Hang()], ids=["500", "portal", "hang"])
async def test_in_an_outage_the_whole_generation_goes_on(open_pond, archive, fault):
    pond = await open_pond(config(archive, ttl_s=TTL_S, more="[upstream]\nread_timeout_s = 0.3"))
    bodies = {path: (await get(pond, path)).body for path in (entry_file(archive), index(archive), archive.pool(OLD))}
    archive.publish(NEW, OTHER)
    archive.server.always("*", fault)
    pond.clock.advance(TTL_S + 1)
    for path, body in bodies.items():
        assert (await get(pond, path)).body == body


async def test_an_entry_file_past_its_valid_until_says_so(pond, archive):
    archive.now, archive.valid_s = pond.clock.now(), TTL_S * 2
    archive.publish()
    await get(pond, entry_file(archive))
    await archive.server.cut()
    pond.clock.advance(TTL_S + 1)
    assert "Valid-Until" not in (await get(pond, entry_file(archive))).headers["cache-status"]
    pond.clock.advance(TTL_S + 1)
    assert "Valid-Until passed" in (await get(pond, entry_file(archive))).headers["cache-status"]


async def test_other_workers_are_told(pond, archive, open_pond):
    other = await open_pond(config(archive, ttl_s=TTL_S))
    for one in (pond, other):
        await get(one, entry_file(archive))
        assert (await get(one, index(archive))).status == 200
        assert (await get(one, archive.pool(OLD))).body == OLD.body
    archive.publish(NEW, OTHER)
    pond.clock.advance(TTL_S + 1)
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    assert (await get(other, index(archive))).body == archive.members[archive.index + ".xz"]
    assert (await get(other, archive.pool(NEW))).body == NEW.body


def test_the_archive_is_what_it_says(archive):
    name = archive.index + ".xz"
    assert hashlib.sha512(archive.members[name]).hexdigest().encode() in archive.release()


async def test_a_client_that_asks_by_digest_only_comes_through_a_change(pond, archive):
    async def run() -> int:
        text = (await get(pond, entry_file(archive))).body
        generation = archive if text == archive.sign(archive.release(), True) else old
        name = archive.index + ".xz"
        body = generation[0][name] if isinstance(generation, tuple) else archive.members[name]
        got = await get(pond, archive.suite + archive.hashed(name, body))
        assert got.body == body
        return (await get(pond, archive.pool(OLD))).status

    await get(pond, entry_file(archive))
    old = (dict(archive.members),)
    archive.publish(NEW, OTHER)
    assert await run() == 503
    assert await run() == 200
    assert (await get(pond, archive.pool(OLD))).body == NEW.body


async def test_a_compressed_index_is_never_read_in_the_daemon_s_own_process(pond, archive, monkeypatch):
    from millpond.artifacts.formats import unpacking

    monkeypatch.setattr(unpacking, "PIECE_BYTES", "not a number: whoever reads here falls over")
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    assert (await get(pond, archive.pool(OLD))).body == OLD.body
    assert (await get(pond, archive.pool(OLD))).headers["cache-status"] == "millpond; hit"


async def test_a_flushed_index_vouches_for_nothing(pond, archive):
    await get(pond, entry_file(archive))
    await get(pond, index(archive))
    assert (await get(pond, archive.pool(OLD))).status == 200
    await pond.app.catalog.flush(["debian"])
    archive.publish(NEW, OTHER)
    assert (await get(pond, archive.pool(NEW))).body == NEW.body


async def test_apt_writes_a_flat_repository_s_paths_with_a_dot(pond, archive):
    plain = await get(pond, entry_file(archive))
    assert (await get(pond, f"./{entry_file(archive)}")).body == plain.body
    assert archive.asked(entry_file(archive)) == 1
    for path in (f"../debian/{entry_file(archive)}", f"{archive.suite}../InRelease", f"%2e/{entry_file(archive)}"):
        assert (await get(pond, path)).status == 400


async def test_why_tells_of_promises_and_of_valid_until(pond, archive):
    from millpond.app.explain import explain

    archive.now, archive.valid_s = pond.clock.now(), 100.0
    archive.publish()
    for path in (entry_file(archive), index(archive)):
        await get(pond, path)
    repository = pond.app.repositories["debian"]
    told = await explain(pond.app, repository, index(archive), "")
    assert told["verdict"].startswith("stands")
    facts = (await explain(pond.app, repository, entry_file(archive), ""))["facts"]
    assert facts["valid by its own word (Valid-Until)"] == "for 100 s more"
    pond.clock.advance(150)
    facts = (await explain(pond.app, repository, entry_file(archive), ""))["facts"]
    assert "clients refuse it" in facts["valid by its own word (Valid-Until)"]
