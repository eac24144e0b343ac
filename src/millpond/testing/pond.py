"""A real Millpond daemon in a process of its own: sockets, workers, signals, kill -9."""

from __future__ import annotations

import contextlib
import json
import os
import random
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from millpond.testing.nursery import Copy, Nursery

START_TIMEOUT_S = 60.0


class PondProcess:
    """A daemon with its own data directory; a context manager that leaves nothing running.

    `config` is the text of its millpond.toml; `environ` is added to a minimal environment. With a `nursery` its process
    is a copy of one that has imported everything; that can be changed between two starts.
    """

    def __init__(
        self,
        folder: Path,
        config: str,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        workers: int = 1,
        environ: Mapping[str, str] | None = None,
        nursery: Nursery | None = None,
    ) -> None:
        self.folder, self.host, self.workers = folder, host, workers
        self.port = port or free_port(host)
        self.data = folder / "data"
        self.log = folder / "pond.log"
        here = {name: os.environ[name] for name in ("PATH", "PYTHONPATH") if name in os.environ}
        self._environ = {**here, "HOME": str(folder), **(environ or {})}
        self._process: subprocess.Popen[bytes] | Copy | None = None
        self.nursery = nursery
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "millpond.toml").write_text(config)

    @property
    def url(self) -> str:
        """Its address, without a trailing slash."""
        return f"http://{self.host}:{self.port}"

    @property
    def pid(self) -> int:
        """The first process's id (the supervisor's, with more than one worker)."""
        assert self._process is not None, "not started"  # noqa: S101 - a test's own mistake
        return self._process.pid

    @property
    def admin_token(self) -> str:
        """The admin token that the first start made."""
        return (self.data / "admin-token").read_text().strip()

    def launch(self) -> subprocess.Popen[bytes] | Copy:
        """Start it and wait for nothing; gives its first process."""
        arguments = ["serve", "--config", str(self.folder / "millpond.toml"), "--data", str(self.data)]
        arguments += ["--host", self.host, "--port", str(self.port), "--workers", str(self.workers)]
        if self.nursery is not None:
            self._process = self.nursery.spawn(arguments, log=self.log, environ=self._environ, folder=self.folder)
            return self._process
        argv = [sys.executable, "-m", "millpond", *arguments]
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, env=self._environ, cwd=self.folder)  # noqa: S603
        return self._process

    def start(self) -> float:
        """Start it and wait until it serves; gives the seconds that took. Raises `RuntimeError` with its log."""
        began = time.monotonic()
        process = self.launch()
        while time.monotonic() - began < START_TIMEOUT_S:
            if process.poll() is not None:
                break
            with contextlib.suppress(OSError, ValueError):
                if self.get("/health").status in {200, 401}:  # 401: it serves, to who has a token
                    return time.monotonic() - began
            time.sleep(0.02)
        self.kill()
        raise RuntimeError(f"the pond did not start:\n{self.log.read_text()}")

    def get(
        self, path: str, headers: Mapping[str, str] | None = None, method: str = "GET", body: bytes | None = None
    ) -> Got:
        """Ask it something; an error status is an answer."""
        request = urllib.request.Request(self.url + path, data=body, headers=dict(headers or {}), method=method)  # noqa: S310
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects())
        try:
            with opener.open(request, timeout=30) as response:
                return Got(response.status, {k.lower(): v for k, v in response.headers.items()}, response.read())
        except urllib.error.HTTPError as error:
            with error:
                return Got(error.code, {k.lower(): v for k, v in error.headers.items()}, error.read())

    def command(self, *arguments: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a `millpond` command beside it."""
        words = [*arguments, "--config", str(self.folder / "millpond.toml"), "--data", str(self.data)]
        if self.nursery is not None:
            done = self.nursery.run(words, environ=self._environ, folder=self.folder, timeout_s=60)
            if check:
                done.check_returncode()
            return done
        argv = [sys.executable, "-m", "millpond", *words]
        return subprocess.run(  # noqa: S603 - our own executable
            argv, capture_output=True, text=True, check=check, env=self._environ, cwd=self.folder, timeout=60
        )

    def stop(self) -> int:
        """Stop it kindly (SIGTERM) and wait; gives the exit code."""
        if self._process is None:
            return 0
        self._process.send_signal(signal.SIGTERM)
        code = self._process.wait(60)
        self._process = None
        return code

    def kill(self) -> None:
        """Kill it (SIGKILL), as a power cut would."""
        if self._process is not None:
            self._process.kill()
            self._process.wait(60)
            self._process = None

    def reload(self, config: str) -> None:
        """Write a new configuration and make it read that."""
        (self.folder / "millpond.toml").write_text(config)
        os.kill(self.pid, signal.SIGHUP)

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        """Leave nothing running."""
        try:
            self.stop()
        except subprocess.TimeoutExpired:
            self.kill()
            raise


class Got:
    """An answer, read whole."""

    def __init__(self, status: int, headers: Mapping[str, str], body: bytes) -> None:
        self.status, self.headers, self.body = status, headers, body

    def json(self) -> Any:
        """Read it as JSON."""
        return json.loads(self.body)


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *_: Any, **__: Any) -> None:
        """Follow none: a redirect is an answer to look at."""


def free_port(host: str = "127.0.0.1") -> int:
    """Find a port that nobody listens on now.

    It is drawn from below the range that the kernel hands out by itself, where another test could get it between here
    and the daemon's start.
    """
    draw = random.SystemRandom()
    while True:
        port = draw.randrange(10_000, 32_000)
        with (
            socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET) as sock,
            contextlib.suppress(OSError),
        ):
            sock.bind((host, port))
            return port
