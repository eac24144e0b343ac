"""An archive that changes between any two requests of one run of apt: never a mismatch, and the next run succeeds."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import jail as jails
from tests.archives import Archive, Deb, Key, config, repository
from tests.clients.apt import MISMATCH, Apt
from tests.clients.programs import Ran, Room
from tests.clients.test_apt import FORMS, HELLO, NEWER, OTHER, REBUILT, key  # noqa: F401 - a fixture
from tests.conftest import MakePond

from millpond.testing.behaviours import Exchange
from millpond.testing.resources import Resource, respond
from millpond.testing.upstream import ThreadedUpstream

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]
MOST = 12
"""More requests than a run makes."""


@dataclass
class ChangesBefore:
    """Counts requests, and changes the archive before one of them is answered (`testing.behaviours.Behaviour`)."""

    archive: Archive
    change: Callable[[], None]
    number: int
    seen: int = 0

    async def play(self, exchange: Exchange) -> bool:
        self.seen += 1
        if self.seen == self.number:
            self.change()
        resource = self.archive.server._resources.get(exchange.request.path, Resource(b"gone", {}, 404))
        return await exchange.deliver(respond(resource, exchange.request))


CASES = [
    (name, changed, keeps)
    for name in FORMS
    for changed, keeps in ((NEWER, False), (REBUILT, True), (NEWER, True), (REBUILT, False))
    if name == "by hash" or (changed is NEWER) != keeps
]


def called(case: tuple[str, Deb, bool]) -> str:
    form, changed, keeps = case
    version = "a new version" if changed is NEWER else "new bytes under the old name"
    return f"{form}, {version}, old members {'stay' if keeps else 'go'}"


@pytest.mark.parametrize("case", CASES, ids=called)
def test_between_any_two_requests(
    jail: jails.Jail, make_pond: MakePond, upstream: ThreadedUpstream, key: Key, room: Room, tmp_path: Path,  # noqa: F811
    case: tuple[str, Deb, bool],
):  # fmt: skip
    form, changed, keeps = case
    archives = [Archive(upstream, sign=key, place=f"archive{number}", **FORMS[form]) for number in range(MOST)]
    more = "".join(repository(f"debian{number}", one, ttl_s=3600.0) for number, one in enumerate(archives))
    pond = make_pond(config(archives[0], ttl_s=3600.0, more=more), host=jail.address)
    for number, archive in enumerate(archives):
        archive.publish(HELLO, OTHER)
        apt = Apt(room, tmp_path / f"machine{number}")
        where = "./" if archive.flat else "stable main"
        apt.sources(f"deb [arch=amd64 signed-by={key.public}] {pond.url}/debian{number} {where}\n")
        changes = ChangesBefore(archive, lambda a=archive: a.publish(changed, OTHER, keep_by_hash=keeps), number + 1)
        upstream.always("*", changes)
        outcomes = [run(apt), run(apt)]
        upstream.always("*", None)
        for ran in outcomes:
            assert MISMATCH not in ran.output, (number, ran.output)
            assert ran.ok or "404" in ran.output or "503" in ran.output, (number, ran.output)
        assert outcomes[-1].ok, (number, outcomes[-1].output)
        assert apt.downloaded() in [{one.filename: one.body} for one in (HELLO, changed)]
        if changes.seen <= number:
            return
    raise AssertionError(f"a run makes more than {MOST} requests")


@pytest.mark.parametrize("form", ["by hash", "plain names"])
def test_between_any_two_requests_of_a_later_run(
    jail: jails.Jail, make_pond: MakePond, upstream: ThreadedUpstream, key: Key, room: Room, tmp_path: Path,  # noqa: F811
    form: str,
):  # fmt: skip
    """The pond and apt have a generation; there is a second one by now, and a third one comes amid the run."""
    archives = [Archive(upstream, sign=key, place=f"archive{number}", **FORMS[form]) for number in range(MOST)]
    more = "".join(repository(f"debian{number}", one, ttl_s=0.0) for number, one in enumerate(archives))
    pond = make_pond(config(archives[0], ttl_s=0.0, more=more), host=jail.address)
    for number, archive in enumerate(archives):
        archive.publish(HELLO, OTHER)
        apt = Apt(room, tmp_path / f"machine{number}")
        apt.sources(f"deb [arch=amd64 signed-by={key.public}] {pond.url}/debian{number} stable main\n")
        first = run(apt)
        assert first.ok, (number, first.output)
        archive.publish(REBUILT, OTHER, keep_by_hash=False)
        changes = ChangesBefore(archive, lambda a=archive: a.publish(NEWER, OTHER, keep_by_hash=False), number + 1)
        upstream.always("*", changes)
        ran = run(apt)
        if not ran.ok:
            assert MISMATCH not in ran.output, (number, ran.output)
            assert "404" in ran.output or "503" in ran.output, (number, ran.output)
            ran = run(apt)
        upstream.always("*", None)
        assert ran.ok, (number, ran.output)
        assert apt.downloaded() in [{one.filename: one.body} for one in (HELLO, REBUILT, NEWER)]
        if changes.seen <= number:
            return
    raise AssertionError(f"a run makes more than {MOST} requests")


def run(apt: Apt) -> Ran:
    """Do ``apt-get update && apt-get download``."""
    ran = apt.update()
    return apt.download("hello") if ran.ok else ran
