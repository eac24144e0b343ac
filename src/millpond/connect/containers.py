"""Container engines (Docker, containerd, podman with buildah and skopeo) pointed at the pond for Docker Hub's images.

Their settings are the machine's, not the user's, and differ in kind from an index's URL: an engine has a mirror, which
falls back to Docker Hub by itself when the pond is down. Docker's daemon.json is edited (its JSON is written anew, and
its bytes are kept for the way back); the files of the others are ours alone, and one that is somebody else's is not
touched. All of them take effect when the engine reads its settings again.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from millpond.adopt.atomic import replace_file, sync_folder
from millpond.adopt.docker import MIRRORS
from millpond.adopt.machine import is_loopback, shown, unfit
from millpond.connect import saved
from millpond.connect.saved import Record
from millpond.errors import BadRequest, ConfigError, Conflict, NotFound

INSECURE = "insecure-registries"
HUB = "docker.io"
_READABLE = 0o644
_MARK = "# Written by `millpond connect`; `--undo` removes it.\n"


@dataclass(frozen=True, slots=True)
class Address:
    """Where the pond is: its own URL, the URL that a registry mirror has (empty: none), and the repository's name."""

    pond: str
    mirror: str
    repository: str

    @property
    def secure(self) -> bool:
        """Whether clients need not be told to speak plain http."""
        return self.pond.startswith("https://")


@dataclass(frozen=True, slots=True)
class Plan:
    """What to put where, and what to do then. `text` is the whole file, or (daemon.json) what it must have."""

    tool: str
    file: Path
    url: str
    text: str
    after: str


def plan(tool: str, address: Address, root: Path = Path("/")) -> Plan:
    """Say what to tell an engine. Raises `BadRequest` for an unknown one, or an address that is none."""
    for url in filter(None, (address.pond, address.mirror)):
        if unfit(url) is not None:
            raise BadRequest(f"{shown(url)!r} is not the pond's address; write it as http://127.0.0.1:8080")
    if tool not in _PLANS:
        raise BadRequest(f"no settings are known for {tool!r}; there are: {', '.join(_PLANS)}")
    return _PLANS[tool](address, root)


def _docker(address: Address, root: Path) -> Plan:
    if not address.mirror:
        raise BadRequest(
            'an engine\'s mirror needs an address of its own: write [server] mirror_listen = "127.0.0.1:8081" into the '
            f"configuration; without it, pull by name: {_authority(address.pond)}/{address.repository}/IMAGE"
        )
    text = json.dumps(_with_mirror({}, address.mirror), indent=2) + "\n"
    after = "then let the engine read it: systemctl reload docker (or restart it)"
    return Plan("docker", root / "etc/docker/daemon.json", address.mirror, text, after)


def _containerd(address: Address, root: Path) -> Plan:
    """Containerd's hosts.toml, one for each registry; it says by ``?ns=`` which one it means."""
    text = f'{_MARK}[host."{address.pond}"]\n  capabilities = ["pull", "resolve"]\n'
    file = root / f"etc/containerd/certs.d/{HUB}/hosts.toml"
    after = 'containerd needs config_path = "/etc/containerd/certs.d" for its registries, and reads this at each pull'
    return Plan("containerd", file, address.pond, text, after)


def _podman(address: Address, root: Path) -> Plan:
    """Write a file of registries.conf.d (containers-registries.conf(5)), where a mirror's location may have a path."""
    location = f"{_authority(address.pond)}/{address.repository}"
    insecure = "" if address.secure else "insecure = true\n"
    text = f'{_MARK}[[registry]]\nlocation = "{HUB}"\n\n[[registry.mirror]]\nlocation = "{location}"\n{insecure}'
    file = root / "etc/containers/registries.conf.d/50-millpond.conf"
    return Plan("podman", file, address.pond, text, "podman, buildah and skopeo read it each time")


_PLANS: Mapping[str, Callable[[Address, Path], Plan]] = {
    "docker": _docker,
    "containerd": _containerd,
    "podman": _podman,
}
NAMES = tuple(_PLANS)


def write(tool: str, address: Address, records: Path, root: Path = Path("/")) -> tuple[Path, bool]:
    """Put the settings into the engine's file; gives it, and whether it was changed.

    `records` is the folder of what was there before. Raises `Conflict` for a file that is somebody else's, or was
    changed since, `ConfigError` for one that the engine could not read, `OSError`.
    """
    wanted = plan(tool, address, root)
    record, now = saved.load(records, tool), _bytes(wanted.file)
    before = now
    if record is not None and now == record.after:
        before = record.before
    elif record is not None and now != record.before:
        raise Conflict(f"{record.file} was changed since it was connected: take that back first (--undo)")
    after = _edited(wanted, before)
    if after == now:
        return wanted.file, False
    if before != now:
        _put(wanted.file, before)  # so that the record, which is next, is true at every moment
    saved.save(records, Record(tool, wanted.file, wanted.url, before, after))
    _put(wanted.file, after)
    return wanted.file, True


def undo(tool: str, records: Path) -> Path:
    """Take back what `write` did; gives the file. Raises `NotFound` when it did nothing, `Conflict`, `OSError`.

    A file that is as it was before is left alone: it was put back by hand, or never changed.
    """
    record = saved.load(records, tool)
    if record is None:
        raise NotFound(f"{tool} has not been connected by `millpond connect {tool} --write`; there is nothing to undo")
    now = _bytes(record.file)
    if now != record.before:
        _put(record.file, record.before if now in {None, record.after} else _without_mirror(record, now or b""))
    saved.forget(records, tool)
    return record.file


def _put(file: Path, content: bytes | None) -> None:
    """Write or remove a file; behind a link, the file that it leads to, with the mode that it has."""
    target = file.resolve()
    if content is None:
        target.unlink(missing_ok=True)
        sync_folder(target.parent)
        return
    replace_file(target, content, target.stat().st_mode & 0o777 if target.exists() else _READABLE)


def _edited(wanted: Plan, now: bytes | None) -> bytes:
    if wanted.tool == "docker":
        table = _with_mirror(_table(now, wanted.file), wanted.url)
        return (json.dumps(table, indent=2) + "\n").encode()
    if now is not None and now != wanted.text.encode():
        raise Conflict(f"{wanted.file} is there already and not ours; write into it by hand:\n{wanted.text}")
    return wanted.text.encode()


def _with_mirror(table: Mapping[str, Any], url: str) -> dict[str, Any]:
    """Add the mirror, before all others; one by plain http off loopback must be called insecure."""
    edited = {**table, MIRRORS: [url, *(one for one in table.get(MIRRORS) or [] if one != url)]}
    parts = urlsplit(url)
    if parts.scheme == "http" and not is_loopback(parts.hostname or ""):
        edited[INSECURE] = list(dict.fromkeys([*(table.get(INSECURE) or []), parts.netloc]))
    return edited


def _without_mirror(record: Record, now: bytes) -> bytes | None:
    """Take our entries out of a daemon.json that was changed since; other files are then left to their owner."""
    if record.tool != "docker":
        raise Conflict(f"{record.file} was changed since it was connected: take it back by hand")
    before, table = _table(record.before, record.file), _table(now, record.file)
    authority = urlsplit(record.url).netloc
    for key, ours in ((MIRRORS, record.url), (INSECURE, authority)):
        if ours not in (before.get(key) or []) and isinstance(table.get(key), list):
            table[key] = [one for one in table[key] if one != ours]
            if not table[key] and key not in before:
                del table[key]
    return (json.dumps(table, indent=2) + "\n").encode()


def _table(content: bytes | None, file: Path) -> dict[str, Any]:
    try:
        table = json.loads(content) if content and content.strip() else {}
    except ValueError as error:
        raise ConfigError(f"{file}: cannot be read: {error}; the engine refuses it too: mend it") from None
    if not isinstance(table, dict) or not all(isinstance(table.get(key) or [], list) for key in (MIRRORS, INSECURE)):
        raise ConfigError(f"{file}: {MIRRORS} and {INSECURE} are lists in a JSON object; the engine wants it so too")
    return dict(table)


def _bytes(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None


def _authority(url: str) -> str:
    parts = urlsplit(url)
    return parts.netloc + parts.path.rstrip("/")
