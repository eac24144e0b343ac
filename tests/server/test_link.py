"""The line between the supervisor and a worker, over a real pair of sockets."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path

import pytest

from millpond.errors import ConfigError, MillpondError
from millpond.server.link import Line, Superior


class Worker:
    """A worker's end, and what it was told to take."""

    def __init__(self, sock):
        self.superior, self.took, self.against = Superior(sock), [], None

    async def take(self, file):
        self.took.append(file)
        if self.against is not None:
            raise self.against


@pytest.fixture
def ends():
    mine, its = socket.socketpair()
    with mine, its:
        yield Line(mine), its


@pytest.fixture
async def worker(ends):
    made = Worker(ends[1])
    await made.superior.listen(made.take)
    yield made
    await made.superior.close()


async def heard(line):
    """Give the next messages of a worker."""
    async with asyncio.timeout(30):
        while (messages := line.heard()) == []:
            await asyncio.sleep(0.005)
    return messages


async def test_what_was_taken_is_said(ends, worker):
    ends[0].tell({"take": 4, "file": "/x"})
    assert await heard(ends[0]) == [{"took": 4, "error": None}]
    assert worker.took == [Path("/x")]


@pytest.mark.parametrize(
    ("against", "said"),
    [
        (ConfigError("nothing to adopt"), "nothing to adopt"),
        (OSError("gone"), "gone"),
        (ZeroDivisionError("ours"), "ZeroDivisionError: ours"),
    ],
)
async def test_so_is_what_was_against_it_and_the_worker_listens_on(ends, worker, against, said):
    worker.against = against
    ends[0].tell({"take": 1, "file": "/x"})
    assert await heard(ends[0]) == [{"took": 1, "error": said}]
    worker.against = None
    ends[0].tell({"take": 2, "file": "/y"})
    assert await heard(ends[0]) == [{"took": 2, "error": None}]


async def test_a_question_is_answered_by_its_number(ends, worker):
    one, two = asyncio.create_task(worker.superior.ask()), asyncio.create_task(worker.superior.ask())
    assert [*await heard(ends[0])] == [{"ask": 1}, {"ask": 2}]
    ends[0].tell({"told": 2, "refused": ["a: b", "c: d"], "failed": []})
    with pytest.raises(ConfigError) as refused:
        await two
    assert refused.value.problems == ("a: b", "c: d")
    ends[0].tell({"told": 1, "refused": [], "failed": []})
    await one


async def test_a_worker_that_failed_is_named(ends, worker):
    asking = asyncio.create_task(worker.superior.ask())
    await heard(ends[0])
    ends[0].tell({"told": 1, "refused": [], "failed": ["worker 1: no room"]})
    with pytest.raises(MillpondError, match="worker 1: no room"):
        await asking


async def test_a_message_that_comes_in_pieces_is_one(ends):
    line, its = ends
    its.sendall(b'{"ask"')
    assert line.heard() == []
    its.sendall(b': 1}\n{"ask": 2}\n{"as')
    assert line.heard() == [{"ask": 1}, {"ask": 2}]
    its.close()
    assert line.heard() is None


async def test_a_worker_that_reads_nothing_for_a_while_holds_nobody_up_and_misses_nothing(ends):
    line, its = ends
    for number in range(1, 5001):
        line.tell({"take": number, "file": "/x" * 100})
    late = Worker(its)
    await late.superior.listen(late.take)
    async with asyncio.timeout(60):
        while len(late.took) < 5000:
            line.flush()
            line.heard()
            await asyncio.sleep(0)
    await late.superior.close()
