"""`millpond check` asks tracker and forge."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from millpond.app.trying import try_counterparts
from millpond.config import Config
from millpond.testing.planeserver import KEY, WORKSPACE, PlaneServer


def configured(data: Path, **tables: Any) -> Config:
    return Config.model_validate({"server": {"data": data}, **tables}, context={"environ": {}})


async def told(config: Config) -> dict[str, tuple[bool, str]]:
    return {one.what: (one.ok, one.told) for one in await try_counterparts(config)}


async def test_nothing_is_asked_where_nothing_is_delivered(tmp_path: Path):
    assert await told(configured(tmp_path)) == {}


async def test_the_embedded_ones_are_told_without_being_made(tmp_path: Path):
    projects = {"shop": {"prefix": "SH"}, "till": {"prefix": "TI", "repo": str(tmp_path / "nowhere")}}
    found = await told(configured(tmp_path / "data", projects=projects))
    assert found["tracker"] == (True, "the embedded board")
    assert found["forge: shop"] == (True, "the daemon makes its repository when it starts")
    assert found["forge: till"][0] is False
    assert "git clone --bare" in found["forge: till"][1]
    assert not (tmp_path / "data").exists()


async def test_a_plane_is_asked_for_the_columns_of_each_project(tmp_path: Path):
    async with PlaneServer() as server:
        server.project(
            "p1", [("To Analyse", "unstarted"), ("Approved", "started"), ("Rejected", "started"), ("Done", "completed")]
        )
        server.project("p2", [("Todo", "unstarted")])
        server.project("p3", [("In Progress", "started"), ("Done", "completed")])
        tracker = {"kind": "plane", "url": server.url, "workspace": WORKSPACE, "token": KEY}
        projects = {name: {"prefix": name, "tracker_project": name} for name in ("p1", "p2", "p3", "p4")}
        found = await told(configured(tmp_path, tracker=tracker, projects=projects))
    assert found["tracker: p1"] == (True, "4 columns")
    assert found["tracker: p2"][0] is False
    assert "its board lacks To Analyse, Done; add them" in found["tracker: p2"][1]
    assert "/approve and /reject comments" in found["tracker: p3"][1]
    assert found["tracker: p4"][0] is False
    assert "webhook_secret is not set" in found["tracker webhooks"][1]
