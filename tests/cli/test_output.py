"""How commands speak of several things that they work on at once."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from millpond.cli import output
from millpond.cli.output import Bars


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch):
    """Give what is written to standard error, on a terminal or not."""

    def use(*, terminal: bool) -> io.StringIO:
        written = io.StringIO()
        monkeypatch.setattr(output, "err", Console(file=written, force_terminal=terminal, width=100, highlight=False))
        return written

    return use


def test_off_a_terminal_each_change_is_a_line(said):
    written, bars = said(terminal=False), Bars()
    for text, done, total in (
        ("resolving", 0, None),
        ("web1: nginx:1", 0, 100),
        ("web1: nginx:1", 50, 100),
        ("web2: nginx:1", 0, 100),
        ("web1: nginx:1", 100, 100),
        ("web1: [bold]db:7", 0, None),
    ):
        bars(text, done, total)
    bars.close()
    assert written.getvalue().splitlines() == [
        "resolving",
        "web1: nginx:1",
        "web2: nginx:1",
        "web1: nginx:1: done",
        "web1: [bold]db:7",
    ]


def test_on_a_terminal_each_host_has_a_bar_in_bytes(said):
    written, bars = said(terminal=True), Bars()
    bars("web1: nginx:1", 1 << 20, 4 << 20)
    bars("web2: nginx:1", 0, None)
    bars("web1: db:7", 4 << 20, 4 << 20)
    assert bars._progress is not None
    assert [task.description for task in bars._progress.tasks] == ["web1: db:7", "web2: nginx:1"]
    bars.close()
    assert "MiB" in written.getvalue()
