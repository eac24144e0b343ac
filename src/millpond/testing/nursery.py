"""Daemons that begin as copies of a process that has imported everything: a tenth of a start.

Most of a start is importing. Tests that want a real daemon (its own process, sockets, signals, kill -9) but do not look
at its start take a copy: one process imports the daemon and waits; for each order it forks, and the copy becomes what
``python -m millpond ...`` is, with its own arguments, environment, folder and log. Only the list of arguments that the
system shows is still the first process's.
"""

from __future__ import annotations

import importlib
import json
import os
import runpy
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

IMPORTED = ("uvloop", "alembic.command", "millpond.api.control", "millpond.server.main", "millpond.cli")
"""What a daemon would import while it starts, or when it is first asked."""
_MAX_LINE = 1 << 20
_FIRST_OF_OURS = 3
"""File descriptors below are standard input, output and error."""


class Copy:
    """A copy that runs, as `subprocess.Popen` has it."""

    def __init__(self, nursery: Nursery, pid: int) -> None:
        self._nursery, self.pid = nursery, pid

    def poll(self) -> int | None:
        """Give its exit code (less than 0: the signal that ended it), None while it runs."""
        return self._nursery.codes.get(self.pid)

    def wait(self, timeout: float | None = None) -> int:
        """Wait for its end. Raises `subprocess.TimeoutExpired`."""
        with self._nursery.told:
            if not self._nursery.told.wait_for(lambda: self.poll() is not None, timeout):
                raise subprocess.TimeoutExpired(f"copy {self.pid}", timeout or 0.0)
        return self._nursery.codes[self.pid]

    def send_signal(self, number: int) -> None:
        """Send a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """Ask it to end."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """End it."""
        self.send_signal(signal.SIGKILL)


class Nursery:
    """The process that is copied; a context manager. Copies that still run at its end are left to who made them.

    `module` is the program that a copy becomes, `imported` what it would import.
    """

    def __init__(self, module: str = "millpond", imported: Sequence[str] = IMPORTED) -> None:
        self._argv = [sys.executable, "-m", __name__, module, *imported]
        self.codes: dict[int, int] = {}
        self.told = threading.Condition()
        self._ordering = threading.Lock()
        self._pids: list[int] = []

    def __enter__(self) -> Self:
        """Start it; whoever orders first waits until it has imported everything."""
        ours, theirs = socket.socketpair()
        with theirs:
            argv = [*self._argv, str(theirs.fileno())]
            self._process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])  # noqa: S603 - ourselves
        self._line = ours.makefile("rwb", buffering=0)
        ours.close()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End it."""
        self._process.terminate()
        self._process.wait(60)
        self._reader.join(60)
        self._line.close()

    def run(
        self, arguments: Sequence[str], *, environ: Mapping[str, str], folder: Path, timeout_s: float
    ) -> subprocess.CompletedProcess[str]:
        """Run a command to its end. Raises `subprocess.TimeoutExpired`, with the command ended."""
        with tempfile.TemporaryDirectory() as place:
            out, err = Path(place) / "out", Path(place) / "err"
            copy = self.spawn(arguments, log=out, errors=err, environ=environ, folder=folder)
            try:
                code = copy.wait(timeout_s)
            except subprocess.TimeoutExpired:
                copy.kill()
                copy.wait(60)
                raise
            return subprocess.CompletedProcess(list(arguments), code, out.read_text(), err.read_text())

    def spawn(
        self,
        arguments: Sequence[str],
        *,
        log: Path,
        environ: Mapping[str, str],
        folder: Path,
        errors: Path | None = None,
    ) -> Copy:
        """Run the program with these arguments; its outputs go to the ends of `log` and `errors`, or both to `log`."""
        order = {
            "arguments": list(arguments),
            "outputs": [str(log), str(errors or log)],
            "environ": dict(environ),
            "folder": str(folder),
        }
        with self._ordering:
            self._line.write(json.dumps(order).encode() + b"\n")
            with self.told:
                if not self.told.wait_for(lambda: self._pids or self._process.poll() is not None, 60) or not self._pids:
                    raise RuntimeError("the process that is copied does not answer")
                return Copy(self, self._pids.pop())

    def _read(self) -> None:
        for line in self._line:
            told = json.loads(line)
            with self.told:
                if told["code"] is None:
                    self.codes.pop(told["pid"], None)  # the number of one that is gone may come again
                    self._pids.append(told["pid"])
                else:
                    self.codes[told["pid"]] = told["code"]
                self.told.notify_all()


def main(fd: int) -> None:
    """Wait for orders until the line is closed; returns in each copy, which then becomes what was ordered."""
    line = socket.socket(fileno=fd)
    line.setblocking(True)
    awake, wake = os.pipe()
    ends: list[int | socket.socket] = [line, awake]
    os.set_blocking(wake, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    waiting = b""
    while True:
        ready, _, _ = select.select(ends, [], [])
        if awake in ready:
            os.read(awake, 4096)
            _bury(line)
        if line not in ready:
            continue
        got = line.recv(_MAX_LINE)
        if not got:
            sys.exit(0)
        *orders, waiting = (waiting + got).split(b"\n")
        for order in orders:
            pid = os.fork()
            if pid == 0:
                signal.set_wakeup_fd(-1)
                signal.signal(signal.SIGCHLD, signal.SIG_DFL)
                line.detach()
                _become(json.loads(order))
                return
            _tell(line, pid, None)


def _bury(line: socket.socket) -> None:
    while True:
        try:
            pid, status = os.waitpid(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        _tell(line, pid, os.waitstatus_to_exitcode(status))


def _tell(line: socket.socket, pid: int, code: int | None) -> None:
    line.sendall(json.dumps({"pid": pid, "code": code}).encode() + b"\n")


def _become(order: Mapping[str, Any]) -> None:
    """Take over everything that a process is given at its start."""
    for number, path in enumerate(order["outputs"], 1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o666), number)
    os.closerange(_FIRST_OF_OURS, os.sysconf("SC_OPEN_MAX"))
    os.environ.clear()
    os.environ.update(order["environ"])
    time.tzset()
    os.chdir(order["folder"])
    sys.argv = ["millpond", *order["arguments"]]


if __name__ == "__main__":
    _, program, *imported, number = sys.argv
    for module in imported:
        importlib.import_module(module)
    main(int(number))
    runpy.run_module(program, run_name="__main__", alter_sys=True)
