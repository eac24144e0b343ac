"""Sizes and durations as people write them. PURE.

Sizes: binary units (KiB, MiB, GiB, TiB; IEC 80000-13) and decimal ones (KB, MB, GB, TB); a bare number is bytes.
Durations: s, m, h, d, w; a bare number is seconds.
"""

from __future__ import annotations

import re

_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]i?B|B)?", re.IGNORECASE | re.ASCII)
_DURATION = re.compile(r"(\d+(?:\.\d+)?)\s*([smhdw])?", re.IGNORECASE | re.ASCII)
_MAX_DIGITS = 30
_POWERS = {"k": 1, "m": 2, "g": 3, "t": 4}
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 604800}
MAX_SIZE_BYTES = 1 << 62
MAX_DURATION_S = 100 * 365 * 86400.0


def parse_size(text: str) -> int:
    """Read a size and give whole bytes. Raises `ValueError` in words for the operator."""
    found = _SIZE.fullmatch(text.strip()) if len(text) <= _MAX_DIGITS else None
    if found is None:
        raise ValueError(f'{text!r} is not a size; write a number and a unit, such as "500MiB" or "50GiB"')
    unit = (found[2] or "B").lower()
    size = int(float(found[1]) * _factor(unit)) if "." in found[1] else int(found[1]) * _factor(unit)
    if size > MAX_SIZE_BYTES:
        raise ValueError(f"{text!r} is larger than any disk")
    return size


def _factor(unit: str) -> int:
    return int((1024 if "i" in unit else 1000) ** _POWERS.get(unit[0], 0))


def format_size(size_bytes: int) -> str:
    """Write bytes with the largest unit that keeps them whole, so that `parse_size` reads the same number back."""
    for power, unit in ((4, "TiB"), (3, "GiB"), (2, "MiB"), (1, "KiB")):
        if size_bytes and size_bytes % 1024**power == 0:
            return f"{size_bytes // 1024**power}{unit}"
    return f"{size_bytes}B"


def parse_duration(text: str) -> float:
    """Read a duration (``90``, ``15m``, ``30d``) and give seconds. Raises `ValueError` in words for the operator."""
    found = _DURATION.fullmatch(text.strip()) if len(text) <= _MAX_DIGITS else None
    if found is None:
        raise ValueError(f'{text!r} is not a duration; write a number and a unit, such as "90s", "15m", "12h" or "30d"')
    seconds = float(found[1]) * _SECONDS[(found[2] or "s").lower()]
    if seconds > MAX_DURATION_S:
        raise ValueError(f"{text!r} is longer than a hundred years")
    return seconds
