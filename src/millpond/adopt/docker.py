"""Where this machine's engines have Docker Hub's images from: the mirrors of daemon.json, else the Hub itself.

The Hub's address is not written in this project: the library `docker` (Docker's own client library) knows it. Another
process imports it, as for the other defaults. Without any container client on the machine nothing is adopted.
"""

from __future__ import annotations

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from millpond.adopt.machine import Adopted, Found, Machine, Run, Skipped, is_loopback, shown, split_credentials, unfit

PACKAGE, REPOSITORY = "docker", "dockerhub"
MIRRORS = "registry-mirrors"
CLIENTS = ("docker", "dockerd", "podman", "buildah", "skopeo", "containerd", "nerdctl", "ctr", "crane")
MAX_BYTES = 1 << 20
_ASK_LIBRARY = "import docker.auth; print(docker.auth.INDEX_URL)"


def adopt_docker(machine: Machine) -> Found:
    """Find where this machine's engines have Docker Hub's images from."""
    notes: list[str] = []
    for file in daemon_files(machine):
        for url in _earlier_too(machine, file, notes):
            reason = unfit(url)
            if reason is None:
                base_url, username, password = split_credentials(url)
                label = f"{file} {MIRRORS}"
                return Adopted(REPOSITORY, PACKAGE, base_url, label, username, password, tuple(notes))
            notes.append(f"{file} {MIRRORS}: {shown(url)} {reason}")
    if not _has_client(machine):
        return Skipped(
            PACKAGE, "no container client (docker, podman, ...) is installed; write base_url to cache images"
        )
    hub = public_registry(machine.run)
    if hub is None:
        return Skipped(PACKAGE, "the library docker does not tell Docker Hub's address; write it as base_url")
    return Adopted(REPOSITORY, PACKAGE, hub, "the public default (library docker)", notes=tuple(notes))


def public_registry(run: Run) -> str | None:
    """Ask the library for Docker Hub's address; None: it can't be asked."""
    said = (run([sys.executable, "-P", "-c", _ASK_LIBRARY]) or "").strip()
    if not said or unfit(said) is not None:
        return None
    parts = urlsplit(said)
    return f"{parts.scheme}://{parts.netloc}"  # the library's path is that of the protocol's first version


def daemon_files(machine: Machine) -> list[Path]:
    """List the engine's own files: that of the user's engine (rootless mode), then the machine's."""
    return [machine.config_home() / "docker/daemon.json", machine.root / "etc/docker/daemon.json"]


def mirrors_of(content: bytes | None) -> list[str]:
    """Read the registry mirrors of a daemon.json. Raises `ValueError` where the engine could not read it either."""
    if content is None or not content.strip():
        return []
    if len(content) > MAX_BYTES:
        raise ValueError("it is too large")
    table: Any = json.loads(content)
    if not isinstance(table, dict):
        raise ValueError("it is no JSON object")  # noqa: TRY004 - as for what is no JSON at all
    listed = table.get(MIRRORS) or []
    return [url.strip() for url in listed if isinstance(url, str)] if isinstance(listed, list) else []


def _earlier_too(machine: Machine, file: Path, notes: list[str]) -> Iterator[str]:
    """Give a file's mirrors but for this pond; where it is among them, those from before it was connected."""
    try:
        listed = mirrors_of(_read(file))
        ours = [url for url in listed if is_ours(machine, url)]
        before = mirrors_of(machine.earlier.get(file)) if ours else []
    except ValueError as error:
        notes.append(f"{file}: cannot be read: {error}")
        return
    yield from (url for url in (*listed, *before) if not is_ours(machine, url))


def is_ours(machine: Machine, url: str) -> bool:
    """Whether a mirror is this pond's: written by `connect`, or at the address of its listener."""
    pond = machine.pond
    if url.rstrip("/") in pond.written:
        return True
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError:
        return False
    here = host in pond.hosts or (pond.loopback and is_loopback(host))
    return here and port is not None and port in {pond.port, pond.mirror_port}


def _read(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except OSError:
        return None


def _has_client(machine: Machine) -> bool:
    path = machine.environ.get("PATH", "")
    return bool(path) and any(shutil.which(client, path=path) for client in CLIENTS)
