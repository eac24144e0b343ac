"""A reload with several workers: all of them take the new configuration, or none.

The supervisor reads it (a mistake ends it there), has every worker try it, and waits for each one's answer. Where one
refuses, the others are told to go back. One that does not answer in time is named; it takes the new one when it can,
and so does one that is started anew meanwhile. Who asks while a reload is under way gets one of its own after it, since
the file may have changed since it was read.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import structlog

from millpond.errors import ConfigError
from millpond.server.link import Line, Message

ANSWER_S = 30.0
_UNHEEDED = 0
"""The number of a request whose answer nobody waits for."""
log = structlog.get_logger(__name__)


class Configuration(Protocol):
    """The configuration that holds, and a new one that is tried."""

    file: Path

    def propose(self) -> Path:
        """Read it again and write it down for the workers. Raises `ConfigError`, `OSError`."""

    def confirm(self) -> None:
        """Let what was proposed hold."""


@dataclass(frozen=True, slots=True)
class Asker:
    """A worker that asked on somebody's behalf, by its own number of the question."""

    worker: int
    question: int


@dataclass(slots=True)
class Reloads:
    """The reloads of one supervisor; `lines` are its workers', by their numbers. Times are monotonic seconds."""

    configuration: Configuration
    lines: Mapping[int, Line]
    answer_s: float = ANSWER_S
    clock: Callable[[], float] = time.monotonic
    _number: int = 0
    _file: Path | None = None
    _until: float = 0.0
    _waiting: set[int] = field(default_factory=set)
    _errors: dict[int, str] = field(default_factory=dict)
    _asking: list[Asker] = field(default_factory=list)
    _next: list[Asker] = field(default_factory=list)
    _wanted: bool = False

    def want(self, asker: Asker | None = None) -> None:
        """Ask for a reload; without `asker` only the log tells what came of it."""
        self._wanted = True
        if asker is not None:
            self._next.append(asker)

    def heard(self, worker: int, message: Message) -> None:
        """Take what a worker says."""
        if "ask" in message:
            self.want(Asker(worker, message["ask"]))
        elif message["took"] == self._number and worker in self._waiting:
            self._waiting.discard(worker)
            if message["error"] is not None:
                self._errors[worker] = message["error"]

    def began(self, worker: int) -> None:
        """Have a worker that was started amid a reload take part in it: it began with the old configuration."""
        if self._file is not None:
            self._waiting.add(worker)
            self.lines[worker].tell({"take": self._number, "file": str(self._file)})

    def tick(self) -> None:
        """Begin what is wanted, or end what has all its answers or no more time."""
        if self._file is not None and (not self._waiting or self.clock() >= self._until):
            self._end()
        if self._file is None and self._wanted:
            self._begin()

    def _begin(self) -> None:
        self._wanted = False
        self._asking, self._next = self._next, []
        try:
            self._file = self.configuration.propose()
        except ConfigError as error:
            self._tell(refused=list(error.problems))
        except OSError as error:
            self._tell(refused=[f"the configuration can't be handed to the workers: {error}"])
        if self._file is None:
            return
        self._number += 1
        self._waiting, self._errors, self._until = set(), {}, self.clock() + self.answer_s
        for worker in self.lines:
            self.began(worker)

    def _end(self) -> None:
        self._file = None
        if self._errors:
            self._take_what_holds(set(self.lines))
        else:
            self.configuration.confirm()
            self._take_what_holds(self._waiting)
        failed = dict.fromkeys(self._waiting, f"it did not answer within {self.answer_s:.0f} s") | self._errors
        self._tell(failed=[f"worker {worker}: {reason}" for worker, reason in sorted(failed.items())])

    def _take_what_holds(self, workers: set[int]) -> None:
        for worker in workers & set(self.lines):
            self.lines[worker].tell({"take": _UNHEEDED, "file": str(self.configuration.file)})

    def _tell(self, refused: list[str] | None = None, failed: list[str] | None = None) -> None:
        against = [*(refused or ()), *(failed or ())]
        if against:
            log.warning("not reloaded; the old configuration goes on", error="; ".join(against))
        else:
            log.info("reloaded", workers=len(self.lines))
        answer = {"refused": refused or [], "failed": failed or []}
        for asker in self._asking:
            if asker.worker in self.lines:
                self.lines[asker.worker].tell({"told": asker.question, **answer})
        self._asking = []
