"""The shipped fake host."""

from __future__ import annotations

import asyncio

import pytest

from millpond.hosts.model import Completed, HostFailed, Kind
from millpond.testing.hosts import Asked, Crowd, FakeHost, HostConformance, posix


class TestFakeHost(HostConformance):
    @pytest.fixture
    def host(self) -> FakeHost:
        return posix("fake")


async def test_the_later_rule_wins_and_one_that_is_used_up_is_gone():
    host = FakeHost("a").on("x", answer="old").on("x", "y", answer="new", times=1)
    assert [(await host.run(["x", "y"], timeout_s=1)).out for _ in range(2)] == ["new", "old"]


async def test_it_records_what_it_was_asked():
    host = FakeHost("a").on("x", answer=Completed(3))
    await host.run(["x", "1"], timeout_s=5, stdin=b"in")
    assert host.asked == [Asked(("x", "1"), b"in", 5)]
    assert host.argvs == [("x", "1")]


async def test_it_fails_as_it_is_told():
    fault = HostFailed("a", "no", kind=Kind.TRANSIENT, reason="refused")
    with pytest.raises(HostFailed, match="no"):
        await FakeHost("a").on("x", answer=fault).run(["x"], timeout_s=1)


async def test_a_crowd_counts_over_many_hosts_how_many_run_at_once():
    crowd = Crowd()
    hosts = [FakeHost(str(n), crowd).on("x", answer="", delay_s=0.01) for n in range(9)]
    turn = asyncio.Semaphore(4)

    async def one(host: FakeHost) -> None:
        async with turn:
            await host.run(["x"], timeout_s=60)

    await asyncio.gather(*map(one, hosts))
    assert (crowd.most, crowd.now) == (4, 0)


async def test_it_notes_that_it_was_closed():
    host = FakeHost("a")
    await host.close()
    assert host.closed
