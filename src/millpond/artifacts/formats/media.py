"""Accept headers read (RFC 9110 section 12.5.1): which of the types that a format has does a client want. PURE.

A client can't make it costly: at most `MAX_RANGES` ranges are read.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

MAX_RANGES = 64
NONE, ANY, FAMILY, EXACT = range(4)
_QUALITY = re.compile(r"0(?:\.[0-9]{0,3})?|1(?:\.0{0,3})?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Range:
    """One media range; `quality` is in thousandths."""

    kind: str
    quality: int


def ranges(accept: str) -> list[Range]:
    """Read an Accept header; parameters other than the quality are passed over."""
    return [_range(part) for part in accept.split(",")[:MAX_RANGES] if part.strip()]


def rank(kind: str, wanted: Sequence[Range]) -> tuple[int, int]:
    """Give the quality of a type and how exactly it was named: the most specific range that matches decides."""
    family = kind.partition("/")[0] + "/*"
    for exactness, pattern in ((EXACT, kind), (FAMILY, family), (ANY, "*/*")):
        found = [one.quality for one in wanted if one.kind == pattern]
        if found:
            return max(found), exactness
    return 0, NONE


def _range(text: str) -> Range:
    kind, *parameters = text.split(";")
    for parameter in parameters:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "q":
            value = value.strip()
            # An unreadable quality is the least that is still acceptable.
            return Range(kind.strip().lower(), round(float(value) * 1000) if _QUALITY.fullmatch(value) else 1)
    return Range(kind.strip().lower(), 1000)
