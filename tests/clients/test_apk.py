"""apk through the pond: cold, warm, stale, offline. The real program where there is one, and its steps played."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests import jail as jails
from tests.apks import BRANCH, Apk, Key, Mirror, config
from tests.clients.apk import MISMATCH, ApkMachine, played, real
from tests.clients.conftest import TOOLS
from tests.clients.programs import Room
from tests.conftest import MakePond

from millpond.testing.pond import PondProcess
from millpond.testing.upstream import ThreadedUpstream

pytestmark = pytest.mark.client
TTL_S, LONG_TTL_S = 1.0, 3600.0
HELLO, OTHER = Apk(payload=os.urandom(50_000)), Apk("other", payload=os.urandom(300_000))
NEWER, REBUILT = Apk(version="1.1-r0", payload=os.urandom(60_000)), Apk(payload=os.urandom(50_000))


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Key:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    return Key.make(tmp_path_factory.mktemp("apk"))


@pytest.fixture(params=["apk", "apk's steps, played"])
def command(request: pytest.FixtureRequest) -> list[str]:
    if request.param != "apk":
        return played()
    found = real(TOOLS)
    if found is None:
        pytest.skip("apk is not installed (Debian has no apk-tools): only its steps are played")
    return found


@dataclass(slots=True)
class Mill:
    """A pond, and the mirror behind it."""

    pond: PondProcess
    mirror: Mirror

    def outlive_ttl(self) -> None:
        time.sleep(TTL_S + 1.0)  # apk's own clock, the file's modification time, knows whole seconds


MakeMill = Callable[..., Mill]


@pytest.fixture
def mill(jail: jails.Jail, make_pond: MakePond, upstream: ThreadedUpstream, key: Key) -> MakeMill:
    def make(*, ttl_s: float = TTL_S, workers: int = 1) -> Mill:
        mirror = Mirror(upstream, sign=key)
        mirror.publish(HELLO, OTHER)
        return Mill(make_pond(config(mirror, ttl_s=ttl_s), host=jail.address, workers=workers), mirror)

    return make


@pytest.fixture
def machine(tmp_path: Path, room: Room, command: list[str], key: Key) -> Callable[..., ApkMachine]:
    made: list[ApkMachine] = []

    def make(mill: Mill) -> ApkMachine:
        made.append(ApkMachine(room, tmp_path / f"machine{len(made)}", command))
        made[-1].settings(key.public, f"{mill.pond.url}/alpine/{BRANCH}")
        return made[-1]

    return make


def got(apk: ApkMachine, *names: str) -> dict[str, bytes]:
    """Update and download; a failed run fails the test with what it said."""
    for ran in (apk.update(), apk.fetch(*names)):
        assert ran.ok, ran.output
        assert not MISMATCH.search(ran.output), ran.output
    return apk.fetched()


def files(mill: Mill, *packages: Apk) -> dict[str, bytes]:
    return {one.filename: mill.mirror.body(one) for one in packages}


def test_cold_what_is_downloaded_and_installed_is_what_the_mirror_has(mill: MakeMill, machine):
    made = mill()
    apk = machine(made)
    assert got(apk, "hello", "other") == files(made, HELLO, OTHER)
    assert [made.mirror.asked(made.mirror.path(one)) for one in (HELLO, OTHER)] == [1, 1]
    ran = apk.add("hello", "other")
    assert ran.ok, ran.output
    for one in (HELLO, OTHER):
        assert (apk.root / one.file).read_bytes() == one.payload


def test_warm_nothing_is_asked_upstream(mill: MakeMill, machine):
    made = mill(ttl_s=LONG_TTL_S)
    cold = got(machine(made), "hello")
    asked = len(made.mirror.server.requests)
    assert got(machine(made), "hello") == cold
    assert len(made.mirror.server.requests) == asked


def test_stale_and_unchanged_a_304_and_no_download(mill: MakeMill, machine):
    made = mill()
    apk = machine(made)
    cold = got(apk, "hello")
    asked = len(made.mirror.server.requests)
    made.outlive_ttl()
    assert got(apk, "hello") == cold
    assert got(machine(made), "hello") == cold
    later = made.mirror.server.requests[asked:]
    assert {one.path.rpartition("/")[2] for one in later} == {"APKINDEX.tar.gz"}
    assert all("if-none-match" in one.headers for one in later)


@pytest.mark.parametrize("changed", [NEWER, REBUILT], ids=["a new version", "rebuilt under the old name"])
def test_stale_and_changed_the_new_one_comes(mill: MakeMill, machine, changed: Apk):
    made = mill()
    apk = machine(made)
    got(apk, "hello", "other")
    made.mirror.publish(changed, OTHER)
    made.outlive_ttl()
    assert got(apk, "hello") == files(made, changed)
    another = machine(made)
    assert got(another, "hello", "other") == files(made, changed, OTHER)
    for one in (apk, another):
        ran = one.add("hello")
        assert ran.ok, ran.output
        assert (one.root / changed.file).read_bytes() == changed.payload
    assert made.mirror.asked(made.mirror.path(OTHER)) == 1


def test_an_index_made_before_a_client_s_download_and_come_here_after_it_is_not_missed(mill: MakeMill, machine):
    """apk says when it downloaded; what it got then was older than what the upstream had already."""
    made = mill(ttl_s=LONG_TTL_S)
    apk = machine(made)
    got(apk, "hello")
    made.mirror.publish(NEWER, OTHER)  # with a Last-Modified years before any download of the client
    assert got(apk, "hello") == files(made, HELLO)
    admin = {"authorization": f"Bearer {made.pond.admin_token}"}
    assert made.pond.get("/cache/flush?remote=alpine", admin, "PUT").status == 200
    assert got(apk, "hello") == files(made, NEWER)


def test_offline_it_goes_on(mill: MakeMill, machine):
    made = mill()
    cold = got(machine(made), "hello", "other")
    made.mirror.server.cut_now()
    made.outlive_ttl()
    apk = machine(made)
    assert got(apk, "hello", "other") == cold
    assert apk.add("hello").ok
    assert "ttl=-" in made.pond.get(f"/alpine/{made.mirror.index_path}").headers["cache-status"]


def test_offline_what_was_never_fetched_is_refused_and_not_called_absent(mill: MakeMill, machine):
    made = mill()
    apk = machine(made)
    got(apk, "hello")
    made.mirror.server.cut_now()
    assert not apk.fetch("other").ok
    assert made.pond.get(f"/alpine/{made.mirror.path(OTHER)}").status == 502


def test_a_version_that_the_upstream_dropped_is_still_there_for_who_has_the_old_index(mill: MakeMill, machine):
    made = mill(ttl_s=LONG_TTL_S)
    cold = got(machine(made), "hello")
    late = machine(made)
    assert late.update().ok
    made.mirror.publish(NEWER)
    assert late.fetch("hello").ok
    assert late.fetched() == cold
    ran = late.fetch("other")
    assert not ran.ok
    assert not MISMATCH.search(ran.output), ran.output


def test_with_several_workers(mill: MakeMill, machine):
    made = mill(workers=2)
    assert got(machine(made), "hello") == files(made, HELLO)
    made.mirror.publish(REBUILT, OTHER)
    made.outlive_ttl()
    for _ in range(4):
        assert got(machine(made), "hello") == files(made, REBUILT)


def test_a_key_that_is_not_trusted_is_the_client_s_to_refuse(mill: MakeMill, machine, tmp_path: Path):
    made = mill()
    apk = machine(made)
    (other := Key.make(tmp_path / "other")).public.replace(apk.root / "etc/apk/keys" / other.public.name)
    ran = apk.update()
    assert not ran.ok or "BAD signature" in ran.output or "UNTRUSTED" in ran.output, ran.output
