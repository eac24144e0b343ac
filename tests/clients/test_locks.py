"""A lock file written through the pond installs through the pond with the upstream gone."""

from __future__ import annotations

from pathlib import Path

import pytest
from tests.clients.conftest import MakeMill
from tests.clients.indexes import Mill
from tests.clients.programs import Client, Room, Uv
from tests.wheels import Wheel

pytestmark = pytest.mark.client
BETA = Wheel("beta", "2.1", payload=b"beta" * 1000)
ALPHA = Wheel("alpha", "1.0", requires=("beta>=2",), payload=b"alpha" * 1000)


def locked(mill: Mill, uv: Uv, room: Room, tmp_path: Path) -> Path:
    wanted, lock = tmp_path / "wanted.in", tmp_path / "lock.txt"
    wanted.write_text("alpha\n")
    assert uv.compile(room, mill.url, wanted, lock).ok
    return lock


def test_a_lock_has_the_upstreams_hashes(mill: MakeMill, uv: Uv, room: Room, tmp_path: Path):
    made = mill()
    made.index.add(ALPHA, BETA)
    text = locked(made, uv, room, tmp_path).read_text()
    assert "alpha==1.0" in text
    assert "beta==2.1" in text
    assert {ALPHA.sha256, BETA.sha256} == set(words_after("sha256:", text))
    assert made.index.downloads(ALPHA) == 0, "its metadata was enough"


def test_a_lock_installs_offline(client: Client, mill: MakeMill, uv: Uv, room: Room, tmp_path: Path):
    made = mill()
    made.index.add(ALPHA, BETA)
    lock = locked(made, uv, room, tmp_path)
    first = client.sync(room, made.url, tmp_path / "first", lock).files(tmp_path / "first")
    made.index.cut()
    made.outlive_ttl()
    offline = client.sync(room, made.url, tmp_path / "offline", lock).files(tmp_path / "offline")
    assert offline == first
    assert {"alpha-1.0.dist-info/METADATA", "beta-2.1.dist-info/METADATA"} <= set(offline)


def words_after(mark: str, text: str) -> list[str]:
    return [piece.split()[0] for piece in text.split(mark)[1:]]
