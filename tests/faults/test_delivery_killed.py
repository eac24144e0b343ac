"""Delivery killed with -9 at its commit points: the end is the same as without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from millpond.delivery.ledger.books import Point

STEP = int(os.environ.get("MILLPOND_TEST_KILL_STEP", "120"))
"""1: at every one of them."""
NOT_DRIVEN = {
    Point.CREATE,
    Point.RELEASE,
    Point.PARK,
    Point.CANCEL,
    Point.VERDICT,
    Point.HURRY,
    Point.PRUNE,
    Point.RETAKE,
    Point.NOTE_RUN,
    Point.RETRY_OUTBOX,
    Point.DROP_OUTBOX,
}
"""What people order, what a worker and upkeep do beside it, and what a tracker that fails makes necessary."""


@pytest.mark.fault
@pytest.mark.timeout(3600 if STEP == 1 else 300)
def test_killed_at_a_commit_the_end_is_the_same(tmp_path: Path):
    argv = [sys.executable, "-m", "tests.delivery.killed", str(tmp_path / "runs"), str(STEP)]
    (tmp_path / "runs").mkdir()
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    without, *killed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    tasks, outside, active = without[1]
    assert [task[1] for task in tasks] == ["done", "done"]
    assert (outside[1], outside[2], active) == ({"team/shop:main": 2}, [1, 1], 0)
    assert not [name for name, result in killed if result != without[1]]
    assert all(name.endswith("killed") for name, _ in killed)
    for point in set(Point) - NOT_DRIVEN - {Point.REAP}:
        assert {f"{point} before", f"{point} after"} <= {" ".join(name.split()[1:3]) for name, _ in killed}, point
