"""Several leases at once: all or none, in one order, renewed, and not left to the dead."""

from __future__ import annotations

import asyncio
import os
import subprocess

import pytest

from millpond.db import Database
from millpond.errors import Busy
from millpond.hosts.holding import Holding, app_lease
from millpond.leases import Leases, host_lease
from millpond.testing.clock import FakeClock


@pytest.fixture
def leases(db: Database, clock: FakeClock) -> Leases:
    return Leases(db, clock)


def holding(leases: Leases, clock: FakeClock, **options: float) -> Holding:
    return Holding(leases, clock, "node", **{"wait_s": 0.0, **options})


def quiet(_: str) -> None:
    """Hear nothing."""


async def test_all_are_held_and_given_back(leases: Leases, clock: FakeClock):
    async with holding(leases, clock).all("shop", ["b", "a", "b"], quiet) as held:
        assert [one.name for one in held.leases] == ["app:shop", "host:a", "host:b"]
        assert held.fence == held.leases[0].fence == 1
        await held.check()
        other = await leases.current(host_lease("a"))
        assert "deploy of shop" in other.holder
    assert await leases.current(app_lease("shop")) is None
    async with holding(leases, clock).all("shop", [], quiet) as held:
        assert held.fence == 2, "each holder has a higher number"


async def test_one_that_is_held_elsewhere_means_none(leases: Leases, clock: FakeClock):
    await leases.acquire(host_lease("b"), "another/1/disk-watchdog", 60)
    with pytest.raises(Busy, match=r"host:b is held by disk-watchdog \(process 1\).*in 60 s"):
        async with holding(leases, clock).all("shop", ["a", "b"], quiet):
            raise AssertionError
    for name in (app_lease("shop"), host_lease("a")):
        assert await leases.current(name) is None


async def test_upkeep_that_holds_a_host_is_waited_for(leases: Leases, clock: FakeClock):
    there = await leases.acquire(host_lease("a"), "another/1/build-cache-pruner", 60)
    heard: list[str] = []

    def told(text: str) -> None:
        heard.append(text)
        clock.advance(0)

    async def end() -> None:
        while not heard:
            await asyncio.sleep(0.01)
        await leases.release(there)

    ending = asyncio.create_task(end())
    async with holding(leases, clock, wait_s=30.0).all("shop", ["a"], told) as held:
        assert len(held.leases) == 2
    await ending
    assert heard[0] == "waiting: host:a is held by build-cache-pruner (process 1)"


async def test_what_a_dead_process_of_this_machine_left_is_taken_at_once(leases: Leases, clock: FakeClock):
    dead = subprocess.Popen(["true"])
    dead.wait()
    await leases.acquire(app_lease("shop"), f"node/{dead.pid}/deploy of shop/ab12", 120)
    await leases.acquire(host_lease("a"), f"node/{dead.pid}/deploy of shop/ab12", 120)
    assert not await holding(leases, clock).under_way("shop")
    async with holding(leases, clock).all("shop", ["a"], quiet) as held:
        assert len(held.leases) == 2
        assert await holding(leases, clock).under_way("shop")
    for holder in (f"elsewhere/{dead.pid}/deploy of shop/x", f"node/{os.getpid()}/deploy of shop/x", "node/x/y", "odd"):
        lease = await leases.acquire(app_lease("shop"), holder, 120)
        with pytest.raises(Busy):
            async with holding(leases, clock).all("shop", ["a"], quiet):
                raise AssertionError
        await leases.release(lease)


async def test_it_is_renewed_and_a_loss_is_found_out(leases: Leases, clock: FakeClock):
    async with holding(leases, clock, ttl_s=0.03).all("shop", ["a"], quiet) as held:
        first = held.leases[1].expires_at
        clock.advance(0.02)
        async with asyncio.timeout(30):
            while held.leases[1].expires_at == first:
                await asyncio.sleep(0.005)
        await held.check()
        clock.advance(100)
        assert await leases.acquire(host_lease("a"), "another/1/x", 60) or held.leases[1].expires_at > clock.now()
        async with asyncio.timeout(30):
            while await leases.acquire(host_lease("a"), "another/1/x", 60) is None:
                clock.advance(100)
            while not held.lost:
                await asyncio.sleep(0.005)
        with pytest.raises(Busy, match="host:a was lost"):
            await held.check()


async def test_a_check_asks_the_database_and_does_not_wait_for_the_next_renewal(leases: Leases, clock: FakeClock):
    async with holding(leases, clock).all("shop", ["a", "b"], quiet) as held:
        clock.advance(100)
        await held.check()
        assert [one.expires_at - clock.now() for one in held.leases] == [120.0] * 3, "it renews them"
        clock.advance(121)
        await held.check()  # late, but nobody took them
        clock.advance(121)
        assert await leases.acquire(host_lease("b"), "another/1/x", 60)
        with pytest.raises(Busy, match="host:b was lost"):
            await held.check()
        assert (await leases.current(host_lease("a"))) is not None
    assert (await leases.current(host_lease("b"))).holder == "another/1/x", "what is another's is not given back"


async def test_a_renewal_that_fails_is_tried_again(leases: Leases, clock: FakeClock, monkeypatch):
    tried: list[str] = []

    async def broken(held, ttl_s):
        tried.append(held[0].name)
        raise OSError("disk full")

    async with holding(leases, clock, ttl_s=0.01).all("shop", [], quiet) as held:
        with monkeypatch.context() as patched:
            patched.setattr(leases, "renew_all", broken)
            async with asyncio.timeout(30):
                while len(tried) < 3:
                    await asyncio.sleep(0.005)
            with pytest.raises(OSError, match="disk full"):
                await held.check()
        await held.check()
