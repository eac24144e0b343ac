"""A mirror that changes between any two requests of one run of apk: never a mismatch, and the next run succeeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import jail as jails
from tests.apks import BRANCH, Apk, Key, Mirror, config, repository
from tests.clients.apk import MISMATCH, ApkMachine
from tests.clients.programs import Ran, Room
from tests.clients.test_apk import HELLO, NEWER, OTHER, REBUILT, command, key  # noqa: F401 - fixtures
from tests.conftest import MakePond

from millpond.testing.behaviours import Exchange
from millpond.testing.resources import Resource, respond
from millpond.testing.upstream import ThreadedUpstream

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]
MOST = 8
"""More requests than a run makes."""


@dataclass
class ChangesBefore:
    """Counts requests, and changes the mirror before one of them is answered (`testing.behaviours.Behaviour`)."""

    mirror: Mirror
    change: Callable[[], None]
    number: int
    seen: int = 0

    async def play(self, exchange: Exchange) -> bool:
        self.seen += 1
        if self.seen == self.number:
            self.change()
        resource = self.mirror.server._resources.get(exchange.request.path, Resource(b"gone", {}, 404))
        return await exchange.deliver(respond(resource, exchange.request))


@pytest.mark.parametrize(
    ("changed", "keeps"),
    [(NEWER, True), (NEWER, False), (REBUILT, False)],
    ids=["a new version, the old one stays", "a new version, the old one goes", "rebuilt under the old name"],
)
@pytest.mark.parametrize("stored", [False, True], ids=["nothing stored", "the old one stored"])
def test_between_any_two_requests(
    jail: jails.Jail, make_pond: MakePond, upstream: ThreadedUpstream, key: Key, room: Room, tmp_path: Path,  # noqa: F811
    command: list[str], changed: Apk, keeps: bool, stored: bool,  # noqa: F811
):  # fmt: skip
    mirrors = [Mirror(upstream, sign=key, place=f"mirror{number}/alpine") for number in range(MOST)]
    ttl_s = 0.0 if stored else 3600.0
    more = "".join(repository(f"alpine{number}", one, ttl_s=ttl_s) for number, one in enumerate(mirrors))
    pond = make_pond(config(mirrors[0], ttl_s=ttl_s, more=more), host=jail.address)
    for number, mirror in enumerate(mirrors):
        mirror.publish(HELLO, OTHER)
        apk = ApkMachine(room, tmp_path / f"machine{number}", command)
        apk.settings(key.public, f"{pond.url}/alpine{number}/{BRANCH}")
        if stored:
            assert run(apk).ok
        changes = ChangesBefore(mirror, lambda m=mirror: m.publish(changed, OTHER, keep_old=keeps), number + 1)
        upstream.always("*", changes)
        outcomes = [run(apk), run(apk)]
        upstream.always("*", None)
        for ran in outcomes:
            assert not MISMATCH.search(ran.output), (number, ran.output)
        assert outcomes[-1].ok, (number, outcomes[-1].output)
        assert apk.fetched() in [{one.filename: mirror.body(one)} for one in (HELLO, changed)]
        if changes.seen <= number:
            assert number > 1
            return
    raise AssertionError(f"a run makes more than {MOST} requests")


def run(apk: ApkMachine) -> Ran:
    """Do ``apk update && apk fetch``."""
    ran = apk.update()
    return apk.fetch("hello") if ran.ok else ran
