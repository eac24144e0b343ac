"""A run's folder: what is in it, whether the run goes on, and how it ended."""

from __future__ import annotations

import errno
import fcntl
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, cast

from millpond.delivery.model import Json
from millpond.delivery.runs.wrapper import LOG, STATUS, WHO

NOTES, LOCK, HOME, STDIN, MARK = "notes.json", "lock", "home", "stdin", "mark.json"
AT_WORST = "usd_at_worst"
"""The note of what a run may have cost (US dollars) when nobody heard how it ended."""
PIECE = 65536
MAX_FILE = 1 << 20


def name_of(job: int) -> str:
    """Name the run of a job."""
    return f"job-{job}"


def job_of(name: str) -> int:
    """Give the number of the job that a run is of; 0: of none."""
    number = name.removeprefix("job-")
    return int(number) if number.isdecimal() and number != name else 0


class How(StrEnum):
    """How a run ended."""

    EXITED = "exited"
    FINAL = "final"
    """It said that it was done, and did not end by itself."""
    TIMEOUT = "timeout"
    STALLED = "stalled"
    STOPPED = "stopped"
    NOT_STARTED = "not-started"
    LOST = "lost"
    """Its wrapper was killed."""


@dataclass(frozen=True, slots=True)
class Who:
    """The wrapper of a run: pid, start time in ticks since the boot, and which boot that was."""

    pid: int
    start: int
    boot: str
    child: int = 0
    child_start: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """How a run ended. `rc` negative: a signal's number; None: it was not waited for."""

    how: How
    rc: int | None = None
    detail: str = ""
    said: int = 0
    """Bytes of output."""
    left: int = 0
    """Processes that it left behind, and that were ended."""
    left_out: int = 0
    """Bytes that are not in the log."""
    final: bool = False
    why: str = ""
    """Why it was ended by who listened."""


class Run:
    """A run that was begun, perhaps by an earlier process."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.name = folder, folder.name

    @property
    def log(self) -> Path:
        """Its log, which only grows."""
        return self.folder / LOG

    @property
    def home(self) -> Path:
        """The folder that is its HOME."""
        return self.folder / HOME

    def notes(self) -> Mapping[str, Json]:
        """Give what was noted at its start."""
        return cast("Mapping[str, Json]", read_json(self.folder / NOTES) or {})

    def at_worst(self) -> float:
        """Give what it may have cost (US dollars) when nobody heard how it ended; 0: nothing was noted."""
        usd = self.notes().get(AT_WORST)
        return max(float(usd), 0.0) if isinstance(usd, int | float) else 0.0

    def who(self) -> Who | None:
        """Give its wrapper; None: it has not said so yet."""
        told = read_json(self.folder / WHO)
        return Who(**told) if told else None

    def status(self) -> Ended | None:
        """Give how it ended; None: that is not written down."""
        told = read_json(self.folder / STATUS)
        if told is None:
            return None
        names = ("rc", "detail", "said", "left", "left_out", "final")
        return Ended(How(told["how"]), **{name: told[name] for name in names})

    def alive(self) -> bool:
        """Whether its wrapper lives."""
        try:
            lock = take_lock(self.folder, fcntl.LOCK_SH)
        except FileNotFoundError:  # its folder is gone
            return False
        if lock is None:
            return True
        os.close(lock)
        return False


class Lines:
    """Whole lines of a file that grows."""

    def __init__(self, file: Path) -> None:
        self._file, self._at, self._begun = file, 0, b""
        self.behind = False
        """Whether there was more than one reading takes."""

    def read(self) -> list[bytes]:
        """Give the lines that have come since."""
        try:
            with self._file.open("rb") as file:
                file.seek(self._at)
                data = file.read(PIECE)
        except FileNotFoundError:
            return []
        self._at += len(data)
        self.behind = len(data) == PIECE
        *lines, self._begun = (self._begun + data).split(b"\n")
        return lines


def read_json(file: Path) -> dict[str, Any] | None:
    """Read a small JSON file; None: there is none, or it is not whole."""
    try:
        with file.open("rb") as opened:
            return cast("dict[str, Any]", json.loads(opened.read(MAX_FILE)))
    except (OSError, ValueError):
        return None


def take_lock(folder: Path, how: int = fcntl.LOCK_EX) -> int | None:
    """Take a run's lock; gives its descriptor, or None: somebody has it."""
    lock = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, how | fcntl.LOCK_NB)
    except OSError as error:
        os.close(lock)
        if error.errno in {errno.EWOULDBLOCK, errno.EAGAIN}:
            return None
        raise
    return lock
