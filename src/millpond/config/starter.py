"""The millpond.toml that `millpond init` writes: every key with its meaning, set where it is not the default.

What is not set is there as a comment with the default. Secrets are never written: a comment says where they go.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr
from pydantic.fields import FieldInfo

from millpond.adopt import Adopted, Found, Skipped
from millpond.config.adopting import ADOPT
from millpond.config.apps import AppConfig
from millpond.config.delivery import ProjectConfig
from millpond.config.hosts import HostConfig
from millpond.config.model import UPSTREAM_KEYS, Config, RepositoryConfig
from millpond.config.problems import NAMED, PIPELINE
from millpond.config.table import Table
from millpond.config.units import format_size

_HEADER = """\
# Millpond's configuration. A line that begins with "#" shows a key and its default (or an example).
# Every key is also a variable of the environment: MILLPOND_SERVER__PORT=8081
# `millpond check` tells what is wrong; docs/configuration.md tells more.
"""
_SIZES = {"max_size", "keep_free", "max_upload"}
_EXAMPLES = {
    "public_url": '"http://pond.lan:8080"',
    "max_size": '"50GiB"',
    "mutable_ttl_s": "600",
    "username": '{ env = "NAME" }',
    "password": '{ env = "NAME" }',
    "urls": '[{ env = "NAME" }]',
    "token": '{ env = "NAME" }',
    "webhook_secret": '{ env = "NAME" }',
    "environment": '{ NAME = { env = "NAME" } }',
}
_APP = AppConfig(path="app", hosts=("host",))
_PROJECT = ProjectConfig(prefix="X")
_LOCAL_ONLY = ("allow_overwrite", "max_upload")
_BARE = re.compile(r"[A-Za-z0-9_-]+")


def init_text(config: Config, adopted: Iterable[Found], *, folder: Path | None = None) -> str:
    """Write a configuration file that loads back to `config`.

    Adopted repositories are written as ``base_url = "adopt"``, with what was found in a comment; a configuration
    without repositories gets one for each adopted upstream. Paths within `folder`, where the file will lie, are written
    relative to it. Secrets are left out.
    """
    config = config if folder is None else _relative(config, folder)
    found = tuple(adopted)
    tables = [name for name in Config.model_fields if name not in {*NAMED, PIPELINE}]
    pipeline = [f"pipeline = {_toml(PIPELINE, config.pipeline)}\n"] if config.pipeline else []
    parts = [_HEADER, *pipeline, *(_table(name, getattr(config, name)) for name in tables)]
    repositories = config.repositories or {
        one.repository: RepositoryConfig(package=one.package, base_url=ADOPT)
        for one in found
        if isinstance(one, Adopted)
    }
    parts += [_repository(name, one, found) for name, one in repositories.items()]
    parts += [_named(f"hosts.{_name(name)}", one, HostConfig(ssh="local")) for name, one in config.hosts.items()]
    parts += [_named(f"apps.{_name(name)}", one, _APP) for name, one in config.apps.items()]
    parts += [_named(f"projects.{_name(name)}", one, _PROJECT) for name, one in config.projects.items()]
    parts += [f"# No repository for {one.package}: {_line(one.reason)}\n" for one in found if isinstance(one, Skipped)]
    return "\n".join(parts)


def _relative(config: Config, folder: Path) -> Config:
    data, url = config.server.data, config.storage.url
    if data.is_relative_to(folder):
        data = data.relative_to(folder)
    if url and Path(url.removeprefix("file:")).is_relative_to(folder):
        url = f"file:{Path(url.removeprefix('file:')).relative_to(folder)}"
    update = {
        "server": config.server.model_copy(update={"data": data}),
        "storage": config.storage.model_copy(update={"url": url}),
    }
    return config.model_copy(update=update)


def _table(name: str, table: Table) -> str:
    about = _line(type(table).__doc__ or "")
    defaults = type(table)()
    below = {key: value for key, _ in _fields(table) if isinstance(value := getattr(table, key), Table)}
    lines = [
        _key(key, getattr(table, key), getattr(defaults, key), info) for key, info in _fields(table) if key not in below
    ]
    if below and not lines:
        return "\n".join(_table(f"{name}.{key}", value) for key, value in below.items())
    return f"# {about}\n[{name}]\n" + "".join(lines)


def _named(place: str, table: Table, defaults: Table) -> str:
    """Write one of the tables that have names; of the tables below it only what is set."""
    below = {key: value for key, _ in _fields(table) if isinstance(value := getattr(table, key), Table)}
    lines = [
        _key(key, getattr(table, key), "" if info.is_required() else getattr(defaults, key), info)
        for key, info in _fields(table)
        if key not in below
    ]
    parts = [f"[{place}]\n", *lines]
    for key, inner in below.items():
        unset = getattr(defaults, key)
        values = {name: value for name, _ in _fields(inner) if (value := getattr(inner, name)) != getattr(unset, name)}
        if values:
            parts.append(f"[{place}.{key}]\n")
            parts += [f"{name} = {_toml(name, value)}\n" for name, value in values.items()]
    return "".join(parts)


def _fields(table: Table) -> Iterable[tuple[str, FieldInfo]]:
    return type(table).model_fields.items()


def _repository(name: str, repository: RepositoryConfig, found: tuple[Found, ...]) -> str:
    wanted = repository.model_copy(update={"base_url": ADOPT}) if repository.found_in else repository
    defaults = RepositoryConfig(package="", base_url=ADOPT if wanted.base_url == ADOPT else "")
    heads = [_comment(one) for one in found if isinstance(one, Adopted) and one.repository == name]
    lines = [
        _key(key, getattr(wanted, key), "" if key == "base_url" else getattr(defaults, key), info)
        for key, info in _fields(wanted)
        if key not in UPSTREAM_KEYS and _belongs(key, wanted)
    ]
    own = [f"{key} = {_toml(key, getattr(wanted, key))}\n" for key in UPSTREAM_KEYS if getattr(wanted, key) is not None]
    if wanted.type == "remote":
        own.append("# Each key of [upstream] can be set here too.\n")
    return "".join([*heads, f"[repositories.{_name(name)}]\n", *lines, *own])


def _belongs(key: str, repository: RepositoryConfig) -> bool:
    if repository.type == "local":
        return key in {"package", "type", "immutable_patterns", "mutable_patterns", *_LOCAL_ONLY}
    return key not in _LOCAL_ONLY and (key not in {"digests", "mirror_of"} or bool(getattr(repository, key)))


def _comment(one: Adopted) -> str:
    return f"# Adopted: {_line(one.base_url)}\n# Found: {_line(one.found_in)}\n"


def _key(key: str, value: Any, default: Any, info: FieldInfo) -> str:
    about = f"  # {_line(info.description or '')}" if info.description else ""
    if _is_secret(value):
        return f"# {key} = {_EXAMPLES[key]}{about} It is set; its value is not repeated here.\n"
    if value == default and key not in {"package", "type"}:
        return f"# {key} = {_default(key, default)}{about}\n"
    return f"{key} = {_toml(key, value)}{about}\n"


def _is_secret(value: Any) -> bool:
    inner = value.values() if isinstance(value, Mapping) else value if isinstance(value, tuple) else (value,)
    return any(isinstance(one, SecretStr) for one in inner)


def _default(key: str, default: Any) -> str:
    if default is None or default == "":
        return _EXAMPLES.get(key, '""')
    return _toml(key, default)


def _toml(key: str, value: Any) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() if key in _SIZES:
            return json.dumps(format_size(value))
        case int():
            return str(value)
        case float():
            return f"{value:g}" if float(f"{value:g}") == value else repr(value)
        case tuple() | list():
            return f"[{', '.join(_toml(key, item) for item in value)}]"
        case Mapping():
            pairs = ", ".join(f"{_text(name)} = {_toml(key, item)}" for name, item in value.items())
            return f"{{ {pairs} }}" if pairs else "{}"
        case Path():
            return _text(str(value))
    return _text(str(value))


def _text(value: str) -> str:
    """Write a basic string; TOML's escapes are JSON's, and DEL must be escaped too."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _name(name: str) -> str:
    return name if _BARE.fullmatch(name) else _text(name)


def _line(text: str) -> str:
    return " ".join(text.split())
