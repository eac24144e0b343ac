"""A good copy, or one that another worker has just brought, is never turned into an error."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest
import structlog

from millpond.artifacts.spool import WINDOW_BYTES

CONFIG = """
[repositories.files]
package = "generic"
base_url = "URL"
TTL
check_mutable_updates = true
[repositories.pypi]
package = "pypi"
base_url = "URL/simple"
TTL
check_mutable_updates = true
"""
JSON = "application/vnd.pypi.simple.v1+json"
LARGE = 2 * WINDOW_BYTES + 1


def configured(origin, ttl_s=None):
    return CONFIG.replace("URL", origin.url).replace("TTL", "" if ttl_s is None else f"mutable_ttl_s = {ttl_s}")


def put_project(origin, *names):
    wheel = b"PK" + bytes(2000)
    sums = {"sha256": hashlib.sha256(wheel).hexdigest()}
    files = [{"filename": name, "url": f"{origin.url}/{name}", "hashes": sums} for name in names]
    page = {"meta": {"api-version": "1.0"}, "name": "six", "files": files}
    origin.put("/simple/six/", json.dumps(page).encode(), headers={"content-type": JSON})
    for name in names:
        origin.put(f"/{name}", wheel)


async def both(open_pond, origin, paths, held):
    """Ask one worker, then, while the upstream is silent, another one; gives both answers."""
    workers = [await open_pond(configured(origin, ttl_s=0)) for _ in paths]
    gate = origin.hold(held, -1)
    asked = [asyncio.create_task(workers[0].get(paths[0], accept=JSON))]
    await gate.reached()
    following = asyncio.Event()
    watch = workers[1].app.lock.follow

    def follow(key):
        following.set()
        return watch(key)

    workers[1].app.lock.follow = follow
    asked.append(asyncio.create_task(workers[1].get(paths[1], accept=JSON)))
    async with asyncio.timeout(60):
        await following.wait()
        gate.release()
        return await asyncio.gather(*asked)


async def test_what_another_worker_fetched_is_served_although_it_is_stale_at_once(open_pond, origin):
    put_project(origin, "six-1-py3-none-any.whl")
    got = await both(open_pond, origin, ["/pypi/simple/six/"] * 2, "/simple/six/")
    assert [one.status for one in got] == [200, 200]
    assert got[0].body == got[1].body
    assert origin.count("/simple/six/") == 1


async def test_a_file_is_found_in_an_index_that_another_worker_fetched(open_pond, origin):
    put_project(origin, "six-1-py3-none-any.whl", "six-2-py3-none-any.whl")
    paths = [f"/pypi/files/six/six-{number}-py3-none-any.whl" for number in (1, 2)]
    got = await both(open_pond, origin, paths, "/simple/six/")
    assert [one.status for one in got] == [200, 200]


async def test_what_another_worker_found_unchanged_comes_from_the_cache(open_pond, origin):
    origin.put("/a.bin", b"the good copy")
    assert (await (await open_pond(configured(origin, ttl_s=0))).get("/files/a.bin")).status == 200
    got = await both(open_pond, origin, ["/files/a.bin"] * 2, "/a.bin")
    assert [(one.status, one.headers["x-artifact-source"]) for one in got] == [(200, "cache")] * 2
    assert origin.count("/a.bin") == 2


@pytest.mark.parametrize("size", [1000, LARGE])
async def test_a_body_that_is_not_to_be_stored_any_more_is_handed_on_whatever_its_size(open_pond, origin, size):
    pond = await open_pond(configured(origin))
    origin.put("/a.bin", b"1" * size, headers={"cache-control": "max-age=5"})
    assert (await pond.get("/files/a.bin")).status == 200
    pond.clock.advance(6)
    origin.put("/a.bin", b"2" * size, headers={"cache-control": "no-store"})
    for _ in range(2):
        got = await pond.get("/files/a.bin")
        assert (got.status, got.body) == (200, b"2" * size)
        assert "stored" not in got.headers["cache-status"]


async def test_what_is_not_to_be_stored_and_nobody_waits_for_is_no_failure_of_the_upstream(open_pond, origin):
    """It is not fetched to its end; the good copy is served as it is, and the upstream left alone for a moment."""
    pond = await open_pond(configured(origin))
    origin.put("/a.bin", b"1" * LARGE, headers={"cache-control": "max-age=5, stale-while-revalidate=60"})
    assert (await pond.get("/files/a.bin")).status == 200
    pond.clock.advance(6)
    origin.put("/a.bin", b"2" * LARGE, headers={"cache-control": "no-store"})
    with structlog.testing.capture_logs() as logs:
        assert (await pond.get("/files/a.bin")).body == b"1" * LARGE, "it is refreshed behind"
        await pond.landed()
    assert logs == []
    assert (await pond.app.catalog.find("files", "a.bin", "")).failure == ""
    assert not [name for name in pond.app.metrics.values() if name.startswith("millpond_upstream_failures_total{")]
    for _ in range(3):
        assert (await pond.get("/files/a.bin")).body == b"1" * LARGE
    await pond.landed()
    assert origin.count("/a.bin") == 2
    pond.clock.advance(60)
    assert (await pond.get("/files/a.bin")).body == b"2" * LARGE


async def test_who_waits_in_another_worker_for_what_is_not_to_be_stored_gets_it_though_the_first_one_left(
    open_pond, origin
):
    origin.put("/a.bin", b"2" * 1000, headers={"cache-control": "no-store"})
    workers = [await open_pond(configured(origin)) for _ in range(2)]
    gate = origin.hold("/a.bin", -1)
    first = asyncio.create_task(workers[0].get("/files/a.bin"))
    await gate.reached()
    following, follow = asyncio.Event(), workers[1].app.lock.follow

    def watched(key):
        following.set()
        return follow(key)

    workers[1].app.lock.follow = watched
    second = asyncio.create_task(workers[1].get("/files/a.bin"))
    async with asyncio.timeout(60):
        await following.wait()
        first.cancel()
        await asyncio.wait({first})
        gate.release()
        got = await second
    assert (got.status, got.body) == (200, b"2" * 1000)


async def test_a_fault_of_our_own_in_a_refetch_leaves_the_good_copy(open_pond, origin, monkeypatch):
    pond = await open_pond(configured(origin, ttl_s=60))
    origin.put("/a.bin", b"the good copy")
    assert (await pond.get("/files/a.bin")).status == 200
    pond.clock.advance(61)

    def broken(key):
        raise OSError(f"no lock for {key} in /secret/place")

    monkeypatch.setattr(pond.app.lock, "lead", broken)
    got = await pond.get("/files/a.bin")
    assert (got.status, got.body) == (200, b"the good copy")
    assert "see the pond's log" in got.headers["cache-status"]
    assert "secret" not in str(got.headers)


async def test_a_page_whose_stored_bytes_are_gone_is_fetched_again_at_once(open_pond, origin):
    put_project(origin, "six-1-py3-none-any.whl")
    pond = await open_pond(configured(origin, ttl_s=60))
    first = await pond.get("/pypi/simple/six/", accept=JSON)
    pond.clock.advance(61)
    for folder in ("storage/blobs", "derived"):
        for file in (pond.app.data / folder).rglob("*"):
            if file.is_file():
                file.unlink()
    pond.app.derived.forget()
    again = await pond.get("/pypi/simple/six/", accept=JSON)
    assert (again.status, again.body) == (200, first.body)
