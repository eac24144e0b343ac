"""How a command that has things to take away is ended from outside: SIGTERM, a terminal that is closed, Ctrl-C."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from types import FrameType
from typing import Any, Self

SIGNALS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)


class Ending:
    """While it is entered, the first of these signals raises where it is heeded, at once or as soon as it is.

    SIGINT raises `KeyboardInterrupt`, as ever, another one `SystemExit` with 128 and its number. Further ones do
    nothing: they would break off the taking away. One that is ignored (``nohup``) stays so. For the main thread only.
    """

    def __init__(self) -> None:
        self._came, self._heeds, self._raised = 0, False, False
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> Self:
        for one in SIGNALS:
            if signal.getsignal(one) is not signal.SIG_IGN:
                self._before[one] = signal.signal(one, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        for one, before in self._before.items():
            signal.signal(one, before)

    @contextlib.contextmanager
    def heeding(self, heeds: bool = True) -> Iterator[None]:
        """Heed signals in here, or do not: what begins in here must be known to whoever takes it away."""
        before, self._heeds = self._heeds, heeds
        try:
            self._end()
            yield
        finally:
            self._heeds = before
        self._end()

    def _note(self, number: int, frame: FrameType | None) -> None:
        del frame
        self._came = self._came or number
        self._end()

    def _end(self) -> None:
        if self._came and self._heeds and not self._raised:
            self._raised = True
            raise KeyboardInterrupt if self._came == signal.SIGINT else SystemExit(128 + self._came)
