"""The daemon started again long after it was killed, while a run of its went on."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
from tests.delivering import LOCAL, pushed, until
from tests.delivery.conftest import Aging

from millpond.app import delivering
from millpond.delivery.model import JobState
from millpond.delivery.runs.runs import Runs
from millpond.delivery.worker import Worker

pytestmark = pytest.mark.process

LATE_S = 10_000.0
"""Longer than any lease."""
PIPELINE = """
[[stages]]
name = "build"
step = "command"
settings = {{ argv = {argv} }}
timeout_s = 600
"""


async def test_a_job_whose_lease_is_long_over_is_taken_up_and_not_given_up(
    open_pond: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(delivering, "REAP_S", 0.05)
    argv = ["sh", "-c", f"touch {tmp_path}/began; while [ ! -e {tmp_path}/go ]; do sleep 0.05; done"]
    first = (await open_pond(LOCAL)).app
    await pushed(first, PIPELINE.format(argv=json.dumps(argv)))
    await first.started()
    await first.operations["board_new"](progress=lambda *_: None, title="x", column="To Analyse")

    async def running() -> Any:
        return [job for job in await first.delivering.ledger.jobs.active() if (tmp_path / "began").exists()]

    (job,) = await until(running)
    runs, taking_up = Runs(first.data / "runs"), Worker.take_up
    await first.close()

    async def slow(worker: Worker) -> list[int]:
        await asyncio.sleep(0.3)  # the reaper would be at it by now
        return await taking_up(worker)

    try:
        second = (await open_pond(LOCAL)).app
        await Aging(second.db)(LATE_S)
        monkeypatch.setattr(Worker, "take_up", slow)
        await second.started()
        jobs = second.delivering.ledger.jobs

        async def taken() -> Any:
            found = await jobs.one(job.id)
            return found if (found.fence, found.state) != (job.fence, job.state) else None

        found = await until(taken)
        assert (found.state, found.fence) == (JobState.RUNNING, job.fence + 1)
        await asyncio.sleep(0.3)  # nor is it given up afterwards
        (tmp_path / "go").touch()

        async def over() -> Any:
            found = await jobs.one(job.id)
            return found if found.state is not JobState.RUNNING else None

        assert (await until(over)).state is JobState.SUCCEEDED
        assert [one.id for one in await jobs.of(job.task)] == [job.id]
        records = await second.delivering.ledger.runs.of(job.task)
        assert [one.ended for one in records] == ["taken-up", "succeeded"]
    finally:
        await runs.others([])
