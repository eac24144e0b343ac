"""What happened, in words."""

from __future__ import annotations

import re
from typing import get_args

import pytest

from millpond.delivery.deciding import actions
from millpond.delivery.deciding.actions import (
    Acknowledge,
    Action,
    Arm,
    CancelTask,
    CreateTask,
    Heed,
    ParkTask,
    Push,
    Release,
    Show,
    Tell,
    UseVerdict,
    Wait,
)
from millpond.delivery.deciding.words import MAX_DETAIL, event
from millpond.delivery.model import Input, Key, Options


@pytest.mark.parametrize(
    ("action", "word", "detail"),
    [
        (CreateTask("build", Options(), "x", "ada"), "created", {"by": "ada"}),
        (CreateTask("build", Options(), "x"), "created", {}),
        (CreateTask("build", Options(), "x", "", "hotfix: priority 9"), "created", {"labels": "hotfix: priority 9"}),
        (Release("x", "ada"), "released", {"by": "ada"}),
        (UseVerdict(True, "ada", (1.0, "1")), "approved", {"by": "ada"}),
        (UseVerdict(False, "ada", (1.0, "1")), "rejected", {"by": "ada"}),
        (Heed(False, "ada", (1.0, "1")), "verdict-not-awaited", {"by": "ada", "approved": False}),
        (CancelTask("why", "x", "ada"), "cancelled", {"reason": "why", "by": "ada"}),
        (Show(Key.DONE, "s", "t", frozenset({Input.START})), "moved-on-the-board", {"column": "done"}),
        (Tell("x" * 999, "k"), "commented", {"text": "x" * MAX_DETAIL}),
        (Push("a" * 40), "pushed-by-somebody", {"sha": "a" * 40}),
        (ParkTask("no tea " * 99, None), "parked", {"reason": ("no tea " * 28).rstrip() + "..."}),
        (ParkTask("no tea", None), "parked", {"reason": "no tea"}),
    ],
)
def test_an_event_says_what_happened_and_who_did_it(action: Action, word: str, detail: dict[str, object]):
    assert event(action) == (word, detail)


def test_everything_but_waiting_has_a_name_of_one_style():
    quiet = {Wait, Arm, Acknowledge}
    for kind in set(get_args(actions.Action)) - quiet - {UseVerdict}:
        made = kind.__new__(kind)
        for name in kind.__dataclass_fields__:
            object.__setattr__(made, name, "x")
        found = event(made)
        assert found is not None, kind
        assert re.fullmatch(r"[a-z]+(-[a-z]+)*", found[0]), found
    assert event(Wait("x")) is None
