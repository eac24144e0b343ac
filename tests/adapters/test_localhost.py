"""This machine as a host."""

from __future__ import annotations

import asyncio

import pytest

from millpond.adapters.localhost import LocalHost
from millpond.hosts.address import Address
from millpond.hosts.model import HostOptions, Limits
from millpond.testing.hosts import HostConformance

pytestmark = pytest.mark.process

OPTIONS = HostOptions("here", Address("local"))


class TestLocalHost(HostConformance):
    @pytest.fixture
    def host(self) -> LocalHost:
        return LocalHost(OPTIONS)


async def test_it_runs_no_more_at_a_time_than_it_may():
    host = LocalHost(HostOptions("here", Address("local"), limits=Limits(max_sessions=2)))
    began = asyncio.get_running_loop().time()
    await asyncio.gather(*(host.run(["sleep", "0.2"], timeout_s=60) for _ in range(6)))
    assert asyncio.get_running_loop().time() - began >= 0.6


async def test_what_can_t_be_started_is_an_answer(tmp_path):
    file = tmp_path / "not-executable"
    file.write_text("")
    done = await LocalHost(OPTIONS).run([str(file)], timeout_s=30)
    assert (done.rc, "Permission denied" in done.err) == (126, True)
