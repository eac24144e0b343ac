"""A worker as a fork of its supervisor: it shares the memory of all that was imported, and begins at once.

A child that was started as a program of its own would import everything again: a second or two, and some sixty
megabytes, for each worker. What a fork must not inherit is given up here: descriptors (the data directory's lock would
outlive a killed supervisor), signal handlers, and the way back into the supervisor's code.
"""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import sys
import traceback
from collections.abc import Callable, Collection
from pathlib import Path

HANDLED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
_PR_SET_NAME, _PR_SET_PDEATHSIG = 15, 1


class Forked:
    """A child process, as its parent sees it."""

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._code: int | None = None

    def poll(self) -> int | None:
        """Give its exit code (below zero: the signal that ended it); None: it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self._code = os.waitstatus_to_exitcode(status)
        return self._code

    def send_signal(self, number: int) -> None:
        """Send it a signal, unless it has ended."""
        if self.poll() is None:
            os.kill(self.pid, number)


def fork(work: Callable[[], None], keep: Collection[int], name: str) -> Forked:
    """Do `work` in a child, which ends with it and dies with its parent.

    `keep`: its descriptors beside the standard ones; `name`: what `top` shows, at most 15 bytes. The child begins with
    SIGHUP blocked, since before it listens to it, it would end it. The parent must have no threads.
    """
    parent = os.getpid()
    gc.freeze()  # so that the collector does not write to, and so copy, what both share
    sys.stdout.flush()
    sys.stderr.flush()
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, HANDLED)  # none meets the child while it has its parent's handlers
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        return Forked(pid)
    code = 1
    try:
        for number in HANDLED:
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, {signal.SIGHUP})
        _close_others(keep)
        _belong_to(parent, name)
        work()
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException:  # noqa: BLE001 - this is the end of the process: whatever it is, it is told here or never
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _close_others(keep: Collection[int]) -> None:
    wanted = {0, 1, 2, *keep}
    for fd in [int(path.name) for path in Path("/proc/self/fd").iterdir()]:
        if fd not in wanted:
            with contextlib.suppress(OSError):  # the one that the list was read by
                os.close(fd)


def _belong_to(parent: int, name: str) -> None:
    """Ask the kernel to kill this process when its parent dies; leave at once if it has already."""
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_NAME, name.encode(), 0, 0, 0)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        sys.exit("the supervisor is gone")
