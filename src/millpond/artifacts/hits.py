"""The table of servable hits: what the fast lane may answer without a decision, a database or a thread.

A hit is remembered when a stored answer was served the long way, under the raw request target (and Accept and Host,
where the answer depends on them). It stands until its freshness ends or its path's stamp changes: whoever flushes,
evicts or replaces an artifact, in any worker process, changes that stamp before the call returns, so that a removed
object is never served after it.

The table is bounded in entries, in bytes of small bodies and in open files; the least recently used go first. A file
that is being sent stays open until it is sent. What was served is tallied for each hit and token, and written down once
a second: at the speed of the lane a record for each request would cost more than the request.
"""

from __future__ import annotations

import asyncio
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
TALLIES_PER_TURN = 50
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


@dataclass(slots=True, eq=False)
class Tally:
    """What one caller (`token`; empty: anonymous) got of one hit since the last `Hits.flush`."""

    hit: Hit
    token: str
    count: int = 0
    bodies: int = 0
    sent: int = 0


@dataclass(slots=True, eq=False)
class Hit:
    """One servable answer. `lines` gives the header lines that stand for it at a time (epoch seconds)."""

    repository: str
    path: str
    digest: str
    outcome: str
    file: Path
    size: int
    tag: bytes
    slot: int
    """Where its path's stamp is, and the stamp before the answer was made."""
    stamp: int
    fresh_until: float
    lines: Callable[[float], bytes] = field(repr=False)
    varied: bool = False
    """Whether the answer depends on Accept and Host."""
    body: bytes | None = field(default=None, repr=False)
    key: Key = (b"", b"", b"")
    known: bool = False
    """Whether it is in the table; once forgotten it is never served again."""
    open_file: OpenFile | None = None
    tallies: dict[str, Tally] = field(default_factory=dict, repr=False)
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
        self._clock, self._usage, self._counters = clock, usage, counters
        self.slot, self._stamps = invalidation.slot, invalidation.stamps
        self._max_hits, self._max_body_bytes, self._max_files = max_hits, max_body_bytes, max_files
        self._hits: OrderedDict[Key, Hit] = OrderedDict()
        self._varied: dict[bytes, int] = {}
        self._files: OrderedDict[Key, Hit] = OrderedDict()
        self._counted: list[Tally] = []
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

    def stamp(self, slot: int) -> int:
        """Read a stamp: before the answer that will be remembered is made."""
        return self._stamps[slot]

    def find(self, target: bytes, accept: bytes, host: bytes, now: float) -> Hit | None:
        """Give the hit that may be served now; None: ask the long way."""
        hit = self._hits.get((target, b"", b""))
        if hit is None and target in self._varied:
            hit = self._hits.get((target, accept, host))
        return hit if hit is not None and self.stands(hit, now) else None

    def stands(self, hit: Hit, now: float) -> bool:
        """Whether a hit may be served now; it is forgotten if not, and counts as used just now if so."""
        if now < hit.fresh_until and hit.stamp == self._stamps[hit.slot] and hit.known:
            self._hits.move_to_end(hit.key)
            return True
        self._forget(hit)
        return False

    def opened(self, hit: Hit) -> OpenFile | None:
        """Give the hit's file; None: it is gone, and the hit with it.

        Hold it for more than this turn of the loop.
        """
        if hit.open_file is not None:
            self._files.move_to_end(hit.key)
            return hit.open_file
        try:
            hit.open_file = OpenFile(hit.file)
        except OSError:
            self._forget(hit)
            return None
        self._files[hit.key] = hit
        if len(self._files) > self._max_files:
            _, idle = self._files.popitem(last=False)
            self._close(idle)
        return hit.open_file

    def remember(self, key: Key, hit: Hit) -> None:
        """Take a hit in."""
        hit.key = key if hit.varied else (key[0], b"", b"")
        before = self._hits.get(hit.key)
        if before is not None:
            self._forget(before)
        if hit.size <= SMALL_BYTES and self._max_body_bytes >= hit.size:
            try:
                hit.body = hit.file.read_bytes()
            except OSError:
                return
            self._body_bytes += len(hit.body)
        hit.known = True
        self._hits[hit.key] = hit
        if hit.varied:
            self._varied[key[0]] = self._varied.get(key[0], 0) + 1
        while len(self._hits) > self._max_hits or self._body_bytes > self._max_body_bytes:
            self._forget(next(iter(self._hits.values())))

    @staticmethod
    def tally(hit: Hit, token: str) -> Tally:
        """Give the caller's tally of a hit; there are as many as callers in one second."""
        tally = hit.tallies.get(token)
        if tally is None:
            tally = hit.tallies[token] = Tally(hit, token)
        return tally

    def served(self, tally: Tally, sent: int, bodies: int) -> None:
        """Count one answer: `sent` bytes of body; `bodies` is 0 where none was asked for (HEAD, 304)."""
        if not tally.count:
            self._counted.append(tally)
        tally.count += 1
        tally.bodies += bodies
        tally.sent += sent

    async def note(self) -> None:
        """Write down what was served by now, a few at a time, so that hits go on; once a second.

        Lets go of files, too, whose hit does not stand any more.
        """
        for _ in range(0, len(self._counted), TALLIES_PER_TURN):
            self._write_down(TALLIES_PER_TURN)
            await asyncio.sleep(0)
        now = self._clock.now()
        for hit in list(self._files.values()):
            if now >= hit.fresh_until or hit.stamp != self._stamps[hit.slot]:
                self._forget(hit)

    def flush(self) -> None:
        """Write down all that was served, at once: for who wants to read it."""
        self._write_down(len(self._counted))

    def clear(self) -> None:
        """Forget everything: settings have changed."""
        while self._hits:
            self._forget(next(iter(self._hits.values())))

    def _write_down(self, limit: int) -> None:
        """Turn at most so many tallies into usage records, and count what they hold together."""
        now = self._clock.now()
        cut = max(len(self._counted) - limit, 0)
        tallies = self._counted[cut:]
        del self._counted[cut:]
        sums: dict[tuple[str, str], tuple[int, int]] = {}
        for tally in tallies:
            hit = tally.hit
            hit.tallies.pop(tally.token, None)
            sent, count = sums.get((hit.repository, hit.outcome), (0, 0))
            sums[hit.repository, hit.outcome] = sent + tally.sent, count + tally.count
            if tally.bodies:
                what = hit.repository, hit.path, hit.digest, tally.token, hit.outcome
                self._usage.note(Use(now, *what, tally.sent, tally.bodies))
            tally.count = tally.bodies = tally.sent = 0
        for (repository, outcome), (sent, count) in sums.items():
            self._counters.served(repository, outcome, sent, count)

    def _forget(self, hit: Hit) -> None:
        if not hit.known:
            return
        hit.known = False
        del self._hits[hit.key]
        self._files.pop(hit.key, None)
        self._close(hit)
        if hit.body is not None:
            self._body_bytes -= len(hit.body)
            hit.body = None
        if hit.varied:
            self._varied[hit.key[0]] -= 1
            if not self._varied[hit.key[0]]:
                del self._varied[hit.key[0]]

    @staticmethod
    def _close(hit: Hit) -> None:
        if hit.open_file is not None:
            hit.open_file.drop()
            hit.open_file = None
