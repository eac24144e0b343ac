"""What a repository answers: values for the head, and where the body comes from. No HTTP beyond its vocabulary."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from millpond.artifacts.flights import Arriving, Flight
from millpond.artifacts.formats.base import Transducer
from millpond.artifacts.model import Digest, Entry

HIT, MISS, STALE, REVALIDATED, LOCAL = "hit", "miss", "stale", "revalidated", "local"
SOURCES: Mapping[str, str] = {HIT: "cache", STALE: "cache", REVALIDATED: "cache", MISS: "remote", LOCAL: "local"}


@dataclass(frozen=True, slots=True)
class Head:
    """A representation's metadata (RFC 9110 section 8).

    `tags` are all entity tags, quoted, that stand for these bytes. `digest` names the stored blob, also where what is
    served was made from it.
    """

    content_type: str = ""
    content_encoding: str = ""
    tags: tuple[str, ...] = ()
    last_modified: str = ""
    size: int | None = None
    digest: Digest | None = None
    next_page: str = ""
    """The query of the list's next page."""
    held_since: float = 0.0
    """When these bytes came to hand (epoch seconds)."""


@dataclass(slots=True)
class Answer:
    """One answer.

    With `body` a path, its bytes lie there; with a flight, they are arriving, and `close` must be called. `rewriter`:
    the flight's bytes go through it first (their length is then not known). Any status but 200 tells `reason`.
    `cache_status` is the RFC 9211 member without the cache's name.
    """

    status: int
    outcome: str
    head: Head = field(default_factory=Head)
    body: Path | Flight | None = None
    rewriter: Transducer | None = None
    cache_status: str = ""
    age_s: float = 0.0
    reason: str = ""
    retry_after_s: float | None = None
    path: str = ""
    unchecked: bool = False
    vary: str = ""
    validated_at: float = 0.0
    fresh_until: float = 0.0
    """Until then the same answer may be given again (epoch seconds; infinite: for ever); 0: it may not."""

    @property
    def given(self) -> Digest | None:
        """The digest of its bytes, as far as it is known already."""
        arriving = self.body.arriving if isinstance(self.body, Flight) else None
        return arriving.digest if arriving is not None else self.head.digest

    def close(self) -> None:
        """Let go of the flight; without one, nothing."""
        if isinstance(self.body, Flight):
            self.body.release()


def digest_tag(digest: Digest) -> str:
    """Give the entity tag that a stored blob has here: its digest, quoted."""
    return f'"{digest}"'


def entry_head(entry: Entry) -> Head:
    """Describe a stored entry; the upstream's own strong tag stands for the same bytes and is accepted too."""
    tags = (digest_tag(entry.digest),) if entry.digest else ()
    if entry.etag and not entry.etag.startswith("W/"):
        tags = (*tags, entry.etag)
    return Head(
        entry.content_type,
        entry.content_encoding,
        tags,
        entry.last_modified,
        entry.size,
        entry.digest,
        entry.next_page,
        entry.stored_at,
    )


def arriving_head(arriving: Arriving) -> Head:
    """Describe a body on its way."""
    tags = (digest_tag(arriving.digest),) if arriving.digest else ()
    if arriving.etag and not arriving.etag.startswith("W/"):
        tags = (*tags, arriving.etag)
    return Head(
        arriving.content_type,
        arriving.content_encoding,
        tags,
        arriving.last_modified,
        arriving.length,
        arriving.digest,
        held_since=math.inf,
    )


def cache_status(*parts: str, detail: str = "") -> str:
    """Write an RFC 9211 member's parameters; `detail` becomes a quoted string of plain ASCII."""
    plain = "".join(c if " " <= c <= "~" and c not in '"\\' else " " for c in detail)[:200]
    return "; ".join([*(p for p in parts if p), *([f'detail="{plain}"'] if plain else [])])


def hit_status(fresh_until: float, now: float) -> str:
    """Write what a fresh stored answer says of itself; an infinite time is not told."""
    return cache_status("hit", "" if math.isinf(fresh_until) else f"ttl={math.floor(fresh_until - now)}")
