"""What steps are given of the world: where a job stands, its workspace, its runs, its pond settings, its deployments.

A step gets no more than it needs: no tracker but for reading the issue, no forge but for merging, no token of either
into anything that it runs.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from millpond.delivery.model import Evidence, Issue, Job, Json, Project, Task
from millpond.delivery.runs.runfolder import Run, name_of
from millpond.delivery.runs.runs import Runs
from millpond.delivery.workspaces.workspace import Workspaces
from millpond.errors import MillpondError


class StepFailed(MillpondError):
    """A step can't do its work. `after_s`: it may pass, and this is how long to wait; None: it will not.

    `not_yet`: nothing failed, somebody else is at work there.
    """

    def __init__(self, message: str, *, after_s: float | None = None, not_yet: bool = False) -> None:
        super().__init__(message)
        self.after_s, self.not_yet = after_s, not_yet


@dataclass(frozen=True, slots=True)
class Work:
    """A job with what it is about."""

    job: Job
    task: Task
    project: Project
    since: float = 0.0
    """When the first attempt of this stage's visit was begun, epoch seconds; 0: this is it, or that is not known."""

    def setting(self, name: str) -> Json:
        """Read one of the stage's settings."""
        return self.job.settings.get(name)

    def text(self, name: str, default: str = "") -> str:
        """Read a text among the settings, with the task's key in it."""
        value = self.setting(name)
        return (value if isinstance(value, str) else default).replace("{key}", self.task.key)

    def number(self, name: str, default: float) -> float:
        """Read a number among the settings; what is none, or negative, is the default."""
        value = self.setting(name)
        sound = isinstance(value, int | float) and not isinstance(value, bool) and value >= 0
        return float(value) if sound and isinstance(value, int | float) else default

    def flag(self, name: str, *, default: bool) -> bool:
        """Read a yes or no among the settings."""
        value = self.setting(name)
        return value if isinstance(value, bool) else default

    def words(self, name: str) -> list[str]:
        """Read a list of words among the settings."""
        value = self.setting(name)
        return [str(one).replace("{key}", self.task.key) for one in value] if isinstance(value, list) else []

    @property
    def run_name(self) -> str:
        """The name of the job's run."""
        return name_of(self.job.id)


class Desk(Protocol):
    """Where a job's papers are."""

    async def work(self, job: Job) -> Work:
        """Read what a job is about. Raises `StepFailed`: its task or its project is gone."""

    async def issue(self, work: Work) -> Issue | None:
        """Read the issue as it is now, with its description and comments; None: it is gone. Raises `TrackerFailed`."""

    async def began(self, work: Work, run: Run) -> None:
        """Write down which process a job runs in, and where its log is."""


@dataclass(frozen=True, slots=True)
class PondAccess:
    """A job's own access to the pond: variables for its environment, and what of them is secret."""

    variables: Mapping[str, str] = field(default_factory=dict, repr=False)
    secrets: Collection[str] = field(default=(), repr=False)


class Ponds(Protocol):
    """Gives each job a token of its own, so that what it draws is recorded as its task's."""

    async def open(self, work: Work, home: Path) -> PondAccess:
        """Make the job's token, and write client settings into its HOME. One that it had before ends."""

    async def close(self, work: Work) -> None:
        """End the job's token; done already is done."""


@dataclass(frozen=True, slots=True)
class Deployed:
    """What came of a deploy. Not `converged`: `detail` says why."""

    converged: bool
    detail: str = ""
    release: int | None = None


@dataclass(frozen=True, slots=True)
class Out:
    """What of an app is out: the number of its release, and the commit that it was brought out for."""

    release: int
    commit: str


class Wellness(StrEnum):
    """How an app is."""

    HEALTHY = "HEALTHY"
    DEGRADED = "DEGRADED"
    UNKNOWN = "UNKNOWN"
    """That could not be found out now."""


@dataclass(frozen=True, slots=True)
class Watch:
    """A look at a deployed app. `since_s`: for how long it has been out; None: that is not known."""

    state: Wellness
    detail: str = ""
    since_s: float | None = None


class Deployer(Protocol):
    """The way to the hosts. Each method raises `StepFailed`."""

    async def out(self, work: Work) -> Out | None:
        """Say what of the project's app is out; None: nothing, or no task's commit."""

    async def deploy(self, work: Work, sets: Mapping[str, str]) -> Deployed:
        """Bring a task's commit out, once: the same commit that is out already is left as it is."""

    async def look(self, work: Work) -> Watch:
        """Look whether the app of a task's project is well."""

    async def roll_back(self, work: Work) -> str:
        """Bring back what was out before the task's commit; gives what was done, in words."""


class Witness(Protocol):
    """Brings evidence that no step has by itself. Each method raises `StepFailed`."""

    async def images(self, work: Work, sha: str) -> Evidence:
        """Ask, by a dry run of the pre-pull, whether every image of the project's app can be pulled."""

    async def artifacts(self, work: Work, sha: str) -> Evidence:
        """Ask whether the pond has all that the task's jobs drew from it."""


@dataclass(frozen=True, slots=True)
class Tools:
    """What steps that run something work with."""

    desk: Desk
    workspaces: Workspaces
    runs: Runs
    ponds: Ponds
    environ: Mapping[str, str]
    """Variables that every run gets, such as PATH; an allow-list makes it."""
    passed: Mapping[str, str] = field(default_factory=dict, repr=False)
    """Further ones that the operator lets runs have, such as an agent's key: secrets, which are masked."""


def begun_before(job: Job) -> bool:
    """Whether an earlier attempt, or a process that is gone and whose job was taken up, may have done all of it."""
    return job.attempt > 1 or job.fence > 1


def fact(kind: str, sha: str, **facts: Json) -> Evidence:
    """Write a fact about a commit."""
    return Evidence(kind, facts, sha)
