"""What to give up when the store is too large. PURE.

Least recently used first. An entry is given up only when that frees its bytes: a blob goes with the last of the cached
entries that share it, so its most recent use counts, and one that an upload or a root needs never goes.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from millpond.artifacts.model import Digest


@dataclass(frozen=True, slots=True)
class Limits:
    """How large the store may be, and where eviction begins and ends, as shares of that. None: no limit."""

    max_bytes: int | None = None
    high: float = 0.95
    low: float = 0.85


@dataclass(frozen=True, slots=True)
class Candidate:
    """A cached entry, as the catalog has it; `sharers` counts all entries of its blob (uploads too, itself too)."""

    id: int
    repository: str
    path: str
    digest: Digest
    size: int
    sharers: int
    last_used: float


def excess(total_bytes: int, limits: Limits) -> int:
    """Say how many bytes must go now: 0 below the high watermark, else down to the low one."""
    if limits.max_bytes is None or total_bytes <= limits.max_bytes * limits.high:
        return 0
    return max(total_bytes - int(limits.max_bytes * limits.low), 0)


def choose(
    candidates: Iterable[Candidate], need_bytes: int, roots: Collection[Digest] = ()
) -> Iterator[tuple[Candidate, ...]]:
    """Choose what to give up, blob by blob, until `need_bytes` are freed or there is nothing left.

    `candidates` come least recently used first and are read only as far as needed. Each group is all entries of one
    blob.
    """
    waiting: dict[Digest, list[Candidate]] = {}
    for candidate in candidates:
        if need_bytes <= 0:
            return
        if candidate.digest in roots:
            continue
        group = waiting.setdefault(candidate.digest, [])
        group.append(candidate)
        if len(group) == candidate.sharers:
            del waiting[candidate.digest]
            need_bytes -= candidate.size
            yield tuple(group)
