"""The small process around a run: starts it, writes its log, holds its limits, ends all of it, and says how it ended.

It lives in a session of its own and needs nobody: the daemon may be restarted, or killed, and finds the run going on,
or its end in ``status.json``, which is put there in one piece. It holds the lock of the run's folder as long as it
lives; the kernel gives it back however it dies. Standard library only, started without site-packages.

All that a run starts is found by being a descendant: the wrapper is the *subreaper* (prctl(2)), to which whatever is
orphaned falls, sessions of their own and empty environments notwithstanding. Should the wrapper itself be killed, the
daemon finds what is left by the mark in its environment (`procfs.MARK`).
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections import deque
from pathlib import Path
from typing import Any, cast

from millpond.delivery.runs import procfs
from millpond.delivery.runs.masks import StreamMask

SPEC, WHO, LOG, EVENTS, STATUS = "spec.json", "wrapper.json", "output.log", "events.jsonl", "status.json"
PIECE = 65536
MAX_LINE = 1 << 20
"""Longer lines are no events."""
MAX_EVENTS = 32 << 20
"""Bytes of the events' file; then only final ones are written."""
SWEEP_S = 5.0
DRAIN_S = 2.0
"""How long pipes are read after the end, which others may hold open."""
_SUBREAPER = 36


def put(file: Path, value: dict[str, Any]) -> None:
    """Write a JSON file in one piece, for its owner only."""
    fresh = file.with_suffix(".new")
    with os.fdopen(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as out:
        json.dump(value, out)
        out.flush()
        os.fsync(out.fileno())
    fresh.rename(file)


class Log:
    """A bounded log: its first half as it comes, its last half once the run has ended; it says where it was cut."""

    def __init__(self, file: Path, limit: int) -> None:
        self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._limit, self._room = limit, limit // 2
        self._tail: deque[bytes] = deque()
        self._kept = 0
        self.left_out = 0

    def write(self, data: bytes) -> None:
        """Append."""
        head, rest = data[: self._room], data[self._room :]
        self._room -= len(head)
        self._append(head)
        if not rest:
            return
        if not self._tail and not self.left_out:
            self._append(b"\n[the log is cut here; its end follows when the run has ended]\n")
        self._tail.append(rest)
        self._kept += len(rest)
        while self._kept - len(self._tail[0]) >= self._limit // 2:
            gone = len(self._tail.popleft())
            self._kept -= gone
            self.left_out += gone

    def close(self) -> None:
        """Write what was kept of the end."""
        if self.left_out:
            self._append(f"[{self.left_out} bytes are left out: the log is limited to {self._limit}]\n".encode())
        for piece in self._tail:
            self._append(piece)

    def _append(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk must not end the run; the log then lacks a piece
            while data:
                data = data[os.write(self._fd, data) :]


class Events:
    """Lines of the standard output that are JSON objects of the wanted types, in a file of their own."""

    def __init__(self, file: Path, wanted: list[str], final: list[str]) -> None:
        self._wanted, self._final = frozenset(wanted) | frozenset(final), frozenset(final)
        self._fd = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600) if self._wanted else -1
        self._begun = b""
        self._long = False
        self._written = 0
        self.ended = False
        """Whether a final one was seen."""

    def feed(self, data: bytes) -> None:
        """Take the next piece of the output."""
        if self._fd < 0:
            return
        *lines, rest = (self._begun + data).split(b"\n")
        for line in lines:
            if not self._long:
                self._line(line)
            self._long = False
        self._begun = rest
        if len(rest) > MAX_LINE:
            self._begun, self._long = b"", True

    def close(self) -> None:
        """Take the last line, which may lack its end."""
        if self._fd >= 0 and not self._long:
            self._line(self._begun)

    def _line(self, line: bytes) -> None:
        if not line.startswith(b"{"):
            return
        try:
            found = json.loads(line)
        except (ValueError, RecursionError):
            return
        kind = found.get("type") if isinstance(found, dict) else None
        if not isinstance(kind, str) or kind not in self._wanted:
            return
        self.ended = self.ended or kind in self._final
        if self._written < MAX_EVENTS or kind in self._final:
            self._written += len(line)
            with contextlib.suppress(OSError):
                os.write(self._fd, line + b"\n")


class Wrapper:
    """One run."""

    def __init__(self, folder: Path, spec: dict[str, Any]) -> None:
        self._folder, self._spec = folder, spec
        self._log = Log(folder / LOG, spec["log_bytes"])
        self._events = Events(folder / EVENTS, spec["events"], spec["finals"])
        self._selector = selectors.DefaultSelector()
        self._masks: dict[int, StreamMask] = {}
        self._out = -1
        self._child = 0
        self._rc: int | None = None
        self._said = 0
        self._left = 0
        self._stop = False
        self._spoke_at = self._began_at = time.monotonic()
        self._final_at: float | None = None

    def run(self) -> None:
        """Take the run to its end, and write down how it ended."""
        signal.signal(signal.SIGTERM, self._on_term)
        signal.signal(signal.SIGPIPE, signal.SIG_IGN)
        for heard in (signal.SIGINT, signal.SIGHUP):
            signal.signal(heard, self._on_other)  # not ignored: what is started would inherit that
        ctypes.CDLL(None).prctl(_SUBREAPER, 1, 0, 0, 0)
        self._tell_who()
        how, detail = "not-started", ""
        try:
            self._start()
        except (OSError, ValueError, subprocess.SubprocessError) as error:
            detail = f"{self._spec['argv'][0]}: {error.strerror if isinstance(error, OSError) else error}"
        else:
            self._tell_who()
            how = self._watch()
            self._end_all()
            self._drain()
        for fd, mask in self._masks.items():
            self._show(fd, mask.close())
        self._events.close()
        self._log.close()
        told = {"how": how, "rc": self._rc, "detail": detail, "said": self._said, "left": self._left}
        ended = {"left_out": self._log.left_out, "final": self._events.ended, "at": time.time()}
        put(self._folder / STATUS, told | ended)

    def _on_term(self, *_: object) -> None:
        self._stop = True

    def _on_other(self, *_: object) -> None:
        """Go on: only a TERM ends a run."""

    def _tell_who(self) -> None:
        me = procfs.look(os.getpid())
        child = procfs.look(self._child) if self._child else None
        told = {"pid": os.getpid(), "start": me.start if me else 0, "boot": procfs.boot_id()}
        put(self._folder / WHO, told | {"child": self._child, "child_start": child.start if child else 0})

    def _start(self) -> None:
        spec = self._spec
        with open(spec["stdin"] or os.devnull, "rb") as given:  # noqa: PTH123 - either a file or the null device
            child = subprocess.Popen(  # noqa: S603 - an argument list; what runs is what the pipeline says
                spec["argv"],
                cwd=spec["cwd"],
                env=spec["env"],
                stdin=given,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
                umask=0o022,  # builds copy files to where others read them; ours lie in folders that nobody enters
            )
        self._child = child.pid
        child.returncode = 0  # it is waited for by `_reap`, together with what it leaves to us
        secrets = [one.encode("latin-1") for one in spec["secrets"]]
        for pipe in (child.stdout, child.stderr):
            fd = os.dup(cast("Any", pipe).fileno())
            os.set_blocking(fd, False)
            self._masks[fd] = StreamMask(secrets)
            self._selector.register(fd, selectors.EVENT_READ)
            self._out = fd if pipe is child.stdout else self._out
            cast("Any", pipe).close()
        self._selector.register(os.pidfd_open(self._child), selectors.EVENT_READ)

    def _watch(self) -> str:
        """Read what it says until it ends, or has to be ended; gives how."""
        while True:
            self._pump(0.5)
            self._reap()
            if self._rc is not None:
                return "exited"
            now = time.monotonic()
            if self._events.ended:
                self._final_at = self._final_at or now
                if now - self._final_at >= self._spec["final_grace_s"]:
                    return "final"
            if self._stop:
                return "stopped"
            if now - self._began_at >= self._spec["timeout_s"]:
                return "timeout"
            if self._spec["stall_s"] and now - self._spoke_at >= self._spec["stall_s"]:
                return "stalled"

    def _pump(self, timeout_s: float) -> bool:
        """Pass on what can be read; gives whether there was any."""
        heard = False
        for key, _ in self._selector.select(timeout_s):
            if key.fd not in self._masks:  # the child's end
                self._selector.unregister(key.fd)
                continue
            try:
                data = os.read(key.fd, PIECE)
            except BlockingIOError:
                continue
            if not data:
                self._selector.unregister(key.fd)
                continue
            heard = True
            self._take(key.fd, data)
        return heard

    def _take(self, fd: int, data: bytes) -> None:
        self._said += len(data)
        self._spoke_at = time.monotonic()
        self._show(fd, self._masks[fd].feed(data))

    def _show(self, fd: int, shown: bytes) -> None:
        self._log.write(shown)
        if fd == self._out:
            self._events.feed(shown)

    def _reap(self) -> None:
        with contextlib.suppress(ChildProcessError):
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if not pid:
                    return
                if pid == self._child:
                    self._rc = os.waitstatus_to_exitcode(status)

    def _end_all(self) -> None:
        """End what is left: kindly, and after the grace not so."""
        if self._rc is not None:
            self._left = len(self._alive())
        self._signal(signal.SIGTERM)
        until = time.monotonic() + self._spec["grace_s"]
        while self._alive() and time.monotonic() < until:
            self._pump(0.05)
            self._reap()
        until = time.monotonic() + SWEEP_S
        while self._alive() and time.monotonic() < until:
            self._signal(signal.SIGKILL)
            self._pump(0.05)
            self._reap()
        self._reap()

    def _alive(self) -> list[procfs.Process]:
        return procfs.descendants(os.getpid(), list(procfs.everyone()))

    def _signal(self, number: signal.Signals) -> None:
        if self._rc is None:  # until it was waited for, the pid of the child is nobody else's
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._child, number)
        for one in self._alive():
            procfs.send(one, number)

    def _drain(self) -> None:
        until = time.monotonic() + DRAIN_S
        while self._pump(0.05) and time.monotonic() < until:
            pass


def main(folder: str) -> None:
    """Run what the folder's specification says, and remove that first: it holds the environment."""
    os.umask(0o077)
    spec = Path(folder) / SPEC
    told = json.loads(spec.read_bytes())
    spec.unlink()
    Wrapper(Path(folder), told).run()


if __name__ == "__main__":
    main(sys.argv[1])
