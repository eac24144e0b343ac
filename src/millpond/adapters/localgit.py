"""Bare git repositories of this machine as a `millpond.delivery.ports.Forge`: what a machine has without a forge.

People and runs push to them over the file system or ssh; the next look sees it. What a forge has beside the code is
kept in the repository itself, under ``refs/millpond/``: statuses by commit, changes (pull requests) by number, as JSON
blobs. So it is copied and backed up with the code, and writing it is git's own compare-and-swap. Nobody can push there:
a repository that is made here hides these refs (git-config(1), ``receive.hideRefs``).

A merge is one transaction of refs: the base moves from what was merged with to the merge commit, and only while the
branch is still at the commit that was judged.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from millpond.adapters.gitcommand import GitCommand
from millpond.adapters.gitrepo import REFS, Repo, index_of
from millpond.adapters.gitseen import Seen
from millpond.clock import Clock
from millpond.delivery.model import Evidence, Hint, Json, Project
from millpond.delivery.ports import Change, ForgeFailed, Merge
from millpond.delivery.workspaces.gitargs import NO_COMMIT, check_branch, check_repo, check_sha
from millpond.errors import BadRequest, Denied

MAX_PATHS = 50
MAX_STATUSES = 200
MAX_STATUS_TEXT = 500
TRIES = 3
"""Of a merge or a status whose ref another one moved meanwhile."""
STATES = frozenset({"pending", "success", "error", "failure", "warning", "skipped"})


@dataclass(frozen=True, slots=True)
class Status:
    """What somebody reports of a commit, under a name (`context`) of theirs; `state` is one of `STATES`."""

    context: str
    state: str
    description: str = ""
    url: str = ""


@dataclass(slots=True)
class LocalGit:
    """The repositories below `root`, made when they are first asked for; a `repo` that is a path is one elsewhere."""

    root: Path
    clock: Clock
    _making: asyncio.Lock = field(default_factory=asyncio.Lock)
    _bare: set[Path] = field(default_factory=set)
    """Repositories elsewhere that were found to be bare: a merge would leave a work tree behind its branch."""
    _seen: dict[Path, Seen] = field(default_factory=dict)

    def parse(self, headers: Mapping[str, str], body: bytes) -> Hint:
        """Refuse it: a repository on the disk sends no webhooks."""
        del headers, body
        raise Denied("local git takes no webhooks", authenticate=True)

    def path(self, project: Project) -> Path:
        """Say where a project's repository lies: its ``git clone`` URL. Raises `ForgeFailed`."""
        if project.repo.startswith("/"):
            return Path(project.repo)
        try:
            return self.root / f"{check_repo(project.repo)}.git"
        except ValueError as error:
            raise ForgeFailed(str(error), permanent=True) from error

    async def ensure(self, project: Project) -> Path:
        """Make a project's repository where there is none, and give its path. Raises `ForgeFailed`."""
        path = self.path(project)
        if project.repo.startswith("/"):
            if path not in self._bare and not await _is_bare(path):
                text = f"{path} is no bare git repository: `git clone --bare` makes one of another one"
                raise ForgeFailed(text, permanent=True)
            self._bare.add(path)
        elif not (path / "HEAD").is_file():
            async with self._making:
                await self._make(path, _branch(project.branch))
        return path

    async def observe(
        self,
        project: Project,
        branch: str,
        paths: Sequence[str],
        *,
        peek: bool = False,  # noqa: ARG002 - nothing is ever written by it
    ) -> Sequence[Evidence]:
        """Tell what is known of a branch."""
        repo = await self._open(project)
        seen = self._seen_of(repo)
        sha, base, statuses = await seen.branch(_branch(branch), project.branch)
        if not sha:
            return []
        told: list[tuple[str, dict[str, Json]]] = [("head", {}), ("statuses", {"statuses": statuses})]
        if base:
            contained, clean = await seen.merging(base, sha)
            detail = {} if clean else {"detail": f"with {project.branch} at {base[:12]}"}
            told.append(("mergeable", {"mergeable": clean, **detail}))
            told.append(("base", {"contained": contained}))
        for path in paths[:MAX_PATHS]:
            told += await seen.file(sha, path)
        now = self.clock.now()
        return [Evidence(kind, facts, sha, now, source="git") for kind, facts in told]

    async def open_change(self, project: Project, branch: str, title: str) -> Change:
        """Record that a branch is to be merged, or find the record."""
        repo = await self._open(project)
        head = (await repo.heads(_branch(branch))).get(branch)
        if head is None:
            raise ForgeFailed(f"{repo.path} has no branch {branch}: push it", permanent=True)
        index = index_of(branch)
        last = await repo.read(index)
        if last is not None and (not last["merged"] or last["merged"] == head):
            return Change(_count(last["number"]), head)
        for _ in range(TRIES):
            number = await repo.last_number() + 1
            record: dict[str, Json] = {"number": number, "branch": branch, "title": title[:255], "merged": ""}
            if await repo.write_new(number, index, record):
                return Change(number, head)
        raise ForgeFailed(f"{repo.path} is being written by others: it will be tried again")

    async def merge(self, project: Project, number: int, sha: str) -> Merge:
        """Merge a recorded change if its branch is at `sha`."""
        repo = await self._open(project)
        record = await repo.read(f"{REFS}/changes/{number}")
        if record is None:
            raise ForgeFailed(f"{repo.path} has no change {number}", permanent=True)
        branch = str(record["branch"])
        for _ in range(TRIES):
            heads = await repo.heads(branch, project.branch)
            base = heads.get(project.branch)
            if base is None:
                raise ForgeFailed(f"{repo.path} has no branch {project.branch}: push it first", permanent=True)
            if await repo.has(_sha(sha)) and await repo.is_ancestor(sha, base):
                await repo.note_merged(number, record, sha)
                return Merge.MERGED
            if heads.get(branch) != sha:
                return Merge.MOVED
            tree = await repo.merged_tree(base, sha)
            if not tree:
                return Merge.CONFLICT
            text = f"Merge {branch}: {record['title']}"
            commit = await repo.commit(tree, (base, sha), text)
            if await repo.move((project.branch, base, commit), (branch, sha)):
                await repo.note_merged(number, record, sha)
                return Merge.MERGED
        return Merge.LATER

    async def contains(self, project: Project, branch: str, sha: str) -> bool:
        """Say whether a commit is on a branch."""
        repo = await self._open(project)
        return await self._seen_of(repo).has(_branch(branch), _sha(sha))

    async def follows(self, project: Project, later: str, earlier: str) -> bool:
        """Say whether a commit has another one in its history; not where one of them is not there."""
        repo = await self._open(project)
        there = await repo.has(_sha(later)) and await repo.has(_sha(earlier))
        return there and await repo.is_ancestor(earlier, later)

    async def report(self, project: Project, sha: str, status: Status) -> None:
        """Report a commit's status, instead of an earlier one under its name. Raises `ForgeFailed`, `BadRequest`."""
        if status.state not in STATES:
            raise BadRequest(f"{status.state!r} is no state: write one of {', '.join(sorted(STATES))}")
        if not 0 < len(status.context) <= MAX_STATUS_TEXT:
            raise BadRequest(f"a status has a name (context) of 1 to {MAX_STATUS_TEXT} characters")
        repo = await self._open(project)
        if not await repo.has(_sha(sha)):
            raise ForgeFailed(f"{repo.path} has no commit {sha[:12]}: push it first", permanent=True)
        ref = f"{REFS}/statuses/{sha}"
        for _ in range(TRIES):
            old = await repo.resolve(ref)
            told = await repo.read(ref) or {}
            told[status.context] = {
                "state": status.state,
                "description": status.description[:MAX_STATUS_TEXT],
                "url": status.url[:MAX_STATUS_TEXT],
                "at": self.clock.now(),
            }
            if len(told) > MAX_STATUSES:
                raise BadRequest(f"a commit has at most {MAX_STATUSES} statuses")
            if await repo.update(f"update {ref} {await repo.blob(told)} {old or NO_COMMIT}"):
                return
        raise ForgeFailed(f"{repo.path} is being written by others: it will be tried again")

    def _seen_of(self, repo: Repo) -> Seen:
        if repo.path not in self._seen:
            self._seen[repo.path] = Seen(repo)
        return self._seen[repo.path]

    async def _open(self, project: Project) -> Repo:
        return Repo(await self.ensure(project))

    async def _make(self, path: Path, branch: str) -> None:
        """Make a repository beside its place, then put it there: who comes in between finds all of it or nothing."""
        if (path / "HEAD").is_file():
            return
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            made = Path(tempfile.mkdtemp(prefix=".new-", dir=path.parent))
        except OSError as error:
            raise ForgeFailed(f"{path} can't be made: {error.strerror or error}") from error
        try:
            git = GitCommand(made)
            await git.run("init", "--quiet", "--bare", f"--initial-branch={branch}", "--template=", str(made))
            for name in ("receive.hideRefs", "uploadpack.hideRefs"):
                await git.run("config", name, REFS)
            await git.run("config", "receive.fsckObjects", "true")
            await asyncio.to_thread(made.rename, path)
        except OSError as error:
            if not (path / "HEAD").is_file():  # else another process was there first
                raise ForgeFailed(f"{path} can't be made: {error.strerror or error}") from error
        finally:
            shutil.rmtree(made, ignore_errors=True)


async def _is_bare(path: Path) -> bool:
    if not (path / "HEAD").is_file():
        return False
    return (await GitCommand(path).run("rev-parse", "--is-bare-repository")).out.strip() == "true"


def _count(value: Json) -> int:
    return value if isinstance(value, int) else 0


def _branch(name: str) -> str:
    try:
        return check_branch(name)
    except ValueError as error:
        raise ForgeFailed(str(error), permanent=True) from error


def _sha(text: str) -> str:
    try:
        return check_sha(text)
    except ValueError as error:
        raise ForgeFailed(str(error), permanent=True) from error
