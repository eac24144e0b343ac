"""apt-get through the pond: cold, warm, stale, offline; with and without paths by hash, split signatures, flat."""

from __future__ import annotations

import re
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import jail as jails
from tests.archives import Archive, Deb, Key, config
from tests.clients.apt import MISMATCH, Apt
from tests.clients.programs import Room
from tests.conftest import MakePond

from millpond.testing.pond import PondProcess
from millpond.testing.upstream import ThreadedUpstream

pytestmark = pytest.mark.client
TTL_S, LONG_TTL_S = 1.0, 3600.0
HELLO, OTHER = Deb(payload=b"old" * 5000), Deb("other", payload=bytes(range(256)) * 400)
NEWER, REBUILT = Deb(version="2.0", payload=b"new" * 6000), Deb(payload=b"rebuilt" * 5001)
FORMS = {
    "by hash": {},
    "plain names": {"by_hash": False},
    "split": {"split": True},
    "flat": {"flat": True},
    "flat, plain, split": {"flat": True, "by_hash": False, "split": True},
}


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Key]:
    for tool in ("apt-get", "dpkg-deb", "gpg", "gpgconf"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed: this is no Debian machine")
    made = Key.make(tmp_path_factory.mktemp("k") / "g")
    yield made
    made.close()


@dataclass(slots=True)
class Mill:
    """A pond, and the archive behind it."""

    pond: PondProcess
    archive: Archive
    key: Key

    def sources(self, url: str = "") -> str:
        where = "./" if self.archive.flat else "stable main"
        return f"deb [arch=amd64 signed-by={self.key.public}] {url or self.pond.url + '/debian'} {where}\n"

    def outlive_ttl(self) -> None:
        time.sleep(TTL_S + 0.05)


MakeMill = Callable[..., Mill]


@pytest.fixture(params=FORMS.values(), ids=FORMS.keys())
def mill(request, jail: jails.Jail, make_pond: MakePond, upstream: ThreadedUpstream, key: Key) -> MakeMill:
    return _maker(jail, make_pond, upstream, key, request.param)


def _maker(jail, make_pond, upstream, key, form) -> MakeMill:
    def make(*, ttl_s: float = TTL_S, workers: int = 1) -> Mill:
        archive = Archive(upstream, sign=key, **form)
        archive.publish(HELLO, OTHER)
        return Mill(make_pond(config(archive, ttl_s=ttl_s), host=jail.address, workers=workers), archive, key)

    return make


@pytest.fixture
def machine(tmp_path: Path, room: Room) -> Callable[..., Apt]:
    made: list[Apt] = []

    def make(mill: Mill, **more: object) -> Apt:
        made.append(Apt(room, tmp_path / f"machine{len(made)}", **more))
        made[-1].sources(mill.sources())
        return made[-1]

    return make


def got(apt: Apt, *names: str) -> dict[str, bytes]:
    """Update and download; a failed run fails the test with what it said."""
    for ran in (apt.update(), apt.download(*names)):
        assert ran.ok, ran.output
        assert MISMATCH not in ran.output
    return apt.downloaded()


def test_cold_what_is_downloaded_is_what_the_archive_has(mill: MakeMill, machine, tmp_path: Path):
    made = mill()
    assert got(machine(made), "hello", "other") == {one.filename: one.body for one in (HELLO, OTHER)}
    assert [made.archive.asked(made.archive.pool(one)) for one in (HELLO, OTHER)] == [1, 1]
    (tmp_path / HELLO.filename).write_bytes(HELLO.body)
    subprocess.run(["dpkg-deb", "-x", tmp_path / HELLO.filename, tmp_path / "out"], check=True, timeout=60)
    assert (tmp_path / "out/usr/share/hello/payload").read_bytes() == HELLO.payload


def test_warm_nothing_is_asked_upstream(mill: MakeMill, machine):
    made = mill(ttl_s=LONG_TTL_S)
    cold = got(machine(made), "hello")
    asked = len(made.archive.server.requests)
    assert got(machine(made), "hello") == cold
    assert len(made.archive.server.requests) == asked


def test_stale_and_unchanged_a_304_and_no_download(mill: MakeMill, machine):
    made = mill()
    first = machine(made)
    cold = got(first, "hello")
    asked = len(made.archive.server.requests)
    made.outlive_ttl()
    ran = first.update()
    assert ran.ok, ran.output
    assert "Hit:" in ran.output
    assert "Get:" not in ran.output
    assert got(machine(made), "hello") == cold
    later = made.archive.server.requests[asked:]
    assert all("Release" in one.path for one in later), [one.path for one in later]
    assert any("if-none-match" in one.headers for one in later)


@pytest.mark.parametrize("changed", [NEWER, REBUILT], ids=["a new version", "new bytes under the old name"])
def test_stale_and_changed_the_new_one_comes(mill: MakeMill, machine, changed: Deb):
    made = mill()
    apt = machine(made)
    got(apt, "hello", "other")
    made.archive.publish(changed, OTHER)
    made.outlive_ttl()
    assert got(apt, "hello") == {changed.filename: changed.body}
    assert got(machine(made), "hello", "other") == {one.filename: one.body for one in (changed, OTHER)}
    assert made.archive.asked(made.archive.pool(OTHER)) == 1


def test_offline_it_goes_on(mill: MakeMill, machine):
    made = mill()
    cold = got(machine(made), "hello", "other")
    made.archive.server.cut_now()
    made.outlive_ttl()
    assert got(machine(made), "hello", "other") == cold
    entry = made.archive.suite + ("Release" if made.archive.split else "InRelease")
    assert "ttl=-" in made.pond.get(f"/debian/{entry}").headers["cache-status"]


def test_offline_what_was_never_fetched_is_refused_and_not_called_absent(mill: MakeMill, machine):
    made = mill()
    apt = machine(made)
    got(apt, "hello")
    made.archive.server.cut_now()
    ran = apt.download("other")
    assert not ran.ok
    assert "502" in ran.output
    assert not re.search(r"\b404\b", ran.output)


def test_a_download_that_broke_off_is_resumed(mill: MakeMill, machine):
    made = mill()
    apt = machine(made)
    got(apt, "other")
    partial = apt.root / "cache/archives/partial" / OTHER.filename
    partial.write_bytes(OTHER.body[:5000])
    before = made.pond.get("/metrics?format=json").json()
    stamp = made.pond.get(f"/debian/{made.archive.pool(OTHER)}", method="HEAD").headers["last-modified"]
    subprocess.run(["touch", "-d", stamp, str(partial)], check=True, timeout=30)
    for file in (apt.root / "downloads").iterdir():
        file.unlink()
    ran = apt.run("-o", f"Dir::State::status={apt.root}/status", "install", "--download-only", "-y", "other")
    assert ran.ok, ran.output
    assert (apt.root / "cache/archives" / OTHER.filename).read_bytes() == OTHER.body
    sent = "millpond_served_bytes_total"
    after = made.pond.get("/metrics?format=json").json()
    grown = sum(value - before.get(name, 0) for name, value in after.items() if name.startswith(sent))
    assert grown < len(OTHER.body), "only the rest was sent"


def test_with_several_workers(mill: MakeMill, machine):
    made = mill(workers=2)
    assert got(machine(made), "hello") == {HELLO.filename: HELLO.body}
    made.archive.publish(REBUILT, OTHER)
    made.outlive_ttl()
    for _ in range(4):
        assert got(machine(made), "hello") == {REBUILT.filename: REBUILT.body}
