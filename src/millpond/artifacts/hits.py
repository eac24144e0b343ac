"""The table of servable hits: what the fast lane may answer without a decision, a database or a thread.

A hit is remembered when a stored answer was served the long way, under the raw request target (and Accept and Host,
where the answer
depends on them). It stands until its freshness ends or its path's stamp changes: whoever flushes, evicts or replaces
an artifact, in any
worker process, changes that stamp before the call returns, so that a removed object is never served after it.

The table is bounded in entries, in bytes of small bodies and in open files; the least recently used go first. A file
that is being sent
stays open until it is sent.
"""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol, TypeAlias

from millpond.artifacts.model import Use
from millpond.artifacts.ports import Invalidation
from millpond.clock import Clock

SMALL_BYTES = 32 * 1024
Key: TypeAlias = tuple[bytes, bytes, bytes]


class UsageLog(Protocol):
    """Where served artifacts are noted."""

    def note(self, use: Use) -> None:
        """Append one record; cheap."""


class Counters(Protocol):
    """Where served artifacts are counted."""

    def served(self, repository: str, outcome: str, size: int, count: int = 1) -> None:
        """Count `count` served artifacts of `size` bytes together."""


class OpenFile:
    """An open file that several connections send from; closed when it is dropped and nobody sends any more."""

    __slots__ = ("_dropped", "_users", "fd")

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        self._users = 0
        self._dropped = False

    def hold(self) -> None:
        """Use it."""
        self._users += 1

    def release(self) -> None:
        """Stop using it."""
        self._users -= 1
        self._close_if_unused()

    def drop(self) -> None:
        """Close it as soon as nobody uses it."""
        self._dropped = True
        self._close_if_unused()

    def _close_if_unused(self) -> None:
        if self._dropped and self._users == 0 and self.fd >= 0:
            os.close(self.fd)
            self.fd = -1


@dataclass(slots=True)
class Hit:
    """One servable answer. `lines` gives the header lines that stand for it at a time (epoch seconds)."""

    repository: str
    path: str
    digest: str
    outcome: str
    file: Path
    size: int
    tag: bytes
    guard: str
    """The key of its path's stamp, and the stamp before the answer was made."""
    stamp: int
    fresh_until: float
    lines: Callable[[float], bytes] = field(repr=False)
    body: bytes | None = field(default=None, repr=False)
    varied: bool = False
    """Whether the answer depends on Accept and Host."""
    open_file: OpenFile | None = None
    count: int = 0
    sent: int = 0
    _second: int = -1
    _head: bytes = b""

    def head(self, now: float) -> bytes:
        """Give the header lines; made anew once a second, since the age is among them."""
        second = int(now)
        if second != self._second:
            self._second, self._head = second, self.lines(now)
        return self._head


class Hits:
    """The table of one process; belongs to its event loop."""

    def __init__(
        self,
        invalidation: Invalidation,
        clock: Clock,
        usage: UsageLog,
        counters: Counters,
        *,
        max_hits: int = 20_000,
        max_body_bytes: int = 64 << 20,
        max_files: int = 256,
    ) -> None:
        self._invalidation, self._clock, self._usage, self._counters = invalidation, clock, usage, counters
        self._max_hits, self._max_body_bytes, self._max_files = max_hits, max_body_bytes, max_files
        self._hits: OrderedDict[Key, Hit] = OrderedDict()
        self._varied: dict[bytes, int] = {}
        self._files: OrderedDict[Key, Hit] = OrderedDict()
        self._counted: list[Hit] = []
        self._body_bytes = 0

    def __len__(self) -> int:
        """Count the hits."""
        return len(self._hits)

    @property
    def body_bytes(self) -> int:
        """The bytes of small bodies that are held."""
        return self._body_bytes

    @property
    def open_files(self) -> int:
        """The files that are held open."""
        return len(self._files)

    def stamp(self, guard: str) -> int:
        """Read a stamp: before the answer that will be remembered is made."""
        return self._invalidation.stamp(guard)

    def find(self, target: bytes, accept: bytes, host: bytes, now: float) -> Hit | None:
        """Give the hit that may be served now; None: ask the long way."""
        key = (target, b"", b"")
        hit = self._hits.get(key)
        if hit is None:
            if target not in self._varied:
                return None
            key = (target, accept, host)
            hit = self._hits.get(key)
            if hit is None:
                return None
        if now >= hit.fresh_until or hit.stamp != self._invalidation.stamp(hit.guard):
            self._forget(key)
            return None
        self._hits.move_to_end(key)
        return hit

    def opened(self, target: bytes, accept: bytes, host: bytes, hit: Hit) -> OpenFile | None:
        """Give the hit's file, held for the caller; None: it is gone, and the hit with it."""
        if hit.open_file is None:
            key = (target, accept, host) if (target, accept, host) in self._hits else (target, b"", b"")
            try:
                hit.open_file = OpenFile(hit.file)
            except OSError:
                self._forget(key)
                return None
            self._files[key] = hit
            if len(self._files) > self._max_files:
                _, idle = self._files.popitem(last=False)
                self._close(idle)
        hit.open_file.hold()
        return hit.open_file

    def remember(self, key: Key, hit: Hit) -> None:
        """Take a hit in."""
        key = key if hit.varied else (key[0], b"", b"")
        self._forget(key)
        if hit.size <= SMALL_BYTES and self._max_body_bytes >= hit.size:
            try:
                hit.body = hit.file.read_bytes()
            except OSError:
                return
            self._body_bytes += len(hit.body)
        self._hits[key] = hit
        if hit.varied:
            self._varied[key[0]] = self._varied.get(key[0], 0) + 1
        while len(self._hits) > self._max_hits or self._body_bytes > self._max_body_bytes:
            self._forget(next(iter(self._hits)))

    def served(self, hit: Hit, token: str, sent: int, now: float, *, body: bool = True) -> None:
        """Note that it was served: a usage record, unless no `body` was asked for, and two numbers for `flush`."""
        if not hit.count:
            self._counted.append(hit)
        hit.count += 1
        hit.sent += sent
        if body:
            self._usage.note(Use(now, hit.repository, hit.path, hit.digest, token, hit.outcome, sent))

    def flush(self) -> None:
        """Count what was served, and let go of files whose hit does not stand any more; once a second."""
        counted, self._counted = self._counted, []
        for hit in counted:
            self._count(hit)
        now = self._clock.now()
        for key, hit in list(self._files.items()):
            if now >= hit.fresh_until or hit.stamp != self._invalidation.stamp(hit.guard):
                self._forget(key)

    def clear(self) -> None:
        """Forget everything: settings have changed."""
        while self._hits:
            self._forget(next(iter(self._hits)))

    def _forget(self, key: Key) -> None:
        hit = self._hits.pop(key, None)
        if hit is None:
            return
        self._files.pop(key, None)
        self._close(hit)
        self._body_bytes -= len(hit.body or b"")
        if hit.varied:
            self._varied[key[0]] -= 1
            if not self._varied[key[0]]:
                del self._varied[key[0]]

    @staticmethod
    def _close(hit: Hit) -> None:
        if hit.open_file is not None:
            hit.open_file.drop()
            hit.open_file = None

    def _count(self, hit: Hit) -> None:
        if hit.count:
            self._counters.served(hit.repository, hit.outcome, hit.sent, hit.count)
            hit.count = hit.sent = 0
