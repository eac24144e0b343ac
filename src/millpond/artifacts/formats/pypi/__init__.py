"""``pypi``: the simple repository API (PEP 503, 592, 629, 658, 691, 700, 714) and its files. PURE."""

from __future__ import annotations

from millpond.artifacts.formats.pypi.repository import PyPI

__all__ = ["PyPI"]
