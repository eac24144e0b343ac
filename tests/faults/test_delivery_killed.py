"""Delivery killed with -9 at its commit points: the end is the same as without."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from millpond.delivery.ledger.books import Point

STEP = int(os.environ.get("MILLPOND_TEST_KILL_STEP", "0"))
"""0: at each kind of them, several in one run; 1: at every one, each in a run of its own; more: at some."""


@pytest.mark.fault
@pytest.mark.timeout(7200 if STEP == 1 else 900)
def test_killed_at_a_commit_the_end_is_the_same(tmp_path: Path):
    argv = [sys.executable, "-m", "tests.delivery.killed", str(tmp_path / "runs"), str(STEP)]
    (tmp_path / "runs").mkdir()
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    (_, without), *killed = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("[")]
    tasks, outside, active = without
    assert [task[1] for task in tasks] == ["done", "cancelled", "done"]
    assert (outside[1], outside[2], active) == ({"team/shop:main": 2}, [1, 1], 0)
    assert not [met for met, result in killed if result != without]
    assert all(met for met, _ in killed)
    wanted = {f"{point} {moment}" for point in Point for moment in ("before", "after")}
    assert STEP > 1 or wanted == {kind for met, _ in killed for kind in met}
