"""DATA/adopted.json: what was adopted stays adopted, whatever the clients' settings become, until it is asked for anew.

The file is private (0600): it may hold credentials.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path
from typing import Any

from millpond.adopt.apk import adopt_apk
from millpond.adopt.apt import adopt_apt
from millpond.adopt.atomic import replace_file
from millpond.adopt.docker import adopt_docker
from millpond.adopt.machine import Adopted, Found, Machine
from millpond.adopt.npm import adopt_npm
from millpond.adopt.pypi import adopt_pypi
from millpond.adopt.rpm import adopt_rpm
from millpond.errors import ConfigError

FILE_NAME = "adopted.json"
VERSION = 1
ECOSYSTEMS: Mapping[str, Callable[[Machine], tuple[Found, ...]]] = {
    "alpine": adopt_apk,
    "debian": adopt_apt,
    "docker": lambda machine: (adopt_docker(machine),),
    "npm": lambda machine: (adopt_npm(machine),),
    "pypi": lambda machine: (adopt_pypi(machine),),
    "rpm": adopt_rpm,
}
"""By package: what looks for its upstreams; a machine may have several (one for each URI of a package list)."""


def load_or_adopt(data: Path, machine: Machine, packages: Iterable[str], *, renew: bool = False) -> tuple[Found, ...]:
    """Give the adopted upstreams of these packages, from DATA/adopted.json or else from the machine's clients.

    What is found is kept. `renew` looks again; a package for which nothing is found then keeps its earlier upstreams,
    and the reason is given beside them. Raises `ConfigError` for a damaged file, `OSError` when it can't be written.
    Clients' own tools may have to be asked, side by side, for `machine.TOOL_TIMEOUT_S` at most: not for the event loop.
    """
    file = data / FILE_NAME
    known = [] if renew and not file.exists() else _load(file)
    wanted = [package for package in packages if package in ECOSYSTEMS]
    found: list[Found] = []
    kept_of = {package: [adopted for adopted in known if adopted.package == package] for package in wanted}
    looked_for = _looked_for([package for package in wanted if renew or not kept_of[package]], machine)
    for package, kept in kept_of.items():
        looked = looked_for.get(package, ())
        new = [one for one in looked if isinstance(one, Adopted)]
        found += [*(new or kept), *(one for one in looked if not isinstance(one, Adopted))]
    others = [adopted for adopted in known if adopted.package not in wanted]
    keep = [*others, *(one for one in found if isinstance(one, Adopted))]
    if keep != known:
        _save(file, keep)
    return tuple(found)


def to_look_for(data: Path, packages: Iterable[str]) -> tuple[str, ...]:
    """List the packages of which nothing was adopted yet. Raises `ConfigError` for a damaged file."""
    known = {adopted.package for adopted in _load(data / FILE_NAME)}
    return tuple(package for package in packages if package in ECOSYSTEMS and package not in known)


def _looked_for(packages: list[str], machine: Machine) -> dict[str, tuple[Found, ...]]:
    """Look at all of them at once: each may have to wait for a tool of its own."""
    if not packages:
        return {}
    with ThreadPoolExecutor(len(packages), thread_name_prefix="adopt") as threads:
        return dict(zip(packages, threads.map(lambda package: ECOSYSTEMS[package](machine), packages), strict=True))


def _load(file: Path) -> list[Adopted]:
    try:
        content = json.loads(file.read_bytes())
        if content["version"] != VERSION:
            raise _refused(file, "another version of millpond wrote it")
        return [_row(row) for row in content["adopted"]]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise _refused(file, error.strerror or str(error)) from None
    except (ValueError, KeyError, TypeError):
        raise _refused(file, "it is damaged") from None


def _row(row: Mapping[str, Any]) -> Adopted:
    texts = {key: str(row[key]) for key in ("repository", "package", "base_url", "found_in", "username", "password")}
    return Adopted(**texts, notes=tuple(str(note) for note in row["notes"]))


def _refused(file: Path, reason: str) -> ConfigError:
    return ConfigError(f"{file}: cannot be read: {reason}; remove it to adopt this machine's upstreams anew")


def _save(file: Path, adopted: list[Adopted]) -> None:
    rows = [asdict(one) for one in adopted]
    replace_file(file, json.dumps({"version": VERSION, "adopted": rows}, indent=2).encode() + b"\n")
