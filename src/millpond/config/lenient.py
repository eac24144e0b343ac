"""The one exception to "a configuration mistake stops the start": the build-cache pruner's tables.

What is wrong in them is taken out before they are validated, and becomes a warning that names its place.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from millpond.config.problems import place
from millpond.config.sources import Gathered
from millpond.hosts.settings import sound

KEY = "build_cache"


def take_sound(gathered: Gathered) -> tuple[str, ...]:
    """Leave only what is sound in the pruner's tables; gives a line for each setting that was ignored."""
    warnings: list[str] = []
    for where, table in _tables(gathered.table):
        if KEY not in table:
            continue
        table[KEY], wrong = sound(table[KEY])
        for key, text in wrong:
            at = (*where, KEY, *((key,) if key else ()))
            warnings.append(f"{gathered.origin(at)}: {place(at)}: {text}; it is ignored")
    return tuple(warnings)


def _tables(table: dict[str, Any]) -> Iterator[tuple[tuple[str, ...], dict[str, Any]]]:
    """Find the tables that may hold a pruner's table."""
    upkeep, hosts = table.get("upkeep"), table.get("hosts")
    if isinstance(upkeep, dict):
        yield ("upkeep",), upkeep
    for name, host in (hosts if isinstance(hosts, dict) else {}).items():
        if isinstance(host, dict):
            yield ("hosts", str(name)), host
