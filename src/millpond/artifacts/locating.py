"""Where a target's bytes lie: below the upstream's base URL, or where the index that lists it says.

The index is the stored one while it may be served, else a new one. A member that it does not name is looked up in a
newer index, once; a member's index that can't be had is read in another representation, where one is stored.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol
from urllib.parse import urljoin

from millpond.artifacts import freshness
from millpond.artifacts.derived import UnsoundDocument
from millpond.artifacts.flights import Flight, Kept, Landed, Outcome, Passed, Refused
from millpond.artifacts.formats.base import Described, Varies
from millpond.artifacts.landing import Located, Pond, Remote
from millpond.artifacts.model import Checksum, Decision, Entry, Expectation, Member, Serve, Target
from millpond.artifacts.passing import PassingIndexes
from millpond.artifacts.spool import Spool
from millpond.errors import UpstreamUnreachable

RECHECK_S = 10.0
"""An index older than this is asked again before a member that it does not name is called absent."""


class Fetching(Protocol):
    """What is needed of the proxy to have an index fetched."""

    async def decision(self, target: Target) -> Decision:
        """Say what a request for `target` would need now."""

    async def brought(self, target: Target, good: Entry | None) -> Serve | None:
        """Give what another worker's flight brought."""

    def join(self, target: Target, mount: str, *, force: bool = False) -> tuple[Flight, bool]:
        """Join or start the flight of a target."""


@dataclass(frozen=True, slots=True)
class _Index:
    """An index at hand; `entry` None: it passed by unstored. `target`: the representation that it is."""

    entry: Entry | None
    source_url: str
    checked_at: float
    target: Target
    failure: str = ""
    """Why a newer one could not be had when that was last tried; empty: this is what the upstream has."""


class Locator:
    """Locates the targets of one remote repository."""

    def __init__(self, remote: Remote, pond: Pond, fetching: Fetching) -> None:
        self._remote, self._pond, self._fetching = remote, pond, fetching
        self._passing = PassingIndexes(remote.format)

    async def locate(self, target: Target) -> Located | Refused:
        """Say where a target's bytes lie and what they must be. Raises `UpstreamUnreachable`."""
        expectation = self._remote.format.expects(target)
        promised = (Checksum("sha256", target.digest.removeprefix("sha256:")),) if target.digest else ()
        if expectation.index is None or not isinstance(self._remote.format, Described):
            return Located(self._remote.upstream.base_url + target.upstream_path, promised)
        member = await self._member(expectation)
        if isinstance(member, Refused):
            return member
        return Located(member.url, (*promised, *member.checksums), member.size)

    def index_url(self, index: Target) -> str:
        """Give the URL that an index is asked at."""
        return self._remote.upstream.base_url + index.upstream_path

    async def _member(self, expectation: Expectation) -> Member | Refused:
        """Look a member up in its index; one that is not there is looked up again in a newer index, once."""
        index, name, failure = expectation.index, expectation.member, ""
        assert index is not None  # noqa: S101 - `locate` asked
        for force in (False, True):
            found = await self._index(index, () if force else expectation.also, force=force)
            if isinstance(found, Refused):
                return found
            failure = found.failure
            try:
                member = await self._listed(found, name)
            except FileNotFoundError:  # evicted between the look-up and here: once more, then it is fetched
                continue
            if member is not None:
                return replace(member, url=urljoin(found.source_url, member.url))
            if self._pond.clock.now() - found.checked_at < RECHECK_S:
                break
        missing = f"{index.path} lists no {name}"
        if failure:  # whether a newer one does, nobody can tell now
            return Refused(502, f"{missing}, and there is no newer one to be had: {failure}", "stale-index")
        return Refused(404, missing)

    async def _listed(self, found: _Index, name: str) -> Member | None:
        """Look a name up; where the list can't be kept (a full disk), the index is read as one that passes by."""
        entry, index = found.entry, found.target
        if entry is None or entry.digest is None:
            return self._passing.member(index, name)
        try:
            return await self._pond.derived.member(
                self._remote.format.name, index, entry.content_type, entry.digest, entry.source_url, name
            )
        except FileNotFoundError:
            raise
        except UnsoundDocument as error:
            raise UpstreamUnreachable(f"the stored index can't be read: {error}", kind="unsound") from error
        except OSError:
            blob = self._pond.catalog.blob_path(entry.digest)
            await self._passing.read_stored(index, entry.content_type, entry.source_url, blob)
            return self._passing.member(index, name)

    async def _index(self, index: Target, also: tuple[Target, ...], *, force: bool) -> _Index | Refused:
        """Have an index at hand: the stored one while it may be served, else a new one, else what stands in for it."""
        if not force:
            for one in (index, *also):
                found = await self._at_hand(one)
                if found is not None:
                    return found
        flight, _ = self._fetching.join(index, "", force=force)
        try:
            outcome = await self._settled(flight, index)
        finally:
            flight.release()
        match outcome:
            case Landed(entry) | Kept(entry):
                return _indexed(entry, index)
            case Refused() as refused:
                return await self._stand_in(index, refused) or refused
            case Passed():
                return _Index(None, self.index_url(index), self._pond.clock.now(), index)
        brought = await self._fetching.brought(index, None)
        gone = Refused(502, f"the index {index.path} could not be had: ask again")
        return _indexed(brought.entry, index) if brought else gone

    async def _at_hand(self, index: Target) -> _Index | Refused | None:
        decision = await self._fetching.decision(index)
        if not isinstance(decision, Serve):
            return None
        entry = decision.entry
        if entry.digest is not None and not self._pond.catalog.blob_path(entry.digest).exists():
            await self._pond.catalog.missing(entry)
            return None
        return _indexed(entry, index)

    async def _stand_in(self, index: Target, refused: Refused) -> _Index | None:
        """Find another representation of an index that can't be had; None: there is none."""
        format_ = self._remote.format
        if refused.status in freshness.GONE or not isinstance(format_, Varies):
            return None
        for other in format_.stand_ins(index):
            entry = await self._pond.catalog.find(self._remote.name, other.path, other.variant)
            if entry is not None and entry.digest is not None and self._pond.catalog.blob_path(entry.digest).exists():
                return _Index(entry, entry.source_url, entry.checked_at, other, refused.reason)
        return None

    async def _settled(self, flight: Flight, index: Target) -> Outcome | None:
        """Wait for an index; one that passes by unstored is read on its way."""
        await flight.ready()
        arriving, tape = flight.arriving, flight.tape
        if isinstance(tape, Spool) and arriving is not None and not arriving.spool and not tape.done:
            await self._passing.read(index, arriving, tape, self.index_url(index))
        await flight.ended()
        return flight.outcome


def _indexed(entry: Entry, index: Target) -> _Index | Refused:
    if entry.negative:
        return Refused(entry.status, "the upstream has no such project")
    return _Index(entry, entry.source_url, entry.checked_at, index, entry.failure)
