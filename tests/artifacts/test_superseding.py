"""Generations whose members are named by digest, through the whole application: what each publication withdraws."""

from __future__ import annotations

import hashlib

import pytest
from tests.repodata import Repository, Rpm, config

from millpond.testing.behaviours import status

TTL_S = 60
OLD, NEW = Rpm(payload=b"old" * 100), Rpm(payload=b"new" * 101)
OTHER = Rpm("other", payload=b"other")
HEAD, SIGNATURE = "repodata/repomd.xml", "repodata/repomd.xml.asc"


@pytest.fixture(params=["hashed", "plain"])
async def repo(request, origin):
    made = Repository(origin, hashed=request.param == "hashed")
    made.publish(OLD, OTHER)
    return made


@pytest.fixture
async def hashed(origin):
    made = Repository(origin)
    made.publish(OLD, OTHER)
    return made


@pytest.fixture
async def pond(open_pond, origin):
    return await open_pond(config(Repository(origin), ttl_s=TTL_S))


async def get(pond, path, **headers):
    return await pond.get(f"/rpm/{path}", **headers)


async def run(pond, repo, *rpms) -> list[int]:
    """Do what dnf does: the entry file, the index, the packages; each must be what the one before it says."""
    statuses = [(await get(pond, HEAD)).status]
    got = await get(pond, repo.path())
    statuses.append(got.status)
    for one in rpms:
        got = await get(pond, repo.pool(one))
        statuses.append(got.status)
        assert got.status != 200 or got.body == one.body
    return statuses


async def test_cold_then_nothing_is_asked_again(pond, repo):
    assert await run(pond, repo, OLD, OTHER) == [200] * 4
    asked = len(repo.server.requests)
    for path in (HEAD, repo.path(), repo.pool(OLD)):
        again = await get(pond, path)
        assert again.headers["cache-status"].startswith("millpond; hit")
    pond.clock.advance(TTL_S * 1000)
    for path in (repo.path(), repo.pool(OLD)):
        assert (await get(pond, path)).headers["cache-status"] == "millpond; hit"
    assert len(repo.server.requests) == asked


async def test_new_bytes_under_an_old_name_are_fetched_when_the_index_says_so(pond, repo):
    await run(pond, repo, OLD, OTHER)
    repo.publish(NEW, OTHER)
    assert (await get(pond, repo.pool(OLD))).body == OLD.body
    pond.clock.advance(TTL_S + 1)
    assert await run(pond, repo, NEW, OTHER) == [200] * 4
    assert repo.asked(repo.pool(OTHER)) == 1


async def test_the_fast_lane_forgets_what_a_new_index_withdraws(pond, open_pond, repo):
    """Stamps tell it, those of the other workers too."""
    other = await open_pond(config(repo, ttl_s=TTL_S))
    for one in (pond, other):
        await run(one, repo, OLD, OTHER)
    catalog = other.app.catalog
    stamps = [catalog.stamp("rpm", repo.pool(one)) for one in (OLD, OTHER)]
    repo.publish(NEW, OTHER)
    pond.clock.advance(TTL_S + 1)
    await run(pond, repo)
    assert catalog.stamp("rpm", repo.pool(OLD)) != stamps[0]
    assert catalog.stamp("rpm", repo.pool(OTHER)) == stamps[1], "it is listed as it was"
    assert (await get(other, repo.pool(NEW))).body == NEW.body


async def test_an_older_generation_is_still_there_by_its_digests(pond, hashed):
    await run(pond, hashed, OLD)
    old, body = hashed.path(), hashed.members[hashed.path()]
    hashed.publish(NEW, OTHER, keep=False)
    pond.clock.advance(TTL_S + 1)
    await run(pond, hashed, NEW)
    assert (await get(pond, old)).body == body
    assert hashed.asked(old) == 1


async def test_back_to_an_index_that_is_at_hand_the_old_packages_are_right_again(pond, hashed, origin):
    await run(pond, hashed, OLD, OTHER)
    first = hashed.entry
    hashed.publish(NEW, OTHER)
    pond.clock.advance(TTL_S + 1)
    await run(pond, hashed, NEW)
    before = pond.app.catalog.stamp("rpm", hashed.pool(OLD))
    hashed.publish(OLD, OTHER)
    hashed.put(HEAD, first)
    pond.clock.advance(TTL_S + 1)
    assert (await get(pond, HEAD)).body == first
    assert pond.app.catalog.stamp("rpm", hashed.pool(OLD)) != before
    assert (await get(pond, hashed.pool(OLD))).body == OLD.body


async def test_a_member_that_is_gone_upstream_has_the_entry_file_asked_again(pond, repo):
    await get(pond, HEAD)
    old = repo.path()
    repo.publish(NEW, OTHER, keep=False)
    assert (await get(pond, old)).status == (404 if repo.hashed else 503)
    assert await run(pond, repo, NEW) == [200] * 3


async def test_a_name_whose_digest_is_not_its_bytes_is_what_the_entry_file_says(pond, hashed, origin):
    """Odd, and nobody's right to be served for ever."""
    name = f"repodata/{'ab' * 32}-primary.xml.gz"

    def publish(*rpms: Rpm) -> bytes:
        hashed.publish(*rpms)
        body = hashed.members[hashed.path()]
        hashed.put(name, body)
        hashed.put(HEAD, hashed.entry.replace(hashed.path().encode(), name.encode()))
        return body

    for rpms in ((OLD, OTHER), (NEW, OTHER)):
        body = publish(*rpms)
        pond.clock.advance(TTL_S + 1)
        await get(pond, HEAD)
        for _ in range(2):
            assert (await get(pond, name)).body == body
        assert (await get(pond, hashed.pool(rpms[0]))).body == rpms[0].body


async def test_a_repository_at_any_depth(open_pond, origin):
    deep = [Repository(origin, place=f"pub/9/{one}/os") for one in ("BaseOS", "AppStream")]
    for one, other in zip(deep, (OLD, NEW), strict=True):
        one.publish(other)
    pond = await open_pond(config(deep[0], ttl_s=TTL_S, base_url=f"{origin.url}/pub"))
    for one, other in zip(deep, (OLD, NEW), strict=True):
        root = one.place.removeprefix("pub/")
        for path in (HEAD, one.path()):
            assert (await get(pond, f"{root}/{path}")).status == 200
        got = await get(pond, f"{root}/{one.pool(other)}")
        assert got.body == other.body
        assert "warning" not in got.headers


async def test_the_signature_is_of_the_entry_file_beside_it(pond, hashed):
    hashed.sign = lambda text: (
        b"-----BEGIN PGP SIGNATURE-----\n%b\n-----END PGP SIGNATURE-----\n"
        % (hashlib.sha256(text).hexdigest().encode())
    )
    for rpms in ((OLD, OTHER), (NEW, OTHER)):
        hashed.publish(*rpms)
        pond.clock.advance(TTL_S + 1)
        head = (await get(pond, HEAD)).body
        assert hashlib.sha256(head).hexdigest().encode() in (await get(pond, SIGNATURE)).body
        assert head == hashed.entry


async def test_without_a_signature_there_is_none(pond, hashed):
    await get(pond, HEAD)
    for _ in range(2):
        assert (await get(pond, SIGNATURE)).status == 404
    assert hashed.asked(SIGNATURE) == 1


@pytest.mark.parametrize("body", [b"<html>please log in</html>", b"", b"<metadata/>", b"<repomd>", b"not xml at all"])
async def test_what_is_no_entry_file_never_takes_the_place_of_one(pond, repo, body):
    good = (await get(pond, HEAD)).body
    repo.put(HEAD, body)
    pond.clock.advance(TTL_S + 1)
    got = await get(pond, HEAD)
    assert got.body == good
    assert "fwd=stale" in got.headers["cache-status"]


# Lists of mirrors.


@pytest.fixture
async def listed(origin):
    made = Repository(origin, metalink=True)
    made.publish(OLD, OTHER)
    return made


async def test_lists_name_the_pond_alone(pond, listed):
    link = await get(pond, "metalink")
    assert link.status == 200
    assert hashlib.sha256(listed.entry).hexdigest().encode() in link.body
    assert b"/rpm/repodata/repomd.xml</url>" in link.body
    assert listed.url.encode() not in link.body
    plain = await get(pond, "mirrorlist")
    assert plain.body.endswith(b"/rpm/\n")
    assert plain.body.count(b"\n") == 1


async def test_a_list_with_a_query_is_one_of_its_own(pond, listed, origin):
    for query in ("repo=a&arch=x86_64", "repo=b&arch=x86_64", "repo=a&arch=x86_64"):
        assert (await get(pond, f"metalink?{query}")).status == 200
    asked = [one.target for one in origin.requests if "metalink" in one.path]
    assert asked == ["/repo/metalink?repo=a&arch=x86_64", "/repo/metalink?repo=b&arch=x86_64"]


async def agree(pond) -> bool:
    """Ask as a client does that believes the metalink: whether it believes the entry file."""
    link = (await get(pond, "metalink")).body
    return hashlib.sha256((await get(pond, HEAD)).body).hexdigest().encode() in link


@pytest.mark.parametrize("ages", [(0, 1.5), (0.5, 0.7), (0.7, 1.1), (1.1, 1.1), (0.5, 5)])
async def test_a_list_and_its_entry_file_change_together(pond, listed, ages):
    """Whatever was asked for when: who takes the list first is never given an entry file that it does not name."""
    await get(pond, HEAD)
    pond.clock.advance(TTL_S * ages[0])
    assert await agree(pond)
    listed.entry = b""  # the list names no older ones
    listed.publish(NEW, OTHER)
    pond.clock.advance(TTL_S * ages[1])
    assert await agree(pond)
    pond.clock.advance(TTL_S * 2)
    assert await agree(pond)
    assert (await get(pond, HEAD)).body == listed.entry


async def test_an_older_list_that_can_t_be_renewed_keeps_its_entry_file(pond, listed):
    assert await agree(pond)
    listed.entry = b""
    listed.publish(NEW, OTHER)
    listed.server.always("/repo/metalink", status(500))
    pond.clock.advance(TTL_S + 1)
    assert await agree(pond)
    listed.server.always("/repo/metalink", None)
    pond.clock.advance(TTL_S + 1)
    assert await agree(pond)
    assert (await get(pond, HEAD)).body == listed.entry


async def test_a_promise_that_is_not_kept_has_the_list_asked_again_too(pond, listed):
    assert await agree(pond)
    listed.entry, old = b"", listed.path()
    listed.publish(NEW, OTHER, keep=False)
    assert (await get(pond, old)).status == 404
    assert await agree(pond)
    assert (await get(pond, HEAD)).body == listed.entry


async def test_an_entry_file_that_a_fresh_list_does_not_name_is_told_in_words(pond, listed):
    await get(pond, "metalink")
    listed.entry = b""
    listed.publish(NEW, OTHER)
    got = await get(pond, HEAD)
    assert (got.status, got.headers["retry-after"]) == (503, "5")
    assert await agree(pond)
    assert (await get(pond, HEAD)).body == listed.entry


async def test_an_older_generation_that_the_list_still_names_is_right(pond, listed, origin):
    old = listed.entry
    listed.publish(NEW, OTHER)
    listed.put(HEAD, old)  # this mirror lags behind
    assert await agree(pond)
    assert (await get(pond, HEAD)).body == old
    listed.put(HEAD, listed.entry)
    pond.clock.advance(TTL_S + 1)
    assert await agree(pond)
    assert (await get(pond, HEAD)).body == listed.entry


async def test_a_list_that_nobody_asks_for_any_more_holds_nobody_up(pond, listed):
    assert await agree(pond)
    for rpms in ((NEW, OTHER), (OLD, OTHER)):
        listed.entry = b""
        listed.publish(*rpms)
        pond.clock.advance(TTL_S + 1)
        assert (await get(pond, HEAD)).body == listed.entry
    listed.entry = b""
    listed.publish(NEW, OTHER)
    listed.server.always("/repo/metalink", status(500))
    pond.clock.advance(TTL_S + 1)
    await get(pond, HEAD)
    pond.clock.advance(TTL_S * 3)
    assert (await get(pond, HEAD)).body == listed.entry


async def test_in_an_outage_the_lists_go_on(pond, listed):
    assert await agree(pond)
    listed.server.always("*", status(500))
    pond.clock.advance(TTL_S * 100)
    assert await agree(pond)
