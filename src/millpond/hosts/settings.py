"""The build-cache pruner's settings as they were written -> sound ones, and what had to be ignored. PURE.

Here a mistake does not stop the start: a pruner that is set wrong must not stop deliveries. What is wrong falls back to
what would hold without it, with a warning. Everywhere else in the configuration a mistake is refused.
"""

from __future__ import annotations

import difflib
import math
from collections.abc import Callable, Mapping
from dataclasses import fields

from millpond.hosts.model import PruneOptions
from millpond.hosts.until import go_duration

_SWITCH: Mapping[str, bool] = {
    "true": True, "yes": True, "on": True, "1": True, "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip
_MAX_SHOWN = 40


def sound(written: object) -> tuple[dict[str, object], tuple[tuple[str, str], ...]]:
    """Give the settings that can be taken; of each that can't its key (empty: the whole table) and what is wrong."""
    if not isinstance(written, Mapping):
        return {}, (("", f"must be a table, not {_shown(written)}"),)
    taken: dict[str, object] = {}
    warnings: list[tuple[str, str]] = []
    for key, value in written.items():
        read = _READ.get(str(key))
        if read is None:
            warnings.append((str(key), _unknown(str(key))))
            continue
        try:
            taken[str(key)] = read(value)
        except ValueError as error:
            warnings.append((str(key), str(error)))
    return taken, tuple(warnings)


def _switch(value: object) -> bool:
    """Read a switch; as text too, since one that can't be read would switch pruning on again."""
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _SWITCH:
        return _SWITCH[value.lower()]
    raise ValueError(f"must be true or false, not {_shown(value)}")


def _number(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"must be a number, not {_shown(value)}")
    return value


def _seconds(value: object) -> float:
    if (number := _number(value)) <= 0:
        raise ValueError(f"must be more than 0, not {_shown(value)}")
    return number


def _amount(value: object) -> float:
    if (number := _number(value)) < 0:
        raise ValueError(f"must be at least 0, not {_shown(value)}")
    return number


def _until(value: object) -> str:
    if isinstance(value, int) and not isinstance(value, bool):
        value = str(value)
    if not isinstance(value, str):
        raise ValueError(f'must be text such as "24h", not {_shown(value)}')  # noqa: TRY004 - one kind of mistake
    go_duration(value)
    return value


def _unknown(key: str) -> str:
    known = [field.name for field in fields(PruneOptions)]
    close = difflib.get_close_matches(key.lower(), known, n=1)
    return f'unknown key; did you mean "{close[0]}"?' if close else f"unknown key; known: {', '.join(known)}"


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= _MAX_SHOWN else f"{text[:_MAX_SHOWN]}..."


_READ: Mapping[str, Callable[[object], object]] = {
    "enabled": _switch,
    "interval_s": _seconds,
    "until": _until,
    "all": _switch,
    "timeout_s": _seconds,
    "notify_min_gb": _amount,
}
