"""Many questions about one repository are one git; what is told is never older than the question."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from millpond.adapters.gitrefs import MAX_TOGETHER, Refs, Remembered
from millpond.adapters.processes import Ended
from millpond.delivery.ports import ForgeFailed


class FakeGit:
    """Lists refs as they are when it begins; `go` lets it end."""

    def __init__(self, **refs: str) -> None:
        self.refs, self.asked = dict(refs), list[tuple[str, ...]]()
        self.go = asyncio.Event()
        self.go.set()
        self.fails = False

    async def run(self, *words: str) -> Ended:
        names = words[3:]
        self.asked.append(names)
        now = dict(self.refs)
        await self.go.wait()
        if self.fails:
            raise ForgeFailed("git failed")
        return Ended(0, "".join(f"commit {now[name]} {name}\n" for name in names if name in now), "", False)


def refs_of(git: Any) -> Refs:
    return Refs(git)


async def test_those_who_ask_meanwhile_share_the_next_listing_and_see_what_was_there_when_they_asked():
    git = FakeGit(a="1", b="2")
    refs = refs_of(git)
    git.go.clear()
    first = asyncio.create_task(refs.get("a"))
    while not git.asked:
        await asyncio.sleep(0)
    git.refs["a"] = "9"
    others = [asyncio.create_task(refs.get(name, "c")) for name in ("a", "b", "b")]
    await asyncio.sleep(0.01)
    assert len(git.asked) == 1
    git.go.set()
    assert await first == {"a": ("commit", "1")}
    assert await asyncio.gather(*others) == [{"a": ("commit", "9")}, {"b": ("commit", "2")}, {"b": ("commit", "2")}]
    assert git.asked == [("a",), ("a", "b", "c")]


async def test_a_fault_is_told_to_all_of_one_listing_and_the_next_one_is_well():
    git = FakeGit(a="1")
    refs = refs_of(git)
    git.fails = True
    found = await asyncio.gather(refs.get("a"), refs.get("b"), return_exceptions=True)
    assert [type(one) for one in found] == [ForgeFailed, ForgeFailed]
    git.fails = False
    assert await refs.get("a") == {"a": ("commit", "1")}


async def test_one_who_gives_up_leaves_the_others_their_answer():
    git = FakeGit(a="1", b="2")
    refs = refs_of(git)
    git.go.clear()
    leaving, staying = asyncio.create_task(refs.get("a")), asyncio.create_task(refs.get("b"))
    await asyncio.sleep(0.01)
    leaving.cancel()
    git.go.set()
    assert await staying == {"b": ("commit", "2")}
    with pytest.raises(asyncio.CancelledError):
        await leaving


async def test_no_listing_is_of_more_than_a_command_line_has_room_for():
    git = FakeGit()
    refs = refs_of(git)
    await asyncio.gather(*(refs.get(f"r{number}") for number in range(3 * MAX_TOGETHER)))
    assert max(len(names) for names in git.asked) == MAX_TOGETHER
    assert len(git.asked) == 3


def test_the_oldest_answers_are_forgotten():
    kept = Remembered[int](2)
    for key in "ab":
        kept.keep(key, ord(key))
    assert kept.get("a") == ord("a")
    kept.keep("c", 3)
    assert [kept.get(key) for key in "abc"] == [ord("a"), None, 3]
