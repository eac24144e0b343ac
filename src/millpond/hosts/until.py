"""The pruner's ``until``: how long ago build cache must have been used last, to go. PURE.

A number and one of s, m, h, d, w; a bare number means hours. Docker takes a Go duration, which knows neither days nor
weeks, and takes a bare number for a time stamp: 1970, so that nothing is pruned and nothing said. So hours are sent.
"""

from __future__ import annotations

import re

_FORM = re.compile(r"([0-9]{1,20})([smhdw]?)")
_HOURS = {"": 1, "h": 1, "d": 24, "w": 24 * 7}
_SECONDS = {"s": 1, "m": 60}
_MAX_HOURS = 100 * 366 * 24
"""A Go duration ends at 292 years."""


def go_duration(until: str) -> str:
    """Write it as a Go duration, such as ``168h`` for ``7d``. Raises `ValueError` in words for the operator."""
    found = _FORM.fullmatch(until)
    if found is None:
        raise ValueError(f'{until!r} is no age; write a number and s, m, h, d or w, such as "24h" or "7d"')
    number, unit = int(found[1]), found[2]
    if number == 0:
        raise ValueError("zero would prune what is in use at this moment; write at least 1s")
    if unit in _SECONDS:
        hours = number * _SECONDS[unit] / 3600
        sent = f"{number}{unit}"
    else:
        hours = number * _HOURS[unit]
        sent = f"{number * _HOURS[unit]}h"
    if hours > _MAX_HOURS:
        raise ValueError(f"{until!r} is longer than a hundred years")
    return sent
