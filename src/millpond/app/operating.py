"""What an operation is: JSON in, JSON out, progress on the way."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias

Progress: TypeAlias = Callable[[str, int, int | None], None]
"""Told what is done, how much of it, and of how much (None: not known)."""
Operation: TypeAlias = Callable[..., Awaitable[Any]]
"""Takes `progress` and its arguments by name."""
