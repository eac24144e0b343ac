"""What was seen in one repository: what never changes is asked for once, what may have changed for many at once."""

from __future__ import annotations

from collections.abc import Mapping

from millpond.adapters.gitrefs import Ref, Refs, Remembered
from millpond.adapters.gitrepo import REFS, Repo
from millpond.delivery.model import Json

Told = list[tuple[str, dict[str, Json]]]


class Seen:
    """What is known of one repository. Each method raises `ForgeFailed`."""

    def __init__(self, repo: Repo) -> None:
        self._repo, self._refs = repo, Refs(repo)
        self._heads = Remembered[str]()
        """Where a branch was at last: a guess, so that one listing has the statuses of its commit, too."""
        self._merges = Remembered[tuple[bool, bool]]()
        self._within = Remembered[bool]()
        self._files = Remembered[Told]()
        self._states = Remembered[dict[str, Json]]()

    async def branch(self, branch: str, base: str) -> tuple[str, str, dict[str, Json]]:
        """Give the commits that a branch and its base are at now, and the statuses of the first; empty: none."""
        wanted = [f"refs/heads/{branch}", f"refs/heads/{base}"]
        guess = self._heads.get(branch)
        refs = await self._refs.get(*wanted, *([_statuses(guess)] if guess else ()))
        head = _commit(refs, branch)
        if not head:
            return "", _commit(refs, base), {}
        self._heads.keep(branch, head)
        if head != guess:
            refs = {**await self._refs.get(_statuses(head)), **refs}
        _, blob = refs.get(_statuses(head), ("", ""))
        return head, _commit(refs, base), await self._said(head, blob) if blob else {}

    async def merging(self, base: str, sha: str) -> tuple[bool, bool]:
        """Say whether a commit has all of its base, and whether they can be merged."""
        known = self._merges.get((base, sha))
        if known is not None:
            return known
        clean = bool(await self._repo.merged_tree(base, sha))
        return self._merges.keep((base, sha), (await self._repo.is_ancestor(base, sha), clean))

    async def file(self, sha: str, path: str) -> Told:
        """Tell of a file in a commit."""
        known = self._files.get((sha, path))
        return known if known is not None else self._files.keep((sha, path), await self._repo.file(sha, path))

    async def has(self, branch: str, sha: str) -> bool:
        """Say whether a commit is on a branch now."""
        head = _commit(await self._refs.get(f"refs/heads/{branch}"), branch)
        known = self._within.get((head, sha))
        if not head or known is not None:
            return bool(known)
        if not await self._repo.has(sha):  # it may come yet
            return False
        return self._within.keep((head, sha), await self._repo.is_ancestor(sha, head))

    async def _said(self, sha: str, blob: str) -> dict[str, Json]:
        known = self._states.get(blob)
        return known if known is not None else self._states.keep(blob, await self._repo.states(sha, blob))


def _statuses(sha: str) -> str:
    return f"{REFS}/statuses/{sha}"


def _commit(refs: Mapping[str, Ref], branch: str) -> str:
    kind, sha = refs.get(f"refs/heads/{branch}", ("", ""))
    return sha if kind == "commit" else ""
