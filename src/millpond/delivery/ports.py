"""What delivery needs of the world: a tracker, a forge, steps. `millpond.testing` has fakes and conformance kits.

Whatever these give was read from outside: ids and texts of any content, cut to size by who implements them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from millpond.delivery.model import Evidence, Hint, Issue, Job, Listing, Outcome, Project, State
from millpond.errors import MillpondError


class TrackerFailed(MillpondError):
    """The tracker gave no usable answer. `permanent`: asking again does not help; `after_s` is its own wish."""

    def __init__(self, message: str, *, permanent: bool = False, after_s: float | None = None) -> None:
        super().__init__(message)
        self.permanent, self.after_s = permanent, after_s


class ForgeFailed(MillpondError):
    """The forge gave no usable answer. `permanent`: asking again does not help; `after_s` is its own wish."""

    def __init__(self, message: str, *, permanent: bool = False, after_s: float | None = None) -> None:
        super().__init__(message)
        self.permanent, self.after_s = permanent, after_s


class Tracker(Protocol):
    """A board. Each method raises `TrackerFailed` when it gave no usable answer: an outage is never "no work"."""

    def parse(self, headers: Mapping[str, str], body: bytes) -> Hint:
        """Verify a webhook and say where to look. Raises `Denied` (no, or a wrong signature), `BadRequest`."""

    async def states(self, project: Project) -> Sequence[State]:
        """Give all columns of a project's board."""

    async def changed(self, project: Project, states: frozenset[str], since: float) -> Listing:
        """Give the issues that stand in one of `states` and changed after `since` (0: all of them)."""

    async def get(self, project: Project, ids: Sequence[str]) -> Sequence[Issue]:
        """Read issues now, with their comments. One that is left out is known not to exist."""

    async def move(self, project: Project, issue: str, state: str) -> None:
        """Move an issue to a column; done already is done."""

    async def comment(self, project: Project, issue: str, text: str, key: str) -> None:
        """Write a comment once for each `key`."""


@dataclass(frozen=True, slots=True)
class Change:
    """A pull request."""

    number: int
    head: str
    """The commit that its branch is at."""
    url: str = ""


class Merge(StrEnum):
    """What came of asking for a merge."""

    MERGED = "merged"
    LATER = "later"
    """The forge is not ready for it: ask again."""
    MOVED = "moved"
    """The branch is no longer at the commit that was to be merged."""
    CONFLICT = "conflict"
    REFUSED = "refused"


class Forge(Protocol):
    """What holds the code. Each method raises `ForgeFailed` when it gave no usable answer."""

    def parse(self, headers: Mapping[str, str], body: bytes) -> Hint:
        """Verify a webhook and say where to look. Raises `Denied` (no, or a wrong signature), `BadRequest`."""

    async def observe(
        self, project: Project, branch: str, paths: Sequence[str], *, peek: bool = False
    ) -> Sequence[Evidence]:
        """Tell what gates want to know of a branch: its head, statuses, conflicts, base, and the files asked for.

        All of it bound to the commit that was found; empty: there is no such branch. `peek`: somebody is only curious,
        so that nothing is opened to find it out.
        """

    async def open_change(self, project: Project, branch: str, title: str) -> Change:
        """Open the pull request of a branch, or find the one that is open."""

    async def merge(self, project: Project, number: int, sha: str) -> Merge:
        """Merge a pull request if its head is `sha`."""

    async def contains(self, project: Project, branch: str, sha: str) -> bool:
        """Say whether a commit is on a branch."""

    async def follows(self, project: Project, later: str, earlier: str) -> bool:
        """Say whether a commit has another one in its history; not where one of them is not there."""


class Step(Protocol):
    """What a stage does."""

    @property
    def name(self) -> str:
        """Its name in a pipeline."""

    async def run(self, job: Job) -> Outcome:
        """Do it; what goes wrong is an outcome. Cancelled: everything that it started is ended."""
