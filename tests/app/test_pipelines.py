"""Which pipeline a project has."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import structlog

from millpond.app import pipelines
from millpond.app.pipelines import ABSENT_S, KEPT_S, PipelineRefused, Pipelines
from millpond.config import Config
from millpond.delivery.definition import from_table
from millpond.delivery.model import Options, Project
from millpond.delivery.pipeline import DEFAULT, Pipeline
from millpond.delivery.ports import ForgeFailed
from millpond.testing.clock import FakeClock

SHOP = Project("shop", "p", "r", "SH", app="shop")


def stages(name: str, step: str = "command") -> dict[str, object]:
    settings = {"argv": ["true"]} if step == "command" else {}
    return {"stages": [{"name": name, "step": step, "settings": settings}]}


def configured(**tables: object) -> Config:
    return Config.model_validate({"server": {"data": Path("/nowhere")}, **tables})


class Files:
    def __init__(self, content: bytes | None) -> None:
        self.content, self.asked = content, 0

    async def read(self, project: Project, branch: str, path: str, limit: int) -> bytes | None:
        assert project.repo == "r"
        assert limit == 65536
        self.asked += 1
        assert (branch, path) == ("main", ".millpond/pipeline.toml")
        return self.content


IN_REPO = b'[[stages]]\nname = "repo"\nstep = "command"\nsettings = { argv = ["true"] }\n'


async def first(config: Config, content: bytes | None = None) -> str:
    pipeline = await Pipelines(config, Files(content), FakeClock()).of(SHOP)
    return pipeline.stages[0].name


async def test_its_own_wins_then_the_repo_s_then_the_common_one_then_the_default():
    own = {"shop": {"prefix": "SH", "pipeline": stages("own")}}
    bare = {"shop": {"prefix": "SH"}}
    common = stages("common")
    assert await first(configured(projects=own, pipeline=common), IN_REPO) == "own"
    assert await first(configured(projects=bare, pipeline=common), IN_REPO) == "repo"
    assert await first(configured(projects=bare, pipeline=common)) == "common"
    assert await first(configured(projects=bare)) == DEFAULT.stages[0].name


async def test_what_stands_in_the_configuration_is_read_once_and_beside_the_loop(monkeypatch: pytest.MonkeyPatch):
    read: list[str] = []

    def reads(table: Mapping[str, Any], where: str, **known: Any) -> Pipeline:
        read.append(f"{where} {threading.current_thread() is threading.main_thread()}")
        return from_table(table, where, **known)

    monkeypatch.setattr(pipelines, "from_table", reads)
    of = Pipelines(configured(projects={"shop": {"prefix": "SH", "pipeline": stages("own")}}), None, FakeClock())
    assert [(await of.of(SHOP)).stages[0].name for _ in range(3)] == ["own"] * 3
    assert read == ["[projects.shop.pipeline] False"]


async def test_a_variable_that_the_operator_does_not_have_is_refused_with_its_place():
    content = IN_REPO.replace(b"}", b', passes = ["NMP_TOKEN"] }')
    environment = {"NPM_TOKEN": "t"}
    has = configured(projects={"shop": {"prefix": "SH"}}, delivery={"environment": {"NMP_TOKEN": "t"}})
    assert await first(has, content) == "repo"
    lacks = configured(projects={"shop": {"prefix": "SH"}}, delivery={"environment": environment})
    place = (
        r'stages\[0\].settings.passes\[0\]: "NMP_TOKEN" is not in \[delivery.environment\]; did you mean "NPM_TOKEN"'
    )
    with pytest.raises(PipelineRefused, match=place):
        await first(lacks, content)


async def test_what_the_repo_brings_is_read_anew_after_a_while_or_a_reload():
    clock, files = FakeClock(), Files(IN_REPO)
    of = Pipelines(configured(projects={"shop": {"prefix": "SH"}}), files, clock)
    for _ in range(3):
        await of.of(SHOP)
    assert files.asked == 1
    files.content = IN_REPO.replace(b"repo", b"later")
    clock.advance(KEPT_S)
    assert (await of.of(SHOP)).stages[0].name == "later"
    files.content = IN_REPO.replace(b"repo", b"again")
    of.clear()
    assert (await of.of(SHOP)).stages[0].name == "again"


async def test_that_a_repo_brings_none_is_not_believed_for_long():
    clock, files = FakeClock(), Files(None)
    of = Pipelines(configured(projects={"shop": {"prefix": "SH"}}), files, clock)
    assert await of.found(SHOP) == ("the default one", DEFAULT)
    files.content = IN_REPO
    clock.advance(ABSENT_S)
    assert (await of.found(SHOP))[0] == ".millpond/pipeline.toml on main"


async def test_a_refusal_is_logged_when_it_begins_changes_and_ends():
    clock, files = FakeClock(), Files(IN_REPO.replace(b"command", b"comand"))
    of = Pipelines(configured(projects={"shop": {"prefix": "SH"}}), files, clock)

    async def logged() -> list[str]:
        clock.advance(KEPT_S)
        with structlog.testing.capture_logs() as logs, contextlib.suppress(PipelineRefused):
            await of.of(SHOP)
        return [one["event"] for one in logs]

    assert await logged() == ["a pipeline is refused"]
    assert await logged() == []
    files.content = b"["
    assert await logged() == ["a pipeline is refused"]
    files.content = IN_REPO
    assert [*await logged(), *await logged()] == ["a pipeline is taken again"]


@pytest.mark.parametrize(
    ("content", "told"),
    [(IN_REPO.replace(b"command", b"comand"), 'did you mean "command"'), (b"\xff", "not UTF-8"), (b"[", "not TOML")],
)
async def test_a_wrong_one_in_the_repo_is_refused_with_its_place_and_told(content: bytes, told: str):
    of = Pipelines(configured(projects={"shop": {"prefix": "SH"}}), Files(content), FakeClock())
    with pytest.raises(ForgeFailed, match="the pipeline of shop is refused") as caught:
        await of.of(SHOP)
    assert told in str(caught.value)
    assert told in of.wrong["shop"]


async def test_switches_leave_out_what_they_switch_off():
    label = {"labels": {"hotfix": {"priority": 3}}}
    both = {"stages": [*stages("a")["stages"], {"name": "d", "step": "deploy"}, {"name": "m", "step": "monitor"}]}  # type: ignore[misc]
    on = await Pipelines(configured(pipeline={**both, **label}), None, FakeClock()).of(SHOP)
    assert [one.name for one in on.stages] == ["a", "d", "m"]
    assert on.options(["hotfix"]).priority == 3
    off = configured(pipeline={**both, **label}, delivery={"post_deploy": False, "auto_labels": False})
    pipeline = await Pipelines(off, None, FakeClock()).of(SHOP)
    assert [one.name for one in pipeline.stages] == ["a", "d"]
    assert pipeline.options(["hotfix"]) == Options()


async def test_merges_are_not_verified_where_that_is_off():
    merging = {"stages": [{"name": "a", "step": "agent", "gates": ["branch-pushed"]}, {"name": "x", "step": "merge"}]}
    on = await Pipelines(configured(pipeline=merging), None, FakeClock()).of(SHOP)
    off = await Pipelines(configured(pipeline=merging, delivery={"merge_verify": False}), None, FakeClock()).of(SHOP)
    assert [one.stages[1].settings.get("verify", True) for one in (on, off)] == [True, False]
