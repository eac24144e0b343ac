"""pip and uv install through the pond: cold, warm, stale, offline; each time with an empty cache and no other way."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.clients.conftest import MakeMill
from tests.clients.indexes import Mill
from tests.clients.programs import Client, Pip, Room, tree
from tests.wheels import Wheel

pytestmark = pytest.mark.client
BETA = Wheel("beta", "2.1", payload=bytes(range(256)) * 40)
ALPHA = Wheel("alpha", "1.0", requires=("beta>=2",), payload=b"alpha" * 1000)
NEWER = Wheel("alpha", "1.1", requires=("beta>=2",), payload=b"newer" * 1000)
LONG_TTL_S = 3600.0


@pytest.fixture
def stocked(mill: MakeMill) -> MakeMill:
    def make(**options: object) -> Mill:
        made = mill(**options)
        made.index.add(ALPHA, BETA)
        return made

    return make


def versions(folder: Path) -> set[str]:
    return {path.name.removesuffix(".dist-info") for path in folder.glob("*.dist-info")}


def test_cold_what_is_installed_is_what_a_direct_install_gives(
    client: Client, stocked: MakeMill, room: Room, outside: Room, tmp_path: Path
):
    mill = stocked()
    through = client.install(room, mill.url, tmp_path / "through", "alpha").files(tmp_path / "through")
    assert {"alpha-1.0", "beta-2.1"} == versions(tmp_path / "through")
    assert through["alpha/payload.bin"] == ALPHA.payload
    assert [mill.index.downloads(wheel) for wheel in (ALPHA, BETA)] == [1, 1]
    assert [mill.index.downloads(wheel, ".metadata") for wheel in (ALPHA, BETA)] == [1, 1]
    direct = client.install(outside, mill.index.url, tmp_path / "direct", "alpha").files(tmp_path / "direct")
    assert through == direct


def test_cold_downloaded_files_are_the_upstreams_bytes(pip: Pip, stocked: MakeMill, room: Room, tmp_path: Path):
    got = pip.download(room, stocked().url, tmp_path / "got", "alpha").files(tmp_path / "got")
    assert got == {ALPHA.filename: ALPHA.body, BETA.filename: BETA.body}


def test_warm_nothing_is_asked_upstream(client: Client, stocked: MakeMill, room: Room, tmp_path: Path):
    mill = stocked(ttl_s=LONG_TTL_S)
    cold = client.install(room, mill.url, tmp_path / "cold", "alpha").files(tmp_path / "cold")
    before = len(mill.index.pages.requests), len(mill.index.files.requests)
    warm = client.install(room, mill.url, tmp_path / "warm", "alpha").files(tmp_path / "warm")
    assert (len(mill.index.pages.requests), len(mill.index.files.requests)) == before
    assert warm == cold
    assert mill.page("alpha").headers["cache-status"].startswith("millpond; hit")


def test_stale_and_unchanged_a_304_and_no_download(client: Client, stocked: MakeMill, room: Room, tmp_path: Path):
    mill = stocked()
    first = client.install(room, mill.url, tmp_path / "first", "alpha").files(tmp_path / "first")
    files, asked = len(mill.index.files.requests), len(mill.index.asked("alpha"))
    mill.outlive_ttl()
    again = client.install(room, mill.url, tmp_path / "again", "alpha").files(tmp_path / "again")
    assert again == first
    assert len(mill.index.files.requests) == files
    later = mill.index.asked("alpha")[asked:]
    assert later
    assert all("if-none-match" in request.headers for request in later)
    assert len({request.headers["if-none-match"] for request in later}) == 1
    mill.outlive_ttl()
    page = mill.page("alpha")
    assert "fwd-status=304" in page.headers["cache-status"]
    assert page.headers["x-artifact-source"] == "cache"


def test_stale_and_changed_the_new_version_comes_and_the_old_one_stays(
    client: Client, stocked: MakeMill, room: Room, tmp_path: Path
):
    mill = stocked()
    assert client.install(room, mill.url, tmp_path / "first", "alpha").ok
    mill.index.add(NEWER)
    mill.outlive_ttl()
    newer = client.install(room, mill.url, tmp_path / "newer", "alpha").files(tmp_path / "newer")
    assert {"alpha-1.1", "beta-2.1"} == versions(tmp_path / "newer")
    assert newer["alpha/payload.bin"] == NEWER.payload
    pinned = client.install(room, mill.url, tmp_path / "pinned", "alpha==1.0").files(tmp_path / "pinned")
    assert pinned == tree(tmp_path / "first")
    assert [mill.index.downloads(wheel) for wheel in (ALPHA, NEWER, BETA)] == [1, 1, 1]


def test_offline_it_installs_and_says_that_the_index_is_stale(
    client: Client, stocked: MakeMill, room: Room, tmp_path: Path
):
    mill = stocked()
    first = client.install(room, mill.url, tmp_path / "first", "alpha").files(tmp_path / "first")
    mill.index.cut()
    mill.outlive_ttl()
    offline = client.install(room, mill.url, tmp_path / "offline", "alpha").files(tmp_path / "offline")
    assert offline == first
    assert_stale(mill)


def test_offline_it_installs_after_a_restart_of_the_pond(client: Client, stocked: MakeMill, room: Room, tmp_path: Path):
    mill = stocked()
    first = client.install(room, mill.url, tmp_path / "first", "alpha").files(tmp_path / "first")
    mill.index.cut()
    assert mill.pond.stop() == 0
    mill.outlive_ttl()
    mill.pond.start()
    offline = client.install(room, mill.url, tmp_path / "offline", "alpha").files(tmp_path / "offline")
    assert offline == first
    assert_stale(mill)


def test_offline_what_was_never_fetched_is_refused_and_not_called_absent(
    client: Client, stocked: MakeMill, room: Room, tmp_path: Path
):
    mill = stocked()
    assert client.install(room, mill.url, tmp_path / "first", "beta").ok
    mill.index.cut()
    assert not client.install(room, mill.url, tmp_path / "second", "alpha").ok
    assert not (tmp_path / "second/alpha").exists()
    assert mill.page("alpha").status in {502, 503}


def assert_stale(mill: Mill) -> None:
    """An index that could not be checked says so, how old it is, and why (RFC 9211: a negative ttl is a stale hit)."""
    page = mill.page("alpha")
    status = page.headers["cache-status"]
    assert page.status == 200
    assert page.headers["x-artifact-source"] == "cache"
    assert "ttl=-" in status
    assert "detail=" in status
    assert int(page.headers["age"]) >= 1
