"""Runs the whole story in processes that kill themselves with SIGKILL at a commit of the ledger; run as a program.

``python -m tests.delivery.killed FOLDER STEP``: a run without a kill says how many commits there are; then, for each
STEP-th moment before or after one, a run that is killed there and a second one that goes on. One line of JSON for each:
the point, and where everything stands at the end.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path

from tests.delivery.driven import SHOP
from tests.delivery.ordered import ISSUES, Ordered, Orders

from millpond.db import Database
from millpond.delivery.ledger.books import Point


def begin(folder: Path) -> None:
    outside = Orders()
    for name in ISSUES:
        outside.tracker.put(SHOP, name, state="to-analyse")
    outside.save(folder / "outside")


async def run(folder: Path, at: int | None, seen: list[str]) -> list[object]:
    import pickle

    outside: Orders = pickle.loads((folder / "outside").read_bytes())
    left = at

    def hook(point: Point, moment: str) -> None:
        nonlocal left
        seen.append(f"{point} {moment}")
        if left is None:
            return
        left -= 1
        if left < 0:
            outside.save(folder / "outside")  # what is outside does not die with us
            os.kill(os.getpid(), signal.SIGKILL)

    db = Database.open(folder / "catalog.sqlite", ballast_bytes=0)
    driven = Ordered(db, outside, hook=hook)
    await driven.drive()
    tasks = [(task.key, str(task.phase), task.stage) for task in await driven.tasks()]
    costs = await driven.ledger.counts()
    await db.close()
    return [tasks, outside.summary(), costs["queued"] + costs["running"]]


def forked(do: Callable[[], object], told: Path) -> int:
    """Run in a child of our own; gives how it ended."""
    child = os.fork()
    if child == 0:
        code = 1
        try:
            told.write_text(json.dumps(do()))
            code = 0
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def story(folder: Path, at: int | None) -> tuple[str, object]:
    """Run it, killed at one moment, then to the end."""
    folder.mkdir()
    begin(folder)
    points: list[str] = []

    def first() -> object:
        result = asyncio.run(run(folder, at, points))
        return [points, result]

    status = forked(first, folder / "told")
    if not os.WIFSIGNALED(status):
        assert status == 0, f"{folder}: {status}"
        seen, result = json.loads((folder / "told").read_text())
        return json.dumps(seen), result
    status = forked(lambda: asyncio.run(run(folder, None, [])), folder / "told")
    assert status == 0, f"{folder}: the second run ended with {status}"
    return "killed", json.loads((folder / "told").read_text())


def moments(seen: list[str], step: int) -> list[int]:
    """Choose the first moment before and the last one after each kind of commit, and each `step`-th of all."""
    before = {seen.index(kind) for kind in seen if kind.endswith("before")}
    after = {len(seen) - 1 - seen[::-1].index(kind) for kind in seen if kind.endswith("after")}
    return sorted(before | after | set(range(0, len(seen), step)))


def tell(name: str, result: object) -> None:
    sys.stdout.write(json.dumps([name, result]) + "\n")
    sys.stdout.flush()


def main() -> None:
    folder, step = Path(sys.argv[1]), int(sys.argv[2])
    points, result = story(folder / "without", None)
    seen = json.loads(points)
    tell("without", result)
    for at in moments(seen, step):
        how, result = story(folder / str(at), at)
        tell(f"{at} {seen[at]} {how}", result)


if __name__ == "__main__":
    main()
