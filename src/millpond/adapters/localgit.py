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
import hashlib
import json
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from millpond.adapters.gitcommand import GitCommand
from millpond.clock import Clock
from millpond.delivery.frontmatter import fields
from millpond.delivery.model import Evidence, Hint, Json, Project
from millpond.delivery.ports import Change, ForgeFailed, Merge
from millpond.delivery.workspaces.gitargs import NO_COMMIT, check_branch, check_path, check_repo, check_sha
from millpond.errors import BadRequest, Denied

MAX_FILE = 64 << 10
"""Bytes of a file whose front matter is read."""
MAX_PATHS = 50
MAX_STATUSES = 200
MAX_STATUS_TEXT = 500
TRIES = 3
"""Of a merge or a status whose ref another one moved meanwhile."""
STATES = frozenset({"pending", "success", "error", "failure", "warning", "skipped"})
REFS = "refs/millpond"
CONFLICT = 1
"""The exit code of `git merge-tree` for it."""
_RACES = ("but expected", "reference already exists", "unable to resolve reference", "File exists")
"""What `git update-ref` says where somebody else was there first."""
TOO_OLD = 129
"""The exit code of git for an option that it does not know."""
NOT_SO = 1
"""The exit code of `git merge-base --is-ancestor` for it."""


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
        heads = await repo.heads(_branch(branch), project.branch)
        sha, base = heads.get(branch, ""), heads.get(project.branch, "")
        if not sha:
            return []
        told: list[tuple[str, dict[str, Json]]] = [("head", {}), ("statuses", {"statuses": await repo.states(sha)})]
        if base:
            tree = await repo.merged_tree(base, sha)
            detail = {} if tree else {"detail": f"with {project.branch} at {base[:12]}"}
            told.append(("mergeable", {"mergeable": bool(tree), **detail}))
            told.append(("base", {"contained": await repo.is_ancestor(base, sha)}))
        for path in paths[:MAX_PATHS]:
            told += await repo.file(sha, path)
        now = self.clock.now()
        return [Evidence(kind, facts, sha, now, source="git") for kind, facts in told]

    async def open_change(self, project: Project, branch: str, title: str) -> Change:
        """Record that a branch is to be merged, or find the record."""
        repo = await self._open(project)
        head = (await repo.heads(_branch(branch))).get(branch)
        if head is None:
            raise ForgeFailed(f"{repo.path} has no branch {branch}: push it", permanent=True)
        index = _index(branch)
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
        head = (await repo.heads(_branch(branch))).get(branch)
        return head is not None and await repo.has(_sha(sha)) and await repo.is_ancestor(sha, head)

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

    async def _open(self, project: Project) -> _Repo:
        return _Repo(await self.ensure(project))

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


class _Repo(GitCommand):
    """What the forge asks of one repository."""

    async def heads(self, *branches: str) -> dict[str, str]:
        """Give the commits that branches are at; those that are not there are left out."""
        patterns = [f"refs/heads/{branch}" for branch in branches]
        told = await self.run("for-each-ref", "--format=%(objecttype) %(objectname) %(refname)", "--", *patterns)
        found = [line.split(" ", 2) for line in told.out.splitlines()]
        heads = {name.removeprefix("refs/heads/"): sha for kind, sha, name in found if kind == "commit"}
        return {branch: heads[branch] for branch in branches if branch in heads}

    async def resolve(self, ref: str) -> str:
        """Give the object that a ref names; empty: there is no such ref."""
        told = await self.run("for-each-ref", "--format=%(objectname) %(refname)", "--", ref)
        found = [line.split(" ", 1) for line in told.out.splitlines()]
        return next((sha for sha, name in found if name == ref), "")

    async def read(self, ref: str) -> dict[str, Json] | None:
        """Read one of our JSON blobs; None: there is none."""
        sha = await self.resolve(ref)
        if not sha:
            return None
        try:
            found = json.loads((await self.run("cat-file", "blob", sha)).out)
        except ValueError as error:
            raise ForgeFailed(f"{ref} in {self.path} is not readable: delete that ref", permanent=True) from error
        return cast("dict[str, Json]", found) if isinstance(found, dict) else None

    async def blob(self, value: Mapping[str, Json]) -> str:
        """Write a JSON blob and give its name."""
        text = json.dumps(value, sort_keys=True).encode()
        return (await self.run("hash-object", "-w", "--stdin", stdin=text)).out.strip()

    async def states(self, sha: str) -> dict[str, Json]:
        """Give a commit's statuses: state by context."""
        told = await self.read(f"{REFS}/statuses/{sha}") or {}
        return {name: str(one["state"]) for name, one in told.items() if isinstance(one, dict) and "state" in one}

    async def has(self, sha: str) -> bool:
        """Whether there is such a commit."""
        return (await self.run("cat-file", "-e", f"{sha}^{{commit}}", fine=(0, 1, 128))).rc == 0

    async def is_ancestor(self, old: str, new: str) -> bool:
        """Whether `new` has all of `old`."""
        return (await self.run("merge-base", "--is-ancestor", old, new, fine=(0, NOT_SO))).rc == 0

    async def merged_tree(self, base: str, sha: str) -> str:
        """Merge two commits without a work tree; empty: they conflict. Needs git 2.38."""
        words = ("merge-tree", "--write-tree", "--name-only", base, sha)
        told = await self.run(*words, fine=(0, CONFLICT, TOO_OLD), also_fine=("unrelated histories",))
        if told.rc == TOO_OLD:
            raise ForgeFailed("git here can't merge without a work tree: install 2.38 or newer")
        return told.out.split("\n", 1)[0] if told.rc == 0 else ""

    async def file(self, sha: str, path: str) -> list[tuple[str, dict[str, Json]]]:
        """Tell whether a file is in a commit, and what its front matter says."""
        try:
            check_path(path)
        except ValueError:
            return [("file", {"path": path, "present": False})]
        told = await self.run("ls-tree", "-z", "-l", "--full-tree", sha, "--", path)
        mode, kind, blob, size = [*told.out.partition("\t")[0].split(), "", "", "", ""][:4]
        plain = kind == "blob" and mode.startswith("100")  # a link's content is a path, and not what it names
        found: list[tuple[str, dict[str, Json]]] = [("file", {"path": path, "present": plain})]
        if plain and size.isdigit() and int(size) <= MAX_FILE:
            words = fields((await self.run("cat-file", "blob", blob, max_bytes=2 * MAX_FILE)).out)
            if words is not None:
                found.append(("front-matter", {"path": path, "fields": cast("Json", words)}))
        return found

    async def last_number(self) -> int:
        """Give the highest number of a change; 0: there is none."""
        told = await self.run(
            "for-each-ref", "--sort=-version:refname", "--count=1", "--format=%(refname:lstrip=3)", f"{REFS}/changes"
        )
        return int(told.out.strip() or 0)

    async def write_new(self, number: int, index: str, record: Mapping[str, Json]) -> bool:
        """Record a change under a number that nobody has; False: somebody does by now."""
        blob = await self.blob(record)
        return await self.update(f"create {REFS}/changes/{number} {blob}\nupdate {index} {blob}")

    async def note_merged(self, number: int, record: Mapping[str, Json], sha: str) -> None:
        """Note which commit of a change was merged."""
        if record["merged"] != sha:
            blob = await self.blob({**record, "merged": sha})
            await self.update(f"update {REFS}/changes/{number} {blob}\nupdate {_index(str(record['branch']))} {blob}")

    async def commit(self, tree: str, parents: tuple[str, str], text: str) -> str:
        """Make a merge commit."""
        words = ["commit-tree", tree, *(word for parent in parents for word in ("-p", parent)), "-F", "-"]
        return (await self.run(*words, stdin=f"{text}\n".encode())).out.strip()

    async def move(self, base: tuple[str, str, str], unmoved: tuple[str, str]) -> bool:
        """Move a branch from a commit to another, while a second branch stays where it is; False: one of them moved."""
        (name, old, new), (other, sha) = base, unmoved
        return await self.update(f"update refs/heads/{name} {new} {old}\nverify refs/heads/{other} {sha}")

    async def update(self, commands: str) -> bool:
        """Change refs, all or none (git-update-ref(1)); False: one was not as expected, or is locked."""
        text = f"start\n{commands}\nprepare\ncommit\n".encode()
        return (await self.run("update-ref", "--stdin", stdin=text, also_fine=_RACES)).rc == 0


async def _is_bare(path: Path) -> bool:
    if not (path / "HEAD").is_file():
        return False
    return (await GitCommand(path).run("rev-parse", "--is-bare-repository")).out.strip() == "true"


def _index(branch: str) -> str:
    """Name the ref that leads from a branch to its last change; hashed, since a/b and a can't both be refs."""
    return f"{REFS}/branches/{hashlib.sha256(branch.encode()).hexdigest()}"


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
