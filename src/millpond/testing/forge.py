"""A forge in memory that fails as the test says: branches, statuses, files, merges that are guarded by the commit."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from millpond.delivery.model import Evidence, Hint, Json, Project
from millpond.delivery.ports import Change, Forge, ForgeFailed, Merge
from millpond.errors import Denied
from millpond.testing.blobstore import expect

BASE = "base".ljust(40, "0")
"""The commit that a base branch is at."""


@dataclass(slots=True)
class FakeForge:
    """A `millpond.delivery.ports.Forge`; branches are named ``repo:branch`` here."""

    heads: dict[str, str] = field(default_factory=dict)
    files: dict[str, dict[str, str]] = field(default_factory=dict)
    """By commit: paths, and their verdict in the front matter."""
    statuses: dict[str, dict[str, str]] = field(default_factory=dict)
    conflicting: set[str] = field(default_factory=set)
    merged: dict[str, list[str]] = field(default_factory=dict)
    history: dict[str, set[str]] = field(default_factory=dict)
    """By commit: those before it."""
    changes: list[str] = field(default_factory=list)
    now: float = 1_000_000.0
    down: bool = False
    says: str = "the forge is down"
    """What it says then."""
    empty: bool = False
    """Whether nobody has pushed anything yet, the base branch neither."""

    def parse(self, headers: Mapping[str, str], body: bytes) -> Hint:
        """Refuse all of them."""
        raise Denied(f"no webhook is taken here ({len(headers)} headers, {len(body)} bytes)", authenticate=True)

    async def observe(
        self,
        project: Project,
        branch: str,
        paths: Sequence[str],
        *,
        peek: bool = False,  # noqa: ARG002 - nothing is ever written by it
    ) -> Sequence[Evidence]:
        """Tell what is known of a branch."""
        self._ask()
        base = BASE if branch == project.branch and not self.empty else ""
        sha = self.heads.get(f"{project.repo}:{branch}", base)
        if not sha:
            return []
        told: list[tuple[str, dict[str, Json]]] = [
            ("head", {}),
            ("statuses", {"statuses": dict(self.statuses.get(sha, {}))}),
            ("mergeable", {"mergeable": sha not in self.conflicting}),
            ("base", {"contained": True}),
        ]
        for path in paths:
            words = self.files.get(sha, {})
            told.append(("file", {"path": path, "present": path in words}))
            if words.get(path):
                told.append(("front-matter", {"path": path, "fields": {"verdict": words[path]}}))
        return [Evidence(kind, facts, sha, self.now) for kind, facts in told]

    async def open_change(self, project: Project, branch: str, title: str) -> Change:  # noqa: ARG002 - the port's
        """Open a pull request, once for each branch."""
        self._ask()
        name = f"{project.repo}:{branch}"
        if name not in self.heads:
            raise ForgeFailed(f"there is no branch {branch}", permanent=True)
        if name not in self.changes:
            self.changes.append(name)
        return Change(self.changes.index(name) + 1, self.heads[name])

    async def merge(self, project: Project, number: int, sha: str) -> Merge:
        """Merge, if the head is the commit."""
        self._ask()
        name = self.changes[number - 1]
        done = self.merged.setdefault(f"{project.repo}:{project.branch}", [])
        if sha in done:
            return Merge.MERGED
        if self.heads.get(name) != sha:
            return Merge.MOVED
        if sha in self.conflicting:
            return Merge.CONFLICT
        done.append(sha)
        return Merge.MERGED

    async def contains(self, project: Project, branch: str, sha: str) -> bool:
        """Say whether a commit was merged."""
        self._ask()
        return sha in self.merged.get(f"{project.repo}:{branch}", ())

    async def follows(self, project: Project, later: str, earlier: str) -> bool:  # noqa: ARG002 - the port's
        """Say what `history` tells."""
        self._ask()
        return later == earlier or earlier in self.history.get(later, ())

    def _ask(self) -> None:
        if self.down:
            raise ForgeFailed(self.says)


class ForgeConformance:
    """The suite: subclass it, and give fixtures `forge`, `project`, and `branch`, which is pushed and not merged."""

    async def test_everything_that_is_told_is_about_the_commit(
        self, forge: Forge, project: Project, branch: str
    ) -> None:
        """And says whether a file is there."""
        told = await forge.observe(project, branch, ["no/such/file.md"])
        head = next(one.sha for one in told if one.kind == "head")
        expect(all(one.sha == head for one in told), "something is about another commit")
        expect(any(one.kind == "file" and one.facts["present"] is False for one in told), "the file is not told of")

    async def test_a_branch_that_is_not_there_tells_nothing(self, forge: Forge, project: Project) -> None:
        """No evidence is no evidence."""
        expect(not await forge.observe(project, "feature/no-such", []), "something is told of it")

    async def test_a_commit_follows_itself_and_nothing_that_is_not_there(
        self, forge: Forge, project: Project, branch: str
    ) -> None:
        """Whichever of the two is not there."""
        told = await forge.observe(project, branch, [])
        head = next(one.sha for one in told if one.kind == "head")
        unknown = "0123456789" * 4
        expect(await forge.follows(project, head, head), "a commit is not in its own history")
        expect(not await forge.follows(project, head, unknown), "an unknown commit is in a history")
        expect(not await forge.follows(project, unknown, head), "an unknown commit has a history")

    async def test_a_pull_request_is_opened_once(self, forge: Forge, project: Project, branch: str) -> None:
        """And found the second time."""
        first = await forge.open_change(project, branch, "x")
        second = await forge.open_change(project, branch, "x")
        expect(first.number == second.number, "there are two of them")

    async def test_only_the_commit_that_was_judged_is_merged(self, forge: Forge, project: Project, branch: str) -> None:
        """Another one is refused; the same twice is merged once."""
        change = await forge.open_change(project, branch, "x")
        expect(await forge.merge(project, change.number, "0" * 40) is Merge.MOVED, "another commit was merged")
        expect(not await forge.contains(project, project.branch, change.head), "it is said to be merged")
        for _ in range(2):
            expect(await forge.merge(project, change.number, change.head) is Merge.MERGED, "it was not merged")
        expect(await forge.contains(project, project.branch, change.head), "it is not on the branch")
