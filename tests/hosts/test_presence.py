"""Images that are only built on the hosts: found by name, the same on all of them."""

from __future__ import annotations

import asyncio
import json

import pytest

from millpond.errors import BadRequest
from millpond.hosts.address import Address
from millpond.hosts.apps import AppOptions, Resolved
from millpond.hosts.model import Completed, HostFailed, HostOptions, Kind
from millpond.hosts.presence import built
from millpond.hosts.rollout import Place
from millpond.testing.hosts import Asked, Crowd, FakeHost

NAMES = tuple(f"h{number}" for number in range(9))
APP = AppOptions("shop", "/srv/shop", NAMES, parallel=3)
ONLY_BUILT = Resolved({"services": {"own": {"build": {"context": "."}}}}, ())
ID = "sha256:" + "f" * 64


def places(crowd: Crowd, answer: object) -> list[Place]:
    hosts = [FakeHost(name, crowd).on("docker", "image", "inspect", answer=answer, delay_s=0.01) for name in NAMES]
    return [Place(host, HostOptions(host.name, Address("local"))) for host in hosts]


async def test_hosts_are_asked_side_by_side_under_the_cap():
    crowd = Crowd()
    pins = await built(APP, places(crowd, json.dumps(ID)), ONLY_BUILT)
    assert pins["own"].reference == ID
    assert crowd.most == 3


async def test_a_host_that_can_t_be_asked_is_told_when_none_is_asked_any_more():
    crowd = Crowd()

    async def answer(asked: Asked) -> Completed:
        await asyncio.sleep(0.01)
        raise HostFailed("h1", "gone", kind=Kind.TRANSIENT, reason="lost")

    with pytest.raises(HostFailed, match="h1: gone"):
        await built(APP, places(crowd, answer), ONLY_BUILT)
    assert crowd.now == 0


async def test_another_image_on_one_host_is_refused():
    ids = iter([ID] * 8 + ["sha256:" + "e" * 64])
    with pytest.raises(BadRequest, match="is another one on each host"):
        await built(APP, places(Crowd(), lambda _: Completed(0, json.dumps(next(ids)))), ONLY_BUILT)
