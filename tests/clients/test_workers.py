"""Two workers are one pond: what one of them fetches, the other serves, and nothing is fetched twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from tests.clients.conftest import MakeMill
from tests.clients.programs import Pip, Room, Uv
from tests.wheels import Wheel

pytestmark = pytest.mark.client
BETA = Wheel("beta", "2.1", payload=bytes(1 << 20))
ALPHA = Wheel("alpha", "1.0", requires=("beta>=2",), payload=b"alpha" * 1000)


@pytest.mark.parametrize("index", ["json"], indirect=True)
def test_two_cold_clients_at_once_cost_one_fetch_of_each_file(
    pip: Pip, uv: Uv, mill: MakeMill, room: Room, tmp_path: Path
):
    made = mill(ttl_s=3600.0, workers=2)
    made.index.add(ALPHA, BETA)
    targets = [tmp_path / "pip", tmp_path / "uv", tmp_path / "uv again"]
    rooms = [Room(room.folder / target.name, room.jail) for target in targets]
    with ThreadPoolExecutor(3) as threads:
        runs = [
            threads.submit(client.install, own, made.url, target, "alpha")
            for client, own, target in zip((pip, uv, uv), rooms, targets, strict=True)
        ]
    trees = [run.result().files(target) for run, target in zip(runs, targets, strict=True)]
    assert all(one["beta/payload.bin"] == BETA.payload for one in trees)
    assert [made.index.downloads(wheel) for wheel in (ALPHA, BETA)] == [1, 1]
    assert [made.index.downloads(wheel, ".metadata") for wheel in (ALPHA, BETA)] == [1, 1]
    assert len(made.index.asked("alpha")) == 1
    made.index.cut()
    offline = pip.install(room, made.url, tmp_path / "offline", "alpha").files(tmp_path / "offline")
    assert offline == trees[0]
