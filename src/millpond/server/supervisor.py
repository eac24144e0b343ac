"""More than one worker: children that share the listening socket, restarted when they die.

The supervisor itself serves nothing and opens no data. It alone reads the configuration, and hands what it accepted to
its children (`reloads`), so that a worker that dies comes back while the file is broken. SIGTERM and SIGINT are handed
down, to drain. A child dies with its parent (`forking`), so that a killed daemon leaves nothing that holds its port or
its locks.
"""

from __future__ import annotations

import select
import signal
import socket
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import structlog

from millpond.server.forking import Forked, fork
from millpond.server.link import Line
from millpond.server.reloads import ANSWER_S, Configuration, Reloads

MIN_UPTIME_S = 5.0
MAX_BACKOFF_S = 10.0
TURN_S = 0.05
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Child:
    number: int
    process: Forked
    started_at: float
    failures: int = 0


@dataclass(frozen=True, slots=True)
class _Restart:
    """A worker that is to be started again, and when (monotonic seconds)."""

    failures: int
    due_at: float


@dataclass(slots=True)
class Supervisor:
    """Keeps `count` children alive, each of which does `work` with its number and its line.

    `sockets` are what they share; `configuration` is what they are handed, at their start and at a reload.
    """

    work: Callable[[int, socket.socket], None]
    count: int
    sockets: Sequence[socket.socket]
    configuration: Configuration
    metrics: Path | None = None
    answer_s: float = ANSWER_S
    _children: dict[int, _Child] = field(default_factory=dict)
    _lines: dict[int, Line] = field(default_factory=dict)
    _restarts: dict[int, _Restart] = field(default_factory=dict)
    _stopping: bool = False
    _hangup: bool = False

    def run(self) -> int:
        """Run until told to stop; gives the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # blocked since the start: see `main.run`
        reloads = Reloads(self.configuration, self._lines, self.answer_s)
        for worker in range(self.count):
            self._restarts[worker] = _Restart(0, 0.0)
        while self._children or not self._stopping:
            if self._stopping:
                self._close()
            self._reap()
            self._start_due(reloads)
            self._listen(reloads)
        return 0

    def _close(self) -> None:
        """Let go of the sockets: while one process holds them, clients connect to a daemon that answers no more."""
        for sock in self.sockets:
            sock.close()

    def _start_due(self, reloads: Reloads) -> None:
        now = time.monotonic()
        for worker in [worker for worker, restart in self._restarts.items() if restart.due_at <= now]:
            if not self._stopping:
                self._start(worker, self._restarts.pop(worker).failures)
                reloads.began(worker)

    def _start(self, number: int, failures: int) -> None:
        mine, its = socket.socketpair()
        with its:
            keep = [sock.fileno() for sock in (*self.sockets, its)]
            process = fork(partial(self.work, number, its), keep, f"millpond {number}")
        self._lines[number] = Line(mine)
        self._children[number] = _Child(number, process, time.monotonic(), failures)
        if self._stopping:  # the signal came while this one was being born, and did not reach it
            process.send_signal(signal.SIGTERM)

    def _reap(self) -> None:
        for child in list(self._children.values()):
            code = child.process.poll()
            if code is None:
                continue
            del self._children[child.number]
            if (line := self._lines.pop(child.number, None)) is not None:
                line.sock.close()
            self._bury(child)
            if not self._stopping:
                self._restart(child, code)

    def _bury(self, child: _Child) -> None:
        """Remove the gauges of a dead worker: its counters stay, what it had open or under way does not."""
        if self.metrics is not None:
            for path in self.metrics.glob(f"gauge_live*_{child.process.pid}.db"):
                path.unlink(missing_ok=True)

    def _restart(self, child: _Child, code: int) -> None:
        now = time.monotonic()
        failures = child.failures + 1 if now - child.started_at < MIN_UPTIME_S else 0
        log.error("a worker died; it is started again", worker=child.number, exit_code=code, failures=failures)
        pause_s = min(0.1 * 2**failures, MAX_BACKOFF_S) if failures else 0.0
        self._restarts[child.number] = _Restart(failures, now + pause_s)

    def _listen(self, reloads: Reloads) -> None:
        """Wait a moment for what the workers say, and go on with the reload that they take part in."""
        ready, _, _ = select.select([line.sock for line in self._lines.values()], (), (), TURN_S)
        for worker, line in list(self._lines.items()):
            line.flush()
            if line.sock not in ready:
                continue
            messages = line.heard()
            if messages is None:  # it is dying: `_reap` finds it in a moment
                self._lines.pop(worker).sock.close()
            for message in messages or ():
                reloads.heard(worker, message)
        if self._hangup:
            self._hangup = False
            reloads.want()
        if not self._stopping:
            reloads.tick()

    def _signalled(self, number: int, _frame: object) -> None:
        if number == signal.SIGHUP:
            self._hangup = True
            return
        self._stopping = True
        for child in self._children.values():
            child.process.send_signal(number)
