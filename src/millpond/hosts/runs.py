"""What is remembered of each task on each host, over restarts and for every worker: its last run."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from millpond.db import Database
from millpond.hosts.model import Run

METADATA = sa.MetaData()
HOST_RUNS = sa.Table(
    "host_runs",
    METADATA,
    sa.Column("host", sa.String, primary_key=True),
    sa.Column("task", sa.String, primary_key=True),
    sa.Column("ran_at", sa.Double),
    sa.Column("error", sa.String, nullable=False),
    # The task's own facts, a JSON object.
    sa.Column("told", sa.String, nullable=False),
)
_C = HOST_RUNS.c


class Runs:
    """The last runs of one database."""

    def __init__(self, db: Database) -> None:
        self._db = db

    async def of(self, host: str, task: str) -> Run:
        """Give the last run of a task on a host; an empty one if there was none."""
        return (await self.all(task, [host])).get(host, Run())

    async def all(self, task: str, hosts: Iterable[str]) -> dict[str, Run]:
        """Give the last runs of a task on those of some hosts that it ran on."""
        wanted = set(hosts)
        query = sa.select(HOST_RUNS).where(_C.task == task)
        rows = await self._db.read(lambda connection: connection.execute(query).all())
        return {row.host: _run(row) for row in rows if row.host in wanted}

    async def note(self, host: str, task: str, run: Run) -> None:
        """Remember a run in the place of the one before."""
        values = {"ran_at": run.ran_at, "error": run.error, "told": json.dumps(run.told)}

        def write(connection: Connection) -> None:
            mine = sa.and_(_C.host == host, _C.task == task)
            if not connection.execute(sa.update(HOST_RUNS).where(mine).values(**values)).rowcount:
                connection.execute(sa.insert(HOST_RUNS).values(host=host, task=task, **values))

        await self._db.write(write)


def _run(row: sa.Row[Any]) -> Run:
    return Run(row.ran_at, row.error, json.loads(row.told))
