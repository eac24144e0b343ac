"""A real Docker Engine (Debian's docker.io) in the jail: no bridge, no firewall, its own data, gone at the end."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from tests import jail as jails
from tests.clients.programs import Ran
from tests.clients.registries import program

START_S = 60.0
PULL_S = 120.0


class Impossible(Exception):
    """Why no engine runs here."""


class Engine:
    """A context manager; `docker` runs a command of its client. `mirror` is the address of a registry mirror."""

    def __init__(self, jail: jails.Jail, insecure: str, mirror: str = "") -> None:
        self._jail = jail
        self._folder = Path(tempfile.mkdtemp(prefix="mp-engine"))  # a socket's path must be short
        self._options = ["--insecure-registry", insecure]
        self._options += ["--registry-mirror", mirror] if mirror else []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        argv = [program("dockerd") or "dockerd", "--data-root", str(self._folder / "data")]
        argv += ["--exec-root", str(self._folder / "run"), "-H", self._host, "-p", str(self._folder / "pid")]
        argv += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=overlay2"]
        argv += ["--max-download-attempts", "1"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._jail.entering([*argv, *self._options]), stdout=log, stderr=log, start_new_session=True,
                env={"PATH": jails.PATH, "HOME": str(self._folder)},
            )  # fmt: skip
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            if self.docker("version").ok:
                return self
            time.sleep(0.2)
        told = (self._folder / "log").read_text(errors="replace")[-2000:]
        self.__exit__()
        raise Impossible(f"no Docker Engine starts on this machine: {told}")

    def __exit__(self, *_: object) -> None:
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its containerd, if it did not stop
            process.wait(30)
        shutil.rmtree(self._folder, ignore_errors=True)

    @property
    def _host(self) -> str:
        return f"unix://{self._folder}/d.sock"

    def docker(self, *words: str) -> Ran:
        """Run a command of the client."""
        argv = [program("docker") or "docker", "-H", self._host, *words]
        environ = {"PATH": jails.PATH, "HOME": str(self._folder)}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PULL_S, env=environ)
        return Ran(done.returncode == 0, f"docker {' '.join(words)}\n{done.stdout}{done.stderr}")

    def pull(self, reference: str, *options: str) -> dict[str, object]:
        """Pull into an empty storage, and give what `docker image inspect` says of it."""
        self.empty()
        ran = self.docker("pull", *options, reference)
        assert ran.ok, ran.output
        inspected = self.docker("image", "inspect", reference)
        assert inspected.ok, inspected.output
        (found,) = json.loads(inspected.output.partition("\n")[2])
        return dict(found)

    def empty(self) -> None:
        """Remove all images."""
        done = self.docker("images", "-aq")
        ids = sorted(set(done.output.split("\n")[1:]) - {""})
        if ids:
            assert self.docker("rmi", "-f", *ids).ok
