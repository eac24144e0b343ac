"""How commands speak: of several things that they work on at once, and of what others wrote."""

from __future__ import annotations

import io

import pytest

from millpond.cli import output
from millpond.cli.output import Bar, Bars, Plain, fields, harmless, table


@pytest.fixture
def said(monkeypatch: pytest.MonkeyPatch):
    """Give what is written to standard error, on a terminal or not."""

    def use(*, terminal: bool) -> io.StringIO:
        written = io.StringIO()
        monkeypatch.setattr(output, "err", Plain(file=written, force_terminal=terminal, width=100))
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


@pytest.mark.parametrize("terminal", [False, True])
def test_a_table_has_no_blanks_behind_its_lines(monkeypatch: pytest.MonkeyPatch, terminal: bool):
    written = io.StringIO()
    width = 30 if terminal else 4096
    plain = Plain(file=written, force_terminal=terminal, color_system=None, width=width)
    monkeypatch.setattr(output, "out", plain)
    table(("WHEN", "WHAT", ""), [("1", "moved", "column=" + "x" * 40), ("2", "[b]", ""), ("3", "", ""), ("", "", "")])
    lines = written.getvalue().split("\n")
    assert lines == [line.rstrip() for line in lines]
    assert (lines[0], lines[-4:]) == ("WHEN  WHAT", ["2     [b]", "3", "", ""])
    assert ("x" * 40 in written.getvalue()) is not terminal, "there it is folded"


def test_no_terminal_obeys_what_others_wrote():
    every = "".join(map(chr, range(0x100)))
    plain = harmless(every)
    assert {one for one in plain if not (" " <= one <= "~" or one >= "\xa0")} == {"\n", "\t"}
    assert harmless("a\x1b[31m\x7f\x9b\r\nb\rc") == "a\\u001b[31m\\u007f\\u009b\nb\\u000dc"
    assert harmless("ж 鴨 [x] :bug:") == "ж 鴨 [x] :bug:"


def test_a_value_of_several_lines_looks_like_no_other_name(capsys: pytest.CaptureFixture[str]):
    fields({"title": "a\nphase  done", "phase": "parked"})
    assert capsys.readouterr().out == "title  a\n       phase  done\nphase  parked\n"


@pytest.mark.parametrize("kind", [Bar, Bars])
def test_a_bar_shows_names_as_they_are(said, kind: type[Bar]):
    written, bar = said(terminal=True), kind()
    bar("a [/v2/] \x1b]0;owned\x07", 1, 2)
    bar.close()
    assert "a [/v2/] \\u001b]0;owned\\u0007" in written.getvalue()
