"""``millpond task approve`` and ``reject``: what the words behind them are heard as."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from millpond.cli import task
from millpond.cli.main import app

SHA, NEWER = "a" * 40, "b" * 40
VOID = (
    "feature/SH-1-x is at bbbbbbbbbbbb by now, which voids that: "
    "look at it, and give the verdict again once it is asked for"
)
STANDS = {"sha": SHA, "newer": None, "branch": "feature/SH-1-x"}


@pytest.fixture
def ordered(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """What is asked of the daemon."""
    asked: list[dict[str, Any]] = []

    def perform(operation: str, config: Any, data: Any, arguments: dict[str, Any], **_: Any) -> Any:
        assert operation == "task_verdict"
        asked.append({name: value for name, value in arguments.items() if name not in {"task", "by"}})
        return {"key": arguments["task"], **STANDS}

    monkeypatch.setattr(task, "perform", perform)
    return asked


@pytest.mark.parametrize(
    ("words", "approved", "reason", "commit"),
    [
        (["reject", "SH-1"], False, "", ""),
        (["reject", "SH-1", "the", "Colours", "are wrong\nagain"], False, "the Colours are wrong again", ""),
        (["reject", "SH-1", "--reason", "1a2b3c4\nis wrong"], False, "1a2b3c4\nis wrong", ""),
        (["reject", "SH-1", "1A2B3C4", "is", "wrong"], False, "is wrong", "1a2b3c4"),
        (["reject", "SH-1", "x" * 999], False, "x" * 999, ""),
        (["approve", "SH-1"], True, "", ""),
        (["approve", "SH-1", "1a2b3c4"], True, "", "1a2b3c4"),
        (["approve", "SH-1", "1a2b3c4", "looks", "fine"], True, "looks fine", "1a2b3c4"),
    ],
)
def test_words_are_the_reason(
    ordered: list[dict[str, Any]], words: list[str], approved: bool, reason: str, commit: str
):
    done = CliRunner().invoke(app, ["task", *words])
    assert done.exit_code == 0, done.output
    assert ordered == [{"approved": approved, "reason": reason, "commit": commit}]


@pytest.mark.parametrize(
    "words",
    [["approve", "SH-1", "not", "yet"], ["approve", "SH-1", "abcdef"], ["reject", "SH-1", "a", "--reason", "b"]],
)
def test_what_may_be_its_contrary_is_refused_before_anything_is_asked(ordered: list[dict[str, Any]], words: list[str]):
    done = CliRunner().invoke(app, ["task", *words])
    assert done.exit_code == 2
    assert "Invalid value" in done.output
    assert ordered == []


@pytest.mark.parametrize(
    ("stands", "told"),
    [
        ({}, "SH-1 is approved at aaaaaaaaaaaa\n"),
        ({"sha": ""}, "SH-1 is approved\n"),
        ({"newer": NEWER}, f"SH-1 is approved at aaaaaaaaaaaa, but {VOID}\n"),
    ],
)
def test_which_commit_it_is_on_is_told_and_what_voids_it(
    ordered: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch, stands: dict[str, Any], told: str
):
    for name, value in stands.items():
        monkeypatch.setitem(STANDS, name, value)
    assert CliRunner().invoke(app, ["task", "approve", "SH-1"]).stdout == told
