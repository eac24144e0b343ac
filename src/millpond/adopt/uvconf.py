"""uv's configuration files: where uv looks, and which default index is in them.

As uv 0.13 behaves: the user's ``uv.toml`` comes before the machine's; an ``[[index]]`` with ``default = true`` in
either of them beats ``[pip] index-url`` in either, and that one the older ``index-url``. Of several defaults the first
wins. ``UV_CONFIG_FILE`` replaces all files. A project's own files are not looked at: they are not the machine's.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from millpond.adopt.machine import Machine
from millpond.adopt.pipconf import Setting, decode, read
from millpond.errors import ConfigError

_NAMED = re.compile(r"([A-Za-z0-9._-]+)=(.+)", re.DOTALL)
_TRUE = {"1", "true", "t", "yes", "y", "on"}
DEFAULT, PIP, OLD = "[[index]]", "[pip] index-url", "index-url"


def user_file(machine: Machine) -> Path:
    """Give the user's own file."""
    return machine.config_home() / "uv/uv.toml"


def files(machine: Machine) -> list[Path]:
    """List the files that uv reads outside of projects, the strongest first."""
    if machine.environ.get("UV_NO_CONFIG", "").lower() in _TRUE:
        return []
    named = machine.environ.get("UV_CONFIG_FILE")
    if named:
        return [Path(named)]
    shared = [*(folder / "uv/uv.toml" for folder in machine.config_dirs()), machine.root / "etc/uv/uv.toml"]
    return [user_file(machine), *[file for file in shared if file.is_file()][:1]]


def parse(text: str, file: Path) -> dict[str, Any]:
    """Read a file. Raises `ConfigError`, as uv would refuse it."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{file}: cannot be read: {error}; uv refuses it too: mend it") from None


def default_index(table: dict[str, Any]) -> dict[str, Any] | None:
    """Give the entry of ``[[index]]`` that is the default; None: there is none."""
    entries = table.get("index")
    rows = [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return next((entry for entry in rows if entry.get("default") is True and isinstance(entry.get("url"), str)), None)


def _of(table: dict[str, Any], place: str) -> tuple[str, str]:
    """Give a file's value at a place, and the index's name if it has one."""
    if place == DEFAULT:
        entry = default_index(table) or {}
        return str(entry.get("url", "")), str(entry.get("name", ""))
    holder = table.get("pip", {}) if place == PIP else table
    value = holder.get("index-url") if isinstance(holder, dict) else None
    return (value, "") if isinstance(value, str) else ("", "")


def values(machine: Machine) -> Iterator[tuple[Setting, str]]:
    """Give every default index that uv's files have, the strongest first, each with its name.

    Raises `ConfigError`.
    """
    parsed = []
    for file in files(machine):
        content = read(file)
        if content is not None:
            parsed.append((file, parse(decode(content, file), file)))
    for place in (DEFAULT, PIP, OLD):
        for file, table in parsed:
            value, name = _of(table, place)
            if value:
                yield Setting(file, place.strip("[]") if place == DEFAULT else "", value), name


def earlier(machine: Machine, file: Path) -> tuple[str, str]:
    """Give the default index (and its name) of a file before `connect` changed it; empty: none."""
    content = machine.earlier.get(file)
    if content is None:
        return "", ""
    table = parse(decode(content, file), file)
    return next((found for place in (DEFAULT, PIP, OLD) if (found := _of(table, place))[0]), ("", ""))


def named(value: str) -> tuple[str, str]:
    """Split ``NAME=URL`` as variables have it; gives the URL and the name (or an empty one)."""
    found = _NAMED.fullmatch(value.strip())
    return (found[2], found[1]) if found else (value.strip(), "")


def credentials(machine: Machine, name: str) -> tuple[str, str]:
    """Give the user name and password that the environment has for a named index."""
    prefix = f"UV_INDEX_{re.sub('[^A-Za-z0-9]', '_', name).upper()}_"
    return machine.environ.get(f"{prefix}USERNAME", ""), machine.environ.get(f"{prefix}PASSWORD", "")


def more_indexes(machine: Machine) -> Iterator[tuple[Path, str]]:
    """Give the indexes of uv's files that are asked beside the default one. Raises `ConfigError`."""
    for file in files(machine):
        content = read(file)
        rows = parse(decode(content, file), file).get("index", []) if content is not None else []
        for row in rows if isinstance(rows, list) else []:
            if isinstance(row, dict) and not row.get("default") and isinstance(row.get("url"), str):
                yield file, row["url"]
