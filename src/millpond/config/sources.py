"""Where settings come from, and which one wins: the file, then the environment, then the command line.

Every key is also a variable: ``MILLPOND_SERVER__PORT``, ``MILLPOND_REPOSITORIES__PYPI__MUTABLE_TTL_S``. Variables
without a double underscore are no settings. Where a value came from is remembered, for error lines and for relative
paths: those of the file start at its folder, all others at the working directory.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import SecretStr

from millpond.config.problems import NAMED, table_class
from millpond.config.problems import Path as Place
from millpond.errors import ConfigError, Mistake

PREFIX = "MILLPOND_"
FILE_NAME = "millpond.toml"
SYSTEM_FILE = Path("/etc/millpond") / FILE_NAME
MAX_FILE_BYTES = 4 << 20
_AT = re.compile(r"(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)", re.DOTALL)


@dataclass(slots=True)
class Gathered:
    """Settings as they were written, and where each of them came from."""

    label: str
    """The file's name for people, or ``configuration`` without one."""
    folder: Path
    cwd: Path
    table: dict[str, Any]
    origins: dict[Place, str] = field(default_factory=dict)
    """Only of what the environment or the command line sets."""

    def origin(self, place: Place) -> str:
        """Say where the setting at a place came from."""
        above = (place[:depth] for depth in range(len(place), 0, -1))
        below = (known for known in self.origins if known[: len(place)] == place)
        for known in (*above, *below):
            if known in self.origins:
                return self.origins[known]
        return self.label

    def anchor(self, place: Place, path: str | Path) -> Path:
        """Make a path absolute: from the file's folder, or from the working directory if the file did not set it."""
        named = any(place[:depth] in self.origins for depth in range(1, len(place) + 1))
        return (self.cwd if named else self.folder) / path

    def put(self, place: Place, value: object, origin: str) -> None:
        """Set one value; a parent that is no table stays as it is, to be reported."""
        table = self.table
        for part in place[:-1]:
            below = table.setdefault(str(part), {})
            if not isinstance(below, dict):
                return
            table = below
        table[str(place[-1])] = value
        self.origins[place] = origin


def find(path: Path | None, cwd: Path, system: Path = SYSTEM_FILE) -> Path | None:
    """Find the configuration file: the named one, else the working directory's, else the machine's, else none."""
    if path is not None:
        return cwd / path
    return next((candidate for candidate in looked_for(cwd, system) if candidate.is_file()), None)


def looked_for(cwd: Path, system: Path = SYSTEM_FILE) -> tuple[Path, ...]:
    """Give where a configuration file is looked for that nobody names; the first that is there is it."""
    return cwd / FILE_NAME, system


def gather(file: Path | None, *, environ: Mapping[str, str], overrides: Mapping[str, object], cwd: Path) -> Gathered:
    """Read all sources. Raises `ConfigError` for a file that can't be read or is no TOML."""
    if file is None:
        gathered = Gathered("configuration", cwd, cwd, {})
    else:
        label = _label(file, cwd)
        gathered = Gathered(label, file.absolute().parent, cwd, _read(file, label))
    for name in sorted(environ, key=lambda name: (name.count("__"), name)):
        if name.startswith(PREFIX) and "__" in name.removeprefix(PREFIX):
            place = _place_of(name, gathered.table)
            gathered.put(place, _value(environ[name], place), name)
    for key, value in overrides.items():
        gathered.put(tuple(key.split(".")), value, "command line")
    _anchor_paths(gathered)
    return gathered


def _label(file: Path, cwd: Path) -> str:
    return str(file.relative_to(cwd)) if file.is_relative_to(cwd) else str(file)


def _read(file: Path, label: str) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise ConfigError(Mistake("there is no such file", label, meant="`millpond init` writes one")) from None
    except OSError as error:
        raise ConfigError(Mistake(f"cannot be read: {error.strerror or error}", label)) from None
    if len(content) > MAX_FILE_BYTES:
        raise ConfigError(
            Mistake(f"larger than {MAX_FILE_BYTES} bytes", label, meant="that is no configuration of ours")
        )
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise ConfigError(Mistake(f"line {line}: not UTF-8 text", label)) from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(Mistake(_syntax(str(error), content), label)) from None


def _syntax(message: str, content: bytes) -> str:
    """Put the position first. tomllib gives it in its text only."""
    found = _AT.fullmatch(message)
    if found is None:
        return message
    what = found["what"][:1].lower() + found["what"][1:]
    if found["line"]:
        return f"line {found['line']}, column {found['column']}: {what}"
    lines = content.decode("utf-8-sig").splitlines() or [""]
    return f"line {len(lines)}, column {len(lines[-1]) + 1}: {what} (at the end of the file)"


def _place_of(variable: str, table: Mapping[str, Any]) -> Place:
    """Find the key that a variable sets; ``_`` in a name may stand for ``-`` and ``.`` too."""
    parts = [part.lower() for part in variable.removeprefix(PREFIX).split("__")]
    tables = table.get(parts[0])
    if parts[0] in NAMED and isinstance(tables, dict):
        spelled = {re.sub(r"[.-]", "_", name).lower(): name for name in tables}
        parts[1] = spelled.get(parts[1], parts[1])
    return tuple(parts)


def _value(raw: str, place: Place) -> object:
    """Read a variable's value as TOML where it is TOML, and as text where it isn't or where only text can be meant."""
    try:
        parsed = tomllib.loads(f"value = {raw}")
    except tomllib.TOMLDecodeError:
        return raw
    if list(parsed) != ["value"] or "\n" in raw:
        return raw
    value = parsed["value"]
    return value if isinstance(value, str | dict) or not _is_text(place) else raw


def _is_text(place: Place) -> bool:
    field = table_class(place[:-1]).model_fields.get(str(place[-1]))
    return field is not None and _names_text(field.annotation)


def _names_text(annotation: Any) -> bool:
    if get_origin(annotation) in {Annotated, Union, UnionType}:
        return any(_names_text(part) for part in get_args(annotation))
    return annotation in (str, Path, SecretStr)


def _anchor_paths(gathered: Gathered) -> None:
    server = gathered.table.setdefault("server", {})
    if isinstance(server, dict):
        _anchor(gathered, server, ("server", "data"))
        server.setdefault("data", gathered.folder / "millpond-data")
    storage = gathered.table.get("storage")
    if isinstance(storage, dict) and str(storage.get("url")).startswith("file:") and storage["url"] != "file:":
        path = storage["url"].removeprefix("file:")
        storage["url"] = f"file:{gathered.anchor(('storage', 'url'), path)}"
    repositories = gathered.table.get("repositories")
    for name, repository in (repositories if isinstance(repositories, dict) else {}).items():
        for key in ("username", "password"):
            secret = repository.get(key) if isinstance(repository, dict) else None
            if isinstance(secret, dict):
                _anchor(gathered, secret, ("repositories", name, key, "file"))
    _anchor_hosts(gathered)
    _anchor_apps(gathered)
    _anchor_counterparts(gathered)


def _anchor_hosts(gathered: Gathered) -> None:
    hosts, notify = gathered.table.get("hosts"), gathered.table.get("notify")
    for name, host in (hosts if isinstance(hosts, dict) else {}).items():
        for key in ("identity_file", "known_hosts") if isinstance(host, dict) else ():
            _anchor_at_home(gathered, host, ("hosts", name, key))
    urls = notify.get("urls") if isinstance(notify, dict) else None
    for url in urls if isinstance(urls, list) else ():
        if isinstance(url, dict):
            _anchor(gathered, url, ("notify", "urls", "file"))


def _anchor_apps(gathered: Gathered) -> None:
    """Leave the folder of an app that lies on a host as it is: that is the host's affair."""
    apps = gathered.table.get("apps")
    for name, app in (apps if isinstance(apps, dict) else {}).items():
        if isinstance(app, dict) and not app.get("on"):
            _anchor_at_home(gathered, app, ("apps", name, "path"))


def _anchor_counterparts(gathered: Gathered) -> None:
    delivery = gathered.table.get("delivery")
    environment = delivery.get("environment") if isinstance(delivery, dict) else None
    for name, secret in (environment if isinstance(environment, dict) else {}).items():
        if isinstance(secret, dict):
            _anchor(gathered, secret, ("delivery", "environment", name, "file"))
    for name in ("tracker", "forge"):
        table = gathered.table.get(name)
        if not isinstance(table, dict):
            continue
        for key in ("token", "webhook_secret"):
            secret = table.get(key)
            if isinstance(secret, dict):
                _anchor(gathered, secret, (name, key, "file"))
        _anchor_at_home(gathered, table, (name, "path"))


def _anchor_at_home(gathered: Gathered, table: dict[str, Any], place: Place) -> None:
    key = str(place[-1])
    if str(table.get(key, "")).startswith("~/"):
        table[key] = str(Path(str(table[key])).expanduser())
    _anchor(gathered, table, place)


def _anchor(gathered: Gathered, table: dict[str, Any], place: Place) -> None:
    key = str(place[-1])
    if isinstance(table.get(key), str | Path) and table[key]:
        table[key] = gathered.anchor(place, table[key])
        table[key] = table[key] if key == "data" else str(table[key])
