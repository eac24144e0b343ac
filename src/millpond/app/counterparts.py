"""The tracker and the forge that a configuration names, each call of them counted."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias, TypeVar

from pydantic import SecretStr

from millpond.adapters.gitea import Gitea, GiteaOptions
from millpond.adapters.giteafiles import GiteaFiles
from millpond.adapters.gitfiles import GitFiles
from millpond.adapters.httpjson import Large, in_a_thread
from millpond.adapters.localboard import LocalBoard
from millpond.adapters.localgit import LocalGit
from millpond.adapters.plane import Plane, PlaneOptions
from millpond.app.core import Core
from millpond.app.pipelines import Files
from millpond.app.waking import LOOK, Wakes
from millpond.clock import Clock
from millpond.config import Config
from millpond.delivery.board.store import BoardStore
from millpond.delivery.model import Hint, Issue, Listing, Project, State
from millpond.delivery.ports import Forge, Tracker, TrackerFailed
from millpond.delivery.ratebudget import RateBudget
from millpond.delivery.rates import Rate
from millpond.delivery.workspaces.workspace import Remote
from millpond.metrics import Metrics

T = TypeVar("T")
GIT = "git"

Counterparts: TypeAlias = Callable[[Core, Config], tuple[Tracker, Forge]]
"""Makes tracker and forge of a configuration."""


class Counted:
    """A tracker whose calls are counted by what they are and how they end."""

    def __init__(self, inner: Tracker, metrics: Metrics) -> None:
        self.inner, self._metrics = inner, metrics

    def parse(self, headers: Mapping[str, str], body: bytes) -> Hint:
        """Verify a webhook."""
        return self.inner.parse(headers, body)

    async def states(self, project: Project) -> Sequence[State]:
        """Give the columns."""
        return await self._count("states", self.inner.states(project))

    async def changed(self, project: Project, states: frozenset[str], since: float) -> Listing:
        """List what changed."""
        return await self._count("changed", self.inner.changed(project, states, since))

    async def get(self, project: Project, ids: Sequence[str]) -> Sequence[Issue]:
        """Read issues."""
        return await self._count("get", self.inner.get(project, ids))

    async def move(self, project: Project, issue: str, state: str) -> None:
        """Move an issue."""
        await self._count("move", self.inner.move(project, issue, state))

    async def comment(self, project: Project, issue: str, text: str, key: str) -> None:
        """Comment on an issue."""
        await self._count("comment", self.inner.comment(project, issue, text, key))

    async def _count(self, what: str, asked: Awaitable[T]) -> T:
        try:
            answer = await asked
        except TrackerFailed:
            self._metrics.tracker_asked(what, "failed")
            raise
        self._metrics.tracker_asked(what, "done")
        return answer


def tracker_of(app: Core, config: Config, wakes: Wakes) -> Tracker:
    """Make the tracker of a configuration."""
    table = config.tracker
    if table.kind == "local":
        return LocalBoard(BoardStore(app.db, woken=lambda _: wakes.wake(LOOK)))
    return plane_of(config, app.clock, _elsewhere(app))


def _elsewhere(app: Core) -> Large:
    """Parse large answers in another process, as everything that is large."""
    return lambda text: app.compute.run(json.loads, text)


def plane_of(config: Config, clock: Clock, large: Large = in_a_thread) -> Plane:
    """Make the Plane of a configuration."""
    table = config.tracker
    options = PlaneOptions(table.url, table.workspace, _told(table.token), _told(table.webhook_secret))
    return Plane(options, clock, budget=RateBudget(Rate(table.requests_per_minute), clock.monotonic), large=large)


def forge_of(app: Core, config: Config) -> Forge:
    """Make the forge of a configuration."""
    return (
        local_git(config, app.clock) if config.forge.kind == "local" else gitea_of(config, app.clock, _elsewhere(app))
    )


def gitea_of(config: Config, clock: Clock, large: Large = in_a_thread) -> Gitea:
    """Make the Gitea of a configuration."""
    return Gitea(_gitea_options(config), clock, large=large)


def _gitea_options(config: Config) -> GiteaOptions:
    table = config.forge
    return GiteaOptions(table.url, _told(table.token), _told(table.webhook_secret))


def local_git(config: Config, clock: Clock) -> LocalGit:
    """Make the embedded repositories of a configuration."""
    return LocalGit(Path(config.forge.path) if config.forge.path else config.server.data / GIT, clock)


def files_of(forge: Forge, config: Config, clock: Clock) -> Files | None:
    """Give what reads the files of a forge's repos; None: nothing does."""
    if isinstance(forge, Gitea):
        return GiteaFiles(_gitea_options(config), clock, forge.budget)
    return GitFiles(forge) if isinstance(forge, LocalGit) else None


def remote_of(forge: Forge, config: Config, project: Project) -> Remote:
    """Say where a project's repository is fetched from and pushed to, with the credentials. Raises `ForgeFailed`."""
    if isinstance(forge, LocalGit):
        return Remote(str(forge.path(project)))
    return Remote(f"{config.forge.url}/{project.repo}.git", f"Authorization: token {_told(config.forge.token)}")


def budget_of(tracker: Tracker) -> Mapping[str, float] | None:
    """Tell how a tracker's rate budget stands; None: it has none."""
    budget = tracker.budget if isinstance(tracker, Plane) else None
    return budget.status() if budget is not None else None


def _told(secret: SecretStr | None) -> str:
    return secret.get_secret_value() if secret is not None else ""


def project_of(name: str, config: Config) -> Project:
    """Make a project of the configuration."""
    one = config.projects[name]
    return Project(
        name, one.tracker_project or name, one.repo or name, one.prefix, one.branch, app=one.app, own=one.own
    )
