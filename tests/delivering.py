"""A whole application with a fake tracker and forge: what tests of the delivery's outer floors share."""

from __future__ import annotations

import asyncio
import os
import subprocess
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from millpond.delivery.model import Project, State
from millpond.testing.forge import FakeForge
from millpond.testing.tracker import FakeTracker

REPOSITORY = '[repositories.files]\npackage = "generic"\ntype = "local"\n'
SECRET = "s3cret-canary"
PLANE = (
    '[tracker]\nkind = "plane"\nurl = "http://plane.example"\nworkspace = "w"\ntoken = "t"\n'
    f'webhook_secret = "{SECRET}"\n'
)
SHOP = '[projects.shop]\nprefix = "SH"\ntracker_project = "p1"\nrepo = "team/shop"\n'
LOCAL = REPOSITORY + '[projects.shop]\nprefix = "SH"\n'
FAKED = REPOSITORY + PLANE + SHOP
NAMES = ("Backlog", "To Analyse", "Analysis", "In Progress", "Code Review", "Awaiting Deploy", "Deploying")
MORE = ("Monitoring after Deploy", "Approved", "Rejected", "Needs Input", "Blocked", "Done", "Cancelled")
COLUMNS = [State(name.lower().replace(" ", "-"), name, "started") for name in (*NAMES, *MORE)]
PROJECT = Project("shop", "p1", "team/shop", "SH")

WHO = {f"GIT_{role}_{what}": "ada@shop.example" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


class Outer:
    """A fake tracker and forge, handed to an application in the place of those that it is configured for."""

    def __init__(self) -> None:
        self.tracker = FakeTracker({"shop": list(COLUMNS)}, secret=SECRET.encode())
        self.forge = FakeForge()

    def __call__(self, app: Any, config: Any) -> tuple[Any, Any]:
        del app, config
        return self.tracker, self.forge


async def until(what: Callable[[], Awaitable[Any]], limit_s: float = 30.0) -> Any:
    """Wait until something is so, and give it."""
    async with asyncio.timeout(limit_s):
        while not (found := await what()):
            await asyncio.sleep(0.005)
    return found


def first_commit(bare: Path, pipeline: str = "", limit_s: float = 60.0) -> None:
    """Give an embedded repository, once it is made, its base branch: before that no issue of it begins.

    `pipeline`: what stands in its pipeline file; empty: it has none.
    """
    end = time.monotonic() + limit_s
    while not (bare / "HEAD").exists():
        assert time.monotonic() < end, f"{bare} was not made"
        time.sleep(0.02)

    def git(*words: str, text: str = "") -> str:
        argv, env = ["git", f"--git-dir={bare}", *words], {**os.environ, **WHO}
        return subprocess.run(argv, input=text, capture_output=True, text=True, check=True, env=env).stdout.strip()

    listed = ""
    if pipeline:
        blob = git("hash-object", "-w", "--stdin", text=pipeline)
        folder = git("mktree", text=f"100644 blob {blob}\tpipeline.toml\n")
        listed = f"040000 tree {folder}\t.millpond\n"
    tree = git("mktree", text=listed)
    git("update-ref", "refs/heads/main", git("commit-tree", tree, "-m", "first"))


async def pushed(app: Any, pipeline: str = "") -> None:
    """Do that to the repository of an application's project."""
    first_commit(await app.delivering.forge.ensure(app.delivering.projects["shop"]), pipeline)
