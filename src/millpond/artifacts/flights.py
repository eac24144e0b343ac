"""One flight per object, for any number of clients and across worker processes.

A flight belongs to no client: whoever comes first starts it, anybody may leave, and it lands (is stored) all the
same. In one worker
process of all it has a leader that fetches; the others follow and read the same spool file. A worker that dies loses
its
seat, and a follower that has not answered its clients yet takes over.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import structlog

from millpond.artifacts.model import Digest, Entry
from millpond.artifacts.ports import FAILED, LANDED, STREAMING, UNSHARED, FlightLock, Seat, Watch
from millpond.artifacts.spool import Mirror, Spool, Tape
from millpond.errors import MillpondError

POLL_S = 0.003
MAX_REASON = 1000
LEFT = "left"
"""The kind of a transfer that was ended here, since nobody waited for what is not to be stored."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Arriving:
    """The head of a body that is on its way. `digest` only where an index gave it; `length` None: not known.

    `age_s` is how old it was already when it was sent (its Age header).
    """

    content_type: str
    content_encoding: str
    etag: str
    last_modified: str
    length: int | None
    digest: Digest | None
    spool: str = ""
    age_s: float = 0.0


@dataclass(frozen=True, slots=True)
class Landed:
    """The catalog has it: fetched now, or (`how` is ``revalidated``) confirmed, or (``hit``) already there."""

    entry: Entry
    how: str


@dataclass(frozen=True, slots=True)
class Kept:
    """The upstream gave nothing usable; the good copy goes on."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Passed:
    """Delivered whole and right to those attached, and not stored (`why`: no room, no-store)."""

    why: str


@dataclass(frozen=True, slots=True)
class Refused:
    """There is nothing to give: the upstream's 404 or 410, or our 502."""

    status: int
    reason: str
    kind: str = ""
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Elsewhere:
    """Another process's flight ended; the catalog has the result."""


Outcome: TypeAlias = Landed | Kept | Passed | Refused | Elsewhere
Lead: TypeAlias = Callable[["Flight"], Awaitable[Outcome]]


@dataclass(slots=True)
class Flight:
    """One object on its way. `outcome` is None until it has ended."""

    key: str
    seat: Seat | None = None
    arriving: Arriving | None = None
    tape: Tape | None = None
    outcome: Outcome | None = None
    _holders: int = 0
    _ready: asyncio.Event = field(default_factory=asyncio.Event)
    _ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def unwanted(self) -> bool:
        """Whether no client waits for it or reads it."""
        return self._holders == 0

    @property
    def followed(self) -> bool:
        """Whether other processes could follow it to its end: announced, and every byte in the file."""
        return bool(self.arriving and self.arriving.spool) and isinstance(self.tape, Spool) and self.tape.filed

    def hold(self) -> None:
        """Keep the tape open until `release`."""
        self._holders += 1

    def release(self) -> None:
        """Let go; the last one closes a finished tape."""
        self._holders -= 1
        self._close_if_done()

    async def ready(self) -> None:
        """Wait until the first bytes may be served, or the flight has ended."""
        await self._ready.wait()

    async def ended(self) -> None:
        """Wait until the flight has ended."""
        await self._ended.wait()

    def arrive(self, arriving: Arriving, tape: Tape) -> None:
        """Tell everybody that bytes begin to come."""
        self.arriving, self.tape = arriving, tape
        if self.seat is not None:
            self._share(self.seat, arriving)
        self._ready.set()

    @staticmethod
    def _share(seat: Seat, arriving: Arriving) -> None:
        """Let the followers come along, unless there is no file, or an upstream's head is too large to pass on."""
        try:
            if arriving.spool:
                seat.announce(json.dumps(asdict(arriving)).encode())
                return
        except ValueError:
            pass
        seat.unshare()

    def told(self) -> None:
        """Tell the followers how far it is, or that they can't come along any more."""
        if self.seat is None or self.tape is None:
            return
        if isinstance(self.tape, Spool) and not self.tape.shared and not self.tape.done:
            self.seat.unshare()
        else:
            self.seat.progress(self.tape.limit)

    def end(self, outcome: Outcome) -> None:
        """End it, once; readers of a failed one are broken off."""
        if self.outcome is not None:
            return
        self.outcome = outcome
        if self.tape is not None and not self.tape.done:
            self.tape.abort(outcome.reason if isinstance(outcome, Refused) else "the fetch did not complete")
        self._ready.set()
        self._ended.set()
        self._close_if_done()

    def _close_if_done(self) -> None:
        if self._holders == 0 and self.outcome is not None and self.tape is not None:
            self.tape.close()


class Flights:
    """The flights of this process. Bounded: each waits for one of its upstream's connections."""

    def __init__(self, lock: FlightLock) -> None:
        self._lock = lock
        self._flying: dict[str, Flight] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def spool(self) -> Path:
        """The folder of spool files."""
        return self._lock.spool

    def __len__(self) -> int:
        """Count the flights that have not ended."""
        return len(self._tasks)

    def join(self, key: str, lead: Lead) -> tuple[Flight, bool]:
        """Join the key's flight, or start it with `lead`; tells whether it was under way already.

        The caller holds it, and calls `Flight.release` when done.
        """
        flight = self._flying.get(key)
        under_way = flight is not None and (flight.tape is None or flight.tape.joinable)
        if flight is None or not under_way:
            flight = self._start(key, lead, alone=flight is not None)
        flight.hold()
        return flight, under_way

    def _start(self, key: str, lead: Lead, *, alone: bool) -> Flight:
        flight = Flight(key)
        if not alone:
            self._flying[key] = flight
        task = asyncio.create_task(self._run(flight, lead, alone=alone), name=f"flight {key}")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return flight

    async def _run(self, flight: Flight, lead: Lead, *, alone: bool) -> None:
        try:
            outcome = await (lead(flight) if alone else self._fly(flight, lead))
        except asyncio.CancelledError:
            outcome = Refused(502, "the daemon is shutting down", "shutdown")
        except Exception as error:  # a fault of ours must still end the flight for all who wait
            log.exception("a flight failed", key=flight.key)
            told = isinstance(error, MillpondError)  # others' texts are for the log: they name files and more
            outcome = Refused(500, str(error) if told else "a fault of the pond's own: its log tells more", "internal")
        finally:
            if self._flying.get(flight.key) is flight:
                del self._flying[flight.key]
        flight.end(outcome)

    async def _fly(self, flight: Flight, lead: Lead) -> Outcome:
        """Take the seat and lead, or follow whoever has it; again when they vanish before a byte was served."""
        while True:
            seat = self._lock.lead(flight.key)
            if seat is not None:
                return await self._seated(flight, lead, seat)
            watch = self._lock.follow(flight.key)
            if watch is None:
                await asyncio.sleep(POLL_S)
                continue
            try:
                phase = await self._follow(flight, watch)
                head = watch.look().head
            finally:
                watch.close()
            if phase == LANDED:
                return Elsewhere()
            if phase == FAILED:
                refusal = _refusal(head)
                if isinstance(refusal, Refused) and refusal.kind == LEFT and flight.arriving is None:
                    continue  # they knew of nobody who waited, but we do
                return refusal
            if flight.arriving is not None:
                return Refused(502, "the worker that fetched it died, or its disk is full: ask again", "left-alone")
            if phase == UNSHARED:
                return await lead(flight)

    async def _seated(self, flight: Flight, lead: Lead, seat: Seat) -> Outcome:
        flight.seat = seat
        phase = FAILED
        try:
            outcome = await lead(flight)
            flight.told()
            if isinstance(outcome, Refused):
                told = replace(outcome, reason=outcome.reason[:MAX_REASON])
                seat.announce(json.dumps({"refused": asdict(told)}).encode())
            else:
                phase = UNSHARED if isinstance(outcome, Passed) and not flight.followed else LANDED
        finally:
            flight.seat = None
            seat.leave(phase)
        return outcome

    async def _follow(self, flight: Flight, watch: Watch) -> int | None:
        """Mirror another process's flight; gives its last phase, None when it was abandoned."""
        while True:
            gone = watch.abandoned()  # first, so that a last word said before leaving is not missed
            now = watch.look()
            if now.phase in (STREAMING, LANDED):
                self._mirror(flight, now.head, now.written)
            if now.phase == LANDED and isinstance(flight.tape, Mirror):
                flight.tape.complete(now.written)
            if now.phase in (LANDED, FAILED, UNSHARED):
                return now.phase
            if gone:
                return None
            await asyncio.sleep(POLL_S)

    def _mirror(self, flight: Flight, head: bytes, written: int) -> None:
        told = json.loads(head) if flight.tape is None and head else {}
        if "length" in told:
            arriving = Arriving(**told)
            try:
                tape = Mirror(self.spool / arriving.spool, arriving.length)
            except FileNotFoundError:
                return  # it has just landed or failed; the next look tells
            flight.arrive(arriving, tape)
        if isinstance(flight.tape, Mirror):
            flight.tape.advance(written)

    async def close(self, drain_s: float = 0.0) -> None:
        """Let running flights land for `drain_s`, then cancel what is left."""
        if self._tasks and drain_s > 0:
            await asyncio.wait(set(self._tasks), timeout=drain_s)
        for task in list(self._tasks):
            task.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))


def _refusal(head: bytes) -> Outcome:
    try:
        return Refused(**json.loads(head)["refused"])
    except (ValueError, KeyError, TypeError):
        return Elsewhere()
