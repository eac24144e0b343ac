"""npm's configuration: where npm looks, what wins, what is in a file (npm's "config" and "npmrc" pages).

The environment (``npm_config_*`` in any case) beats the project's ``.npmrc``, that one the user's, and that one the
machine's. pnpm and yarn 1 read the same files. A file is an INI file without sections; ``${NAME}`` stands for a
variable, and stays as it is where there is none.
"""

from __future__ import annotations

import json
import re
import shutil
from base64 import b64decode
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from millpond.adopt.machine import Machine
from millpond.adopt.pipconf import decode, read

REGISTRY = "registry"
_LINE = re.compile(r"\s*(?P<key>[^=;#\[\s][^=]*?)\s*=\s*(?P<value>.*?)\s*")
_VARIABLE = re.compile(r"(?<!\\)(\\*)\$\{([^${}?]+)(\?)?\}")
_PREFIX = "npm_config_"
_SCOPED = re.compile(r"(@[^:/]+):registry")


@dataclass(frozen=True, slots=True)
class Settings:
    """One place that has settings: a file, or (None) the environment."""

    file: Path | None
    values: Mapping[str, str]

    @property
    def label(self) -> str:
        """The place, for people."""
        return str(self.file) if self.file is not None else f"{_PREFIX}{REGISTRY}"


def user_file(machine: Machine) -> Path:
    """Give the user's own file."""
    named = _variables(machine).get("userconfig", "")
    return Path(named) if named else machine.home / ".npmrc"


def files(machine: Machine) -> list[Path]:
    """List the files that npm reads, the strongest first."""
    found = [user_file(machine), *_global_files(machine)]
    project = _project_file(machine)
    return ([project] if project is not None and project != found[0] else []) + found


def places(machine: Machine) -> Iterator[Settings]:
    """Give every place that has settings, the strongest first. Raises `ConfigError` for a file that is no text."""
    yield Settings(None, _variables(machine))
    for file in files(machine):
        content = read(file)
        if content is not None:
            yield Settings(file, parse(decode(content, file), machine.environ))


def parse(text: str, environ: Mapping[str, str]) -> dict[str, str]:
    """Read a file's settings: those before any section's header. Of two with one key the last counts."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        if line.lstrip().startswith("["):
            break
        match = _LINE.fullmatch(line)
        if match:
            found[_expanded(_unquoted(match["key"]), environ)] = _expanded(_unquoted(match["value"]), environ)
    return found


def earlier(machine: Machine, file: Path) -> str:
    """Give the registry of a file before `connect` changed it; empty: none."""
    content = machine.earlier.get(file)
    return "" if content is None else parse(decode(content, file), machine.environ).get(REGISTRY, "")


def scoped(settings: Settings) -> Iterator[tuple[str, str]]:
    """Give the scopes that a place sends to registries of their own, and these."""
    for key, value in settings.values.items():
        match = _SCOPED.fullmatch(key)
        if match and value:
            yield match[1], value


def credentials(found: Iterator[Settings] | list[Settings], registry: str) -> tuple[str, str]:
    """Give the user name and password for a registry; without a name it is a token. Empty: there are none.

    As npm looks for them: by the registry's host and path, then by each path above it, down to the host alone.
    """
    values: dict[str, str] = {}
    for place in reversed(list(found)):
        values |= place.values
    parts = urlsplit(registry)
    key = f"//{parts.netloc.rpartition('@')[2]}{parts.path or '/'}"
    while len(key) > len("//"):
        username, password = _at(values, key)
        if password:
            return username, password
        key = re.sub(r"([^/]+|/)$", "", key)
    return "", ""


def _at(values: Mapping[str, str], key: str) -> tuple[str, str]:
    token, pair = values.get(f"{key}:_authToken", ""), values.get(f"{key}:_auth", "")
    if token:
        return "", token
    if pair:
        username, _, password = _unpacked(pair).partition(":")
        return username, password
    return values.get(f"{key}:username", ""), _unpacked(values.get(f"{key}:_password", ""))


def _unpacked(text: str) -> str:
    try:
        return b64decode(text, validate=True).decode()
    except ValueError:
        return ""


def _variables(machine: Machine) -> dict[str, str]:
    """Read the settings that the environment has; keys that name a host keep their case."""
    found: dict[str, str] = {}
    for name, value in machine.environ.items():
        if name.lower().startswith(_PREFIX) and value:
            key = name[len(_PREFIX) :]
            found[key if key.startswith("//") else key[:1].lower() + key[1:].lower().replace("_", "-")] = value
    return found


def _global_files(machine: Machine) -> list[Path]:
    """List the machine's file: where npm's settings say, else below the folder that node is installed in."""
    variables = _variables(machine)
    if variables.get("globalconfig"):
        return [Path(variables["globalconfig"])]
    if variables.get("prefix"):
        return [Path(variables["prefix"]) / "etc/npmrc"]
    node = shutil.which("node", path=machine.environ.get("PATH"))
    folders = [Path(node).resolve().parent.parent] if node else []
    return [machine.root / folder.relative_to("/") / "etc/npmrc" for folder in folders]


def _project_file(machine: Machine) -> Path | None:
    """Find the project's file: beside the nearest ``package.json`` or ``node_modules``, else where we are."""
    if machine.cwd is None:
        return None
    for folder in (machine.cwd, *machine.cwd.parents):
        if (folder / "package.json").exists() or (folder / "node_modules").exists():
            return folder / ".npmrc"
    return machine.cwd / ".npmrc"


def _unquoted(text: str) -> str:
    if len(text) > 1 and text[0] == text[-1] == "'":
        return text[1:-1]
    if len(text) > 1 and text[0] == text[-1] == '"':
        try:
            said = json.loads(text)
        except ValueError:
            return text
        return said if isinstance(said, str) else text
    return re.split(r"\s[;#]", text)[0].rstrip()


def _expanded(text: str, environ: Mapping[str, str]) -> str:
    def value(match: re.Match[str]) -> str:
        escapes, name, optional = match.groups()
        if len(escapes) % 2:
            return match[0][(len(escapes) + 1) // 2 :]
        return escapes[len(escapes) // 2 :] + environ.get(name, "" if optional else f"${{{name}}}")

    return _VARIABLE.sub(value, text)
