"""Hosts and their upkeep: what fits together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from millpond.config.hosts import DiskConfig
from millpond.config.problems import Problem

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.IGNORECASE | re.ASCII)
_MARKS = (("low_percent", "high_percent"), ("low_inodes_percent", "high_inodes_percent"))
POND = "pond"
"""What the status calls the pond's own disk."""


def host_problems(table: Mapping[str, Any]) -> Iterator[Problem]:
    """Find names that no host can have, and marks in the wrong order."""
    common = _sub(_sub(table, "upkeep"), "disk")
    yield from _marks(("upkeep", "disk"), common, {})
    for name, host in _sub(table, "hosts").items():
        if not _NAME.fullmatch(name):
            text = "a name has letters, digits, '.', '_' and '-', begins with a letter or digit; at most 64 of them"
            yield Problem(("hosts", name), text)
        elif name == POND:
            yield Problem(("hosts", name), f'"{POND}" is what the status calls the pond itself; choose another name')
        if isinstance(host, Mapping) and _sub(host, "disk"):
            yield from _marks(("hosts", name, "disk"), _sub(host, "disk"), common)


def _sub(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, Mapping) else {}


def _marks(place: tuple[str, ...], own: Mapping[str, Any], above: Mapping[str, Any]) -> Iterator[Problem]:
    defaults = DiskConfig().model_dump()
    for pair in _MARKS:
        low, high = (_number(key, own, above, defaults) for key in pair)
        if low >= high:
            key = pair[0] if pair[0] in own else pair[1]
            yield Problem((*place, key), f"{pair[0]} ({low:g}) must be less than {pair[1]} ({high:g})")


def _number(key: str, *tables: Mapping[str, Any]) -> float:
    """Give the first table's value that is a number; the last table must have one."""
    values = (table.get(key) for table in tables)
    return next(value for value in values if isinstance(value, int | float) and not isinstance(value, bool))
