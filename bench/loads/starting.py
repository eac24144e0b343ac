"""How soon the first job of an issue runs in a whole daemon, loops and all: from the board's API to the ledger.

An issue is made at To Analyse, as a person's script would make it; that is its nudge. The job's own record says when
it was claimed, by the same clock. The next issue is made when the one before is done.
"""

from __future__ import annotations

import json
import sqlite3
import subprocess
import time
from collections.abc import Mapping
from contextlib import closing
from pathlib import Path

from millpond.testing.pond import PondProcess

CONFIG = """\
[projects.shop]
prefix = "SH"
[[projects.shop.pipeline.stages]]
name = "build"
step = "command"
settings = { argv = ["true"] }
"""
ISSUES = 30
PATIENCE_S = 60.0
PAUSE_S = 0.05
WHO = {f"GIT_{role}_{what}": "bench" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def waits(folder: Path) -> list[float]:
    """Give the milliseconds of each issue, from before it is made until its job is claimed. Raises `RuntimeError`."""
    with PondProcess(folder, CONFIG) as pond:
        _first_commit(pond.data / "git/shop.git")
        _to_its_end(pond, "SH-1")  # the first one waits for what is only imported, or looked for, once
        return [_to_its_end(pond, f"SH-{number}") for number in range(2, ISSUES + 2)]


def _to_its_end(pond: PondProcess, key: str) -> float:
    """Make an issue, and wait until it is done; gives how soon its job was claimed."""
    began = time.time()
    made = _ask(pond, "/api/v1/board/shop", {"title": "Say yes", "column": "To Analyse"})
    until = time.monotonic() + PATIENCE_S
    while (row := _job(pond, key)) is None or row[1] != "succeeded":
        if made["key"] != key or time.monotonic() > until:
            raise RuntimeError(f"{key}: {made['key']} has come to {row}")
        time.sleep(PAUSE_S)
    return (row[0] - began) * 1000


def _job(pond: PondProcess, key: str) -> tuple[float, str] | None:
    """Read when a task's first job was claimed, and its state."""
    query = "SELECT j.started_at, j.state FROM delivery_jobs j JOIN delivery_tasks t ON t.id = j.task WHERE t.key = ?"
    with closing(sqlite3.connect(f"file:{pond.data / 'catalog.sqlite'}?mode=ro", uri=True)) as connection:
        row: tuple[float, str] | None = connection.execute(query, (key,)).fetchone()
        return row


def _ask(pond: PondProcess, path: str, body: Mapping[str, str]) -> dict[str, str]:
    headers = {"Authorization": f"Bearer {pond.admin_token}", "Content-Type": "application/json"}
    got = pond.get(path, headers, "POST", json.dumps(body).encode())
    if got.status != 201:  # noqa: PLR2004 - Created
        raise RuntimeError(f"{path} answered {got.status}: {got.body[:300]!r}")
    told: dict[str, str] = json.loads(got.body)
    return told


def _first_commit(bare: Path) -> None:
    """Give a repository its base branch, without which no task begins."""
    until = time.monotonic() + PATIENCE_S
    while not (bare / "HEAD").exists() and time.monotonic() < until:
        time.sleep(PAUSE_S)
    tree = _git(bare, "mktree")
    _git(bare, "update-ref", "refs/heads/main", _git(bare, "commit-tree", tree, "-m", "first"))


def _git(bare: Path, *words: str) -> str:
    argv = ["git", "--git-dir", str(bare), *words]
    done = subprocess.run(
        argv, input="", env={"PATH": "/usr/bin:/bin", **WHO}, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()
