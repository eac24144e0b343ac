"""This machine as a host (``ssh = "local"``): the same interface, without ssh."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from millpond.adapters.processes import run_program
from millpond.hosts.model import Completed, HostFailed, HostOptions, Kind
from millpond.hosts.ports import Heard

NOT_FOUND, NOT_STARTED = 127, 126


class LocalHost:
    """Runs commands here."""

    def __init__(self, options: HostOptions) -> None:
        self._options = options
        self._sessions = asyncio.Semaphore(options.limits.max_sessions)

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return self._options.name

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, stdin: bytes | None = None, heard: Heard | None = None
    ) -> Completed:
        """Run a command. Raises `HostFailed`."""
        check_words(self.name, argv)
        async with self._sessions:
            try:
                ended = await run_program(
                    argv,
                    timeout_s=timeout_s,
                    max_output_bytes=self._options.limits.max_output_bytes,
                    stdin=stdin,
                    heard=heard,
                )
            except TimeoutError:
                raise timed_out(self.name, argv, timeout_s) from None
            except FileNotFoundError:
                return Completed(NOT_FOUND, "", f"{argv[0]}: not found")
            except OSError as error:
                return Completed(NOT_STARTED, "", f"{argv[0]}: {error.strerror or error}")
        return Completed(ended.rc, ended.out, ended.err, ended.truncated)

    async def close(self) -> None:
        """Nothing is open."""


def check_words(host: str, argv: Sequence[str]) -> None:
    """Refuse what no program can be given. Raises `HostFailed`."""
    if not argv or any("\0" in word for word in argv):
        text = "a command needs a program, and no NUL byte"
        raise HostFailed(host, text, kind=Kind.PERMANENT, reason="unreadable")


def timed_out(host: str, argv: Sequence[str], timeout_s: float) -> HostFailed:
    """Make the fault of a command whose time is over."""
    text = f"`{' '.join(argv[:3])}` did not end within {timeout_s:g} s and was ended"
    return HostFailed(host, text, kind=Kind.TRANSIENT, reason="timeout")
