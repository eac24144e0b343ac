"""What a publication withdraws: which paths must be judged again when an entry file or an index takes its place.

Nothing is removed. Whoever remembers an answer for one of these paths (the fast lane, other processes) forgets it, and
the rules of `generations` say anew whether it stands.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import structlog

from millpond.artifacts import generations, rows
from millpond.artifacts.derived import Listing, UnsoundDocument
from millpond.artifacts.formats.base import Coherent
from millpond.artifacts.generations import Leaf, Promise
from millpond.artifacts.landing import Pond, Remote
from millpond.artifacts.model import Entry, Member, Target

MAX_INDEXES = 2000
"""Stored documents that are looked at for indexes, the newest first."""
MAX_CHANGED = 4000
"""Packages that are named one by one when an index changes; beyond, all that is remembered is judged again."""
INDEXES = "\x00indexes"
"""What changes whenever another index, or another entry file, is at hand: a path that no client can ask for."""
log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Index:
    """An index at hand, and the entry files to ask again when the upstream does not keep to it."""

    target: Target
    entry: Entry
    heads: tuple[str, ...]
    stands: bool = True


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """What must be judged again: these paths (None: all there is), and what is stored `below` when it is published."""

    paths: list[str] | None
    below: str | None = None


class Documents(Protocol):
    """What is needed of the coherence of a repository: its documents at hand, and what they promise."""

    async def vouchers(self, leaf: Leaf) -> list[Index]:
        """List the indexes at hand whose word counts."""

    def listing(self, target: Target, entry: Entry) -> Listing:
        """Name the list of what a document promises."""

    async def listed(self, target: Target, entry: Entry, path: str) -> Member | None:
        """Look a path up in a document."""

    async def stored(self, target: Target) -> Entry | None:
        """Give a document at hand; None: it is not."""

    async def promised(self, member: Member, head: Target, entry: Entry) -> Promise:
        """Give what an entry file promises of a member."""


class Superseding:
    """Says what the publications of one repository withdraw."""

    def __init__(self, remote: Remote, pond: Pond, documents: Documents) -> None:
        self._remote, self._pond, self._documents = remote, pond, documents
        self._format = remote.format if isinstance(remote.format, Coherent) else None

    def _index_at(self, path: str) -> tuple[Target, str] | None:
        return None if self._format is None else self._format.index(path)

    async def by_head(self, target: Target, entry: Entry, below: str, spool: Path | None) -> Withdrawn:
        """Say what must be judged again when there is a new entry file.

        That is all below it; and every package when it goes back to an index that is at hand and no longer vouches. Of
        one that is the index too, these are the packages that it lists otherwise than the one before.
        """
        if self._index_at(target.path) is not None and await self._documents.stored(target):
            return await self.by_member(target, entry, spool)
        believed = {index.entry.path for index in await self._documents.vouchers(Leaf((below,)))}
        read = partial(rows.cached_below, repository=self._remote.name, prefixes=[below], limit=MAX_INDEXES)
        for stored in await self._pond.catalog.db.read(read):
            if stored.path not in believed and self._index_at(stored.path) is not None:
                member = await self._documents.listed(target, entry, stored.path)
                if member is not None and generations.kept(
                    stored, await self._documents.promised(member, target, entry)
                ):
                    return Withdrawn(None)
        return Withdrawn([INDEXES], below)

    async def by_member(self, target: Target, entry: Entry, spool: Path | None) -> Withdrawn:
        """Say what must be judged again when a member takes its place.

        Of an index, these are the packages that it lists otherwise than those that vouched so far in its stead.
        """
        index = self._index_at(target.path)
        if index is None:
            return Withdrawn([])
        found: dict[str, None] = {}
        new = self._documents.listing(target, entry)
        for before in await self._documents.vouchers(Leaf((generations.beginning(target.path, index[1]),))):
            same = self._index_at(before.entry.path)
            if same is None or same[1] != index[1] or before.entry.digest == entry.digest:
                continue
            old = self._documents.listing(before.target, before.entry)
            try:
                names = await self._pond.derived.changed(old, new, MAX_CHANGED, blob=spool)
            except (UnsoundDocument, OSError) as error:
                log.warning("not compared", repository=self._remote.name, path=target.path, error=str(error))
                return Withdrawn(None)
            if names is None:
                return Withdrawn(None)
            found |= dict.fromkeys(names)
        return Withdrawn([INDEXES, *found])
