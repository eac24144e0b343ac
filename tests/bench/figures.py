"""Rows for the tests of what is made of them."""

from __future__ import annotations

from bench.model import Row


def row(
    server: str,
    *values: float,
    group: str = "hits",
    case: str = "a: 2 KiB",
    metric: str = "rate",
    unit: str = "requests/s",
    more_is_better: bool = True,
) -> Row:
    return Row(group, case, server, metric, unit, more_is_better, values)


def table(*rows: Row):
    return {one.key: one for one in rows}
