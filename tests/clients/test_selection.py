"""What an index says beside its links reaches the clients: yanks, Python versions, hashes. Wrong bytes do not."""

from __future__ import annotations

import http.client
from pathlib import Path

import pytest
from tests.clients.conftest import MakeMill
from tests.clients.indexes import Sdist
from tests.clients.programs import Client, Pip, Room
from tests.wheels import Wheel

pytestmark = pytest.mark.client
GOOD = Wheel("alpha", "1.0", payload=b"good" * 1000)


def test_a_yanked_version_is_passed_over_unless_it_is_pinned(
    client: Client, mill: MakeMill, room: Room, tmp_path: Path
):
    made = mill()
    made.index.add(GOOD, Wheel("alpha", "2.0", yanked="it loses <data> & more"))
    assert client.install(room, made.url, tmp_path / "free", "alpha").ok
    assert (tmp_path / "free/alpha-1.0.dist-info").exists()
    pinned = client.install(room, made.url, tmp_path / "pinned", "alpha==2.0")
    assert pinned.ok
    assert (tmp_path / "pinned/alpha-2.0.dist-info").exists()
    assert "it loses <data> & more" in pinned.output


def test_a_version_for_another_python_is_passed_over(client: Client, mill: MakeMill, room: Room, tmp_path: Path):
    made = mill()
    made.index.add(GOOD, Wheel("alpha", "2.0", requires_python=">=4"))
    assert client.install(room, made.url, tmp_path / "free", "alpha").ok
    assert (tmp_path / "free/alpha-1.0.dist-info").exists()
    assert not client.install(room, made.url, tmp_path / "pinned", "alpha==2.0").ok
    assert made.index.downloads(Wheel("alpha", "2.0")) == 0


def test_the_right_hash_is_taken_and_a_wrong_one_refused(client: Client, mill: MakeMill, room: Room, tmp_path: Path):
    made = mill()
    made.index.add(GOOD)
    right, wrong = tmp_path / "right.txt", tmp_path / "wrong.txt"
    right.write_text(f"alpha==1.0 --hash=sha256:{GOOD.sha256}\n")
    wrong.write_text(f"alpha==1.0 --hash=sha256:{'0' * 64}\n")
    got = client.install(room, made.url, tmp_path / "a", "--require-hashes", "-r", str(right)).files(tmp_path / "a")
    assert got["alpha/payload.bin"] == GOOD.payload
    refused = client.install(room, made.url, tmp_path / "b", "--require-hashes", "-r", str(wrong))
    assert not refused.ok
    assert "hash" in refused.output.lower()
    assert not (tmp_path / "b/alpha").exists()


def test_bytes_that_do_not_match_the_index_never_arrive_whole(
    client: Client, mill: MakeMill, room: Room, tmp_path: Path
):
    made = mill()
    wheel = Wheel("alpha", "1.0", payload=b"0123456789abcdef" * 50_000)
    made.index.add(wheel)
    broken = bytearray(wheel.body)
    broken[len(broken) // 2] ^= 1
    made.index.put_bytes(wheel, bytes(broken))
    assert not client.install(room, made.url, tmp_path / "target", "alpha").ok
    assert made.index.downloads(wheel) >= 1
    assert not (tmp_path / "target/alpha").exists()
    assert len(arrived(made.pond.host, made.pond.port, f"/pypi/files/alpha/{wheel.filename}")) < len(wheel.body)
    made.index.add(wheel)
    got = client.install(room, made.url, tmp_path / "target", "alpha").files(tmp_path / "target")
    assert got["alpha/payload.bin"] == wheel.payload


def arrived(host: str, port: int, path: str) -> bytes:
    """Give the body bytes of an answer that said 200, whole or not; of any other, none."""
    connection = http.client.HTTPConnection(host, port, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.read() if response.status == 200 else b""
    except http.client.IncompleteRead as cut:
        return cut.partial
    finally:
        connection.close()


def test_a_source_distribution_comes_as_it_is(pip: Pip, mill: MakeMill, room: Room, tmp_path: Path):
    made, sdist = mill(), Sdist("alpha", "1.0", payload=b"source" * 1000)
    made.index.add(sdist)
    got = pip.download(room, made.url, tmp_path / "got", "alpha").files(tmp_path / "got")
    assert got == {"alpha-1.0.tar.gz": sdist.body}


def test_a_source_distribution_is_built_and_installed_offline(
    client: Client, mill: MakeMill, room: Room, tmp_path: Path
):
    made, sdist = mill(), Sdist("alpha", "1.0", payload=b"source" * 1000)
    made.index.add(sdist)
    first = client.install(room, made.url, tmp_path / "first", "alpha").files(tmp_path / "first")
    made.index.cut()
    made.outlive_ttl()
    offline = client.install(room, made.url, tmp_path / "offline", "alpha").files(tmp_path / "offline")
    assert offline == first
    assert offline["alpha/payload.bin"] == sdist.payload
    assert made.index.downloads(sdist) == 1
