"""Time as an argument: wall-clock seconds for what is stored, monotonic seconds for what is waited for."""

from __future__ import annotations

import time
from typing import Protocol


class Clock(Protocol):
    """The two clocks; tests bring `millpond.testing.clock.FakeClock`."""

    def now(self) -> float:
        """Seconds since the epoch; may jump."""

    def monotonic(self) -> float:
        """Seconds since some start; never goes back."""


class SystemClock:
    """The machine's clocks."""

    def now(self) -> float:
        """Seconds since the epoch."""
        return time.time()

    def monotonic(self) -> float:
        """Seconds since some start."""
        return time.monotonic()
