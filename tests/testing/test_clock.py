from __future__ import annotations

import pytest

from millpond.clock import Clock
from millpond.testing.clock import FakeClock


def test_time_stands_still_until_it_is_advanced() -> None:
    clock: Clock = FakeClock(now=100.0, monotonic=5.0)
    assert (clock.now(), clock.monotonic()) == (100.0, 5.0)
    assert (clock.now(), clock.monotonic()) == (100.0, 5.0)


def test_advance_moves_both_clocks() -> None:
    clock = FakeClock(now=100.0, monotonic=5.0)
    clock.advance(2.5)
    assert (clock.now(), clock.monotonic()) == (102.5, 7.5)


def test_a_jump_moves_the_wall_clock_only() -> None:
    clock = FakeClock(now=100.0, monotonic=5.0)
    clock.jump(-86400)
    assert (clock.now(), clock.monotonic()) == (100.0 - 86400, 5.0)


def test_time_does_not_run_backwards() -> None:
    with pytest.raises(ValueError, match="jump"):
        FakeClock().advance(-1)
