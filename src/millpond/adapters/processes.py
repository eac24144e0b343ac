"""Programs of this machine, run to their end: bounded in time and output, with nothing left behind.

Each runs in a session of its own, so that the time-out (or a caller that is cancelled) ends it with all that it
started. Of each output the head and the tail are kept. The environment is a list of allowed names: no secret of the
daemon's gets there.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from asyncio.subprocess import DEVNULL, PIPE
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import cast

from millpond.hosts.ports import Heard

ALLOWED = ("PATH", "HOME", "USER", "LOGNAME", "XDG_RUNTIME_DIR", "SSH_AUTH_SOCK", "DOCKER_CONFIG", "TMPDIR")
GRACE_S = 2.0
"""How long what is ended may take to end by itself, and pipes that others hold may stay open."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a program ended. A negative `rc` is a signal's number."""

    rc: int
    out: str
    err: str
    truncated: bool


def environment() -> dict[str, str]:
    """Give the variables that programs are started with; messages are in English, so that they can be classed."""
    kept = {name: os.environ[name] for name in ALLOWED if name in os.environ}
    return {**kept, "LC_ALL": "C.UTF-8"}


async def run_program(
    argv: Sequence[str],
    *,
    timeout_s: float,
    max_output_bytes: int,
    stdin: bytes | None = None,
    heard: Heard | None = None,
    environ: Mapping[str, str] | None = None,
) -> Ended:
    """Run a program to its end. Raises `TimeoutError`, `OSError` where it can't be started, what `heard` raises."""
    followed = _Followed(max_output_bytes, heard)
    transport = await _start(argv, followed, environment() if environ is None else dict(environ), stdin is not None)
    try:
        async with asyncio.timeout(timeout_s):
            _feed(transport, stdin)
            await followed.exited.wait()
            await followed.drain()
    except BaseException:
        await _end(transport.get_pid(), followed)
        raise
    finally:
        transport.close()
    if followed.fault is not None:
        raise followed.fault
    out, err = followed.kept[1], followed.kept[2]
    return Ended(transport.get_returncode() or 0, out.text(), err.text(), bool(out.left_out or err.left_out))


async def _start(
    argv: Sequence[str], followed: _Followed, environ: Mapping[str, str], reads: bool
) -> asyncio.SubprocessTransport:
    """Start a program. Cancelled meanwhile, it may run already: then it is ended, with what it has started by then."""
    starting = asyncio.ensure_future(
        asyncio.get_running_loop().subprocess_exec(
            lambda: followed,
            *argv,
            stdin=PIPE if reads else DEVNULL,
            stdout=PIPE,
            stderr=PIPE,
            env=environ,
            start_new_session=True,
        )
    )
    try:
        return (await asyncio.shield(starting))[0]
    except asyncio.CancelledError:
        with contextlib.suppress(OSError):
            transport, _ = await starting
            try:
                await _end(transport.get_pid(), followed)
            finally:
                transport.close()
        raise


def _feed(transport: asyncio.SubprocessTransport, stdin: bytes | None) -> None:
    """Give it what it is to read; it need not read all of it."""
    pipe = cast("asyncio.WriteTransport | None", transport.get_pipe_transport(0))  # of uvloop, no instance of it
    if stdin is not None and pipe is not None:
        pipe.write(stdin)
        pipe.close()  # once it is written


async def _end(pid: int, followed: _Followed) -> None:
    """End a program and all that it started, kindly first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(pid, number)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await followed.exited.wait()


class _Followed(asyncio.SubprocessProtocol):
    """Takes what a program says, and notes its end.

    `asyncio.Process` would tell the end only when its pipes are closed, and what the program started may hold them open
    for ever: after the end they are read for a moment only.
    """

    def __init__(self, limit: int, heard: Heard | None) -> None:
        self.exited = asyncio.Event()
        self.fault: Exception | None = None
        self.kept = {1: _Kept(limit), 2: _Kept(limit)}
        self._heard = heard
        self._open = {1, 2}
        self._drained = asyncio.Event()

    def pipe_data_received(self, fd: int, data: bytes) -> None:
        """Keep a piece."""
        self.kept[fd].add(data)
        if fd == 1 and self._heard is not None and self.fault is None:
            try:
                self._heard(data)
            except Exception as error:  # noqa: BLE001 - the listener's own; told to who asked
                self.fault = error

    def pipe_connection_lost(self, fd: int, exc: Exception | None) -> None:
        """Note that an output is closed."""
        del exc
        self._open.discard(fd)
        if not self._open:
            self._drained.set()

    def process_exited(self) -> None:
        """Note the end."""
        self.exited.set()

    async def drain(self) -> None:
        """Wait for what is still in the pipes."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GRACE_S):
                await self._drained.wait()


@dataclass(slots=True)
class _Kept:
    """An output, of which the head and the tail are kept, half of `limit` bytes each."""

    limit: int
    left_out: int = 0
    _head: bytearray = field(default_factory=bytearray)
    _tail: deque[bytes] = field(default_factory=deque)
    _tail_bytes: int = 0

    def add(self, piece: bytes) -> None:
        room = max(self.limit // 2 - len(self._head), 0)
        self._head += piece[:room]
        rest = piece[room:]
        if rest:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
        while self._tail and self._tail_bytes - len(self._tail[0]) >= self.limit // 2:
            gone = len(self._tail.popleft())
            self._tail_bytes -= gone
            self.left_out += gone

    def text(self) -> str:
        between = f"\n[... {self.left_out} bytes are left out ...]\n".encode() if self.left_out else b""
        return (bytes(self._head) + between + b"".join(self._tail)).decode("utf-8", "replace")
