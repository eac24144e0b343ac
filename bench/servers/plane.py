"""The fake Plane in a process of its own, so that its work is not counted as ours."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
from collections.abc import Iterator
from multiprocessing.connection import Connection

from millpond.testing.planeserver import PlaneServer

COLUMNS = (("Backlog", "backlog"), ("To Analyse", "unstarted"), ("In Progress", "started"), ("Done", "completed"))
START_S = 60.0
LIMIT = 1_000_000_000
"""What it says is left of the rate: more than is asked for here."""


@contextlib.contextmanager
def running(projects: int, issues: int) -> Iterator[str]:
    """Serve so many projects (``p0``, ``p1``, ...) with so many issues each, and give the address.

    Raises `RuntimeError`.
    """
    context = multiprocessing.get_context("spawn")
    ours, theirs = context.Pipe()
    process = context.Process(target=_serve, args=(theirs, projects, issues), daemon=True)
    process.start()
    try:
        if not ours.poll(START_S):
            raise RuntimeError("the fake Plane did not start")
        yield str(ours.recv())
    finally:
        ours.close()
        process.join(START_S)
        process.kill()


def _serve(told: Connection, projects: int, issues: int) -> None:
    asyncio.run(_serving(told, projects, issues))


async def _serving(told: Connection, projects: int, issues: int) -> None:
    async with PlaneServer(limit_per_minute=LIMIT) as server:
        for number in range(projects):
            columns = server.project(f"p{number}", COLUMNS)
            for issue in range(issues):
                server.add(f"p{number}", f"Issue {issue}", columns["Backlog"], tell=False)
        told.send(server.url)
        with contextlib.suppress(EOFError):
            await asyncio.to_thread(told.recv)
