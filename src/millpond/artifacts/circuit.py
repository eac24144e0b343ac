"""The circuit breaker of one origin: when an upstream fails, stop asking it for a while. PURE: time comes in.

Closed: everything passes; after `failures` failures in a row it opens. Open: nothing passes until `open_s` is over
(doubled each time it opens again without a success between, up to `max_open_s`). Half-open: one probe passes, and its
answer decides. An upstream's own Retry-After opens it at once, for as long as it says, up to three times `max_open_s`.

Invariants: a request that was let through before the circuit opened has no say in it afterwards (it may only prolong
the pause by a Retry-After); a probe whose caller went away gives its place to the next one; an answer's head ends the
probe, so that a long download does not hold up the others, but only a body that arrives whole clears the record: an
upstream that cuts every body off opens the circuit again at the first one.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from millpond.artifacts.freshness import retry_after_s

__all__ = ["Circuit", "Limits", "Ticket", "fails", "retry_after_s"]

State: TypeAlias = Literal["closed", "open", "half-open"]
TOO_MANY_REQUESTS = 429
SERVER_ERRORS = 500
RETRY_AFTER_FACTOR = 3
PROBE_WAIT_S = 1.0


def fails(status: int) -> bool:
    """Whether a status is the upstream's failure: 5xx and 429. Any other is an answer, 404 and 403 too."""
    return status >= SERVER_ERRORS or status == TOO_MANY_REQUESTS


@dataclass(frozen=True, slots=True)
class Limits:
    """When a circuit opens, and for how long; seconds."""

    failures: int = 5
    open_s: float = 10.0
    max_open_s: float = 300.0


@dataclass(frozen=True, slots=True)
class Ticket:
    """The right to ask once. `term` counts how often the circuit had changed when it was given."""

    term: int
    probe: bool


@dataclass(frozen=True, slots=True)
class Wait:
    """Not now; `retry_after_s` is when to come back."""

    retry_after_s: float


class Circuit:
    """One origin's circuit. Each `Ticket` ends in one of `succeeded`, `failed` or `abandoned`; `answered` before it.

    All times are monotonic seconds.
    """

    __slots__ = ("_limits", "_openings", "_probing", "_term", "failures", "open_until", "state")

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self.state: State = "closed"
        self.failures = 0
        self.open_until = 0.0
        self._openings = 0
        self._term = 0
        self._probing = False

    def admit(self, now: float) -> Ticket | Wait:
        """Ask whether a request may be sent now."""
        if self.state == "open":
            if now < self.open_until:
                return Wait(self.open_until - now)
            self._enter("half-open")
        if self.state == "closed":
            return Ticket(self._term, probe=False)
        if self._probing:
            return Wait(PROBE_WAIT_S)
        self._probing = True
        return Ticket(self._term, probe=True)

    def answered(self, ticket: Ticket) -> None:
        """Note a sound head: the upstream is there again. The next failure opens at once, until a body is whole."""
        if ticket.probe and ticket.term == self._term:
            self.failures = self._limits.failures - 1
            self._enter("closed")

    def succeeded(self, ticket: Ticket) -> None:
        """Note a whole answer."""
        if ticket.term == self._term or self._closed_by(ticket):
            self.failures = 0
            self._openings = 0
            self.open_until = 0.0
            if self.state != "closed":
                self._enter("closed")

    def failed(self, ticket: Ticket, now: float, jitter: float, retry_after_s: float | None = None) -> None:
        """Note a failure.

        `jitter`, 0 to 1, spreads the probes of many processes: the pause is `open_s` and up to a quarter more.
        `retry_after_s`: the upstream's own wish.
        """
        if ticket.term == self._term or self._closed_by(ticket):
            self.failures += 1
            if ticket.probe or self.failures >= self._limits.failures:
                self._open(now + self._pause_s() * (1 + jitter / 4))
        if retry_after_s:
            wish_s = min(retry_after_s, self._limits.max_open_s * RETRY_AFTER_FACTOR)
            self._open(max(self.open_until, now + wish_s))

    def abandoned(self, ticket: Ticket) -> None:
        """Note that a request ended without telling anything: its caller went away."""
        if ticket.probe and ticket.term == self._term and self.state == "half-open":
            self._probing = False

    def _closed_by(self, ticket: Ticket) -> bool:
        """Whether it was this probe's head that closed the circuit, and nothing has changed since."""
        return ticket.probe and ticket.term == self._term - 1 and self.state == "closed"

    def _pause_s(self) -> float:
        doublings = min(self._openings, 30)
        return min(self._limits.open_s * float(2**doublings), self._limits.max_open_s)

    def _open(self, until: float) -> None:
        self.open_until = until
        if self.state != "open":
            self._openings += 1
            self._enter("open")

    def _enter(self, state: State) -> None:
        self.state = state
        self._term += 1
        self._probing = False
