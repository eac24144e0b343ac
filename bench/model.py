"""What is measured: samples of rounds, and the rows they make. PURE."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias

from bench import stats

BASES = {"millpond-1": "nginx", "millpond-2": "nginx-2"}
"""Which nginx each of our own servers stands beside; every other server stands beside `nginx`."""
RATE = "rate"
PROCESSOR = "processor time"
"""What a request, or a megabyte, costs the server: steadier than a rate where a machine has neighbours."""
RELATIVE = frozenset({RATE, PROCESSOR})
"""The metrics that have a ratio to nginx; waiting times and sizes are what they are."""
SAME = ("cpu", "cores", "memory_gib", "kernel", "python")
"""What makes it the same machine."""
Key: TypeAlias = tuple[str, str, str, str]
"""Group, case, server, metric."""


@dataclass(frozen=True, slots=True)
class Sample:
    """One figure of one round."""

    group: str
    case: str
    server: str
    metric: str
    unit: str
    value: float
    more_is_better: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """All rounds of one figure."""

    group: str
    case: str
    server: str
    metric: str
    unit: str
    more_is_better: bool
    values: tuple[float, ...]

    @property
    def key(self) -> Key:
        """What tells it from other rows."""
        return self.group, self.case, self.server, self.metric

    @property
    def median(self) -> float:
        """The middle of the rounds."""
        return stats.median(self.values)

    @property
    def spread(self) -> float:
        """(largest - smallest) / median."""
        return stats.spread(self.values)


def rows_of(samples: Iterable[Sample]) -> dict[Key, Row]:
    """Bring the rounds of each figure together, in the order in which they first came."""
    found: dict[Key, Row] = {}
    for one in samples:
        key = one.group, one.case, one.server, one.metric
        before = found[key].values if key in found else ()
        found[key] = Row(*key, one.unit, one.more_is_better, (*before, one.value))
    return found


def base_of(row: Row, rows: Mapping[Key, Row]) -> Row | None:
    """Find the row of nginx that this one is set against; None: it is nginx, or nginx was not measured.

    Hits stand beside nginx serving files, everything that needs an upstream beside nginx caching.
    """
    base = BASES.get(row.server, "nginx") if row.group == "hits" else "nginx-cache"
    return None if row.server in {base, "nginx-2"} else rows.get((row.group, row.case, base, row.metric))


def ratio_of(row: Row, rows: Mapping[Key, Row]) -> tuple[float, ...]:
    """Give the row's ratio to nginx for each round; empty: there is nothing to set it against."""
    base = base_of(row, rows) if row.metric in RELATIVE else None
    return () if base is None else tuple(stats.ratios(row.values, base.values))


def measured_in(row: Row) -> str:
    """Name the group that a row was measured in; lag is measured in all of them."""
    return row.case.partition(":")[0] if row.group == "lag" else row.group


def joined(
    before: Mapping[Key, Row], then: dict[str, Any], after: Mapping[Key, Row], now: dict[str, Any]
) -> tuple[dict[Key, Row], dict[str, Any]]:
    """Put groups that were measured again in the place of the earlier ones; the others stay, and say when they were.

    Raises `ValueError` if the two are of different machines: their figures don't belong beside each other.
    """
    other = [name for name in SAME if then.get(name) != now.get(name)]
    if other:
        raise ValueError(f"the figures there are of another machine ({', '.join(other)}): write into another folder")
    again = {measured_in(row) for row in after.values()}
    kept = {key: row for key, row in before.items() if measured_in(row) not in again}
    runs = then.get("runs", {}) | {group: _run(now) for group in again}
    runs |= {measured_in(row): runs.get(measured_in(row), _run(then)) for row in kept.values()}
    failed = [one for one in then.get("failed", []) if one.partition(":")[0] not in again]
    return kept | dict(after), now | {"runs": runs, "failed": failed + now.get("failed", [])}


def _run(machine: dict[str, Any]) -> dict[str, Any]:
    return {name: machine.get(name) for name in ("at", "commit", "rounds", "seconds", "load_before")}


def as_json(rows: Mapping[Key, Row], machine: dict[str, Any]) -> str:
    """Write figures and machine as JSON that `read` takes."""
    figures = [
        {
            "group": row.group,
            "case": row.case,
            "server": row.server,
            "metric": row.metric,
            "unit": row.unit,
            "more_is_better": row.more_is_better,
            "values": [float(f"{value:.6g}") for value in row.values],
        }
        for row in rows.values()
    ]
    return json.dumps({"machine": machine, "figures": figures}, indent=1) + "\n"


def read(text: str) -> tuple[dict[Key, Row], dict[str, Any]]:
    """Read what `as_json` wrote. Raises `ValueError` for anything else."""
    try:
        told = json.loads(text)
        rows = [Row(**one | {"values": tuple(one["values"])}) for one in told["figures"]]
        machine: dict[str, Any] = told["machine"]
    except (KeyError, TypeError) as error:
        raise ValueError(f"these are no figures of the benchmark: {error!r}") from error
    return {row.key: row for row in rows}, machine
