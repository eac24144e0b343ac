"""The rate budget of one counterpart, shared by all that asks it (`rates` decides; here one waits).

What a request is for is mostly not known where it is sent: who calls says so with `used_for`, and everything below,
also in tasks made there, draws as that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field

from millpond.delivery.rates import Bucket, Rate, Use, draw, filled, full, refused, told
from millpond.errors import MillpondError

MOST_S = {Use.WRITE: 30.0, Use.URGENT: 30.0, Use.READ: 30.0, Use.LISTING: 120.0}
"""How long one waits for a turn; whoever would wait longer is told when to come again."""
_USE: ContextVar[Use | None] = ContextVar("use", default=None)


class BudgetSpent(MillpondError):
    """There is no turn soon enough; there will be one in `after_s`."""

    def __init__(self, after_s: float) -> None:
        super().__init__(f"the request budget is spent: the next turn is in {after_s:.0f} s")
        self.after_s = after_s


@contextmanager
def used_for(use: Use) -> Iterator[None]:
    """Say what the requests within are for."""
    token = _USE.set(use)
    try:
        yield
    finally:
        _USE.reset(token)


@dataclass(slots=True)
class RateBudget:
    """One counterpart's budget. `sleep` and `monotonic` are the clock's; tests bring others."""

    rate: Rate
    monotonic: Callable[[], float]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    _bucket: Bucket | None = None
    _drawn: dict[Use, int] = field(default_factory=lambda: dict.fromkeys(Use, 0))
    _waited_s: float = 0.0
    _refusals: int = 0

    async def draw(self, use: Use) -> None:
        """Wait for a turn; what `used_for` says of the caller is stronger than `use`. Raises `BudgetSpent`."""
        use = _USE.get() or use
        waited = 0.0
        while True:
            self._bucket, wait_s = draw(self._now(), self.rate, use, self.monotonic())
            if wait_s <= 0:
                self._drawn[use] += 1
                return
            if waited + wait_s > MOST_S[use]:
                raise BudgetSpent(wait_s)
            waited += wait_s
            self._waited_s += wait_s
            await self.sleep(wait_s)

    def told(self, remaining: float) -> None:
        """Note what the counterpart says is left (``X-RateLimit-Remaining``)."""
        self._bucket = told(filled(self._now(), self.rate, self.monotonic()), remaining)

    def refused(self, after_s: float | None) -> None:
        """Note a 429, and how long it says to wait."""
        self._refusals += 1
        self._bucket = refused(self._now(), after_s, self.monotonic())

    def status(self) -> dict[str, float]:
        """Tell how it stands, for `/queue` and metrics: requests, seconds."""
        now = self.monotonic()
        bucket = filled(self._now(), self.rate, now)
        return {
            "per_minute": self.rate.per_minute,
            "left": round(bucket.level, 1),
            "closed_s": round(max(bucket.closed_until - now, 0.0), 1),
            "waited_s": round(self._waited_s, 1),
            "refusals": self._refusals,
            **{f"drawn_{use}": count for use, count in self._drawn.items()},
        }

    def _now(self) -> Bucket:
        return self._bucket if self._bucket is not None else full(self.rate, self.monotonic())
