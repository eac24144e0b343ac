"""A repository that changes between any two requests of one run of dnf: no mismatch that is the pond's fault.

A run succeeds, or it says 404 or 503 and the next one succeeds. By a metalink, dnf that was told 503 asks for the
entry file again at once, still with the metalink from before, and may be given the new one, which it refuses.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import jail as jails
from tests.clients.dnf import Dnf, mismatched
from tests.clients.programs import Ran, Room
from tests.clients.test_dnf import Rpms, key, rpms  # noqa: F401 - fixtures
from tests.conftest import MakePond
from tests.repodata import Repository, config, repository

from millpond.testing.behaviours import Exchange
from millpond.testing.resources import Resource, respond
from millpond.testing.upstream import ThreadedUpstream

pytestmark = [pytest.mark.client, pytest.mark.timeout(600)]
MOST = 14
"""More requests than a run makes."""


@dataclass
class ChangesBefore:
    """Counts requests, and changes the repository before one of them is answered (`testing.behaviours.Behaviour`)."""

    repo: Repository
    change: Callable[[], None]
    number: int
    seen: int = 0

    async def play(self, exchange: Exchange) -> bool:
        self.seen += 1
        if self.seen == self.number:
            self.change()
        resource = self.repo.server._resources.get(exchange.request.path, Resource(b"gone", {}, 404))
        return await exchange.deliver(respond(resource, exchange.request))


FORMS = {
    "hashed": {},
    "plain": {"hashed": False},
    "signed": {"sign": True},
    "by metalink": {"metalink": True},
}
CASES = [
    (form, changed, keeps)
    for form in FORMS
    for changed, keeps in (("newer", False), ("rebuilt", True), ("newer", True), ("rebuilt", False))
    if form == "hashed" or (changed == "newer") != keeps
]


def called(case: tuple[str, str, bool]) -> str:
    form, changed, keeps = case
    return f"{form}, {changed}, old members {'stay' if keeps else 'go'}"


@pytest.mark.parametrize("case", CASES, ids=called)
def test_between_any_two_requests(
    jail: jails.Jail, make_pond: MakePond, upstream: ThreadedUpstream, rpms: Rpms, key, room: Room,  # noqa: F811
    tmp_path: Path, case: tuple[str, str, bool],
):  # fmt: skip
    form, name, keeps = case
    changed, options = getattr(rpms, name), dict(FORMS[form])
    if options.pop("sign", False):
        options["sign"] = lambda text: key(text, False)
    repos = [Repository(upstream, place=f"repo{number}", **options) for number in range(MOST)]
    more = "".join(repository(f"rpm{number}", one, ttl_s=3600.0) for number, one in enumerate(repos))
    pond = make_pond(config(repos[0], ttl_s=3600.0, more=more), host=jail.address)
    for number, repo in enumerate(repos):
        repo.publish(rpms.hello, rpms.other)
        dnf = Dnf(room, tmp_path / f"machine{number}", more="zchunk=0")
        base = f"{pond.url}/rpm{number}/"
        lines = f"metalink={base}metalink" if form == "by metalink" else f"baseurl={base}"
        if form == "signed":
            lines += f"\nrepo_gpgcheck=1\ngpgkey=file://{key.public}"
        dnf.repository(lines)
        changes = ChangesBefore(repo, lambda r=repo: r.publish(changed, rpms.other, keep=keeps), number + 1)
        upstream.always("*", changes)
        outcomes = [run(dnf), run(dnf)]
        upstream.always("*", None)
        for ran in outcomes:
            told = form == "by metalink" and "503" in ran.output  # dnf asks again with the list that it has
            assert ran.ok or told or not mismatched(ran), (number, ran.output)
            assert ran.ok or "404" in ran.output or "503" in ran.output, (number, ran.output)
        assert outcomes[-1].ok, (number, outcomes[-1].output)
        assert dnf.downloaded() in [{one.filename: one.body} for one in (rpms.hello, changed)]
        if changes.seen <= number:
            return
    raise AssertionError(f"a run makes more than {MOST} requests")


@pytest.mark.parametrize("form", ["hashed", "plain"])
def test_between_any_two_requests_of_a_later_run(
    jail: jails.Jail, make_pond: MakePond, upstream: ThreadedUpstream, rpms: Rpms, room: Room, tmp_path: Path,  # noqa: F811
    form: str,
):  # fmt: skip
    """The pond and dnf have a generation; there is a second one by now, and a third one comes amid the run."""
    repos = [Repository(upstream, place=f"repo{number}", **FORMS[form]) for number in range(MOST)]
    more = "".join(repository(f"rpm{number}", one, ttl_s=0.0) for number, one in enumerate(repos))
    pond = make_pond(config(repos[0], ttl_s=0.0, more=more), host=jail.address)
    for number, repo in enumerate(repos):
        repo.publish(rpms.hello, rpms.other)
        dnf = Dnf(room, tmp_path / f"machine{number}", more="zchunk=0")
        dnf.repository(f"baseurl={pond.url}/rpm{number}/")
        first = run(dnf)
        assert first.ok, (number, first.output)
        repo.publish(rpms.rebuilt, rpms.other, keep=False)
        changes = ChangesBefore(repo, lambda r=repo: r.publish(rpms.newer, rpms.other, keep=False), number + 1)
        upstream.always("*", changes)
        ran = run(dnf, "--refresh")
        if not ran.ok:
            assert not mismatched(ran), (number, ran.output)
            assert "404" in ran.output or "503" in ran.output, (number, ran.output)
            ran = run(dnf, "--refresh")
        upstream.always("*", None)
        assert ran.ok, (number, ran.output)
        assert dnf.downloaded() in [{one.filename: one.body} for one in (rpms.hello, rpms.rebuilt, rpms.newer)]
        if changes.seen <= number:
            return
    raise AssertionError(f"a run makes more than {MOST} requests")


def run(dnf: Dnf, *options: str) -> Ran:
    """Do ``dnf makecache && dnf download``."""
    ran = dnf.run("makecache", *options)
    return dnf.download("hello") if ran.ok else ran
