"""The child's side of `compute`: takes calls from its standard input, one after the other, and answers them.

It imports next to nothing, so that it starts soon and stays small; a call brings its own function's module. It yields
to everything else (nice), leaves signals for the daemon to its parent, ends with its parent, whatever ends that, and
asks to be replaced after some calls, or once it has grown large.

A frame is a pickled bytes object that holds a pickled value: a value that can't be read does not spoil the stream.
"""

from __future__ import annotations

import ctypes
import os
import pickle
import signal
import sys
import traceback
from typing import BinaryIO

MAX_RSS_BYTES = 256 << 20
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4


def serve(parent: int, nice: int, calls: int) -> None:
    """Answer at most `calls` calls; returns when the parent has gone, or when this process is to be replaced."""
    # Nobody else of our user writes into the pipe that the daemon believes (prctl(2)): jobs are such processes.
    ctypes.CDLL(None).prctl(_PR_SET_DUMPABLE, 0, 0, 0, 0)
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    os.nice(nice)
    _die_with(parent)
    requests, replies = sys.stdin.buffer, _replies()
    for left in range(calls - 1, -1, -1):
        frame = _read(requests)
        if frame is None:
            return
        outcome = _answer(frame)
        last = left == 0 or _rss_bytes() > MAX_RSS_BYTES
        pickle.dump((last, outcome), replies)
        replies.flush()
        if last:
            return


def _rss_bytes() -> int:
    """Read this process's memory; getrusage would tell its parent's, which it keeps across exec."""
    try:
        with open("/proc/self/statm", "rb") as statm:  # noqa: PTH123 - pathlib is an import that a child can do without
            return int(statm.read().split()[1]) * os.sysconf("SC_PAGESIZE")
    except OSError:
        return 0


def _replies() -> BinaryIO:
    """Take the standard output for the replies; what a called function prints goes to the log instead."""
    replies = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    return replies


def _read(requests: BinaryIO) -> bytes | None:
    try:
        frame = pickle.load(requests)  # noqa: S301 - from our own parent, over a pipe that nobody else has
    except EOFError:
        return None
    return frame if isinstance(frame, bytes) else None


def _answer(frame: bytes) -> bytes:
    """Make a call; gives, pickled, whether it succeeded, its result or its exception, and the exception's traceback."""
    try:
        fn, args = pickle.loads(frame)  # noqa: S301 - see `_read`
        return pickle.dumps((True, fn(*args), ""))
    except Exception as error:  # noqa: BLE001 - whatever it is, the caller shall have it
        return _portable(error, "".join(traceback.format_exception(error)))


def _portable(error: Exception, trace: str) -> bytes:
    """Pickle an exception; one that would not survive becomes its text."""
    try:
        frame = pickle.dumps((False, error, trace))
        pickle.loads(frame)  # noqa: S301 - made in the line above
    except Exception:  # noqa: BLE001 - an exception's class can do anything when it is copied
        return pickle.dumps((False, RuntimeError(f"{type(error).__name__}: {error}"), trace))
    return frame


def _die_with(parent: int) -> None:
    """Ask the kernel to kill this process when its parent dies, even in the middle of a call."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it died before we could ask
        os._exit(1)
