"""Leases: one holder at a time, numbers that only grow, and clocks that jump."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from millpond.db import Database
from millpond.errors import Busy
from millpond.leases import Leases, host_lease, node_id
from millpond.testing.clock import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def leases(tmp_path: Path, clock: FakeClock):
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    yield Leases(db, clock)
    await db.close()


async def test_one_holds_it_until_it_is_over(leases: Leases, clock: FakeClock):
    mine = await leases.acquire("gc", "a", 60)
    assert mine is not None
    assert await leases.acquire("gc", "b", 60) is None
    assert await leases.current("gc") == mine
    clock.advance(60)
    assert await leases.current("gc") is None
    theirs = await leases.acquire("gc", "b", 60)
    assert theirs is not None
    assert theirs.fence > mine.fence


async def test_fencing_numbers_grow_for_ever(leases: Leases, clock: FakeClock):
    fences = []
    for holder in ("a", "b", "a", "a", "c"):
        lease = await leases.acquire("gc", holder, 60)
        assert lease is not None
        fences.append(lease.fence)
        await leases.release(lease)
    again = await leases.acquire("gc", "d", 60)
    assert again is not None
    fences.append((again).fence)
    assert fences == sorted(set(fences))


async def test_renewing_keeps_it(leases: Leases, clock: FakeClock):
    lease = await leases.acquire("gc", "a", 60)
    assert lease is not None
    clock.advance(50)
    lease = await leases.renew(lease, 60)
    assert lease is not None
    clock.advance(50)
    assert await leases.acquire("gc", "b", 60) is None


async def test_a_late_renewal_holds_only_if_nobody_took_it(leases: Leases, clock: FakeClock):
    lease = await leases.acquire("gc", "a", 60)
    assert lease is not None
    clock.advance(100)
    late = await leases.renew(lease, 60)
    assert late is not None
    clock.advance(100)
    assert await leases.acquire("gc", "b", 60) is not None
    assert await leases.renew(late, 60) is None


async def test_who_lost_it_can_neither_renew_nor_release_it(leases: Leases, clock: FakeClock):
    old = await leases.acquire("gc", "a", 60)
    assert old is not None
    clock.advance(61)
    new = await leases.acquire("gc", "b", 60)
    assert await leases.release(old) is False
    assert await leases.current("gc") == new


async def test_the_same_holder_gets_a_new_number_and_loses_the_old_one(leases: Leases):
    old = await leases.acquire("gc", "a", 60)
    new = await leases.acquire("gc", "a", 60)
    assert old is not None
    assert new is not None
    assert new.fence > old.fence
    assert await leases.renew(old, 60) is None


async def test_a_clock_that_is_set_back_locks_nothing_for_a_day(leases: Leases, clock: FakeClock):
    assert await leases.acquire("gc", "dead", 60) is not None
    clock.jump(-86400)
    assert await leases.acquire("gc", "b", 60) is not None


async def test_a_small_step_back_takes_nothing_away(leases: Leases, clock: FakeClock):
    assert await leases.acquire("gc", "a", 60) is not None
    clock.jump(-3)
    assert await leases.acquire("gc", "b", 60) is None


async def test_of_many_who_ask_at_once_one_gets_it(tmp_path: Path, clock: FakeClock):
    databases = [Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0) for _ in range(2)]
    both = [Leases(db, clock) for db in databases]
    got = await asyncio.gather(*(both[number % 2].acquire("gc", str(number), 60) for number in range(20)))
    assert sum(lease is not None for lease in got) == 1
    for db in databases:
        await db.close()


async def test_one_is_held_while_the_work_goes_on_and_given_back_whatever_happens(leases: Leases):
    async def work() -> None:
        async with leases.holding("gc", "a", 60) as mine:
            assert mine is not None
            async with leases.holding("gc", "b", 60) as theirs:
                assert theirs is None
            assert await leases.current("gc") == mine, "who did not get it gives nothing back"
            raise RuntimeError

    with pytest.raises(RuntimeError):
        await work()
    assert await leases.current("gc") is None


async def test_work_that_takes_longer_than_the_lease_keeps_it(leases: Leases, clock: FakeClock):
    async with leases.holding("gc", "a", 0.03) as mine:
        assert mine is not None
        clock.advance(10)
        async with asyncio.timeout(30):
            while await leases.current("gc") is None:
                await asyncio.sleep(0.005)
        assert await leases.acquire("gc", "b", 60) is None


def test_hosts_have_leases_of_their_own():
    assert host_lease("web1") == "host:web1"


def test_a_node_keeps_its_id(tmp_path: Path):
    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(lambda _: node_id(tmp_path / "data"), range(16)))
    assert len(ids) == 1
    assert node_id(tmp_path / "data") in ids
    assert [path.name for path in (tmp_path / "data").iterdir()] == ["node-id"]


async def test_several_are_renewed_at_once_and_what_is_another_s_is_missing(leases: Leases, clock: FakeClock):
    held = [await leases.acquire(name, "a", 60) for name in ("x", "y", "z")]
    clock.advance(61)
    assert await leases.acquire("y", "b", 60)
    kept = await leases.renew_all([one for one in held if one], 60)
    assert sorted(kept) == ["x", "z"]
    assert kept["x"] == await leases.current("x")


async def test_renewing_goes_on_after_a_fault(leases: Leases, clock: FakeClock, monkeypatch):
    plain, tried = leases.renew, []

    async def sometimes(lease, ttl_s):
        tried.append(lease.name)
        if len(tried) < 3:
            raise OSError("disk full")
        return await plain(lease, ttl_s)

    monkeypatch.setattr(leases, "renew", sometimes)
    async with leases.holding("gc", "a", 0.03) as lease, asyncio.timeout(30):
        clock.advance(0.02)
        while (found := await leases.current("gc")) is None or found.expires_at == lease.expires_at:
            await asyncio.sleep(0.005)
    assert len(tried) >= 3


async def test_work_under_a_lease_that_is_lost_is_broken_off_and_told(leases: Leases, clock: FakeClock):
    async def work() -> None:
        async with leases.holding("gc", "a", 0.03):
            while await leases.acquire("gc", "b", 600) is None:
                clock.advance(100)
            await asyncio.sleep(60)

    async with asyncio.timeout(30):
        with pytest.raises(Busy, match="the lease gc was lost to somebody else"):
            await work()
    assert (await leases.current("gc")).holder == "b"


async def test_a_time_out_of_the_work_itself_stays_one(leases: Leases):
    with pytest.raises(TimeoutError, match="mine"):
        async with leases.holding("gc", "a", 60):
            raise TimeoutError("mine")
