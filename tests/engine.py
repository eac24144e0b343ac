"""A real Docker Engine (Debian's docker.io), in a jail or not: no bridge, no firewall, data of its own."""

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
    """A context manager; `docker` runs a command of its client. `mirror` is the address of a registry mirror.

    `data`: the folder of its data, if it is not to be one of its own.
    """

    def __init__(self, jail: jails.Jail | None, insecure: str, mirror: str = "", data: Path | None = None) -> None:
        self._jail, self._data = jail, data
        self._folder = Path(tempfile.mkdtemp(prefix="mp-engine"))  # a socket's path must be short
        self._options = ["--insecure-registry", insecure]
        self._options += ["--registry-mirror", mirror] if mirror else []
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def start(self) -> None:
        """Start it, and wait until it answers. Raises `Impossible`."""
        argv = [program("dockerd") or "dockerd", "--data-root", str(self._data or self._folder / "data")]
        argv += ["--exec-root", str(self._folder / "run"), "-H", self.host, "-p", str(self._folder / "pid")]
        argv += ["--bridge=none", "--iptables=false", "--ip6tables=false", "--storage-driver=overlay2"]
        argv += ["--max-download-attempts", "1"]
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                self._entering([*argv, *self._options]), stdout=log, stderr=log, start_new_session=True,
                env={"PATH": jails.PATH, "HOME": str(self._folder)},
            )  # fmt: skip
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            if self.docker("version").ok:
                return
            time.sleep(0.2)
        told = (self._folder / "log").read_text(errors="replace")[-2000:]
        self.__exit__()
        raise Impossible(f"no Docker Engine starts on this machine: {told}")

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self._folder, ignore_errors=True)

    def stop(self) -> None:
        """Stop it, with all that it runs; its data stay."""
        process, self._process = self._process, None
        if process is not None and process.poll() is None:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
        if process is not None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)  # its containerd, if it did not stop
            process.wait(30)

    def _entering(self, argv: list[str]) -> list[str]:
        return argv if self._jail is None else self._jail.entering(argv)

    @property
    def host(self) -> str:
        """Its address, for ``docker -H``."""
        return f"unix://{self._folder}/d.sock"

    def building(self, folder: Path, *options: str) -> subprocess.Popen[bytes]:
        """Start a build by BuildKit, of a folder with a Dockerfile."""
        argv = [program("docker") or "docker", "-H", self.host, "build", "--network", "host", *options, str(folder)]
        environ = {"PATH": jails.PATH, "HOME": str(self._folder), "DOCKER_BUILDKIT": "1"}
        log = (self._folder / "build.log").open("wb")
        with log:
            return subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, env=environ)

    def build(self, folder: Path, tag: str) -> bool:
        """Build an image; whether that worked."""
        return self.building(folder, "-t", tag).wait(PULL_S) == 0

    def build_log(self) -> str:
        """Give what the last build said."""
        return (self._folder / "build.log").read_text(errors="replace")

    def docker(self, *words: str) -> Ran:
        """Run a command of the client."""
        argv = [program("docker") or "docker", "-H", self.host, *words]
        environ = {"PATH": jails.PATH, "HOME": str(self._folder)}
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=PULL_S, env=environ)
        return Ran(done.returncode == 0, f"docker {' '.join(words)}\n{done.stdout}{done.stderr}")

    def pull(self, reference: str, *options: str) -> dict[str, object]:
        """Pull into an empty storage, and give what `docker image inspect` says of it."""
        self.empty()
        ran = self.docker("pull", *options, reference)
        assert ran.ok, f"{ran.output}\n{self._told()}"
        inspected = self.docker("image", "inspect", reference)
        assert inspected.ok, inspected.output
        (found,) = json.loads(inspected.output.partition("\n")[2])
        return dict(found)

    def _told(self) -> str:
        """Give the end of its log: why it went on from a mirror to the registry itself stands only there."""
        lines = (self._folder / "log").read_text(errors="replace").splitlines()
        return "\n".join([line for line in lines if "level=debug" not in line][-8:])

    def empty(self) -> None:
        """Remove all images."""
        done = self.docker("images", "-aq")
        ids = sorted(set(done.output.split("\n")[1:]) - {""})
        if ids:
            assert self.docker("rmi", "-f", *ids).ok
