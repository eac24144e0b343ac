"""A command that has things to take away, and signals that come at bad moments."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator

import pytest

from millpond.cli.ending import SIGNALS, Ending


@pytest.fixture(autouse=True)
def noted() -> Iterator[list[int]]:
    """Let the handlers of before note what reaches them."""
    reached: list[int] = []
    before = {one: signal.signal(one, lambda number, _: reached.append(number)) for one in SIGNALS}
    yield reached
    for one, handler in before.items():
        signal.signal(one, handler)


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_raises_once_and_not_amid_what_follows(number: int, noted: list[int]):
    with Ending() as ending:
        with pytest.raises(SystemExit) as ended, ending.heeding():
            send(number)
        assert ended.value.code == 128 + number
        for one in SIGNALS:
            send(one)
        with ending.heeding():
            send(number)
    assert noted == []
    send(number)
    assert noted == [number], "what was there before is there again"


def test_ctrl_c_is_what_it_always_was():
    with pytest.raises(KeyboardInterrupt), Ending() as ending, ending.heeding():
        send(signal.SIGINT)


def test_what_comes_at_a_bad_moment_raises_as_soon_as_it_is_over():
    known = []

    def begin(ending: Ending) -> None:
        with ending.heeding(False):
            send(signal.SIGTERM)
            known.append("the process that was begun")
        known.append("never")

    with Ending() as ending:
        with pytest.raises(SystemExit), ending.heeding():
            begin(ending)
        assert known == ["the process that was begun"]


def test_what_comes_before_it_is_heeded_raises_then():
    with Ending() as ending:
        send(signal.SIGTERM)
        with pytest.raises(SystemExit), ending.heeding():
            raise AssertionError("it goes on")


def test_what_was_ignored_stays_so():
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    with Ending() as ending, ending.heeding():
        send(signal.SIGHUP)
