"""Sizes as Docker prints them, read back to bytes. PURE.

Decimal units (go-units' HumanSize: ``11.05GB`` is 11.05 * 1000^3) and binary ones (``1.5GiB``). What is printed has
four digits, so the bytes are as exact as that.
"""

from __future__ import annotations

import re
from decimal import Decimal

_NUMBER = r"[0-9]{1,20}(?:\.[0-9]{1,20})?(?:e[+-]?[0-9]{1,2})?"
_SIZE = re.compile(rf"({_NUMBER}) ?([kmgtpezy]?)(i?)b?", re.IGNORECASE | re.ASCII)
_POWERS = {unit: power for power, unit in enumerate(("", "k", "m", "g", "t", "p", "e", "z", "y"))}


def read_size(text: str) -> int:
    """Give whole bytes. Raises `ValueError`."""
    found = _SIZE.fullmatch(text.strip())
    if found is None or (found[3] and not found[2]):
        raise ValueError(f"{text!r} is no size")
    base = 1024 if found[3] else 1000
    return int(Decimal(found[1]) * base ** _POWERS[found[2].lower()])


def write_size(size: int) -> str:
    """Write bytes as Docker does: four digits, decimal units."""
    number, power = float(size), 0
    units = ("B", "kB", "MB", "GB", "TB", "PB", "EB")
    while number >= 1000 and power < len(units) - 1:  # noqa: PLR2004 - decimal units
        number, power = number / 1000, power + 1
    return f"{number:.4g}{units[power]}"
