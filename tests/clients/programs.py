"""pip and uv as the tests run them: an empty home, an empty cache, no settings of this machine, in the jail or not."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from tests.jail import Jail

TIMEOUT_S = 90.0


@dataclass(frozen=True, slots=True)
class Ran:
    """How a run ended."""

    ok: bool
    output: str

    def files(self, folder: Path) -> Mapping[str, bytes]:
        """Give every file below `folder`; a failed run fails the test with what it said."""
        assert self.ok, self.output
        return tree(folder)


def tree(folder: Path) -> dict[str, bytes]:
    """Read every file below a folder, by its name there."""
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@dataclass(slots=True)
class Room:
    """Where clients run: a fresh home for each run. `jail` None: outside, on this machine."""

    folder: Path
    jail: Jail | None
    runs: int = 0

    def run(self, argv: list[str], more: Mapping[str, str] | None = None) -> Ran:
        """Run a client to its end."""
        self.runs += 1
        home = self.folder / f"home{self.runs}"
        home.mkdir(parents=True)
        environ = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", "PIP_CONFIG_FILE": os.devnull}
        environ |= {"TMPDIR": str(home), **(more or {})}
        whole = argv if self.jail is None else self.jail.argv(argv)
        done = subprocess.run(
            whole, env=environ, cwd=home, capture_output=True, text=True, check=False, timeout=TIMEOUT_S,
            stdin=subprocess.DEVNULL,
        )  # fmt: skip
        return Ran(done.returncode == 0, f"{' '.join(argv)}\n{done.stdout}{done.stderr}")


class Client(Protocol):
    """A package manager."""

    name: str

    def install(self, room: Room, index_url: str, target: Path, *what: str) -> Ran:
        """Install requirements (or options, as ``-r FILE``) into a folder."""

    def sync(self, room: Room, index_url: str, target: Path, lock: Path) -> Ran:
        """Install exactly what a lock file with hashes names."""


@dataclass(frozen=True, slots=True)
class Pip:
    """pip of a fresh virtual environment."""

    python: Path
    name: str = "pip"

    def _argv(self, command: str, index_url: str) -> list[str]:
        argv = [str(self.python), "-m", "pip", "--isolated", "--no-cache-dir", "--disable-pip-version-check"]
        argv += ["--no-input", "--retries", "0", "--timeout", "30", command, "--index-url", index_url]
        return [*argv, "--trusted-host", urlsplit(index_url).hostname or ""]

    def install(self, room: Room, index_url: str, target: Path, *what: str) -> Ran:
        """Install."""
        return room.run([*self._argv("install", index_url), "--no-compile", "--target", str(target), *what])

    def sync(self, room: Room, index_url: str, target: Path, lock: Path) -> Ran:
        """Install a lock file."""
        return self.install(room, index_url, target, "--require-hashes", "--no-deps", "-r", str(lock))

    def download(self, room: Room, index_url: str, target: Path, *what: str) -> Ran:
        """Download files as they are."""
        return room.run([*self._argv("download", index_url), "--dest", str(target), *what])


@dataclass(frozen=True, slots=True)
class Uv:
    """uv, installing for the Python of that virtual environment."""

    program: str
    python: Path
    name: str = "uv"

    def _argv(self, *command: str) -> list[str]:
        argv = [self.program, *command, "--no-cache", "--no-config", "--no-python-downloads", "--link-mode", "copy"]
        return [*argv, "--python", str(self.python)]

    def _run(self, room: Room, *argv: str) -> Ran:
        return room.run([*argv], {"UV_HTTP_RETRIES": "0", "UV_HTTP_TIMEOUT": "30"})

    def install(self, room: Room, index_url: str, target: Path, *what: str) -> Ran:
        """Install."""
        argv = self._argv("pip", "install")
        return self._run(room, *argv, "--default-index", index_url, "--target", str(target), *what)

    def sync(self, room: Room, index_url: str, target: Path, lock: Path) -> Ran:
        """Install a lock file."""
        argv = self._argv("pip", "sync")
        return self._run(
            room, *argv, "--require-hashes", "--default-index", index_url, "--target", str(target), str(lock)
        )

    def compile(self, room: Room, index_url: str, wanted: Path, lock: Path) -> Ran:
        """Write a lock file with hashes."""
        argv = [self.program, "pip", "compile", "--no-cache", "--no-config", "--no-python-downloads", "--python"]
        argv += [str(self.python), "--generate-hashes", "--default-index", index_url, "-o", str(lock), str(wanted)]
        return self._run(room, *argv)
