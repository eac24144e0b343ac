"""Indexes that pass by without being stored (a full disk, no-store): their members are remembered for a short while.

Without this a pond whose disk is full could hand out an index, but none of the files that it lists.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from pathlib import Path

from millpond.artifacts.flights import Arriving
from millpond.artifacts.formats.base import Described, Format
from millpond.artifacts.model import Member, Target
from millpond.artifacts.spool import Aborted, Tape

MAX_INDEX_BYTES = 16 * 1024 * 1024
MAX_MEMBERS = 20_000
_CHUNK_BYTES = 64 * 1024


class PassingIndexes:
    """The members of the last few indexes that passed by, at most `MAX_MEMBERS` of them."""

    def __init__(self, format_: Format) -> None:
        self._format = format_
        self._members: OrderedDict[str, dict[str, Member]] = OrderedDict()

    def member(self, index: Target, name: str) -> Member | None:
        """Look up a member of an index that passed by."""
        return self._members.get(index.path, {}).get(name)

    async def read(self, index: Target, arriving: Arriving, tape: Tape, source: str) -> None:
        """Read an index from its flight. One that is too large, breaks off or can't be read leaves nothing."""
        if not isinstance(self._format, Described):
            return
        chunks: list[bytes] = []
        reader = tape.attach()
        try:
            while chunk := await tape.read(reader, _CHUNK_BYTES):
                chunks.append(chunk)
                if sum(map(len, chunks)) > MAX_INDEX_BYTES:
                    return
            # In a thread: rare, and the process pool would need the disk that is full.
            members = await asyncio.to_thread(self._parse, index, arriving.content_type, source, chunks)
        except (Aborted, ValueError):
            return
        finally:
            tape.detach(reader)
        self._remember(index, members)

    async def read_stored(self, index: Target, content_type: str, source: str, blob: Path) -> None:
        """Read an index that is stored, but whose list of members can't be. Raises `FileNotFoundError`."""
        if not isinstance(self._format, Described):
            return
        body = await asyncio.to_thread(_whole, blob)
        if body is not None:
            with contextlib.suppress(ValueError):
                self._remember(index, await asyncio.to_thread(self._parse, index, content_type, source, [body]))

    def _parse(self, index: Target, content_type: str, source: str, chunks: list[bytes]) -> dict[str, Member]:
        assert isinstance(self._format, Described)  # noqa: S101 - `read` asked
        return {member.name: member for member in self._format.members(index, content_type, source, chunks)}

    def _remember(self, index: Target, members: dict[str, Member]) -> None:
        self._members[index.path] = members
        self._members.move_to_end(index.path)
        while len(self._members) > 1 and sum(map(len, self._members.values())) > MAX_MEMBERS:
            self._members.popitem(last=False)


def _whole(blob: Path) -> bytes | None:
    return blob.read_bytes() if blob.stat().st_size <= MAX_INDEX_BYTES else None
