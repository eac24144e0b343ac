"""``millpond check``: whether tracker and forge answer and have what each project needs, and its pipeline is right."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from millpond.adapters.giteafiles import GiteaFiles
from millpond.adapters.localgit import LocalGit
from millpond.app.counterparts import files_of, gitea_of, local_git, plane_of, project_of
from millpond.app.pipelines import Files, PipelineRefused, Pipelines
from millpond.app.readiness import is_here, lacks
from millpond.clock import SystemClock
from millpond.config import Config
from millpond.delivery.board import board
from millpond.delivery.board.board import Board
from millpond.delivery.model import Key, Project
from millpond.delivery.ports import Forge, ForgeFailed, TrackerFailed

WAYS = "add them, or name others in [tracker.states]"


@dataclass(frozen=True, slots=True)
class Tried:
    """One thing that was checked, and what it told."""

    what: str
    ok: bool
    told: str


async def try_counterparts(config: Config) -> list[Tried]:
    """Ask tracker and forge about each project; nothing is written."""
    projects = [project_of(name, config) for name in config.projects]
    if not projects:
        return []
    return [*await _try_tracker(config, projects), *await _try_forge(config, projects)]


async def _try_tracker(config: Config, projects: list[Project]) -> list[Tried]:
    if config.tracker.kind == "local":
        return [Tried("tracker", ok=True, told="the embedded board")]
    plane, found = plane_of(config, SystemClock()), list[Tried]()
    try:
        for project in projects:
            try:
                states = await plane.states(project)
            except TrackerFailed as error:
                found.append(Tried(f"tracker: {project.name}", ok=False, told=str(error)))
                continue
            made = board.board(states, board.names(config.tracker.states), {})
            found.append(_judged(project, made, len(states)))
    finally:
        await plane.close()
    secret = "" if config.tracker.webhook_secret else "webhook_secret is not set: every webhook is answered 401"
    return [*found, *([Tried("tracker webhooks", ok=True, told=secret)] if secret else [])]


def _judged(project: Project, made: Board, count: int) -> Tried:
    """Say whether a board has what a task begins by and ends in."""
    needed = [key for key in (Key.TO_ANALYSE, Key.DONE) if made.resolve(key) is None]
    if needed:
        names = ", ".join(board.NAMES[key] for key in needed)
        return Tried(
            f"tracker: {project.name}",
            ok=False,
            told=f"its board lacks {names}; add them, or name others in [tracker.states]",
        )
    verdicts = "" if made.takes_verdicts else "; without columns for verdicts: /approve and /reject comments"
    return Tried(f"tracker: {project.name}", ok=True, told=f"{count} columns{verdicts}")


async def _try_forge(config: Config, projects: list[Project]) -> list[Tried]:
    if config.forge.kind == "local":
        forge = local_git(config, SystemClock())
        tried = [await _try_git(forge, project) for project in projects]
        files = files_of(forge, config, SystemClock())
        for project in projects:
            tried += await _try_pipeline(config, project, files if _made(forge, project) else None)
        return tried
    gitea = gitea_of(config, SystemClock())
    files = files_of(gitea, config, SystemClock())
    try:
        found = [await _try_branch(gitea, project, f"{project.repo} on {config.forge.url}") for project in projects]
        found += [one for project in projects for one in await _try_pipeline(config, project, files)]
    finally:
        await gitea.close()
        if isinstance(files, GiteaFiles):
            await files.close()
    secret = "" if config.forge.webhook_secret else "webhook_secret is not set: every webhook is answered 401"
    return [*found, *([Tried("forge webhooks", ok=True, told=secret)] if secret else [])]


async def _try_git(forge: LocalGit, project: Project) -> Tried:
    try:
        place = forge.path(project)
    except ForgeFailed as error:
        return Tried(f"forge: {project.name}", ok=False, told=str(error))
    if not project.repo.startswith("/") and not _made(forge, project):
        return Tried(f"forge: {project.name}", ok=True, told="the daemon makes its repository when it starts")
    return await _try_branch(forge, project, str(place))


def _made(forge: LocalGit, project: Project) -> bool:
    """Whether a project's repository is there already: asking for its files would make it."""
    try:
        return (forge.path(project) / "HEAD").is_file()
    except ForgeFailed:
        return False


async def _try_pipeline(config: Config, project: Project, files: Files | None) -> list[Tried]:
    """Read a project's pipeline where it stands; each mistake in it is a line of its own, and what its stages lack."""
    what = f"pipeline: {project.name}"
    try:
        where, pipeline = await Pipelines(config, files, SystemClock()).found(project)
    except PipelineRefused as error:
        return [Tried(what, ok=False, told=problem) for problem in error.problems]
    except ForgeFailed as error:
        return [Tried(what, ok=False, told=f"it can't be read: {error}")]
    names = ", ".join(stage.name for stage in pipeline.of(project))
    runs = config.delivery.enabled and config.delivery.worker
    found = await asyncio.to_thread(lacks, project, pipeline, is_here if runs else None)
    told = [Tried(what, ok=not one.hopeless, told=one.told) for one in found]
    return [Tried(what, ok=True, told=f"{where}: {names}"), *told]


async def _try_branch(forge: Forge, project: Project, place: str) -> Tried:
    try:
        there = await forge.observe(project, project.branch, [])
    except ForgeFailed as error:
        return Tried(f"forge: {project.name}", ok=False, told=str(error))
    told = f"{place} has {project.branch}" if there else f"{place} has no branch {project.branch} yet: push it"
    return Tried(f"forge: {project.name}", ok=True, told=told)
