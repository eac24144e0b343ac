"""What stages lack: programs, an app, fields that are filled in."""

from __future__ import annotations

from pathlib import Path

import pytest

from millpond.app.readiness import is_here, lacks
from millpond.delivery.model import Json, Project
from millpond.delivery.pipeline import DEFAULT, Pipeline, Stage
from millpond.delivery.steps.presets import program

SHOP = Project("shop", "p", "team/shop", "SH")


def told(*stages: Stage, project: Project = SHOP, there: frozenset[str] | None = frozenset({"make"})) -> list[str]:
    found = lacks(project, Pipeline(stages), None if there is None else there.__contains__)
    return [f"{'FAIL' if one.hopeless else 'ok'} {one.told}" for one in found]


def test_a_program_that_is_not_there_is_told_once_with_its_stages():
    (line,) = told(*DEFAULT.stages)
    assert line.startswith(
        'ok there is no program "claude" in the PATH of this shell, which analysis, development, review'
    )
    assert "the daemon's PATH that counts" in line
    (line,) = told(Stage("a", "command", {"argv": ["/opt/no", "x"]}))
    assert line.startswith('ok there is no program "/opt/no", which a would start: install it')
    assert told(*DEFAULT.stages, there=frozenset({"claude", "make"})) == []
    assert told(*DEFAULT.stages, there=None) == [], "nothing runs here"
    assert told(Stage("a", "command", {"argv": ["{key}.sh"]})) == []


@pytest.mark.parametrize(
    ("step", "settings", "name"),
    [
        ("command", {"argv": ["make", "x"]}, "make"),
        ("command", {}, ""),
        ("agent", {}, "claude"),
        ("agent", {"preset": "codex"}, "codex"),
        ("agent", {"preset": "codex", "argv": ["/opt/codex"]}, "/opt/codex"),
        ("agent", {"preset": "command", "argv": ["./agent.sh"]}, "./agent.sh"),
        ("agent", {"preset": "command"}, ""),
        ("agent", {"preset": "clod"}, ""),
        ("deploy", {"argv": ["make"]}, ""),
        ("merge", {}, ""),
    ],
)
def test_which_program_a_stage_starts(step: str, settings: dict[str, Json], name: str):
    assert program(step, settings) == name


def test_a_program_is_looked_for_where_steps_look(tmp_path: Path):
    good, bad = tmp_path / "good", tmp_path / "bad"
    good.write_text("#!/bin/sh\n")
    good.chmod(0o755)
    bad.write_text("")
    path = {"PATH": str(tmp_path)}
    assert is_here("good", path)
    assert is_here(str(good), {})
    assert is_here("./in-the-worktree.sh", path)
    assert is_here("sh", {})
    assert not is_here("bad", path)
    assert not is_here(str(bad), path)
    assert not is_here(str(tmp_path), path)
    assert not is_here("good", {"PATH": "/nowhere"})


def test_a_deploy_without_an_app_can_never_work():
    stages = (Stage("build", "command", {"argv": ["make"]}), Stage("ship", "deploy"), Stage("watch", "monitor"))
    lines = told(*stages)
    assert [line.partition(";")[0] for line in lines] == [
        'FAIL stage "ship" is a deploy, and the project has no app',
        'FAIL stage "watch" is a monitor, and the project has no app',
    ]
    assert "write app = NAME (of [apps]) into [projects.shop], or only_with_app = true into the stage" in lines[0]
    assert told(*stages, project=Project("shop", "p", "r", "SH", app="shop")) == []
    assert told(*(stage for stage in DEFAULT.stages if stage.only_with_app)) == [], "it does not have them"


def test_braces_that_are_nearly_a_field_are_told():
    made = Stage("a", "command", {"argv": ["make", "NAME={kay}", "{print}", "{key}"]})
    sets = Stage("b", "deploy", {"sets": {"TAG": "{sah}", "FORMAT": "{level} {sha}"}})
    assert told(made, sets, project=Project("shop", "p", "r", "SH", app="shop")) == [
        'ok stage "a": settings.argv: "{kay}" is filled in by nobody, and stays as it is; did you mean "{key}"?',
        'ok stage "b": settings.sets: "{sah}" is filled in by nobody, and stays as it is; did you mean "{sha}"?',
    ]
