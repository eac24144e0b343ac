"""Spans of time in words. PURE."""

from __future__ import annotations

_UNITS = ((86400.0, "d", 172_800.0), (3600.0, "h", 7200.0), (60.0, "min", 120.0))


def span(seconds: float) -> str:
    """Write a span so that a person sees how long it is: ``40 s``, ``3 min``, ``5 h``, ``2 d``."""
    for unit_s, name, least_s in _UNITS:
        if seconds >= least_s:
            return f"{seconds / unit_s:.0f} {name}"
    return f"{max(seconds, 0.0):.0f} s"
