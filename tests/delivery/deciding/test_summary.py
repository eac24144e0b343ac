from __future__ import annotations

from dataclasses import replace

import pytest

from millpond.delivery.deciding.summary import Holding, summary
from millpond.delivery.model import Options, Phase, Task

NOW = 1000.0
TASK = Task(1, "SH-1", "shop", "1", "team/shop", "feature/SH-1", "build")
AFTER = replace(TASK, options=Options(after=("SH-2", "sh-3")))
WORKING = replace(TASK, phase=Phase.WORKING, attempts=1)
GATED = replace(TASK, phase=Phase.GATED)


@pytest.mark.parametrize(("task", "by", "told"), [
    (TASK, Holding(NOW), ""),
    (AFTER, Holding(NOW), "waits for SH-2, sh-3"),
    (AFTER, Holding(NOW, done={"sh-3"}), "waits for SH-2"),
    (replace(AFTER, visit=2), Holding(NOW), ""),
    (replace(TASK, not_before=NOW + 300, reason="it broke"), Holding(NOW), "tried again in 5 min; it broke"),
    (replace(TASK, not_before=NOW, attempts=1, reason="it broke"), Holding(NOW), "it broke"),
    (WORKING, Holding(NOW, "job 3 runs"), "job 3 runs"),
    (replace(WORKING, reason="sent back"), Holding(NOW, "job 3 is queued"), "job 3 is queued; sent back"),
    (WORKING, Holding(NOW), "its job has ended"),
    (GATED, Holding(NOW), ""),
    (GATED, Holding(NOW, waiting=("commit-status", "human-verdict")), "waits for commit-status, a verdict"),
    (replace(GATED, phase=Phase.PARKED, reason="which?"), Holding(NOW), "which?"),
    (replace(GATED, phase=Phase.DONE, reason="all passed"), Holding(NOW), "all passed"),
    (replace(GATED, cancelling="ada"), Holding(NOW), "is being cancelled by ada"),
    (replace(GATED, phase=Phase.CANCELLED, cancelling="ada", reason="cancelled by ada"), Holding(), "cancelled by ada"),
])  # fmt: skip
def test_a_line_says_what_a_task_waits_for(task: Task, by: Holding, told: str):
    assert summary(task, by) == told
