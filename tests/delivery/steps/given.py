"""What steps are given in their tests: a real repository, real workspaces and runs, an issue, a pond that counts."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from millpond.delivery.model import Comment, Issue, Job, Json, Project, Task
from millpond.delivery.runs.runfolder import Run
from millpond.delivery.runs.runs import Runs
from millpond.delivery.steps.base import PondAccess, Tools, Work
from millpond.delivery.workspaces.workspace import Remote, WorkspaceOptions, Workspaces

SHOP = Project("shop", "p1", "team/shop", "SH", app="shop")
BRANCH = "feature/SH-1-a-thing"
STANDIN = Path(__file__).parent / "standin.py"
ME = {f"GIT_{role}_{what}": "me" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(*words: str, cwd: Path) -> str:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **ME}
    return subprocess.run(["git", *words], cwd=cwd, env=env, capture_output=True, text=True, check=True).stdout.strip()


def make_forge(folder: Path, name: str = "forge.git") -> Path:
    git("init", "-q", "--bare", "-b", "main", name, cwd=folder)
    git("clone", "-q", name, "other", cwd=folder)
    (folder / "other" / "README").write_text("one\n")
    for words in (
        ("checkout", "-qb", "main"),
        ("add", "."),
        ("commit", "-qm", "one"),
        ("push", "-q", "origin", "main"),
    ):
        git(*words, cwd=folder / "other")
    return folder / name


@dataclass
class FakeDesk:
    issue_: Issue | None
    noted: list[str] = field(default_factory=list)

    async def work(self, job: Job) -> Work:
        return work_of(job)

    async def issue(self, _: Work) -> Issue | None:
        return self.issue_

    async def began(self, _: Work, run: Run) -> None:
        self.noted.append(run.name)


@dataclass
class FakePonds:
    open_: int = 0
    opened: int = 0

    async def open(self, _: Work, home: Path) -> PondAccess:
        self.open_ = 1
        self.opened += 1
        (home / ".netrc").write_text("mp_pond-canary")
        secret = "mp_pond-canary"
        return PondAccess({"PIP_INDEX_URL": "http://pond.example/pypi/simple/", "POND": secret}, [secret])

    async def close(self, _: Work) -> None:
        self.open_ = 0


@dataclass
class Given:
    folder: Path
    forge: Path
    desk: FakeDesk
    ponds: FakePonds
    tools: Tools

    @classmethod
    def at(cls, folder: Path) -> Given:
        forge = make_forge(folder)
        comments = (Comment("c1", 1.0, "please soon", "ann"), Comment("c2", 2.0, "our own words", "us", ours=True))
        issue = Issue("i1", "shop", 1, "a thing", "x", 0.0, comments=comments, description="Make {key} shine.")
        desk, ponds = FakeDesk(issue), FakePonds()
        spaces = Workspaces(folder / "ws", lambda _: Remote(str(forge)), WorkspaceOptions(keep_free_bytes=0))
        tools = Tools(desk, spaces, Runs(folder / "runs"), ponds, os.environ, {"AGENT_KEY": "agent-canary-1"})
        return cls(folder, forge, desk, ponds, tools)

    def again(self) -> Tools:
        """Give what the next process of the daemon has."""
        return replace(self.tools, runs=Runs(self.folder / "runs"))

    def head(self, branch: str = BRANCH) -> str:
        found = git("branch", "--list", branch, cwd=self.forge)
        return git("rev-parse", branch, cwd=self.forge) if found else ""

    def file(self, name: str, branch: str = BRANCH) -> str:
        return git("show", f"{branch}:{name}", cwd=self.forge)

    def run(self, job: Job) -> Run:
        return Run(self.folder / "runs" / f"job-{job.id}")

    def log(self, job: Job) -> str:
        return self.run(job).log.read_text()


def job_of(number: int = 1, stage: str = "development", step: str = "command", **more: Any) -> Job:
    settings: dict[str, Json] = more.pop("settings", {})
    return Job(number, 1, "shop", "i1", SHOP.repo, stage, step, settings=settings, **{"timeout_s": 60.0, **more})


def work_of(job: Job, **more: Any) -> Work:
    task = Task(1, "SH-1", "shop", "i1", SHOP.repo, BRANCH, job.stage, title="a thing", sha=job.sha)
    return Work(job, replace(task, **more), SHOP)


def standin(mode: str) -> Sequence[str]:
    return [sys.executable, "-I", "-S", str(STANDIN), mode]
