"""More than one worker: children that share the listening socket, restarted when they die.

The supervisor itself serves nothing and opens no data. Signals are handed down: SIGTERM and SIGINT to drain, SIGHUP
to reload. A child dies
with its parent (PR_SET_PDEATHSIG), so that a killed daemon leaves nothing that holds its port or its locks.
"""

from __future__ import annotations

import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import structlog

MIN_UPTIME_S = 5.0
MAX_BACKOFF_S = 10.0
_PR_SET_PDEATHSIG = 1
log = structlog.get_logger(__name__)


@dataclass(slots=True)
class _Child:
    number: int
    process: subprocess.Popen[bytes]
    started_at: float
    failures: int = 0


@dataclass(slots=True)
class Supervisor:
    """Keeps `count` children of the command `argv` + [number] alive; `sockets` are what they share."""

    argv: Sequence[str]
    count: int
    sockets: Sequence[socket.socket]
    environ: dict[str, str] = field(default_factory=dict)
    metrics: Path | None = None
    _children: dict[int, _Child] = field(default_factory=dict)
    _stopping: bool = False

    def run(self) -> int:
        """Run until told to stop; gives the exit code."""
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            signal.signal(number, self._signalled)
        for worker in range(self.count):
            if not self._stopping:
                self._start(worker, failures=0)
        while self._children:
            if self._stopping:
                self._close()
            self._reap()
            time.sleep(0.05)
        return 0

    def _close(self) -> None:
        """Let go of the sockets: while one process holds them, clients connect to a daemon that answers no more."""
        for sock in self.sockets:
            sock.close()

    def _start(self, number: int, failures: int) -> None:
        # A child is born with SIGHUP blocked, and lets it in once it can reload: before, it would end it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
        process = subprocess.Popen(  # noqa: S603 - our own executable
            [*self.argv, str(number)],
            pass_fds=[sock.fileno() for sock in self.sockets],
            env=os.environ | self.environ,
            stdin=subprocess.DEVNULL,
        )
        self._children[number] = _Child(number, process, time.monotonic(), failures)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})
        if self._stopping:  # the signal came while this one was being born, and did not reach it
            process.send_signal(signal.SIGTERM)

    def _reap(self) -> None:
        for child in list(self._children.values()):
            code = child.process.poll()
            if code is None:
                continue
            del self._children[child.number]
            self._bury(child)
            if not self._stopping:
                self._restart(child, code)

    def _bury(self, child: _Child) -> None:
        """Remove the gauges of a dead worker: its counters stay, what it had open or under way does not."""
        if self.metrics is not None:
            for path in self.metrics.glob(f"gauge_live*_{child.process.pid}.db"):
                path.unlink(missing_ok=True)

    def _restart(self, child: _Child, code: int) -> None:
        quick = time.monotonic() - child.started_at < MIN_UPTIME_S
        failures = child.failures + 1 if quick else 0
        log.error("a worker died; it is started again", worker=child.number, exit_code=code, failures=failures)
        self._pause(min(0.1 * 2**failures, MAX_BACKOFF_S) if failures else 0.0)
        if not self._stopping:
            self._start(child.number, failures)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while time.monotonic() < until and not self._stopping:
            time.sleep(0.05)

    def _signalled(self, number: int, _frame: object) -> None:
        self._stopping = self._stopping or number != signal.SIGHUP
        for child in self._children.values():
            child.process.send_signal(number)


def die_with_parent(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies; leave at once if it has already."""
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")
