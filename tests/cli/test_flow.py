"""What `queue` and `drift` print, of what they were told."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from millpond.cli import flow
from millpond.cli.main import app


def printed(monkeypatch: pytest.MonkeyPatch, found: dict[str, Any], *words: str) -> list[str]:
    monkeypatch.setattr(flow, "perform", lambda *_, **__: found)
    return CliRunner().invoke(app, [*words]).stdout.splitlines()


def test_the_queue_says_which_pipelines_are_refused_and_which_boards_do_not_answer(monkeypatch: pytest.MonkeyPatch):
    told = {"enabled": True, "failed": {"till": "no answer"}, "pipelines_refused": {"shop": "p.toml: a: wrong"}}
    found = {"counts": {}, "max_concurrency": 2, "poll_interval": 60, "recent": [], "reconcile": told}
    lines = printed(monkeypatch, found, "queue")
    assert "the board of till could not be asked: no answer" in lines
    assert lines[-2:] == ["the pipeline of shop is refused, and its issues wait:", "p.toml: a: wrong"]


@pytest.mark.parametrize(
    ("rows", "failed", "words", "last"),
    [
        (0, {}, (), "no difference"),
        (1, {}, (), "1 difference; --mend has them looked at now"),
        (2, {}, ("--mend",), "2 differences; looked at now"),
        (0, {"till": "no answer"}, (), "no difference; 1 project could not be compared"),
        (
            2, {"till": "x", "kiosk": "y"}, (),
            "2 differences; --mend has them looked at now; 2 projects could not be compared",
        ),
    ],
)  # fmt: skip
def test_drift_sums_up_at_the_end(
    monkeypatch: pytest.MonkeyPatch, rows: int, failed: dict[str, str], words: tuple[str, ...], last: str
):
    row = {"key": "SH-1", "issue": "1", "project": "shop", "between": "board", "told": "it differs"}
    found = {"ok": not rows and not failed, "drift": [row] * rows, "failed": failed}
    lines = printed(monkeypatch, found, "drift", *words)
    assert lines[-1] == last
    assert len(lines) == 1 + (rows + 1 if rows else 0) + len(failed)
