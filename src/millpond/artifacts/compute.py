"""A small pool of child processes: nothing that runs Python for long may share the process of the hits.

One thread that parses a package index took hits from 77,000 to 403 a second (the interpreter lock). A worker thread
here only waits for a child; the child (`compute_child`) does the work, niced. Children are started when they are first
needed, by exec (nothing of ours is inherited: no lock, no listening socket, no loop), in a process group of their own
(Ctrl-C is for the daemon), but not in a session of their own: Linux shares processors out between sessions first
(sched(7), autogroup), and niceness would mean nothing beside the daemon. A call whose child dies is made once more, on
a new one.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import pickle
import selectors
import subprocess
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import IO, Any, ParamSpec, TypeVar

from millpond.errors import MillpondError

P = ParamSpec("P")
T = TypeVar("T")

MAX_WAITING = 256
CALLS_PER_CHILD = 200
TIMEOUT_S = 300.0
_GRACE_S, _STOP_S = 0.5, 5.0
PASSED = ("PATH", "LANG", "LC_ALL", "TZ", "TMPDIR", "LD_LIBRARY_PATH")
"""What a child gets of our environment: it has no use for secrets, and other processes of our user may read it."""
_BOOT = (
    "import pickle, sys; path, args = pickle.load(sys.stdin.buffer); sys.path[:] = path; "
    "from millpond.artifacts.compute_child import serve; serve(*args)"
)


class ComputeFailed(MillpondError, OSError):
    """The pool could not do a call: its children die, it is overloaded or closed. The call itself may be sound."""


class _Died(Exception):
    """The child went away in the middle of a call."""


class Compute:
    """A pool of `workers` children, each `nice` (0 to 19) steps behind. Use one from one event loop only."""

    def __init__(
        self,
        workers: int = 1,
        nice: int = 10,
        *,
        calls_per_child: int = CALLS_PER_CHILD,
        max_waiting: int = MAX_WAITING,
        timeout_s: float = TIMEOUT_S,
    ) -> None:
        self._nice, self._calls, self._max_waiting, self._timeout_s = nice, calls_per_child, max_waiting, timeout_s
        self._threads = ThreadPoolExecutor(workers, thread_name_prefix="compute")
        self._lock = threading.Lock()
        self._idle: list[_Child] = []
        self._busy: set[_Child] = set()
        self._waiting = 0
        self._closed = False

    async def run(self, fn: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
        """Call a top-level function in a child; arguments and result are pickled, keyword arguments are not taken.

        Raises what the function raises, and `ComputeFailed`. Cancelling drops a call that has not begun; one that
        has goes on to its end, unseen.
        """
        if kwargs:
            raise TypeError("Compute.run takes positional arguments only")
        if self._closed:
            raise ComputeFailed("the process pool is closed: the daemon is stopping")
        if self._waiting >= self._max_waiting:
            raise ComputeFailed(f"{self._waiting} calls wait for the process pool already: try again later")
        frame = pickle.dumps(pickle.dumps((fn, args)))
        self._waiting += 1
        call = asyncio.get_running_loop().run_in_executor(self._threads, self._call, frame)
        call.add_done_callback(self._done)
        result: T = await call
        return result

    def _done(self, call: asyncio.Future[Any]) -> None:
        self._waiting -= 1
        if not call.cancelled():
            call.exception()  # seen, even when whoever waited was cancelled

    @property
    def children(self) -> tuple[int, ...]:
        """The process ids of the children that are alive."""
        with self._lock:
            return tuple(child.process.pid for child in (*self._idle, *self._busy))

    async def close(self) -> None:
        """End the children; calls under way fail with `ComputeFailed`."""
        with self._lock:
            self._closed = True
            idle, self._idle = self._idle, []
            for child in self._busy:
                child.process.kill()
        await asyncio.to_thread(self._end, idle)

    def _end(self, idle: list[_Child]) -> None:
        for child in idle:
            child.stop()
        self._threads.shutdown()

    # From here on: in a worker thread.

    def _call(self, frame: bytes) -> Any:
        for _ in range(2):
            child = self._take()
            try:
                succeeded, value, trace = self._ask(child, frame)
            except _Died:
                continue
            if succeeded:
                return value
            value.add_note(f"In the child process:\n{trace}")
            raise value
        if self._closed:
            raise ComputeFailed("the process pool was closed in the middle of a call: the daemon is stopping")
        raise ComputeFailed("its child process died twice: out of memory? See the daemon's log")

    def _ask(self, child: _Child, frame: bytes) -> tuple[bool, Any, str]:
        """Make one call. Raises `_Died`, or `ComputeFailed` after the time-out."""
        last = True
        try:
            last, outcome = child.ask(frame, self._timeout_s)
            answer: tuple[bool, Any, str] = pickle.loads(outcome)  # noqa: S301 - from our own child, over a pipe of its own
        finally:
            self._give_back(child, last=last)
        return answer

    def _take(self) -> _Child:
        with self._lock:
            child = self._idle.pop() if self._idle else None
            if child is not None:
                self._busy.add(child)
        if child is None or not child.alive:
            if child is not None:
                self._give_back(child, last=True)
            child = self._start()
        return child

    def _start(self) -> _Child:
        child = _Child.start(self._nice, self._calls)
        with self._lock:
            self._busy.add(child)
            closed = self._closed
        if closed:
            self._give_back(child, last=True)
            raise ComputeFailed("the process pool is closed: the daemon is stopping")
        return child

    def _give_back(self, child: _Child, *, last: bool) -> None:
        with self._lock:
            self._busy.discard(child)
            keep = not last and not self._closed
            if keep:
                self._idle.append(child)
        if not keep:
            child.stop()


@dataclass(frozen=True, eq=False, slots=True)
class _Child:
    """One child process, and the pipes to it."""

    process: subprocess.Popen[bytes]
    requests: IO[bytes]
    replies: IO[bytes]

    @classmethod
    def start(cls, nice: int, calls: int) -> _Child:
        """Start one. Raises `ComputeFailed`."""
        argv = [sys.executable, "-I", "-c", _BOOT]
        env = {name: os.environ[name] for name in PASSED if name in os.environ}
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter
                argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, close_fds=True, process_group=0, env=env
            )
        except OSError as error:
            raise ComputeFailed(f"no child process could be started: {error}") from error
        assert process.stdin is not None  # noqa: S101 - asked for above
        assert process.stdout is not None  # noqa: S101 - asked for above
        child = cls(process, process.stdin, process.stdout)
        with contextlib.suppress(BrokenPipeError):  # it died at once; the call will tell
            child.requests.write(pickle.dumps((sys.path, (os.getpid(), nice, calls))))
            child.requests.flush()
        return child

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def ask(self, frame: bytes, timeout_s: float) -> tuple[bool, bytes]:
        """Send a call and wait for its answer: whether it was the child's last, and what came of it."""
        try:
            self.requests.write(frame)
            self.requests.flush()
            self._wait(timeout_s)
            last, outcome = pickle.load(self.replies)  # noqa: S301 - from our own child, over a pipe of its own
        except (EOFError, BrokenPipeError, ConnectionResetError, pickle.UnpicklingError) as error:
            raise _Died from error
        return last, outcome

    def _wait(self, timeout_s: float) -> None:
        with selectors.DefaultSelector() as selector:
            selector.register(self.replies, selectors.EVENT_READ)
            if not selector.select(timeout_s):
                raise ComputeFailed(f"a call took longer than {timeout_s:g} s in its child process and was ended")

    def stop(self) -> None:
        """End it and take its exit code; one that does not end when its input does is killed."""
        with contextlib.suppress(OSError):  # a half-written call to a dead child
            self.requests.close()
        try:
            self.process.wait(_GRACE_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(_STOP_S)
        self.replies.close()
