from __future__ import annotations

from dataclasses import replace

import pytest

from millpond.delivery.deciding.hearing import answer
from millpond.delivery.model import Phase, Task

SHA = "a" * 40
GATED = Task(1, "SH-1", "shop", "1", "team/shop", "feature/SH-1", "build", phase=Phase.GATED, sha=SHA)
DONE = replace(GATED, phase=Phase.DONE)
NO_VERDICT = "that is no verdict: write"
IN_CODE = "that is no verdict, since it stands in a block of code: write"
DOUBT = (
    "the words around it may say yes or no: to approve, write /approve alone on its line, "
    "or /approve aaaaaaaaaaaa before the words (a card at Approved counts all the same)"
)


@pytest.mark.parametrize(("text", "task", "told"), [
    ("looks good", GATED, ""),
    ("see /approve in the docs", GATED, ""),
    ("/help", GATED, ""),
    ("/aprove", GATED, f"{NO_VERDICT} /approve on a line of its own"),
    ("no!\n/rejected", GATED, f"{NO_VERDICT} /reject on a line of its own"),
    ("/approve please", GATED, f"the approval counts for nothing, since {DOUBT}"),
    ("/approve please", DONE, "the approval counts for nothing, since it is done"),
    ("/approve aaaaaaa please", GATED, "the approval is looked at now"),
    ("/reject the colours", GATED, "the rejection is looked at now"),
    ("> /approve", GATED, ""),
    ("so:\n```\n/approve\n```", GATED, f"{IN_CODE} /approve on a line outside of it"),
    ("/approve", GATED, "the approval is looked at now"),
    ("/Reject aaaaaaa", GATED, "the rejection is looked at now"),
    ("/approve bbbbbbb", GATED, "the approval counts for nothing, since it names bbbbbbb, and SH-1 is at aaaaaaaaaaaa"),
    ("/reject", DONE, "the rejection counts for nothing, since it is done"),
    ("/approve", None, "the approval counts for nothing, since there is no task yet"),
])  # fmt: skip
def test_whoever_comments_is_told_what_a_verdict_does(text: str, task: Task | None, told: str):
    assert answer(text, task, awaited=task is GATED) == told


def test_a_gate_that_waits_for_something_else_takes_no_verdict():
    assert "nothing waits for a verdict at build now" in answer("/approve", GATED, awaited=False)
