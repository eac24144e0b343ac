"""A clock that stands still until the test moves it. Shipped, so that other people's formats can be tested with it."""

from __future__ import annotations


class FakeClock:
    """A `millpond.clock.Clock` whose two clocks move only by `advance` and `jump`; seconds."""

    def __init__(self, now: float = 1_700_000_000.0, monotonic: float = 1_000.0) -> None:
        self._now, self._monotonic = now, monotonic

    def now(self) -> float:
        """Seconds since the epoch."""
        return self._now

    def monotonic(self) -> float:
        """Seconds since some start."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass on both clocks. Raises `ValueError` for a negative step: use `jump` for the wall clock."""
        if seconds < 0:
            raise ValueError("time does not run backwards; to set the wall clock back, use jump()")
        self._now += seconds
        self._monotonic += seconds

    def jump(self, seconds: float) -> None:
        """Set the wall clock forward or back, as an operator or NTP does; the monotonic one does not notice."""
        self._now += seconds
