"""Runs the whole story in processes that kill themselves with SIGKILL at a commit of the ledger; run as a program.

``python -m tests.delivery.killed FOLDER STEP``: a run without a kill says which commits there are; then, for each
STEP-th moment before or after one, a run that is killed there and a second one that goes on. STEP 0: a few runs, each
of which is killed again and again, so that every kind of moment is met. One line of JSON for each: where it was killed,
and where everything stands at the end.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.delivery.driven import SHOP
from tests.delivery.ordered import ISSUES, Ordered, Orders

from millpond.db import Database
from millpond.delivery.ledger.books import Point

Kill = Callable[[list[str]], bool]
"""Whether to die now; it is given what this process has seen, the present moment last."""
EACH, MOST = 14, 12
"""How often a run is killed, and how many such runs are made at most."""


def begin(folder: Path) -> None:
    outside = Orders()
    for name in ISSUES:
        outside.tracker.put(SHOP, name, state="to-analyse")
    outside.save(folder / "outside")


async def run(folder: Path, kill: Kill | None, seen: list[str]) -> list[object]:
    import pickle

    outside: Orders = pickle.loads((folder / "outside").read_bytes())

    def hook(point: Point, moment: str) -> None:
        seen.append(f"{point} {moment}")
        if kill is not None and kill(seen):
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
        except BaseException:  # noqa: BLE001 - it is told, and the child ends
            traceback.print_exc()
        finally:
            os._exit(code)
    return os.waitpid(child, 0)[1]


def life(folder: Path, kill: Kill | None) -> list[Any] | None:
    """Let one process go on with the story; gives what it saw and where everything stands, None: it was killed."""

    def lived() -> object:
        seen: list[str] = []
        result = asyncio.run(run(folder, kill, seen))
        return [seen, result]

    status = forked(lived, folder / "told")
    if os.WIFSIGNALED(status):
        return None
    assert status == 0, f"{folder}: {status}"
    told: list[Any] = json.loads((folder / "told").read_text())
    return told


def story(folder: Path, kills: list[tuple[str, Kill]]) -> Any:
    """Run it, killed by one after the other, then to the end; gives that, and tells of each that was killed."""
    folder.mkdir()
    begin(folder)
    told, met = None, list[str]()
    for name, kill in kills:
        if (told := life(folder, kill)) is not None:
            break  # it never came there: this was the end
        met.append(name)
    _, result = told or life(folder, None) or (None, None)
    return met, result


def at(index: int) -> Kill:
    """Kill at one moment of all."""
    return lambda seen: len(seen) > index


def first(kind: str) -> Kill:
    """Kill at the first moment of a kind."""
    return lambda seen: seen[-1] == kind


def tell(met: list[str], result: object) -> None:
    sys.stdout.write(json.dumps([met, result]) + "\n")
    sys.stdout.flush()


def main() -> None:
    folder, step = Path(sys.argv[1]), int(sys.argv[2])
    (folder / "without").mkdir()
    begin(folder / "without")
    without = life(folder / "without", None)
    assert without is not None
    seen, result = without
    tell([], result)
    if step:
        for index in range(0, len(seen), step):
            tell(*story(folder / str(index), [(seen[index], at(index))]))
        return
    left = list(dict.fromkeys(seen))  # in the order in which they come first
    for number in itertools.count():
        if not left or number == MOST:
            break
        met, result = story(folder / f"s{number}", [(kind, first(kind)) for kind in left[:EACH]])
        tell(met, result)
        left = [kind for kind in left if kind not in met]


if __name__ == "__main__":
    main()
