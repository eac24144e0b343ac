"""The pond's event-loop lag during a load, read from its own histogram before and after.

The pond looks twice a second how late a timer is, so a turn that is too long is seen when it meets such a look: what
is counted is a sample of all turns, and the more rounds, the more it sees.
"""

from __future__ import annotations

from types import TracebackType
from typing import Self

from bench.model import Sample
from bench.servers.base import Server
from bench.servers.millpond import Millpond

LIMIT_S = 0.02
GROUP, METRIC = "lag", "looks that found over 20 ms"


class LagWatch:
    """A context manager around a load; `samples` has one figure afterwards, none for other servers."""

    def __init__(self, server: Server, group: str, case: str) -> None:
        self._server = server if isinstance(server, Millpond) else None
        self._group, self._case = group, case
        self._before: dict[float, float] = {}
        self.samples: list[Sample] = []

    def __enter__(self) -> Self:
        if self._server is not None:
            self._before = self._server.lag()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, tb: TracebackType | None) -> None:
        if self._server is None or kind is not None:
            return
        late = late_looks(self._before, self._server.lag())
        self.samples = [
            Sample(GROUP, f"{self._group}: {self._case}", self._server.name, METRIC, "", late, more_is_better=False)
        ]


def late_looks(before: dict[float, float], after: dict[float, float], limit_s: float = LIMIT_S) -> float:
    """Count the looks between two readings of the cumulative histogram that found more than `limit_s`."""

    def late(reading: dict[float, float]) -> float:
        return reading.get(float("inf"), 0.0) - reading.get(limit_s, 0.0)

    return late(after) - late(before)
