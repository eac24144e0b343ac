"""The circuit breaker of the jobs: many failures in a row that may pass mean that something they share is away. PURE.

It has no memory of its own: what it says follows from the jobs that ended last, so that it is the same in every process
and after every restart. Closed: jobs start. Open: none does, for a while that doubles with each further failure.
Half-open: one tries; what becomes of it decides.

Only jobs that say something of the world count: a merge that the forge wants later and a monitor that still watches
are no failures. And one task alone does not open it: that task has its own back-off, and the others need not wait.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

COUNTED = ("agent", "command", "deploy")
"""The steps whose jobs count."""
LEAST_TASKS = 2
TRIES_S = 5.0
"""How long is waited, when it is half-open, before it is seen whether the one that tries has ended."""


class State(StrEnum):
    """How a circuit stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


@dataclass(frozen=True, slots=True)
class Ended:
    """How a job ended. `passing`: it failed in a way that may pass."""

    task: int
    at: float
    passing: bool
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """When it opens, and for how long."""

    failures: int = 5
    open_s: float = 60.0
    most_s: float = 1800.0


@dataclass(frozen=True, slots=True)
class Circuit:
    """How it stands. No job is started before `until` (0: they are), because of `reason`."""

    state: State = State.CLOSED
    failures: int = 0
    until: float = 0.0
    reason: str = ""


def judge(ended: Sequence[Ended], active: int, now: float, limits: Limits) -> Circuit:
    """Say how the circuit stands. `ended` has the newest first, `active` counts the jobs that are queued or run."""
    failed: list[Ended] = []
    for one in ended:
        if not one.passing:
            break
        failed.append(one)
    count = len(failed)
    if count < limits.failures or len({one.task for one in failed}) < LEAST_TASKS:
        return Circuit(failures=count)
    wait_s = min(limits.open_s * 2.0 ** min(count - limits.failures, 60), limits.most_s)
    until, last = failed[0].at + wait_s, failed[0].reason or "no reason was told"
    told = f"{count} jobs failed in a row, the last one: {last}"
    if now < until:
        return Circuit(State.OPEN, count, until, f"no job is started for {until - now:.0f} s: {told}")
    if active:
        return Circuit(State.HALF_OPEN, count, now + TRIES_S, f"one job tries whether it has passed: {told}")
    return Circuit(State.HALF_OPEN, count)
