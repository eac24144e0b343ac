"""Last runs: each task of each host has one, and a restart forgets none."""

from __future__ import annotations

from pathlib import Path

from millpond.db import Database
from millpond.hosts.model import Run
from millpond.hosts.runs import Runs


async def test_a_run_is_kept_over_a_restart(tmp_path: Path):
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    await Runs(db).note("web1", "prune", Run(5.5, "rc=1: no", {"a": 1, "b": None}))
    await db.close()
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    assert await Runs(db).of("web1", "prune") == Run(5.5, "rc=1: no", {"a": 1, "b": None})
    await db.close()


async def test_hosts_and_tasks_are_apart_and_the_last_one_counts(db: Database):
    runs = Runs(db)
    for at in (1.0, 2.0):
        await runs.note("web1", "prune", Run(at))
    await runs.note("web1", "disk", Run(7.0))
    await runs.note("web2", "prune", Run(None, "", {"skipped": "x"}))
    assert await runs.all("prune", ["web1", "web2", "web3"]) == {
        "web1": Run(2.0),
        "web2": Run(None, "", {"skipped": "x"}),
    }
    assert await runs.all("prune", ["web1"]) == {"web1": Run(2.0)}
    assert await runs.of("web3", "prune") == Run()
