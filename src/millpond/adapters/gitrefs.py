"""What is asked of many branches of one repository at once: one git for all of them; and what never changes, once.

Starting a program takes longer than what git does in it. So who asks for refs while git lists others waits for the next
listing, which then tells all of them: it begins after each of them asked, so that nobody is told something older.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeAlias, TypeVar

from millpond.adapters.gitcommand import GitCommand

MAX_TOGETHER = 300
"""Refs that are asked for at once; a command line has room for that many long names."""
MOST = 5000
Ref: TypeAlias = tuple[str, str]
"""An object's kind and name."""
V = TypeVar("V")


@dataclass(eq=False, slots=True)
class _Batch:
    refs: set[str] = field(default_factory=set)
    task: asyncio.Task[dict[str, Ref]] | None = None


class Refs:
    """The refs of one repository, as they are when one asks."""

    def __init__(self, git: GitCommand) -> None:
        self._git, self._one = git, asyncio.Lock()
        self._next: _Batch | None = None
        self._running = set[asyncio.Task[dict[str, Ref]]]()

    async def get(self, *refs: str) -> dict[str, Ref]:
        """Give what refs are at; those that are not there are left out. Raises `ForgeFailed`."""
        batch = self._next
        if batch is None or batch.task is None or len(batch.refs) + len(refs) > MAX_TOGETHER:
            batch = self._next = _Batch()
            batch.task = asyncio.create_task(self._listed(batch))
            self._running.add(batch.task)
            batch.task.add_done_callback(self._running.discard)
        batch.refs.update(refs)
        found = await asyncio.shield(batch.task)  # others wait for it, too
        return {ref: found[ref] for ref in refs if ref in found}

    async def _listed(self, batch: _Batch) -> dict[str, Ref]:
        async with self._one:
            if self._next is batch:
                self._next = None
            words = ("for-each-ref", "--format=%(objecttype) %(objectname) %(refname)", "--")
            told = await self._git.run(*words, *sorted(batch.refs))
        lines = [line.split(" ", 2) for line in told.out.splitlines()]
        return {name: (kind, sha) for kind, sha, name in lines}


class Remembered(Generic[V]):
    """Answers that hold for ever, being about commits and blobs by name; of too many the oldest are dropped."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._kept: OrderedDict[Hashable, V] = OrderedDict()

    def get(self, key: Hashable) -> V | None:
        """Give an answer that is known."""
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
        return found

    def keep(self, key: Hashable, value: V) -> V:
        """Remember an answer, and give it."""
        self._kept[key] = value
        while len(self._kept) > self._most:
            self._kept.popitem(last=False)
        return value
