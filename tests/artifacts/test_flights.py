"""One flight per object: clients come and go, workers follow each other, leaders die.

Two `Flights` over one folder behave as two worker processes do: the seat is a lock on a file.
"""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from millpond.adapters.flightlock import FileFlightLock
from millpond.artifacts.flights import Arriving, Elsewhere, Flight, Flights, Landed, Passed, Refused
from millpond.artifacts.ports import FAILED, UNSHARED
from millpond.artifacts.soundness import Verifier
from millpond.artifacts.spool import Aborted, Spool
from millpond.testing.storage import Storage, open_storage

MIB = 1 << 20
BODY = os.urandom(MIB)
KEY = "files\na.bin\n"


@pytest.fixture
async def workers(tmp_path: Path):
    """Two workers of one daemon."""
    both = [Flights(FileFlightLock(tmp_path / "spool")) for _ in range(2)]
    yield both
    for flights in both:
        await flights.close()
    assert [path.name for path in (tmp_path / "spool").iterdir()] == [], "nothing is left behind"


@pytest.fixture
async def storage(tmp_path: Path):
    async with open_storage(tmp_path / "storage") as opened:
        yield opened


class Leader:
    """Leads flights step by step, as the test says; counts how often it was asked to."""

    def __init__(self, flights: Flights, room: int = 1 << 30, length: int | None = len(BODY)) -> None:
        self.flights, self.room, self.length = flights, room, length
        self.go, self.finish = asyncio.Event(), asyncio.Event()
        self.count = 0
        self.outcome = None
        self.error: Exception | None = None

    async def __call__(self, flight: Flight):
        self.count += 1
        await self.go.wait()
        if isinstance(self.outcome, Refused):
            return self.outcome
        spool = Spool(self.flights.spool, self.room, self.length)
        name = spool.path.name if spool.path else ""
        flight.arrive(Arriving("text/x", "", '"1"', "", self.length, None, name, 3.0), spool)
        verifier = Verifier()
        for at in range(0, len(BODY), 100_000):
            await spool.write(BODY[at : at + 100_000], verifier)
            flight.told()
            await asyncio.sleep(0)
        await self.finish.wait()
        if self.error is not None:
            raise self.error
        spool.complete(len(BODY))
        return self.outcome or Passed("not stored in this test")


async def read(flight: Flight, start: int = 0) -> bytes:
    await flight.ready()
    assert flight.tape is not None
    reader = flight.tape.attach(start)
    got = []
    try:
        while piece := await flight.tape.read(reader, 65_536):
            got.append(piece)
        return b"".join(got)
    finally:
        flight.tape.detach(reader)
        flight.release()


def die(seat) -> None:
    """Do what the kernel does for a dead process."""
    os.close(seat._fd)
    seat._fd = -1


async def test_clients_of_one_object_share_one_flight(workers):
    leader = Leader(workers[0])
    flights = [workers[0].join(KEY, leader) for _ in range(50)]
    assert [joined for _, joined in flights] == [False] + [True] * 49
    assert len({id(flight) for flight, _ in flights}) == 1
    reading = [asyncio.create_task(read(flight)) for flight, _ in flights]
    leader.go.set()
    leader.finish.set()
    assert await asyncio.gather(*reading) == [BODY] * 50
    assert leader.count == 1


async def test_other_objects_have_flights_of_their_own(workers):
    leader = Leader(workers[0])
    leader.outcome = Refused(404, "no")
    one, two = workers[0].join("a", leader)[0], workers[0].join("b", leader)[0]
    assert one is not two
    assert len(workers[0]) == 2
    leader.go.set()
    await asyncio.gather(one.ended(), two.ended())
    assert leader.count == 2
    assert len(workers[0]) == 0


async def test_the_flight_belongs_to_no_client(workers):
    """All who wanted it leave; it lands all the same."""
    leader = Leader(workers[0])
    flight, _ = workers[0].join(KEY, leader)
    flight.release()
    assert flight.unwanted
    leader.go.set()
    leader.finish.set()
    await flight.ended()
    assert isinstance(flight.outcome, Passed)


async def test_a_late_client_gets_every_byte(workers):
    leader = Leader(workers[0])
    first, _ = workers[0].join(KEY, leader)
    leader.go.set()
    await first.ready()
    reading = asyncio.create_task(read(first))
    await asyncio.sleep(0.01)
    late, joined = workers[0].join(KEY, leader)
    assert joined
    assert late is first
    leader.finish.set()
    assert await read(late, 1000) == BODY[1000:]
    assert await reading == BODY


async def test_after_the_landing_a_new_flight_starts(workers):
    leader = Leader(workers[0])
    leader.outcome = Refused(404, "no")
    leader.go.set()
    for count in (1, 2):
        flight, joined = workers[0].join(KEY, leader)
        await flight.ended()
        assert (joined, leader.count) == (False, count)


async def test_two_workers_make_one_fetch(workers):
    leaders = [Leader(flights) for flights in workers]
    flights = [workers[at % 2].join(KEY, leaders[at % 2])[0] for at in range(20)]
    reading = [asyncio.create_task(read(flight)) for flight in flights]
    for leader in leaders:
        leader.go.set()
        leader.finish.set()
    assert await asyncio.gather(*reading) == [BODY] * 20
    assert leaders[0].count + leaders[1].count == 1


async def test_a_follower_reads_while_the_leader_writes(workers):
    leader, idle = Leader(workers[0]), Leader(workers[1])
    ours, _ = workers[0].join(KEY, leader)
    leader.go.set()
    await ours.ready()
    theirs, _ = workers[1].join(KEY, idle)
    await theirs.ready()
    assert theirs.arriving == ours.arriving, "the head, its age too"
    assert theirs.tape is not None
    reader = theirs.tape.attach()
    early = await theirs.tape.read(reader, 1000)
    assert early == BODY[:1000]
    assert ours.outcome is None, "long before the landing"
    theirs.tape.detach(reader)
    leader.finish.set()
    assert await read(theirs) == BODY
    await theirs.ended()
    assert isinstance(theirs.outcome, Elsewhere)
    assert idle.count == 0
    ours.release()


async def test_the_tail_is_withheld_from_followers_too(workers):
    leader, idle = Leader(workers[0]), Leader(workers[1])
    leader.error = RuntimeError("the digest was wrong")
    ours, _ = workers[0].join(KEY, leader)
    leader.go.set()
    theirs, _ = workers[1].join(KEY, idle)
    reading = [asyncio.create_task(read(flight)) for flight in (ours, theirs)]
    await asyncio.sleep(0.05)
    assert not any(task.done() for task in reading)
    leader.finish.set()
    for task in reading:
        with pytest.raises(Aborted):
            await task
    assert idle.count == 0, "a transfer that began can't begin again"


async def test_a_leaders_refusal_is_its_followers_answer(workers):
    leader, idle = Leader(workers[0]), Leader(workers[1])
    leader.outcome = Refused(503, "the upstream answered 503", "status-503", 7.0)
    ours, _ = workers[0].join(KEY, leader)
    await asyncio.sleep(0.01)
    theirs, _ = workers[1].join(KEY, idle)
    await asyncio.sleep(0.01)
    leader.go.set()
    await asyncio.gather(ours.ended(), theirs.ended())
    assert ours.outcome == theirs.outcome == leader.outcome
    assert idle.count == 0


async def test_a_fault_of_ours_ends_the_flight_for_all_who_wait(workers):
    async def broken(_flight: Flight):
        raise RuntimeError("a bug")

    flight, _ = workers[0].join(KEY, broken)
    await asyncio.wait_for(flight.ended(), 30)
    assert isinstance(flight.outcome, Refused)
    assert (flight.outcome.status, flight.outcome.kind) == (500, "internal")
    assert len(workers[0]) == 0


async def test_followers_get_to_the_end_of_what_could_not_be_stored(workers):
    """The catalog refused it, the bytes are right: who came along has them, in every worker."""
    leader, idle = Leader(workers[0]), Leader(workers[1])
    leader.outcome = Passed("could not be stored: the disk is full")
    ours, _ = workers[0].join(KEY, leader)
    leader.go.set()
    await ours.ready()
    theirs, _ = workers[1].join(KEY, idle)
    await theirs.ready()
    leader.finish.set()
    assert await asyncio.gather(read(ours), read(theirs)) == [BODY, BODY]
    assert idle.count == 0


async def test_an_abandoned_seat_is_taken_over(workers):
    """The leading worker died before a byte came: a follower leads in its place."""
    seat = workers[0]._lock.lead(KEY)
    assert seat is not None
    successor = Leader(workers[1])
    flight, _ = workers[1].join(KEY, successor)
    await asyncio.sleep(0.02)
    assert successor.count == 0
    die(seat)
    successor.go.set()
    successor.finish.set()
    assert await asyncio.wait_for(read(flight), 30) == BODY
    assert successor.count == 1


async def test_a_leader_that_dies_in_mid_stream_breaks_its_followers_off(workers):
    """They have given out bytes already; the next request starts anew."""
    seat = workers[0]._lock.lead(KEY)
    assert seat is not None
    spool = Spool(workers[0].spool, 1 << 30, len(BODY))
    assert spool.path is not None
    dying = Flight(KEY, seat)
    dying.arrive(Arriving("text/x", "", "", "", len(BODY), None, spool.path.name), spool)
    await spool.write(BODY[: MIB // 2], Verifier())
    dying.told()
    successor = Leader(workers[1])
    flight, _ = workers[1].join(KEY, successor)
    reading = asyncio.create_task(read(flight))
    await asyncio.sleep(0.02)
    die(seat)
    with pytest.raises(Aborted):
        await asyncio.wait_for(reading, 30)
    assert isinstance(flight.outcome, Refused)
    assert (flight.outcome.status, flight.outcome.kind) == (502, "left-alone")
    spool.close()
    again, joined = workers[1].join(KEY, successor)
    assert not joined
    successor.go.set()
    successor.finish.set()
    assert await asyncio.wait_for(read(again), 30) == BODY


async def test_a_flight_without_a_file_is_not_shared_between_workers(workers):
    """The disk is full: each worker fetches for its own clients."""
    leaders = [Leader(flights, room=0) for flights in workers]
    flights = [flights.join(KEY, leader)[0] for flights, leader in zip(workers, leaders, strict=True)]
    reading = [asyncio.create_task(read(flight)) for flight in flights]
    for leader in leaders:
        leader.go.set()
        leader.finish.set()
    assert await asyncio.wait_for(asyncio.gather(*reading), 30) == [BODY] * 2
    assert [leader.count for leader in leaders] == [1, 1]


async def test_who_comes_after_bytes_were_let_go_gets_a_flight_of_its_own(workers, monkeypatch):
    monkeypatch.setattr("millpond.artifacts.spool.WINDOW_BYTES", 150_000)
    leader = Leader(workers[0], room=0, length=None)
    first, _ = workers[0].join(KEY, leader)
    leader.go.set()
    reading = asyncio.create_task(read(first))
    while first.tape is None or first.tape.joinable:
        await asyncio.sleep(0)
    late, joined = workers[0].join(KEY, leader)
    assert not joined
    assert late is not first
    leader.finish.set()
    assert await asyncio.wait_for(asyncio.gather(reading, read(late)), 30) == [BODY, BODY]
    assert leader.count == 2


async def test_a_landed_flight_tells_its_followers_to_look_in_the_catalog(workers, storage: Storage):
    leader, idle = Leader(workers[0]), Leader(workers[1])
    leader.outcome = Landed(storage.entry("a.bin", BODY), "fetched")
    ours, _ = workers[0].join(KEY, leader)
    leader.go.set()
    await ours.ready()
    theirs, _ = workers[1].join(KEY, idle)
    await theirs.ready()
    leader.finish.set()
    assert await read(theirs) == BODY
    await theirs.ended()
    assert isinstance(theirs.outcome, Elsewhere)
    ours.release()


async def test_closing_gives_flights_time_to_land_and_then_breaks_them_off(workers):
    quick, stuck = Leader(workers[0]), Leader(workers[0])
    quick.go.set()
    quick.finish.set()
    landing, waiting = workers[0].join("a", quick)[0], workers[0].join("b", stuck)[0]
    reading = asyncio.create_task(read(landing))
    await workers[0].close(drain_s=0.2)
    assert await reading == BODY
    assert isinstance(waiting.outcome, Refused)
    assert waiting.outcome.kind == "shutdown"
    waiting.release()


def test_the_last_words_of_a_flight_are_final():
    flight = Flight(KEY)
    flight.end(Refused(404, "first"))
    flight.end(Refused(502, "second"))
    assert flight.outcome == Refused(404, "first")


def test_a_seat_left_twice_is_left_once(tmp_path: Path):
    seat = FileFlightLock(tmp_path).lead(KEY)
    assert seat is not None
    seat.leave(UNSHARED)
    seat.leave(FAILED)
    assert FileFlightLock(tmp_path).follow(KEY) is None
