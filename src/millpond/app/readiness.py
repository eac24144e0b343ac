"""What a project's stages lack before the first of them runs: programs, an app, fields that are filled in.

`millpond check` tells it. What is here may be mended while tasks wait, and another machine's daemon may have what this
one lacks; so most of it is no mistake of the pipeline, which is refused for nothing of this.
"""

from __future__ import annotations

import difflib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from millpond.delivery.model import Project
from millpond.delivery.pipeline import Pipeline, Stage
from millpond.delivery.steps.presets import program
from millpond.delivery.steps.running import SAFE_PATH
from millpond.delivery.stepsettings import FILLED, unfilled

NEAR = 0.75
"""How alike braces in a program's own arguments and a field of ours are for that to be meant."""
WORDS = ("argv", "more", "sets")
"""Settings in which braces may mean something else."""
NEEDS_APP = frozenset({"deploy", "monitor"})


@dataclass(frozen=True, slots=True)
class Lack:
    """What is lacking, and what to do. `hopeless`: as it is written it can never work."""

    told: str
    hopeless: bool = False


def lacks(project: Project, pipeline: Pipeline, there: Callable[[str], bool] | None) -> list[Lack]:
    """Say what the stages of a project lack. `there`: whether a program is; None: nothing is run on this machine."""
    stages = [(f'stage "{stage.name}"', stage) for stage in pipeline.of(project)]
    found = [lack for place, stage in stages for lack in _lacks(project, place, stage)]
    return [*found, *(_programs([stage for _, stage in stages], there) if there is not None else ())]


def is_here(name: str, environ: Mapping[str, str] = os.environ) -> bool:
    """Whether a program would be found by a step; one below the worktree's folder is the branch's own business."""
    if "/" in name:
        return not name.startswith("/") or (Path(name).is_file() and os.access(name, os.X_OK))
    return shutil.which(name, path=environ.get("PATH", SAFE_PATH)) is not None


def _lacks(project: Project, place: str, stage: Stage) -> Iterator[Lack]:
    if stage.step in NEEDS_APP and not project.app:
        text = f"{place} is a {stage.step}, and the project has no app"
        how = f"write app = NAME (of [apps]) into [projects.{project.name}], or only_with_app = true into the stage"
        yield Lack(f"{text}; {how}", hopeless=True)
    for name in WORDS:
        for text in _texts(stage.settings.get(name)):
            for field in unfilled(name, text):
                if near := difflib.get_close_matches(field, FILLED[name], n=1, cutoff=NEAR):
                    what = f'{place}: settings.{name}: "{field}" is filled in by nobody, and stays as it is'
                    yield Lack(f'{what}; did you mean "{near[0]}"?')


def _texts(value: object) -> Sequence[str]:
    values = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    return [one for one in values if isinstance(one, str)]


def _programs(stages: Sequence[Stage], there: Callable[[str], bool]) -> Iterator[Lack]:
    """Tell each program that is not there, once, with the stages that start it."""
    starts: dict[str, list[str]] = {}
    for stage in stages:
        name = program(stage.step, stage.settings)
        if name and "{key}" not in name:
            starts.setdefault(name, []).append(stage.name)
    for name, by in starts.items():
        if not there(name):
            where = "" if "/" in name else " in the PATH of this shell"
            how = 'install it, or name another, settings = { argv = ["..."] }; it is the daemon\'s PATH that counts'
            yield Lack(f'there is no program "{name}"{where}, which {", ".join(by)} would start: {how}')
