"""npm and pnpm as the tests run them: an empty home and cache, no settings of this machine, in the jail or not."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from tests.clients.programs import Ran, Room

QUIET = {"npm_config_fund": "false", "npm_config_update_notifier": "false", "npm_config_fetch_retries": "0"}


class Manager(Protocol):
    """A package manager for Node."""

    name: str
    lock: str

    def install(self, room: Room, registry: str, project: Path, *what: str) -> Ran:
        """Install what a project's ``package.json`` wants (and `what`)."""

    def frozen(self, room: Room, registry: str, project: Path) -> Ran:
        """Install exactly what the lock file says."""


def make_project(folder: Path, requires: Mapping[str, str]) -> Path:
    """Make a project that wants some packages."""
    folder.mkdir(parents=True)
    document = {"name": "project", "version": "1.0.0", "private": True, "dependencies": dict(requires)}
    (folder / "package.json").write_text(json.dumps(document))
    return folder


@dataclass(frozen=True, slots=True)
class Npm:
    """npm as this machine has it."""

    program: str
    name: str = "npm"
    lock: str = "package-lock.json"

    def run(self, room: Room, registry: str, project: Path, *words: str) -> Ran:
        """Run a command in a project."""
        return room.run([self.program, *words, "--prefix", str(project)], {**QUIET, "npm_config_registry": registry})

    def install(self, room: Room, registry: str, project: Path, *what: str) -> Ran:
        """Install."""
        return self.run(room, registry, project, "install", *what)

    def frozen(self, room: Room, registry: str, project: Path) -> Ran:
        """Install the lock file."""
        return self.run(room, registry, project, "ci")


@dataclass(frozen=True, slots=True)
class Pnpm:
    """pnpm; its store lies in the run's own home."""

    node: str
    script: str
    name: str = "pnpm"
    lock: str = "pnpm-lock.yaml"

    def run(self, room: Room, registry: str, project: Path, *words: str) -> Ran:
        """Run a command in a project."""
        argv = [self.node, self.script, "--dir", str(project), *words, "--config.package-import-method=copy"]
        return room.run(argv, {**QUIET, "npm_config_registry": registry, "CI": "true"})

    def install(self, room: Room, registry: str, project: Path, *what: str) -> Ran:
        """Install."""
        words = ["add", *what] if what else ["install", "--no-frozen-lockfile"]
        return self.run(room, registry, project, *words)

    def frozen(self, room: Room, registry: str, project: Path) -> Ran:
        """Install the lock file."""
        return self.run(room, registry, project, "install", "--frozen-lockfile")
