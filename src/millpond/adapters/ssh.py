"""Hosts over the system's ssh: one ControlMaster connection for each, and every command a session on it.

The connection is opened in the background (``-f -N -M``) by the first command that needs it and closes itself when it
was idle for a while (ControlPersist), also when the daemon was killed. Commands attach to it and never open one of
their own: the ProxyCommand that they are given only says that there was no connection to attach to, and then it is
opened anew, once. Keys are checked strictly, nothing is asked (BatchMode), nothing is forwarded.

A command line is quoted word for word (the remote user's shell reads it), behind ``--``, which ends the options for
good. It runs under timeout(1) where the host has it, so that what outlives its session ends there too.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import math
import secrets
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from millpond.adapters.localhost import check_words, timed_out
from millpond.adapters.processes import Ended, run_program
from millpond.adapters.sshfaults import fault
from millpond.hosts.model import Completed, HostFailed, HostOptions, Kind
from millpond.hosts.ports import Heard

PERSIST_S = 120
ALIVE_INTERVAL_S, ALIVE_COUNT = 15, 3
CLOSE_S = 5.0
LATER_S = 5
"""How long after our own time-out the host ends what is left of a command."""
MAX_LINE = 100_000
"""A command line is one argument of the remote shell; Linux ends it at 128 KiB."""
MAX_SOCKET_PATH = 104 - 18
"""sockaddr_un ends at 104 bytes on some systems, and ssh adds 17 of its own while it binds."""
CONNECTING_AT_ONCE = 8
BROKEN = 255
_GUARDED = (
    'limit=$1; shift; if command -v timeout >/dev/null 2>&1; then exec timeout -k 5 "$limit" "$@"; else exec "$@"; fi'
)


@dataclass(slots=True)
class Connections:
    """What the hosts of one process share: a private folder for their sockets, and a limit on connecting at once."""

    folder: Path
    at_once: asyncio.Semaphore = field(default_factory=lambda: asyncio.Semaphore(CONNECTING_AT_ONCE))
    token: str = field(default_factory=lambda: f"millpond-{secrets.token_hex(8)}")
    """What a command says that found no connection; nobody can guess it."""

    def socket(self, options: HostOptions) -> Path:
        """Give the place of a host's socket; the name is short, whatever the host is called.

        It is nobody else's: of two `Connections` in one folder, each ends its own.
        """
        key = repr((str(options.address), options.identity_file, options.known_hosts, options.accept_new_keys))
        return self.folder / hashlib.sha256(f"{self.token}\n{options.name}\n{key}".encode()).hexdigest()[:12]


class SshHost:
    """Runs commands on one host."""

    def __init__(self, options: HostOptions, connections: Connections, program: str = "ssh") -> None:
        self._options, self._limits, self._program = options, options.limits, program
        self._connections, self._socket = connections, connections.socket(options)
        self._sessions = asyncio.Semaphore(options.limits.max_sessions)
        self._opening = asyncio.Lock()

    @property
    def name(self) -> str:
        """Its name in the configuration."""
        return self._options.name

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, stdin: bytes | None = None, heard: Heard | None = None
    ) -> Completed:
        """Run a command there. Raises `HostFailed`."""
        line = self._line(argv, timeout_s)
        async with self._sessions:
            for attempt in range(2):
                await self._connected(anew=attempt > 0)
                try:
                    ended = await self._ssh(
                        *self._attached(), "--", self._options.address.host, line,
                        timeout_s=timeout_s, stdin=stdin, heard=heard,
                    )  # fmt: skip
                except TimeoutError:
                    raise timed_out(self.name, argv, timeout_s) from None
                if not (ended.rc == BROKEN and self._connections.token in ended.err):
                    return await self._completed(ended)
                if "refused by peer" in ended.err:
                    text = f"sshd there allows fewer than {self._limits.max_sessions} sessions; lower max_sessions"
                    raise HostFailed(self.name, text, kind=Kind.TRANSIENT, reason="refused", rc=BROKEN)
        text = "the connection was lost as soon as it was there"
        raise HostFailed(self.name, text, kind=Kind.TRANSIENT, reason="lost", rc=BROKEN)

    def _line(self, argv: Sequence[str], timeout_s: float) -> str:
        check_words(self.name, argv)
        line = shlex.join(["sh", "-c", _GUARDED, "sh", str(math.ceil(timeout_s) + LATER_S), *argv])
        if len(line.encode("utf-8", "surrogateescape")) > MAX_LINE:
            text = f"the command is longer than {MAX_LINE} bytes: hand it over as standard input"
            raise HostFailed(self.name, text, kind=Kind.PERMANENT, reason="unreadable")
        return line

    async def _completed(self, ended: Ended) -> Completed:
        """Tell a command's own exit code 255 from that of ssh. Raises `HostFailed` where the connection broke."""
        if (ended.rc == BROKEN or ended.rc < 0) and not await self._alive():
            raise fault(self.name, ended.err or "the connection broke", ended.rc, "lost")
        return Completed(ended.rc, ended.out, ended.err, ended.truncated)

    async def _connected(self, *, anew: bool) -> None:
        """Make sure that there is a connection. Raises `HostFailed`."""
        async with self._opening:
            if self._socket.exists() and not (anew and not await self._alive()):
                return
            self._socket.unlink(missing_ok=True)
            async with self._connections.at_once:
                await self._open()

    async def _open(self) -> None:
        self._socket.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        own = ["-f", "-N", "-M", "-o", f"ControlPersist={PERSIST_S}", "-S", str(self._socket)]
        patience_s = self._limits.connect_timeout_s
        try:
            ended = await self._ssh(*own, "--", self._options.address.host, timeout_s=patience_s + CLOSE_S)
        except TimeoutError:
            text = f"no connection to {self._options.address} within {patience_s:g} s"
            raise HostFailed(self.name, text, kind=Kind.TRANSIENT, reason="timeout", rc=BROKEN) from None
        except FileNotFoundError:
            text = "ssh is not installed here (Debian: openssh-client)"
            raise HostFailed(self.name, text, kind=Kind.PERMANENT, reason="no-ssh", rc=127) from None
        if ended.rc != 0:
            raise fault(self.name, ended.err, ended.rc, "refused")

    async def _alive(self) -> bool:
        """Whether the connection is there."""
        return await self._control("check")

    async def _control(self, word: str) -> bool:
        try:
            ended = await self._ssh(
                "-S", str(self._socket), "-O", word, "--", self._options.address.host, timeout_s=CLOSE_S
            )
        except (TimeoutError, OSError):
            return False
        return ended.rc == 0

    def _attached(self) -> list[str]:
        # In a shell of its own, which keeps the line to ssh open until it has told: ssh ends it as soon as that closes.
        told = f"ProxyCommand=sh -c 'echo {self._connections.token} >&2'"
        return ["-S", str(self._socket), "-o", "ControlMaster=no", "-o", told]

    async def _ssh(
        self, *words: str, timeout_s: float, stdin: bytes | None = None, heard: Heard | None = None
    ) -> Ended:
        argv = [self._program, *self._common(), *words]
        limit = self._limits.max_output_bytes
        return await run_program(argv, timeout_s=timeout_s, max_output_bytes=limit, stdin=stdin, heard=heard)

    def _common(self) -> list[str]:
        options, address = self._options, self._options.address
        settings = {
            "BatchMode": "yes",
            "StrictHostKeyChecking": "accept-new" if options.accept_new_keys else "yes",
            "ConnectTimeout": str(max(math.ceil(self._limits.connect_timeout_s), 1)),
            "ConnectionAttempts": "1",
            "ServerAliveInterval": str(ALIVE_INTERVAL_S),
            "ServerAliveCountMax": str(ALIVE_COUNT),
            "ForwardAgent": "no",
            "ForwardX11": "no",
            "ClearAllForwardings": "yes",
            "PermitLocalCommand": "no",
            "RemoteCommand": "none",
            "Tunnel": "no",
            "UpdateHostKeys": "no",
            "EscapeChar": "none",
            "LogLevel": "ERROR",
        }
        if options.known_hosts:
            settings |= {"UserKnownHostsFile": _quoted(options.known_hosts), "GlobalKnownHostsFile": "/dev/null"}
        if options.identity_file:
            settings |= {"IdentityFile": _quoted(options.identity_file), "IdentitiesOnly": "yes"}
        words = ["-T", *(word for key, value in settings.items() for word in ("-o", f"{key}={value}"))]
        words += ["-l", address.user] if address.user else []
        return words + (["-p", str(address.port)] if address.port is not None else [])

    async def close(self) -> None:
        """End the connection and the commands on it."""
        if self._socket.exists():
            await self._control("exit")
            with contextlib.suppress(OSError):
                self._socket.unlink(missing_ok=True)


def _quoted(path: str) -> str:
    """Write a path as ssh_config(5) reads it back: its percent signs are no tokens, its spaces part of it."""
    escaped = path.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%")
    return f'"{escaped}"'
