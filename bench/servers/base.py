"""What every measured server has in common: a folder, cores, a process that is started pinned and stopped by its id."""

from __future__ import annotations

import contextlib
import os
import pwd
import socket
import subprocess
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Self

from bench import machine
from bench.objects import Object, Objects
from bench.servers.asking import get
from millpond.testing.pond import free_port

START_TIMEOUT_S = 60.0


@dataclass(frozen=True, slots=True)
class Site:
    """Where a server works: `upstream` is the URL of the objects' folder (without a trailing slash)."""

    folder: Path
    objects: Objects
    upstream: str
    cores: frozenset[int] = machine.SERVER_CORES
    peers: Path = field(default_factory=Path)
    """The folder of those peers that are no Debian packages."""


class Server:
    """A server on a loopback port; a context manager that leaves nothing running."""

    name: ClassVar[str]
    program: ClassVar[str]
    """The executable that must be there."""
    mount: ClassVar[str] = "/"
    """Where plain servers have the upstream's tree."""
    unprivileged: ClassVar[bool] = True
    """Whether it runs as nobody where the benchmark runs as root. What lies in a user's folders can't."""

    def __init__(self, site: Site) -> None:
        self.site, self.folder, self.port = site, site.folder, free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self.folder.mkdir(parents=True, exist_ok=True)

    @classmethod
    def unavailable(cls, peers: Path) -> str:
        """Say why it can't be measured here; empty: it can."""
        del peers
        return "" if machine.find(cls.program) else f"{cls.program} is not installed"

    @property
    def base(self) -> str:
        """Its address, without a trailing slash."""
        return f"http://127.0.0.1:{self.port}"

    def has(self, names: Collection[str]) -> bool:
        """Whether it can serve these objects at all."""
        del names
        return True

    def target(self, wanted: Object) -> str:
        """Give the raw request target of an object."""
        return self.mount + wanted.name

    def headers(self) -> Mapping[str, str]:
        """Give what its clients send with every request."""
        return {}

    def fill(self, wanted: Sequence[Object]) -> None:
        """Bring the objects into it, and make it remember what it remembers: each is asked three times."""
        for _ in range(3):
            for one in wanted:
                get(self.base + self.target(one), self.headers()).sound(one.size)

    def pids(self) -> list[int]:
        """List its processes."""
        return machine.descendants(self._process.pid) if self._process is not None else []

    def argv(self) -> list[str]:
        """Write its configuration into `folder` and give the command that keeps it in the foreground."""
        raise NotImplementedError

    def environ(self) -> Mapping[str, str]:
        """Give what its environment has besides."""
        return {}

    def launch(self) -> None:
        """Start it on its cores and wait until it listens. Raises `RuntimeError` with its log."""
        argv = self.argv()
        log = self.folder / "log"
        program = machine.find(argv[0]) or argv[0]
        kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        environ = {**kept, "HOME": str(self.folder), **self.environ()}
        user = _given_to_nobody(self.folder) if self.unprivileged and os.geteuid() == 0 else {}
        with log.open("ab") as out, machine.on_cores(self.site.cores):
            self._process = subprocess.Popen(
                [program, *argv[1:]], stdout=out, stderr=out, env=environ, cwd=self.folder, **user
            )
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        self.halt()
        raise RuntimeError(f"{self.name} did not start: {log.read_text(errors='replace')[-2000:]}")

    def halt(self) -> None:
        """Stop it, and wait until it is gone."""
        if self._process is None:
            return
        self._process.terminate()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait(20)
        self._process = None

    def __enter__(self) -> Self:
        self.launch()
        return self

    def __exit__(self, *_: object) -> None:
        self.halt()


class Cache(Server):
    """A server that draws from the upstream, and can be made cold."""

    def empty(self) -> None:
        """Make everything cold again."""
        raise NotImplementedError


def _given_to_nobody(folder: Path) -> dict[str, Any]:
    """Give a folder to nobody; gives what makes a child nobody's too."""
    nobody = pwd.getpwnam("nobody")
    for path in (folder, *folder.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
