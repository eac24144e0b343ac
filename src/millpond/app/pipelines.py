"""Which pipeline a project has: its own, else what its repo brings, else the common one, else the default."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol

import structlog

from millpond.clock import Clock
from millpond.config import Config
from millpond.delivery.definition import FILE, MAX_BYTES, from_table, read
from millpond.delivery.model import Project
from millpond.delivery.pipeline import DEFAULT, Pipeline, Stage
from millpond.delivery.ports import ForgeFailed
from millpond.errors import ConfigError

KEPT_S, ABSENT_S, NEAR_S = 30.0, 5.0, 2.0
"""How long what a repo brings is believed to be as it was; that it brings nothing; and where asking costs little."""
log = structlog.get_logger(__name__)


class PipelineRefused(ForgeFailed):
    """The pipeline that a repo brings is wrong; `problems` has a line for each mistake."""

    def __init__(self, project: str, wrong: str) -> None:
        super().__init__(f"the pipeline of {project} is refused: {wrong}", permanent=True)
        self.problems = tuple(wrong.splitlines())


class Files(Protocol):
    """What gives the files of a repo."""

    async def read(self, project: Project, branch: str, path: str, limit: int) -> bytes | None:
        """Give a file of a branch; None: there is none. Raises `ForgeFailed` (also when it is larger than `limit`)."""


@dataclass(frozen=True, slots=True)
class _Kept:
    at: float
    pipeline: Pipeline | None
    wrong: str = ""

    @property
    def absent(self) -> bool:
        """Whether the repo brings none; it may be that nothing was pushed yet."""
        return self.pipeline is None and not self.wrong


class Pipelines:
    """The pipelines of one configuration."""

    def __init__(self, config: Config, files: Files | None, clock: Clock, kept_s: float = KEPT_S) -> None:
        self._config, self._files, self._clock, self._kept_s = config, files, clock, kept_s
        self._variables = frozenset(config.delivery.environment)
        self._kept: dict[str, _Kept] = {}
        self._read_once: dict[str, Pipeline] = {}

    async def of(self, project: Project) -> Pipeline:
        """Give a project's pipeline. Raises `ForgeFailed`: it can't be read; `PipelineRefused`: it is wrong."""
        return (await self.found(project))[1]

    async def found(self, project: Project) -> tuple[str, Pipeline]:
        """Give a project's pipeline, and before it where it stands. Raises `ForgeFailed`, `PipelineRefused`."""
        settings = self._config.projects.get(project.name)
        own = settings.pipeline if settings is not None else {}
        if own:
            where = f"[projects.{project.name}.pipeline]"
            return where, await self._written(own, where)
        brought = await self._brought(project)
        if brought is not None:
            return f"{FILE} on {project.branch}", self._switched(brought)
        common = self._config.pipeline
        if common:
            return "[pipeline]", await self._written(common, "[pipeline]")
        return "the default one", self._switched(DEFAULT)

    async def _written(self, table: Mapping[str, Any], where: str) -> Pipeline:
        """Read what stands in the configuration, once: a large one with many labels takes a third of a second."""
        if where not in self._read_once:
            read_ = await asyncio.to_thread(from_table, table, where, variables=self._variables)
            self._read_once[where] = self._switched(read_)
        return self._read_once[where]

    @property
    def wrong(self) -> Mapping[str, str]:
        """What is wrong with pipelines that repos bring, by project."""
        return {name: one.wrong for name, one in self._kept.items() if one.wrong}

    def clear(self) -> None:
        """Read them anew."""
        self._kept.clear()

    async def _brought(self, project: Project) -> Pipeline | None:
        """Read what the repo brings, from the branch that is merged into."""
        now, kept = self._clock.monotonic(), self._kept.get(project.name)
        if kept is None or now - kept.at >= min(self._kept_s, ABSENT_S if kept.absent else KEPT_S):
            before, kept = kept.wrong if kept is not None else "", await self._read(project, now)
            self._kept[project.name] = kept
            if kept.wrong and kept.wrong != before:
                log.warning("a pipeline is refused", project=project.name, error=kept.wrong)
            elif before and not kept.wrong:
                log.info("a pipeline is taken again", project=project.name)
        if kept.wrong:
            raise PipelineRefused(project.name, kept.wrong)
        return kept.pipeline

    async def _read(self, project: Project, now: float) -> _Kept:
        if self._files is None:
            return _Kept(now, None)
        content = await self._files.read(project, project.branch, FILE, MAX_BYTES)
        if content is None:
            return _Kept(now, None)
        try:
            return _Kept(now, await asyncio.to_thread(read, content.decode(), FILE, variables=self._variables))
        except UnicodeDecodeError:
            return _Kept(now, None, f"{FILE}: not UTF-8 text")
        except ConfigError as error:
            return _Kept(now, None, str(error))

    def _switched(self, pipeline: Pipeline) -> Pipeline:
        """Leave out what is switched off."""
        switches = self._config.delivery
        if not switches.auto_labels:
            pipeline = replace(pipeline, labels={})
        if not switches.post_deploy:
            stages = tuple(stage for stage in pipeline.stages if stage.step != "monitor")
            pipeline = replace(pipeline, stages=stages)
        if not switches.merge_verify:
            stages = tuple(_unverified(stage) if stage.step == "merge" else stage for stage in pipeline.stages)
            pipeline = replace(pipeline, stages=stages)
        return pipeline


def _unverified(stage: Stage) -> Stage:
    return replace(stage, settings={**stage.settings, "verify": False})
