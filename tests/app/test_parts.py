"""Background parts: they never raise, and tell how they are, in every worker."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from millpond.app import parts
from millpond.app.parts import Parts
from millpond.db import Database
from millpond.hosts.runs import Runs
from millpond.testing.clock import FakeClock


@pytest.fixture
async def runs(tmp_path: Path):
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    yield Runs(db)
    await db.close()


async def test_a_part_tells_what_it_did_and_what_went_wrong(runs: Runs):
    of = Parts(FakeClock(now=1000.0), runs)
    of.running = True
    of.part("looks", looked=0)

    async def well() -> dict[str, int]:
        return {"looked": 3}

    async def badly() -> None:
        raise ValueError("the moon")

    assert (await of.status("looks"))["last_run_ts"] is None
    assert await of.run("looks", well)
    status = await of.status("looks")
    assert (status["looked"], status["runs"], status["last_error"], status["enabled"]) == (3, 1, None, True)
    assert not await of.run("looks", badly)
    status = await of.status("looks")
    assert (status["last_error"], status["failures"], status["looked"]) == ("ValueError: the moon", 1, 3)
    assert await of.run("looks", well)
    assert (await of.status("looks"))["last_error"] is None


async def test_a_loop_goes_on_after_a_failure(runs: Runs, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(parts, "BACKOFF_S", 0.0)
    of, seen = Parts(FakeClock(), runs), asyncio.Event()
    calls: list[int] = []

    async def work() -> None:
        calls.append(1)
        if len(calls) < 3:
            raise OSError("no")
        seen.set()
        await asyncio.sleep(60)

    task = asyncio.create_task(of.loop("looks", work))
    await asyncio.wait_for(seen.wait(), 30)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert of.part("looks").failures == 2


async def test_another_worker_tells_what_the_one_that_runs_it_wrote_down(runs: Runs):
    mine, other = Parts(FakeClock(now=1000.0), runs), Parts(FakeClock(now=1001.0), runs)
    mine.running = True
    for of in (mine, other):
        of.part("looks", looked=0)

    async def work() -> dict[str, int]:
        return {"looked": 9}

    await mine.run("looks", work)
    await mine.run("looks", work)
    assert (await other.status("looks"))["last_run_ts"] == 1000.0


async def test_one_that_is_off_says_so_and_keeps_its_keys(runs: Runs):
    of = Parts(FakeClock(), runs)
    of.part("reaper", enabled=False, reaped=0)
    assert await of.status("reaper") == {
        "enabled": False, "runs": 0, "failures": 0, "last_run_ts": None, "last_error": None, "reaped": 0,
    }  # fmt: skip
