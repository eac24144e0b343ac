"""Docker Engines (Debian's docker.io) for the pre-pull: no bridge, no firewall, data of their own. They take root."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Self

from bench import machine

START_S, PULL_S = 90.0, 600.0


def missing() -> Iterator[str]:
    """Say what keeps engines from running here."""
    if os.geteuid() != 0:
        yield "an engine of one's own takes root"
    yield from (f"{name} is not installed" for name in ("dockerd", "docker") if machine.find(name) is None)


class Engine:
    """One engine; a context manager."""

    def __init__(self) -> None:
        self._folder = Path(tempfile.mkdtemp(prefix="bench-engine"))  # a socket's path must be short
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def host(self) -> str:
        """Its socket."""
        return f"unix://{self._folder}/d.sock"

    def __enter__(self) -> Self:
        argv = [machine.find("dockerd") or "dockerd", "--data-root", f"{self._folder}/data", "-H", self.host]
        argv += ["--exec-root", f"{self._folder}/run", "-p", f"{self._folder}/pid", "--bridge=none", "--iptables=false"]
        argv += ["--ip6tables=false", "--storage-driver=overlay2", "--insecure-registry", "127.0.0.0/8"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            if self.run("version").returncode == 0:
                return self
            time.sleep(0.2)
        told = (self._folder / "log").read_text(errors="replace")[-500:]
        self.__exit__()
        raise RuntimeError(f"no Docker Engine starts here: {told}")

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
            process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run a command of its client."""
        argv = [machine.find("docker") or "docker", "-H", self.host, *words]
        return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PULL_S)

    def pull(self, reference: str) -> None:
        """Pull an image. Raises `RuntimeError`."""
        done = self.run("pull", reference)
        if done.returncode:
            raise RuntimeError(f"docker pull {reference}: {done.stderr[-300:]}")

    def empty(self) -> None:
        """Remove all images."""
        ids = sorted(set(self.run("images", "-aq").stdout.split()))
        if ids:
            self.run("rmi", "-f", *ids)
