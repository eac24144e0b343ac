"""`millpond check` asks tracker and forge."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

import pytest

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


async def test_a_pipeline_is_read_and_each_mistake_is_told_with_its_place(tmp_path: Path):
    bare, work = tmp_path / "shop.git", tmp_path / "work"
    git("init", "-q", "--bare", "-b", "main", str(bare))
    git("init", "-q", "-b", "main", str(work))
    (work / ".millpond").mkdir()
    wrong = '[[stages]]\nname = "a"\nstep = "comand"\n[[stages]]\nname = "b"\nstep = "agent"\nretries = 3\n'
    (work / ".millpond/pipeline.toml").write_text(wrong)
    git("-C", str(work), "add", "-A")
    git("-C", str(work), "-c", "user.name=a", "-c", "user.email=a@b.example", "commit", "-qm", "x")
    git("-C", str(work), "push", "-q", str(bare), "main")
    projects = {"shop": {"prefix": "SH", "repo": str(bare)}, "till": {"prefix": "TI", "repo": "till"}}
    config = configured(tmp_path, projects=projects, delivery={"worker": False})
    found = [one for one in await try_counterparts(config) if "pipeline" in one.what]
    assert [(one.what, one.ok) for one in found] == [
        ("pipeline: shop", False),
        ("pipeline: shop", False),
        ("pipeline: till", True),
    ]
    assert 'stages[0].step: "comand" is not known; did you mean "command"?' in found[0].told
    assert "stages[1].retries" in found[1].told
    assert found[2].told == "the default one: analysis, development, review, testing, merge", "it has no app"
    assert not (tmp_path / "git").exists()


async def test_what_stages_lack_here_is_told_behind_the_pipeline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "make").write_text("#!/bin/sh\n")
    (tmp_path / "make").chmod(0o755)
    deploy = {"stages": [{"name": "ship", "step": "deploy"}]}
    projects = {"shop": {"prefix": "SH"}, "till": {"prefix": "TI", "pipeline": deploy}}
    tables = {"projects": projects, "forge": {"path": str(tmp_path / "git")}}

    async def lines(**delivery: bool) -> list[tuple[str, bool, str]]:
        tried = await try_counterparts(configured(tmp_path, **tables, delivery=delivery))
        return [(one.what, one.ok, one.told) for one in tried if "pipeline" in one.what]

    shop, claude, till, app = await lines()
    assert shop == ("pipeline: shop", True, "the default one: analysis, development, review, testing, merge")
    assert claude[:2] == ("pipeline: shop", True)
    assert 'there is no program "claude"' in claude[2]
    assert till == ("pipeline: till", True, "[projects.till.pipeline]: ship")
    assert app[:2] == ("pipeline: till", False)
    assert "the project has no app" in app[2]
    for off in ("worker", "enabled"):
        assert await lines(**{off: False}) == [shop, till, app], "nothing runs here"


def git(*words: str) -> None:
    subprocess.run(["git", *words], check=True, capture_output=True)


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
