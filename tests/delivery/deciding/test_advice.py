"""The next step that people are told."""

from __future__ import annotations

from dataclasses import replace

import pytest

from millpond.delivery.deciding.advice import Standing, next_step, unknown_prefix
from millpond.delivery.model import Phase, Task

NOW = 1000.0
TASK = Task(1, "SH-1", "shop", "i1", "shop", "feature/SH-1-x", "build")
AT = Standing("SH-1", TASK, NOW)
GATED = replace(TASK, phase=Phase.GATED)
PARKED = replace(TASK, phase=Phase.PARKED, reason="its tests failed")
DONE, GONE = replace(TASK, phase=Phase.DONE), replace(TASK, phase=Phase.CANCELLED)


@pytest.mark.parametrize(
    ("at", "told"),
    [
        (replace(AT, task=None), "`millpond board move SH-1 'To Analyse'` begins it"),
        (replace(AT, task=None, start="Go"), "`millpond board move SH-1 Go` begins it"),
        (replace(AT, task=None, embedded=False), "move it to To Analyse: that begins it"),
        (replace(AT, task=None, begins=True), ""),
        (replace(AT, task=DONE), ""),
        (replace(AT, task=DONE, begins=True), "move it elsewhere, and back to To Analyse: that begins another task"),
        (replace(AT, task=GONE), "`millpond board move SH-1 'To Analyse'` begins another task"),
        (AT, ""),
        (replace(AT, task=replace(TASK, not_before=NOW + 9)), "`millpond task retry SH-1` does not wait for it"),
        (replace(AT, task=replace(TASK, phase=Phase.WORKING)), "`millpond task log SH-1 --follow` shows what it does"),
        (replace(AT, task=GATED), ""),
        (replace(AT, task=GATED, asks=True), "`millpond board move SH-1 Approved`, or `millpond task approve SH-1`"),
        (replace(AT, task=GATED, asks=True, embedded=False), "move it to Approved or Rejected, or `millpond task"),
        (
            replace(AT, task=GATED, asks=True, embedded=False, columns=False),
            "`millpond task approve SH-1` (or reject), or",
        ),
        (replace(AT, task=PARKED), "mend that, then `millpond task release SH-1`; or `millpond task cancel SH-1`"),
        (replace(AT, task=PARKED, question=True), "answer it on the issue (`millpond board comment SH-1 ...`), then"),
        (replace(AT, task=PARKED, question=True, embedded=False), "answer it on the issue (in a comment), then"),
        (
            replace(AT, task=replace(PARKED, reason="the task's budget is spent")),
            "`millpond task release SH-1 --usd N`",
        ),
        (
            replace(AT, task=replace(PARKED, reason="the project's budget for today is spent (9.00 of 5.00 USD)")),
            "the day's budget comes back at midnight UTC; then `millpond task release SH-1`;",
        ),
        (
            replace(AT, task=replace(PARKED, reason="the run's budget is spent (turns)"), question=True),
            "mend that, then `millpond task release SH-1`;",
        ),
    ],
)
def test_the_next_step_is_a_command(at: Standing, told: str):
    found = next_step(at)
    assert found.startswith(told)
    assert bool(found) == bool(told)


def test_an_unknown_prefix_names_those_there_are():
    known = [("TI", "till"), ("SH", "shop")]
    assert unknown_prefix("ZZ", known) == "no project has the prefix ZZ; there are: SH (shop), TI (till)"
