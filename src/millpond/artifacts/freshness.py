"""The one freshness decision, for every way in. PURE.

`decide` says what a request needs (RFC 9111 section 4: fresh, stale, validate); `settle` says what an upstream's
answer means for the
copy at hand (RFC 5861 section 4: stale if error). Where the two RFCs leave room, these rules hold:

- A good copy is never given up for anything but a better one, or for the upstream's own 404 or 410.
- Requests' Cache-Control is not obeyed: a fresh copy is served with no upstream traffic (pip sends ``max-age=0``
  each time).
- `must-revalidate` does not forbid a stale answer during an outage: that is what the pond is for. The answer says
  how old it is.
- A stored copy that seems to come from the future (the clock was set back) counts as stale, not as fresh for ever.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from email.utils import parsedate_to_datetime

from millpond.artifacts.model import (
    Decision,
    Entry,
    Fetch,
    Freshen,
    Freshness,
    Relay,
    Reply,
    Revalidate,
    Serve,
    ServeStale,
    Settlement,
    Store,
    Target,
    Unreachable,
)

CLOCK_SLACK_S = 60.0
MIN_BACKOFF_S = 5.0
MAX_BACKOFF_S = 3600.0
OK, NOT_MODIFIED, GONE = 200, 304, (404, 410)


def decide(entry: Entry | None, target: Target, policy: Freshness, now: float) -> Decision:
    """Say what a request for `target` needs, given what is stored."""
    if entry is None:
        return Fetch()
    if entry.negative:
        return Serve(entry) if _in_time(entry, entry.fresh_until, now) else Fetch()
    if not target.mutable or _in_time(entry, entry.fresh_until, now):
        return Serve(entry)
    if _in_time(entry, entry.retry_at, now):
        return Serve(entry, stale=True)
    if _in_time(entry, entry.refresh_until, now):
        return Serve(entry, stale=True, refresh=True)
    return after_expiry(entry, policy)


def after_expiry(entry: Entry, policy: Freshness) -> Revalidate | Fetch:
    """Say how a stale copy is brought up to date: by a conditional request where that is wanted and possible."""
    conditional = policy.check_updates and (entry.etag or entry.last_modified)
    return Revalidate(entry) if conditional else Fetch(entry)


def validators(entry: Entry) -> dict[str, str]:
    """Give the conditional headers for an entry (RFC 9110 section 13.1)."""
    headers = {}
    if entry.etag:
        headers["If-None-Match"] = entry.etag
    if entry.last_modified:
        headers["If-Modified-Since"] = entry.last_modified
    return headers


def settle(
    entry: Entry | None, answer: Reply | Unreachable, target: Target, policy: Freshness, now: float
) -> Settlement:
    """Say what an upstream's answer means; `entry` is the good copy that was there before, if any."""
    good = entry if entry is not None and not entry.negative else None
    if isinstance(answer, Unreachable):
        return _failed(good, answer, policy, now)
    if answer.status == OK:
        return _store(answer, target, policy, now)
    if answer.status == NOT_MODIFIED and good is not None:
        return _freshen(good, answer, target, policy, now)
    if answer.status in GONE:
        return Relay(answer.status, "the upstream has no such object")
    return _failed(good, _refusal(answer, now), policy, now)


@dataclass(frozen=True, slots=True)
class Lifetime:
    """What an answer's headers say of its freshness (RFC 9111 section 4.2); seconds."""

    fresh_s: float | None
    age_s: float
    refresh_s: float
    storable: bool


def lifetime(headers: Mapping[str, str], now: float) -> Lifetime:
    """Read Cache-Control, Expires, Date and Age. An unreadable number counts as already stale."""
    directives = _directives(headers.get("cache-control", ""))
    age_s = max(_number(headers.get("age", "0")) or 0.0, 0.0)
    fresh_s: float | None = None
    if "no-cache" in directives:
        fresh_s = 0.0
    elif "s-maxage" in directives or "max-age" in directives:
        fresh_s = _number(directives.get("s-maxage", directives.get("max-age", ""))) or 0.0
    elif "expires" in headers:
        fresh_s = _until(headers["expires"], headers.get("date", ""), now)
    refresh_s = _number(directives.get("stale-while-revalidate", "0")) or 0.0
    return Lifetime(fresh_s, age_s, refresh_s, storable="no-store" not in directives)


def negative(target: Target, repository: str, status: int, policy: Freshness, now: float) -> Entry:
    """Make the entry that remembers a 404 or 410 for a short while."""
    return Entry(
        repository=repository, path=target.path, variant=target.variant, status=status, digest=None, size=0,
        content_type="", content_encoding="", etag="", last_modified="", source_url="", stored_at=now, validated_at=now,
        checked_at=now, fresh_until=now + policy.negative_ttl_s,
    )  # fmt: skip


def _in_time(entry: Entry, until: float, now: float) -> bool:
    return entry.checked_at - CLOCK_SLACK_S <= now < until


def _store(reply: Reply, target: Target, policy: Freshness, now: float) -> Store:
    told = lifetime(reply.headers, now)
    if not target.mutable:
        return Store(validated_at=now - told.age_s, fresh_until=now)
    if policy.ttl_s is not None:
        return Store(validated_at=now - told.age_s, fresh_until=now + policy.ttl_s)
    fresh_s = policy.default_ttl_s if told.fresh_s is None else min(told.fresh_s, policy.max_ttl_s)
    validated_at = now - told.age_s
    fresh_until = validated_at + fresh_s
    return Store(validated_at, fresh_until, fresh_until + told.refresh_s if told.refresh_s else 0.0, keep=told.storable)


def _freshen(good: Entry, reply: Reply, target: Target, policy: Freshness, now: float) -> Freshen:
    """Refresh the stored copy's times and validators (RFC 9111 section 4.3.4)."""
    stored = _store(reply, target, policy, now)
    return Freshen(
        replace(
            good,
            etag=reply.headers.get("etag", good.etag),
            last_modified=reply.headers.get("last-modified", good.last_modified),
            validated_at=stored.validated_at,
            fresh_until=stored.fresh_until,
            refresh_until=stored.refresh_until,
            checked_at=now,
            retry_at=0.0,
            failure="",
        )
    )


def _failed(good: Entry | None, cause: Unreachable, policy: Freshness, now: float) -> Settlement:
    if good is None:
        return Relay(502, cause.reason, retry_after_s=cause.retry_after_s)
    backoff_s = max(_ttl_s(good, policy), min(cause.retry_after_s or 0.0, MAX_BACKOFF_S), MIN_BACKOFF_S)
    if good.fresh_until > now and not _in_time(good, good.fresh_until, now):
        # The clock was set back: what is noted now must not make it fresh again.
        good = replace(good, validated_at=good.validated_at - (good.fresh_until - now), fresh_until=now)
    return ServeStale(replace(good, checked_at=now, retry_at=now + backoff_s, failure=cause.reason))


def _ttl_s(entry: Entry, policy: Freshness) -> float:
    """Give the time for which a path is left alone: the operator's TTL, else the one its last answer had."""
    if policy.ttl_s is not None:
        return policy.ttl_s
    had_s = entry.fresh_until - entry.validated_at
    return min(had_s if had_s > 0 else policy.default_ttl_s, policy.max_ttl_s)


def _refusal(reply: Reply, now: float) -> Unreachable:
    """Read a status that is no answer: 5xx, 429, 401, 403, and whatever else does not belong here."""
    hints = {
        401: "it wants credentials: set username and password for this repository",
        403: "it refuses us: check the repository's credentials",
        407: "a proxy wants credentials",
        429: "too many requests",
    }
    hint = hints.get(reply.status, "")
    reason = f"the upstream answered {reply.status}" + (f" ({hint})" if hint else "")
    return Unreachable(reason, f"status-{reply.status}", retry_after_s(reply.headers, now))


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Read Retry-After, seconds or a date (RFC 9110 section 10.2.3); None when absent or unreadable."""
    value = headers.get("retry-after", "").strip()
    if not value:
        return None
    seconds = _number(value)
    if seconds is not None:
        return seconds
    at = _date(value)
    return None if at is None else max(at - now, 0.0)


def _directives(value: str) -> dict[str, str]:
    found: dict[str, str] = {}
    for part in value.lower().split(","):
        name, _, argument = part.strip().partition("=")
        if name:
            found.setdefault(name.strip(), argument.strip().strip('"'))
    return found


def _number(text: str) -> float | None:
    text = text.strip()
    return float(text[:12]) if text.isascii() and text.isdigit() else None


def _date(value: str) -> float | None:
    try:
        return parsedate_to_datetime(value).timestamp()
    except (ValueError, TypeError, OverflowError):
        return None


def _until(expires: str, date: str, now: float) -> float:
    at = _date(expires)
    since = _date(date)
    return 0.0 if at is None else max(at - (now if since is None else since), 0.0)
