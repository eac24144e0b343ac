"""Upkeep: what must run once in all runs once, and a full store comes back below its limit."""

from __future__ import annotations

import asyncio

import pytest

from millpond.app.upkeep import LEASE_S
from millpond.errors import Busy

CONFIG = """
[storage]
max_size = "1MB"
collect_grace_s = 60
[repositories.files]
package = "generic"
base_url = "URL"
"""


@pytest.fixture
async def pond(open_pond, origin):
    return await open_pond(CONFIG.replace("URL", origin.url))


def silent(*_) -> None: ...


async def test_a_collection_under_way_in_another_worker_is_not_doubled(pond, open_pond, origin):
    other = await open_pond(CONFIG.replace("URL", origin.url))
    lease = await other.app.leases.acquire("collect", "somebody", LEASE_S)
    assert lease is not None
    with pytest.raises(Busy, match="under way"):
        await pond.app.upkeep.collect(dry_run=False, progress=silent)
    await other.app.leases.release(lease)
    await pond.app.upkeep.collect(dry_run=False, progress=silent)
    assert await pond.app.leases.current("collect") is None, "it is given back"


async def test_a_dead_workers_lease_runs_out(pond):
    await pond.app.leases.acquire("collect", "a dead one", LEASE_S)
    pond.clock.advance(LEASE_S + 1)
    await pond.app.upkeep.collect(dry_run=False, progress=silent)


async def test_a_full_store_is_brought_down_and_the_latest_is_kept(pond, origin):
    for number in range(12):
        origin.put(f"/{number}.bin", bytes([number]) * 100_000)
        await pond.get(f"/files/{number}.bin")
        pond.clock.advance(100)
    would = await pond.app.upkeep.collect(dry_run=True, progress=silent)
    report = await pond.app.upkeep.collect(dry_run=False, progress=silent)
    assert report["evicted"] == would["evicted"] == 4
    assert report["evicted_bytes"] == 400_000
    assert (await pond.app.catalog.stored()).bytes == 800_000
    assert (await pond.get("/files/11.bin")).headers["x-artifact-source"] == "cache"
    assert (await pond.get("/files/0.bin")).headers["x-artifact-source"] == "remote"


async def test_replaced_bytes_go_after_their_grace(pond, origin):
    origin.put("/a.bin", b"old")
    await pond.get("/files/a.bin")
    pond.clock.advance(601)
    origin.put("/a.bin", b"new")
    await pond.get("/files/a.bin")
    assert (await pond.app.upkeep.collect(dry_run=False, progress=silent))["collected"] == 0
    pond.clock.advance(61)
    assert (await pond.app.upkeep.collect(dry_run=False, progress=silent))["collected"] == 1
    assert (await pond.get("/files/a.bin")).body == b"new"


async def test_a_check_finds_nothing_wrong_in_a_sound_store(pond, origin):
    origin.put("/a.bin", b"a")
    await pond.get("/files/a.bin")
    assert (await pond.app.upkeep.check(repair=False, progress=silent))["ok"]
    digest = (await pond.app.catalog.find("files", "a.bin", "")).digest
    path = pond.app.store.path(digest)
    path.chmod(0o640)
    path.write_bytes(b"b")
    assert not (await pond.app.upkeep.check(repair=False, progress=silent))["ok"]


async def test_the_loops_start_measure_and_stop(pond):
    await pond.app.started()
    measured = {'millpond_upstream_state{repository="files"}', 'millpond_disk_bytes{what="limit"}'}
    async with asyncio.timeout(30):
        while not measured <= set(pond.app.metrics.values()):
            await asyncio.sleep(0.01)
    values = pond.app.metrics.values()
    assert values['millpond_disk_bytes{what="limit"}'] == 1_000_000
    assert values['millpond_disk_bytes{what="free"}'] > 0
    assert values['millpond_upstream_state{repository="files"}'] == 0
    await pond.app.loops.close()


async def test_an_absence_that_was_collected_is_forgotten_in_every_worker(pond, open_pond, origin):
    other = await open_pond(CONFIG.replace("URL", origin.url))
    for each in (pond, other):
        assert (await each.get("/files/a.bin")).status == 404
    pond.clock.advance(31)
    assert (await pond.app.upkeep.collect(dry_run=False, progress=silent))["negatives"] == 1
    origin.put("/a.bin", b"a")
    pond.clock.jump(-31)  # by the clock it would be in time again
    assert (await other.get("/files/a.bin")).body == b"a"
