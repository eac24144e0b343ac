"""What no single value shows: names, kinds of package, settings that contradict each other.

The checks read the raw tables, so that they are reported beside mistakes in single values, all at once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from millpond.config.boards import delivery_problems
from millpond.config.fields import LISTS
from millpond.config.fleet import app_problems, host_problems
from millpond.config.mirrors import mirror_problems
from millpond.config.model import UPSTREAM_KEYS, StorageConfig, UpstreamConfig
from millpond.config.problems import FEW, Problem, meant

RESERVED = frozenset(
    [
        "api",
        "v2",
        "health",
        "metrics",
        "config",
        "cache",
        "queue",
        "webhook",
        "ui",
        "docs",
        ".well-known",
        "favicon.ico",
    ]
)
_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.IGNORECASE | re.ASCII)
_LOCAL_ONLY = ("allow_overwrite", "max_upload")
_REMOTE_ONLY = (
    "base_url",
    "mutable_ttl_s",
    "check_mutable_updates",
    "negative_ttl_s",
    "username",
    "password",
    "trusted_origins",
    "digests",
    "mirror_of",
    *UPSTREAM_KEYS,
)


@dataclass(frozen=True, slots=True)
class PackageKind:
    """What the configuration must know of a kind of package."""

    default_ttl_s: float
    """How long its mutable paths are fresh when neither operator nor upstream says; seconds."""
    types: tuple[str, ...] = ("remote",)
    adoptable: bool = False
    """Whether its upstream can be read from this machine's own clients (``base_url = "adopt"``)."""
    mirrors: bool = False
    """Whether it can stand for a registry (``mirror_of``)."""
    takes_digests: bool = False
    """Whether the operator may pin paths to digests."""
    takes_lists: bool = False
    """Whether its upstream can be a list of mirrors (``metalink+https:``, ``mirrorlist+https:``)."""


@dataclass(frozen=True, slots=True)
class Kinds:
    """The registry of package kinds; `app` fills it from the formats."""

    packages: Mapping[str, PackageKind]


def contradictions(table: Mapping[str, Any], kinds: Kinds) -> Iterator[Problem]:
    """Find what is wrong between settings, in the tables as they were written."""
    yield from _watermarks(_sub(table, "storage"))
    yield from mirror_problems(table)
    yield from host_problems(table)
    yield from app_problems(table)
    yield from delivery_problems(table)
    upstream = _sub(table, "upstream")
    yield from _circuit(("upstream",), upstream, {})
    for name, repository in _sub(table, "repositories").items():
        yield from _name(name)
        if isinstance(repository, Mapping):
            yield from (Problem(("repositories", name, key), text) for key, text in _repository(repository, kinds))
            if set(repository) & {"circuit_open_s", "circuit_max_open_s"}:
                yield from _circuit(("repositories", name), repository, upstream)


def _sub(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, Mapping) else {}


def _number(key: str, *tables: Mapping[str, Any]) -> float:
    """Give the first table's value that is a number; the last table must have one."""
    values = (table.get(key) for table in tables)
    return next(value for value in values if isinstance(value, int | float) and not isinstance(value, bool))


def _watermarks(storage: Mapping[str, Any]) -> Iterator[Problem]:
    defaults = StorageConfig().model_dump()
    low, high = _number("low_watermark", storage, defaults), _number("high_watermark", storage, defaults)
    if low >= high:
        key = "low_watermark" if "low_watermark" in storage else "high_watermark"
        yield Problem(("storage", key), f"low_watermark ({low:g}) must be less than high_watermark ({high:g})")


def _circuit(place: tuple[str, ...], own: Mapping[str, Any], above: Mapping[str, Any]) -> Iterator[Problem]:
    defaults = UpstreamConfig().model_dump()
    first, most = (_number(key, own, above, defaults) for key in ("circuit_open_s", "circuit_max_open_s"))
    if first > most:
        key = "circuit_open_s" if "circuit_open_s" in own else "circuit_max_open_s"
        yield Problem((*place, key), f"circuit_open_s ({first:g}) must not exceed circuit_max_open_s ({most:g})")


def _name(name: str) -> Iterator[Problem]:
    if name.lower() in RESERVED:
        yield Problem(("repositories", name), "this name is reserved for the daemon's own URLs; choose another")
    elif not _NAME.fullmatch(name):
        text = "a name has letters, digits, '.', '_' and '-', begins with a letter or digit, and has at most 64 of them"
        yield Problem(("repositories", name), text)


def _repository(table: Mapping[str, Any], kinds: Kinds) -> Iterator[tuple[str, str]]:
    package, kind = table.get("package"), None
    if isinstance(package, str):
        kind = kinds.packages.get(package)
        if kind is None:
            yield "package", f'unknown package "{package}"; {meant(package, kinds.packages, FEW)}'
    type_ = table.get("type", "remote")
    if kind is not None and isinstance(type_, str) and type_ not in kind.types:
        known = " and ".join(f'"{name}"' for name in kind.types)
        yield "type", f'"{type_}" is not a type that {package} has; it has {known}'
    if kind is not None and not kind.takes_digests and "digests" in table:
        yield "digests", f"{package} takes its digests from its index; leave the key out"
    if kind is not None and not kind.mirrors and "mirror_of" in table:
        yield "mirror_of", "only a docker repository stands for a registry; leave the key out"
    if type_ == "local":
        yield from _local(table)
    elif type_ == "remote":
        yield from _remote(table, kind)


def _local(table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for key in _REMOTE_ONLY:
        if key in table:
            yield key, 'a local repository has no upstream; leave the key out, or write type = "remote"'


def _remote(table: Mapping[str, Any], kind: PackageKind | None) -> Iterator[tuple[str, str]]:
    for key in _LOCAL_ONLY:
        if key in table:
            yield key, 'nothing is uploaded to a remote repository; leave the key out, or write type = "local"'
    adoptable = kind is None or kind.adoptable
    choices = "the upstream's URL, or \"adopt\" for what this machine's own clients use" if adoptable else "its URL"
    if table.get("base_url", "") == "":
        yield "base_url", f"missing; a remote repository needs {choices}"
    elif table["base_url"] == "adopt" and not adoptable:
        yield "base_url", "this package has no client on this machine to adopt an upstream from; write the URL"
    elif kind is not None and not kind.takes_lists and str(table["base_url"]).startswith(LISTS):
        yield "base_url", "only an rpm repository can be given a list of mirrors; write the URL of one mirror"
