"""How commands speak: plain words and tables for people, JSON for machines, progress on a terminal only.

Much of what is said others wrote: titles, comments, the last words of a job or a host. It is shown as they wrote it.
"""

from __future__ import annotations

import contextlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import Any

import typer
from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress import (
    BarColumn,
    DownloadColumn,
    MofNCompleteColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.segment import Segment
from rich.table import Table
from rich.text import Text

from millpond.delivery.spans import span
from millpond.errors import ConfigError, MillpondError

NO, USAGE = 1, 2
_PIPED_WIDTH = 4096  # a pipe has no columns: a record is a line
_CONTROLS = {code: f"\\u{code:04x}" for code in (*range(0x20), *range(0x7F, 0xA0)) if chr(code) not in "\n\t"}


def harmless(text: str) -> str:
    """Write control characters (C0 but newline and tab, DEL, C1) as JSON would: a terminal obeys none of them."""
    return text.replace("\r\n", "\n").translate(_CONTROLS)


class Plain(Console):
    """A console to which every text, a table's cells included, is plain: no markup, no emoji, nothing to obey."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, emoji=False, highlight=False, soft_wrap=True, **options)

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a text of what is printed; all of it comes through here."""
        return super().render_str(harmless(text), **options)


out = Plain(width=None if sys.stdout.isatty() else _PIPED_WIDTH)
err = Plain(stderr=True)


def say_json(value: Any) -> None:
    """Print a value as JSON, one document."""
    sys.stdout.write(json.dumps(value, indent=2, sort_keys=True) + "\n")


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print rows under their columns."""
    grid = Table(box=None, pad_edge=False, header_style="bold")
    for column in columns:
        grid.add_column(column, overflow="fold")
    for row in rows:
        grid.add_row(*(str(cell) for cell in row))
    out.print(_Trimmed(grid))


class _Trimmed:
    """A table without the blanks behind its lines: one long cell would draw out all of them, off a terminal."""

    def __init__(self, grid: Table) -> None:
        self._grid = grid

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Give it line by line."""
        for line in console.render_lines(self._grid, options, pad=False):
            while line and not line[-1].text.strip():
                line.pop()
            yield from line[:-1]
            yield from (Segment(last.text.rstrip(), last.style) for last in line[-1:])
            yield Segment.line()


def moment(at: float) -> str:
    """Write a time (epoch seconds) as the clock on this machine's wall shows it."""
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(at))


def moment_from_now(at: float) -> str:
    """Write a time with how far off it is."""
    off_s = at - time.time()
    return f"{moment(at)} ({f'in {span(off_s)}' if off_s > 0 else f'{span(-off_s)} ago'})"


def cut_off(shown: int, limit: int) -> None:
    """Say on standard error that a list may go on behind what is shown."""
    if shown >= limit:
        err.print(f"the newest {limit} are shown: --limit shows more")


def fields(values: Mapping[str, object]) -> None:
    """Print names and values, one a line; what goes on below stands under its value, and looks like no other name."""
    width = max((len(name) for name in values), default=0)
    for name, value in values.items():
        text = str(value).replace("\n", "\n" + " " * (width + 2))
        out.print(f"{name:<{width}}  {text}")


@contextlib.contextmanager
def failing(*, json_too: bool = False, listed: bool = False) -> Iterator[None]:
    """Turn faults into plain words and an exit code; `json_too`: and into JSON, an object with the error.

    `listed`: mistakes of a configuration are a list of results, as of `millpond check`.
    """
    try:
        yield
    except ConfigError as error:
        if json_too and listed:
            say_json([{"what": "configuration", "ok": False, "told": str(one)} | asdict(one) for one in error.mistakes])
        elif json_too:
            say_json({"ok": False, "error": str(error), "mistakes": [asdict(one) for one in error.mistakes]})
        for problem in error.problems:
            err.print(problem)
        raise typer.Exit(USAGE) from None
    except MillpondError as error:
        if json_too:
            say_json({"ok": False, "error": str(error)})
        err.print(f"millpond: {error}")
        raise typer.Exit(NO) from None
    except OSError as error:
        if json_too:
            say_json({"ok": False, "error": str(error)})
        err.print(f"millpond: {error}")
        raise typer.Exit(NO) from None


class Bar:
    """A progress bar that shows itself on a terminal only, and only once there is something to tell."""

    def __init__(self) -> None:
        self._progress: Progress | None = None
        self._task: TaskID | None = None

    def __call__(self, text: str, done: int, total: int | None) -> None:
        """Show how far it is."""
        if not err.is_terminal:
            return
        if self._progress is None:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(), MofNCompleteColumn())
            self._progress = Progress(*columns, TimeElapsedColumn(), console=err, transient=True)
            self._progress.start()
            self._task = self._progress.add_task("", total=total)
        if self._task is not None:
            self._progress.update(self._task, description=harmless(text), completed=done, total=total)

    def close(self) -> None:
        """Take it away."""
        if self._progress is not None:
            self._progress.stop()


class Bars(Bar):
    """A bar for each thing that is worked on, in bytes where they are known; off a terminal a line for each.

    A text such as ``web1: nginx:1.27`` has the bar of ``web1``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._tasks: dict[str, TaskID] = {}
        self._said: dict[str, str] = {}

    def __call__(self, text: str, done: int, total: int | None) -> None:
        """Show how far one of them is."""
        name = text.partition(": ")[0]
        if not err.is_terminal:
            ended = total is not None and done >= total
            line = f"{text}: done" if ended and ": " in text else text
            if self._said.get(name) != line:
                self._said[name] = line
                err.print(line)
            return
        if self._progress is None:
            columns = (TextColumn("{task.description}", markup=False), BarColumn(), DownloadColumn(binary_units=True))
            self._progress = Progress(*columns, TimeElapsedColumn(), console=err, transient=True)
            self._progress.start()
        if name not in self._tasks:
            self._tasks[name] = self._progress.add_task("", total=total)
        self._progress.update(self._tasks[name], description=harmless(text), completed=done, total=total)


def size(count: float) -> str:
    """Write a number of bytes for people."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:  # noqa: PLR2004 - binary units
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"
