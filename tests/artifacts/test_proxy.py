"""A remote repository: what a request leads to, and what the answer says of itself (RFC 9211)."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest

from millpond.testing.behaviours import Chunked, Drop, Hang, Slow, portal, status, truncate

CONFIG = """
[upstream]
patience_s = PATIENCE
[repositories.files]
package = "generic"
base_url = "URL"
check_mutable_updates = true
[repositories.plain]
package = "generic"
base_url = "URL"
mutable_ttl_s = 60
[repositories.py]
package = "pypi"
base_url = "URL/simple"
check_mutable_updates = true
"""
OLD, NEW = b"old " * 100, b"new " * 200
JSON_TYPE = "application/vnd.pypi.simple.v1+json"
WHEEL = b"PK" + bytes(5000)
NAME = "demo-1-py3-none-any.whl"


@pytest.fixture
async def pond(open_pond, origin):
    origin.put("/a.bin", OLD, modified_at=1_000_000_000)
    return await open_pond(config(origin))


@pytest.fixture
async def impatient(open_pond, origin):
    """A pond for which an upstream is soon too slow; every other test has all the time of a busy machine."""
    origin.put("/a.bin", OLD, modified_at=1_000_000_000)
    return await open_pond(config(origin, patience_s=0.2))


def config(origin, patience_s: float = 60.0) -> str:
    return CONFIG.replace("URL", origin.url).replace("PATIENCE", str(patience_s))


def page(*names: str, body: bytes = WHEEL, size: int | None = None) -> bytes:
    digest = hashlib.sha256(body).hexdigest()
    more = {} if size is None else {"size": size}
    files = [{"filename": n, "url": f"/files/{n}", "hashes": {"sha256": digest}} | more for n in names]
    return json.dumps({"meta": {"api-version": "1.0"}, "name": "demo", "files": files}).encode()


def publish(origin, *names: str, **more) -> None:
    origin.put("/simple/demo/", page(*names, **more), headers={"content-type": JSON_TYPE})
    for name in names:
        origin.put(f"/files/{name}", WHEEL)


def fill_disk(pond) -> None:
    pond.app.room._known, pond.app.room._until = 0, float("inf")


async def stale(pond) -> None:
    await pond.get("/files/a.bin")
    pond.clock.advance(700)


async def test_cache_status_of_a_miss_a_hit_and_a_confirmation(pond, origin):
    async def told() -> str:
        return (await pond.get("/files/a.bin")).headers["cache-status"]

    assert await told() == "millpond; fwd=uri-miss; fwd-status=200; stored"
    assert await told() == "millpond; hit; ttl=600"
    pond.clock.advance(600)
    assert await told() == "millpond; fwd=stale; fwd-status=304; ttl=600"
    pond.clock.advance(601)
    origin.put("/a.bin", NEW)
    assert await told() == "millpond; fwd=stale; fwd-status=200; stored; ttl=600"


async def test_a_304_refreshes_in_place_and_downloads_nothing(pond, origin):
    await stale(pond)
    got = await pond.get("/files/a.bin")
    assert (got.body, got.headers["age"], got.headers["x-artifact-source"]) == (OLD, "0", "cache")
    asked = origin.requests[-1].headers
    assert asked["if-none-match"].startswith('"')
    assert asked["if-modified-since"] == "Sun, 09 Sep 2001 01:46:40 GMT"
    values = pond.app.metrics.values()
    assert values['millpond_fetched_bytes_total{repository="files"}'] == len(OLD)
    assert values['millpond_revalidations_total{repository="files"}'] == 1
    pond.clock.advance(599)
    await pond.get("/files/a.bin")
    assert origin.count("/a.bin") == 2


async def test_without_checking_an_expired_path_is_fetched_in_full(pond, origin):
    await pond.get("/plain/a.bin")
    pond.clock.advance(60)
    await pond.get("/plain/a.bin")
    assert "if-none-match" not in origin.requests[-1].headers
    assert origin.count("/a.bin") == 2


@pytest.mark.parametrize(
    "fault",
    [status(500), status(429), status(401), status(403), Drop(), portal(), truncate(100), Chunked(50, stop_after=100)],
)
@pytest.mark.parametrize("repository", ["files", "plain"])
async def test_a_good_copy_is_served_whatever_fails_and_the_upstream_left_alone(pond, origin, fault, repository):
    await pond.get(f"/{repository}/a.bin")
    pond.clock.advance(700)
    origin.put("/a.bin", NEW)
    origin.always("/a.bin", fault)
    got = await pond.get(f"/{repository}/a.bin")
    origin.always("/a.bin", None)
    asked = origin.count("/a.bin")
    assert (got.status, got.body, got.headers["age"]) == (200, OLD, "700")
    assert got.headers["cache-status"].startswith("millpond; fwd=stale; ttl=-")
    assert 'detail="' in got.headers["cache-status"]
    pond.clock.advance(5)
    again = await pond.get(f"/{repository}/a.bin")
    assert (again.body, again.headers["age"], again.headers["x-artifact-source"]) == (OLD, "705", "cache")
    assert again.headers["cache-status"].startswith("millpond; hit; ttl=-")
    assert origin.count("/a.bin") == asked, "not asked again during its TTL"
    pond.clock.advance(600)
    assert (await pond.get(f"/{repository}/a.bin")).body == NEW


async def test_who_looked_before_another_ones_fetch_failed_is_told_that_the_copy_is_stale(pond, origin, monkeypatch):
    await stale(pond)
    await origin.cut()
    proxy = pond.app.repositories["files"]
    look = proxy.decision

    async def look_and_be_overtaken(target):
        monkeypatch.setattr(proxy, "decision", look)
        found = await look(target)
        assert (await pond.get("/files/a.bin")).body == OLD
        return found

    monkeypatch.setattr(proxy, "decision", look_and_be_overtaken)
    got = await pond.get("/files/a.bin")
    assert (got.status, got.body) == (200, OLD)
    assert got.headers["cache-status"].startswith("millpond; fwd=stale; ttl=-")
    assert "connection refused" in got.headers["cache-status"]
    assert pond.app.metrics.values()['millpond_requests_total{outcome="stale",repository="files"}'] == 2


async def test_a_cut_upstream_is_survived_for_days_with_the_true_age(pond, origin):
    await pond.get("/files/a.bin")
    await origin.cut()
    for days in (1, 2, 3):
        pond.clock.advance(86_400)
        got = await pond.get("/files/a.bin")
        assert (got.body, got.headers["age"]) == (OLD, str(days * 86_400))
        assert "connection refused" in got.headers["cache-status"]
    await origin.restore()
    pond.clock.advance(86_400)
    assert (await pond.get("/files/a.bin")).headers["age"] == "0"


async def test_the_upstreams_own_404_takes_the_copy_away(pond, origin):
    await stale(pond)
    origin.remove("/a.bin")
    assert (await pond.get("/files/a.bin")).status == 404
    origin.put("/a.bin", NEW)
    assert (await pond.get("/files/a.bin")).status == 404
    pond.clock.advance(30)
    assert (await pond.get("/files/a.bin")).body == NEW


async def test_stale_while_revalidate_answers_at_once_and_looks_behind(pond, origin):
    origin.put("/a.bin", OLD, headers={"cache-control": "max-age=10, stale-while-revalidate=60"})
    await pond.get("/files/a.bin")
    origin.put("/a.bin", NEW, headers={"cache-control": "max-age=10"})
    gate = origin.hold("/a.bin", after_bytes=-1)
    pond.clock.advance(11)
    got = await asyncio.wait_for(pond.get("/files/a.bin"), 30)
    assert (got.body, got.headers["cache-status"]) == (OLD, "millpond; hit; ttl=-1")
    gate.release()
    await pond.landed()
    got = await pond.get("/files/a.bin")
    assert (got.body, got.headers["cache-status"]) == (NEW, "millpond; hit; ttl=10")
    assert origin.count("/a.bin") == 2


@pytest.mark.parametrize("behaviour", [Hang(), Hang(after=100), Slow(delay_s=30), Slow(bytes_per_s=100)])
async def test_patience_with_a_slow_upstream_ends_in_the_good_copy(impatient, origin, behaviour):
    await stale(impatient)
    origin.put("/a.bin", NEW)
    origin.script("/a.bin", behaviour)
    got = await asyncio.wait_for(impatient.get("/files/a.bin"), 25)
    assert got.body == OLD
    assert 'detail="the upstream is slow"' in got.headers["cache-status"]


async def test_what_was_slow_lands_behind(impatient, origin):
    pond = impatient
    await stale(pond)
    origin.put("/a.bin", NEW)
    gate = origin.hold("/a.bin")
    assert (await pond.get("/files/a.bin")).body == OLD
    assert (await pond.get("/files/a.bin")).body == OLD, "a second one joins, and is as patient"
    gate.release()
    await pond.landed()
    assert (await pond.get("/files/a.bin")).body == NEW
    assert origin.count("/a.bin") == 2


async def test_a_herd_is_one_fetch_and_says_so(pond, origin):
    gate = origin.hold("/a.bin", after_bytes=0)
    asked = [asyncio.create_task(pond.get("/files/a.bin")) for _ in range(30)]
    await gate.reached()
    joined = 'millpond_flights_joined_total{repository="files"}'
    async with asyncio.timeout(30):
        while pond.app.metrics.values().get(joined) != 29:
            await asyncio.sleep(0.01)
    gate.release()
    answers = await asyncio.gather(*asked)
    assert all(got.body == OLD for got in answers)
    assert origin.count("/a.bin") == 1
    assert sum("collapsed" in got.headers["cache-status"] for got in answers) == 29
    assert pond.app.metrics.values()[joined] == 29


async def test_two_workers_fetch_once(open_pond, origin, pond):
    other = await open_pond(config(origin))
    gate = origin.hold("/a.bin", after_bytes=200)
    asked = [asyncio.create_task(each.get("/files/a.bin")) for each in (pond, other) * 10]
    await gate.reached()
    gate.release()
    assert [got.body for got in await asyncio.gather(*asked)] == [OLD] * 20
    assert origin.count("/a.bin") == 1
    assert (await other.get("/files/a.bin")).headers["cache-status"] == "millpond; hit; ttl=600"


async def test_what_one_worker_learned_the_other_knows(open_pond, origin, pond):
    other = await open_pond(config(origin))
    await pond.get("/files/a.bin")
    await other.get("/files/a.bin")
    pond.clock.advance(700)
    origin.put("/a.bin", NEW)
    assert (await pond.get("/files/a.bin")).body == NEW
    assert (await other.get("/files/a.bin")).body == NEW
    assert origin.count("/a.bin") == 2


async def test_no_store_passes_by_and_is_not_kept(pond, origin):
    origin.put("/a.bin", OLD, headers={"cache-control": "no-store"})
    for count in (1, 2):
        got = await pond.get("/files/a.bin")
        assert got.body == OLD
        assert got.headers["cache-status"] == "millpond; fwd=uri-miss; fwd-status=200"
        assert origin.count("/a.bin") == count


@pytest.mark.parametrize("length", [400, 6 << 20])
async def test_on_a_full_disk_it_passes_through_whole_and_unstored(pond, origin, length):
    fill_disk(pond)
    origin.put("/big.bin", b"x" * length)
    for _ in range(2):
        got = await pond.get("/files/big.bin")
        assert (got.status, got.complete, len(got.body)) == (200, True, length)
        assert "stored" not in got.headers["cache-status"]
    assert origin.count("/big.bin") == 2
    assert list((pond.app.data / "spool").iterdir()) == []


async def test_on_a_full_disk_a_changed_large_file_passes_through_although_an_old_copy_is_here(pond, origin):
    await stale(pond)
    fill_disk(pond)
    large = b"y" * (9 << 20)
    origin.put("/a.bin", large)
    got = await pond.get("/files/a.bin")
    assert (got.status, got.complete, got.headers["x-artifact-source"]) == (200, True, "remote")
    assert got.body == large


async def test_an_upstreams_age_counts_from_the_first_answer_on(pond, origin):
    origin.put("/a.bin", OLD, headers={"age": "100"})
    assert (await pond.get("/files/a.bin")).headers["age"] == "100"
    pond.clock.advance(5)
    assert (await pond.get("/files/a.bin")).headers["age"] == "105"
    assert (await pond.get("/plain/a.bin")).headers["age"] == "100", "under an operator's TTL too"


@pytest.mark.parametrize("up", [True, False])
async def test_after_the_clock_was_set_back_a_day_the_upstream_is_asked_once_and_then_left_alone(pond, origin, up):
    await pond.get("/files/a.bin")
    pond.clock.jump(-86_400)
    if not up:
        await origin.cut()
    assert (await pond.get("/files/a.bin")).body == OLD
    entry = await pond.app.catalog.find("files", "a.bin", "")
    assert entry is not None
    assert entry.checked_at == pond.clock.now(), "what the check told was written down"
    asked = origin.count("/a.bin")
    await origin.cut()
    for _ in range(3):
        pond.clock.advance(100)
        got = await pond.get("/files/a.bin")
        assert (got.body, got.headers["cache-status"].partition(";")[2][:5]) == (OLD, " hit;")
    assert origin.count("/a.bin") == asked


# A package index: the page knows its files.


async def test_a_file_is_found_through_its_page_and_checked_against_it(pond, origin):
    publish(origin, NAME)
    got = await pond.get(f"/py/files/demo/{NAME}")
    assert (got.status, got.body) == (200, WHEEL)
    digest = hashlib.sha256(WHEEL).hexdigest()
    assert got.headers["etag"] == f'"sha256:{digest}"', "promised before its last byte came"
    pond.clock.advance(10**7)
    assert (await pond.get(f"/py/files/demo/{NAME}")).headers["cache-status"] == "millpond; hit"
    assert [request.path for request in origin.requests] == ["/simple/demo/", f"/files/{NAME}"]


@pytest.mark.parametrize("wrong", ["digest", "size"])
async def test_bytes_that_the_page_does_not_promise_are_never_given_whole(pond, origin, wrong):
    publish(origin, NAME, **({"body": b"PK other"} if wrong == "digest" else {"size": 17}))
    got = await pond.get(f"/py/files/demo/{NAME}")
    assert got.status == 502 or not got.complete
    await pond.landed()
    assert await pond.app.catalog.find("py", f"files/demo/{NAME}", "") is None
    assert pond.app.metrics.values()['millpond_upstream_errors_total{kind="mismatch",repository="py"}'] == 1


async def test_a_file_that_the_page_does_not_list_yet_is_looked_up_anew_once_in_a_while(pond, origin):
    publish(origin, "demo-0-py3-none-any.whl")
    assert (await pond.get(f"/py/files/demo/{NAME}")).status == 404
    publish(origin, NAME)
    assert (await pond.get(f"/py/files/demo/{NAME}")).status == 404, "the page was asked a moment ago"
    assert origin.count("/simple/demo/") == 1
    pond.clock.advance(10)
    assert (await pond.get(f"/py/files/demo/{NAME}")).body == WHEEL
    assert origin.count("/simple/demo/") == 2


async def test_an_outage_of_the_index_is_no_404(pond, origin):
    origin.always("/simple/demo/", status(503, retry_after="9"))
    got = await pond.get(f"/py/files/demo/{NAME}")
    assert (got.status, got.headers["retry-after"]) == (502, "9")


async def test_a_file_is_served_through_a_stale_page_while_the_index_is_down(pond, origin):
    publish(origin, NAME)
    await pond.get("/py/simple/demo/", accept=JSON_TYPE)
    pond.clock.advance(3600)
    origin.always("/simple/demo/", status(500))
    assert (await pond.get(f"/py/files/demo/{NAME}")).body == WHEEL


async def test_a_page_that_cant_be_read_never_replaces_one_that_can(pond, origin):
    publish(origin, NAME)
    await pond.get("/py/simple/demo/", accept=JSON_TYPE)
    pond.clock.advance(3600)
    origin.put("/simple/demo/", b'{"files": [', headers={"content-type": JSON_TYPE})
    got = await pond.get("/py/simple/demo/", accept=JSON_TYPE)
    assert got.json()["files"][0]["filename"] == NAME
    assert got.headers["age"] == "3600"


async def test_a_project_that_is_not_there_is_remembered_for_its_files_too(pond, origin):
    assert (await pond.get("/py/simple/nope/", accept=JSON_TYPE)).status == 404
    assert (await pond.get("/py/files/nope/nope-1-py3-none-any.whl")).status == 404
    assert origin.count("/simple/nope/") == 1


async def test_a_page_that_is_not_to_be_stored_still_leads_to_its_files(pond, origin):
    publish(origin, NAME)
    origin.put("/simple/demo/", page(NAME), headers={"content-type": JSON_TYPE, "cache-control": "no-store"})
    got = await pond.get("/py/simple/demo/", accept=JSON_TYPE)
    assert got.json()["files"][0]["filename"] == NAME
    assert "stored" not in got.headers["cache-status"]
    assert (await pond.get(f"/py/files/demo/{NAME}")).body == WHEEL
