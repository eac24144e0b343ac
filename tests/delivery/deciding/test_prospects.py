from __future__ import annotations

from typing import get_args

import pytest

from millpond.delivery.deciding import actions
from millpond.delivery.deciding.actions import (
    Action,
    Arm,
    CreateTask,
    ParkTask,
    Push,
    SendBack,
    Show,
    Tell,
    UseVerdict,
    Wait,
)
from millpond.delivery.deciding.prospects import _WORDS, MAX_REASON, shortened, told
from millpond.delivery.model import Input, Key, Options

SHA = "3dbab7c44309" + "0" * 28
ASKS = Tell("SH-8: build waits for a verdict. To give it, move the issue", "1:1:gate")


@pytest.mark.parametrize(("decided", "text"), [
    ((Wait("it runs"),), "it runs"),
    ((CreateTask("build", Options(), "x"),), "a task will begin at build"),
    ((Push(SHA), ASKS), "somebody pushed 3dbab7c44309; the verdict will be asked for again"),
    ((Push(SHA),), "somebody pushed 3dbab7c44309"),
    ((Push(SHA, "review"),), "somebody pushed 3dbab7c44309; it will go back to review"),
    ((SendBack("build", "sent back from test (1 of 3): red"), ASKS), "it will be sent back from test (1 of 3): red"),
    ((ParkTask("which?", None), ASKS), "it will be parked: which?"),
    ((Show(Key.NEEDS_INPUT, "n", "x", frozenset({Input.START})),), "the issue will be moved to Needs Input"),
    ((UseVerdict(False, "u1", (1.0, "1"), "", "Ada"),), "the rejection of Ada will count"),
    ((Arm(),), "what people move on the board will count again"),
    ((ASKS,), "a comment will be written"),
])  # fmt: skip
def test_what_is_decided_is_told_in_people_s_words(decided: tuple[Action, ...], text: str):
    assert told(decided) == text


def test_there_are_words_for_each_of_them():
    assert set(_WORDS) == set(get_args(actions.Action))


def test_a_long_reason_is_cut_at_a_word():
    assert shortened("short") == "short"
    long = shortened("word " * 99)
    assert long.endswith("word...")
    assert len(long) <= MAX_REASON
