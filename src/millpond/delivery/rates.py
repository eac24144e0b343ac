"""How many requests a tracker or forge may be sent, and who goes first when they are few. PURE.

A token bucket whose size and refill together keep any window of a minute within the limit (a bucket as large as the
limit would allow nearly twice as many). Listing may empty the upper part only, ordinary reads a bit more; the rest is
kept for what somebody waits for: writes of the outbox, and reads that a webhook, a person or a job's end caused.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

MINUTE_S = 60.0
DEFAULT_AFTER_S = 60.0
"""How long a 429 that does not say holds: the length of the usual window."""
MAX_AFTER_S = 3600.0


class Use(StrEnum):
    """What a request is for."""

    WRITE = "write"
    URGENT = "urgent"
    """A read that a webhook, a person or a job's end caused."""
    READ = "read"
    LISTING = "listing"


KEPT = {Use.WRITE: 0.0, Use.URGENT: 0.0, Use.READ: 0.25, Use.LISTING: 0.5}
"""The share of the bucket that each use leaves to the others."""


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit: at most `per_minute` requests in any minute."""

    per_minute: float = 60.0

    def __post_init__(self) -> None:
        """Refuse what would never let anything through. Raises `ValueError`."""
        if not 0 < self.per_minute < float("inf"):
            raise ValueError("a rate is a number of requests a minute, more than 0")

    @property
    def size(self) -> float:
        """How many requests may be sent at once."""
        return max(1.0, self.per_minute / 3)

    @property
    def per_second(self) -> float:
        """How fast it fills; with `size` never more than `per_minute` in a minute."""
        return max(self.per_minute - self.size, self.per_minute / 3) / MINUTE_S


@dataclass(frozen=True, slots=True)
class Bucket:
    """How many requests may be sent `at` a time (monotonic seconds), and until when none at all."""

    level: float
    at: float
    closed_until: float = 0.0


def full(rate: Rate, now: float) -> Bucket:
    """Begin."""
    return Bucket(rate.size, now)


def filled(bucket: Bucket, rate: Rate, now: float) -> Bucket:
    """Let time pass; one that runs backwards fills nothing. While it is closed nothing is added."""
    since = max(bucket.at, min(bucket.closed_until, now))
    level = min(rate.size, bucket.level + max(now - since, 0.0) * rate.per_second)
    return replace(bucket, level=level, at=max(now, bucket.at))


def draw(bucket: Bucket, rate: Rate, use: Use, now: float) -> tuple[Bucket, float]:
    """Take one request; gives the bucket and how long to wait first (0: it was taken)."""
    found = filled(bucket, rate, now)
    floor = min(KEPT[use] * rate.size, rate.size - 1.0)  # a full bucket always lets one through
    shut_s = max(found.closed_until - now, 0.0)
    missing = max(floor + 1.0 - found.level, 0.0)
    if shut_s or missing > 1e-9:  # noqa: PLR2004 - rounding, not a limit
        return found, shut_s + missing / rate.per_second
    return replace(found, level=found.level - 1.0), 0.0


def told(bucket: Bucket, remaining: float) -> Bucket:
    """Believe the counterpart when it says that less is left than we thought (others use the same key)."""
    return replace(bucket, level=max(min(bucket.level, remaining), 0.0))


def refused(bucket: Bucket, after_s: float | None, now: float) -> Bucket:
    """Send nothing for as long as a 429 says, and begin with an empty bucket."""
    wait_s = DEFAULT_AFTER_S if after_s is None else min(max(after_s, 0.0), MAX_AFTER_S)
    return replace(bucket, level=0.0, at=now, closed_until=max(bucket.closed_until, now + wait_s))
