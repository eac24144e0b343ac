"""Workspaces: a git worktree for each task, under one root, from a bare copy for each repository.

What a step does in its worktree is not trusted afterwards: it may have written to ``.git``, to the copy's
configuration, its hooks, its attributes. So git is told each time where the repository is (never by the worktree's own
``.git``), its configuration is written anew before each use, the index is made anew, commits are made by plumbing that
runs no hooks, and what could run a program is switched off besides (`gitargs`).

Credentials of the forge are in variables of the git process only. The step gets none: what it left is committed and
pushed by us, and the push names the commit that the branch was at, so that nobody's commit is ever overwritten.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import shutil
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

import structlog

from millpond.delivery.model import Project
from millpond.delivery.naming import parse_key
from millpond.delivery.troubles import Troubles
from millpond.delivery.workspaces.folders import delete, folder_name, size_of
from millpond.delivery.workspaces.gitargs import NETWORK, check_branch, check_sha
from millpond.delivery.workspaces.gitrun import Git, GitFailed
from millpond.delivery.workspaces.mending import mend
from millpond.delivery.workspaces.notes import Workspace, note, noted, notes_of
from millpond.errors import MillpondError

log = structlog.get_logger(__name__)
_CONFIG = "[core]\n\trepositoryformatversion = 0\n\tbare = true\n"
_LEFT = ("config.worktree", "info/attributes", "info/grafts", "objects/info/alternates", "shallow")
"""What a step may have put into the copy to change what git does there."""
_GITLINK = "160000"


class WorkspaceFailed(MillpondError):
    """There is no workspace, or what was left in it can't be taken. `permanent`: the same would come of it again."""

    def __init__(self, message: str, *, permanent: bool = False) -> None:
        super().__init__(message)
        self.permanent = permanent


class BranchMoved(WorkspaceFailed):
    """Somebody else pushed to the branch meanwhile."""


@dataclass(frozen=True, slots=True)
class Remote:
    """Where a repository is fetched from and pushed to: a path or a URL without credentials.

    `header`: one of HTTP, with the credentials, such as ``Authorization: token ...``. `ssh`: the command for ssh URLs.
    """

    url: str
    header: str = field(default="", repr=False)
    ssh: str = "ssh -o BatchMode=yes"


@dataclass(frozen=True, slots=True)
class WorkspaceOptions:
    """Limits of workspaces, and who commits."""

    author: str = "Millpond"
    email: str = "millpond@localhost"
    keep_free_bytes: int = 1 << 30
    max_bytes: int = 8 << 30
    """Of one workspace, when what was left in it is committed."""
    keep_s: float = 3600.0
    """How long a workspace is left alone at least once it was made, though its task is not known to be open."""
    lock_s: float = 600.0
    """How long another one's work on the same repository is waited for."""
    timeout_s: float = 900.0


class Workspaces:
    """The workspaces of one node."""

    def __init__(
        self, root: Path, remote_of: Callable[[Project], Remote], options: WorkspaceOptions | None = None
    ) -> None:
        self._root, self._remote_of = root, remote_of
        self._options = options or WorkspaceOptions()
        self._troubles = Troubles()

    async def prepare(self, project: Project, key: str, branch: str, sha: str = "") -> Workspace:
        """Make a task's workspace anew, at its branch; where there is none (any more) at `sha`, or at the base.

        Raises `WorkspaceFailed`.
        """
        path, bare = self._places(project, key)
        await asyncio.to_thread(self._check_room)
        try:
            heads = [check_branch(branch), check_branch(project.branch)]
        except ValueError as error:
            raise WorkspaceFailed(str(error), permanent=True) from error
        async with self._locked(bare), _told():
            await self._copy(bare)
            found = await self._heads(project, heads)
            if not found.get(project.branch):
                raise WorkspaceFailed(f"{project.repo} has no branch {project.branch}: push it", permanent=True)
            await self._remove(path, bare)  # first: a worktree that was left half made lets no fetch through
            await self._fetch(project, bare, [name for name in heads if found.get(name)])
            start = found.get(branch) or await self._known(bare, sha) or found[project.branch]
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            add = ("worktree", "add", "--quiet", "--force", "-B", branch, "--", str(path), start)
            await self._git(bare)(*add)
            made = Workspace(path, bare, _admin(path, bare), branch, start, found.get(branch, ""))
            await asyncio.to_thread(note, made)
            return made

    async def find(self, project: Project, key: str) -> Workspace | None:
        """Give a task's workspace as it was made last."""
        path, _ = self._places(project, key)
        return await asyncio.to_thread(noted, path)

    async def commit(self, workspace: Workspace, message: str) -> str:
        """Commit all that was left; gives the commit that the branch is to be at. Raises `WorkspaceFailed`."""
        if await asyncio.to_thread(size_of, workspace.path, self._options.max_bytes) > self._options.max_bytes:
            raise WorkspaceFailed(f"the workspace is larger than {self._options.max_bytes} bytes", permanent=True)
        async with self._locked(workspace.bare), _told():
            await self._copy(workspace.bare)
            git = self._git(workspace.bare, workspace)
            head = check_sha(await git("rev-parse", "--verify", "--quiet", "--end-of-options", "HEAD^{commit}"))
            (workspace.admin / "index").unlink(missing_ok=True)
            await git("read-tree", "--end-of-options", head)
            await git("add", "--all", "--", ".")
            changes = await git("diff-index", "--cached", "--raw", "--no-renames", "--end-of-options", workspace.start)
            if any(line.split()[1] == _GITLINK for line in changes.splitlines() if line.startswith(":")):
                raise WorkspaceFailed("a repository within the repository was left: remove its .git", permanent=True)
            tree = await git("write-tree")
            if tree == await git("rev-parse", "--verify", "--end-of-options", f"{head}^{{tree}}"):
                return head
            return check_sha(await git("commit-tree", "-p", head, tree, stdin=message.encode()))

    async def push(self, project: Project, workspace: Workspace, sha: str) -> None:
        """Push a commit as the task's branch, if that is where we saw it. Raises `BranchMoved`, `WorkspaceFailed`."""
        if sha == workspace.remote_head:
            return
        ref = f"refs/heads/{workspace.branch}"
        async with self._locked(workspace.bare), _told():
            await self._copy(workspace.bare)
            git = self._git(workspace.bare, workspace, self._remote_of(project))
            lease = f"--force-with-lease={ref}:{workspace.remote_head}"
            url = self._remote_of(project).url
            try:
                await git("push", "--quiet", "--no-verify", lease, "--", url, f"{check_sha(sha)}:{ref}")
            except GitFailed:
                now = (await self._heads(project, [workspace.branch])).get(workspace.branch, "")
                if now == sha:  # an earlier attempt's answer was lost
                    return
                if now != workspace.remote_head:
                    raise BranchMoved(f"somebody else pushed to {workspace.branch}, which is at {now[:12]}") from None
                raise
        await asyncio.to_thread(note, replace(workspace, remote_head=sha))

    async def remove(self, project: Project, key: str) -> None:
        """Remove a task's workspace, if there is one. Raises `WorkspaceFailed`."""
        path, bare = self._places(project, key)
        if not await asyncio.to_thread(path.parent.exists):
            return
        async with self._locked(bare), _told():
            await self._remove(path, bare)

    async def sweep(self, projects: Collection[Project], keep: Collection[tuple[str, str]]) -> list[str]:
        """Remove the workspaces of tasks that are not among `keep` (project, key); gives what was removed.

        One that can't be removed, such as one in which a job left another user's files, holds up no other.
        """
        removed: list[str] = []
        for project in projects:
            keys = [key for key in await asyncio.to_thread(self._keys, project) if (project.name, key) not in keep]
            swept = [key for key in keys if await self._did(f"{project.name} {key}", self._swept(project, key))]
            if swept:
                await self._did(f"{project.repo} gc", self._collected(project))
            removed += swept
        return removed

    async def _swept(self, project: Project, key: str) -> bool:
        if not await asyncio.to_thread(self._old, project, key):
            return False
        left = await self.find(project, key)
        await self.remove(project, key)
        if left is not None and left.branch != project.branch:
            await self._forgotten(left)
        return True

    async def _forgotten(self, left: Workspace) -> None:
        """Let go of a branch whose task has ended, so that what only it has can be freed (`_collected`)."""
        async with self._locked(left.bare), _told():
            await self._copy(left.bare)
            for place in ("heads", "remotes/origin"):
                await self._git(left.bare)("update-ref", "-d", f"refs/{place}/{check_branch(left.branch)}")

    async def _collected(self, project: Project) -> bool:
        """Free what no workspace of a copy needs any more."""
        _, bare = self._places(project, f"{project.prefix}-1")
        if not (bare / "HEAD").exists():
            return False
        async with self._locked(bare), _told():
            await self._copy(bare)
            await self._git(bare)("gc", "--quiet", "--prune=1.day.ago")
        return True

    async def _did(self, what: str, doing: Awaitable[bool]) -> bool:
        """Say whether something was done; that it failed is logged once, since it is tried at every sweep."""
        try:
            done = await doing
        except (WorkspaceFailed, OSError) as error:
            if self._troubles.new("sweep", what, str(error)):
                log.warning("a workspace can't be swept", workspace=what, error=str(error))
            return False
        self._troubles.over("sweep", what)
        return done

    def _keys(self, project: Project) -> list[str]:
        folder = self._places(project, f"{project.prefix}-1")[0].parent
        try:
            return sorted(one.name for one in folder.iterdir() if one.is_dir() and parse_key(one.name))
        except FileNotFoundError:
            return []

    def _old(self, project: Project, key: str) -> bool:
        """Whether a workspace was made long enough ago that its task can't be a new one."""
        try:
            made_at = notes_of(self._places(project, key)[0]).stat().st_mtime
        except FileNotFoundError:  # it is being made, or was left half made
            made_at = self._places(project, key)[0].stat().st_mtime
        return time.time() - made_at >= self._options.keep_s

    def _places(self, project: Project, key: str) -> tuple[Path, Path]:
        """Give a worktree's path and its copy's. Raises `WorkspaceFailed` for a key that is none."""
        if parse_key(key) is None:
            raise WorkspaceFailed(f"{key!r} is no task's key", permanent=True)
        path = self._root / "trees" / folder_name(project.name) / key
        bare = self._root / "repos" / f"{folder_name(project.repo)}.git"
        for place in (path, bare):
            if not place.resolve().is_relative_to(self._root.resolve()):
                raise WorkspaceFailed(f"{place.name} leads out of the workspaces' folder", permanent=True)
        return path, bare

    def _check_room(self) -> None:
        self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
        free = shutil.disk_usage(self._root).free
        if free < self._options.keep_free_bytes:
            raise WorkspaceFailed(f"{free} bytes are free for workspaces; {self._options.keep_free_bytes} are kept")

    @contextlib.asynccontextmanager
    async def _locked(self, bare: Path) -> AsyncIterator[None]:
        """Be the only one, of all processes, who changes a copy."""
        bare.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = os.open(bare.with_suffix(".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            until = time.monotonic() + self._options.lock_s
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > until:
                        raise WorkspaceFailed("another one works on this repository's copy for too long") from None
                    await asyncio.sleep(0.1)
            yield
        finally:
            os.close(lock)

    async def _copy(self, bare: Path) -> None:
        """Make a copy's folder, and its configuration anew, whoever wrote to it."""
        if not (bare / "HEAD").exists():
            await Git(timeout_s=self._options.timeout_s)(
                "init", "--quiet", "--bare", "--template=", "--initial-branch=millpond-none", "--", str(bare)
            )
        await asyncio.to_thread(_closed, bare)
        await asyncio.to_thread(mend, bare)

    async def _heads(self, project: Project, branches: Collection[str]) -> Mapping[str, str]:
        """Ask the forge where branches are."""
        refs = [f"refs/heads/{name}" for name in branches]
        remote = self._remote_of(project)
        told = await self._git(None, None, remote)("ls-remote", "--quiet", "--", remote.url, *refs)
        found: dict[str, str] = {}
        for line in told.splitlines():
            sha, _, ref = line.partition("\t")
            found[ref] = sha
        return {name: check_sha(found[f"refs/heads/{name}"]) for name in branches if f"refs/heads/{name}" in found}

    async def _fetch(self, project: Project, bare: Path, branches: Collection[str]) -> None:
        remote = self._remote_of(project)
        refs = [f"+refs/heads/{name}:refs/remotes/origin/{name}" for name in dict.fromkeys(branches)]
        quiet = ("fetch", "--quiet", "--no-tags", "--no-write-fetch-head", "--no-recurse-submodules")
        await self._git(bare, None, remote)(*quiet, "--", remote.url, *refs)

    async def _known(self, bare: Path, sha: str) -> str:
        """Give a commit back if the copy has it: one that was merged, and whose branch was removed since."""
        if not sha:
            return ""
        try:
            await self._git(bare)("cat-file", "-e", f"{check_sha(sha)}^{{commit}}")
        except GitFailed:
            return ""
        return sha

    async def _remove(self, path: Path, bare: Path) -> None:
        await asyncio.to_thread(delete, path)
        await asyncio.to_thread(notes_of(path).unlink, missing_ok=True)
        if (bare / "HEAD").exists():
            await asyncio.to_thread(_closed, bare)
            await self._git(bare)("worktree", "prune", "--expire=now")

    def _git(self, bare: Path | None, workspace: Workspace | None = None, remote: Remote | None = None) -> Git:
        who = {"NAME": self._options.author, "EMAIL": self._options.email}
        variables = {f"GIT_{role}_{name}": value for role in ("AUTHOR", "COMMITTER") for name, value in who.items()}
        if workspace is not None:
            variables |= {"GIT_COMMON_DIR": str(workspace.bare), "GIT_INDEX_FILE": str(workspace.admin / "index")}
            variables |= {f"GIT_{role}_DATE": f"@{workspace.made_at} +0000" for role in ("AUTHOR", "COMMITTER")}
        protocols, secret = ("file",), dict[str, str]()
        if remote is not None:
            scheme = _scheme(remote.url)
            protocols = (scheme,)
            variables |= {"GIT_SSH_COMMAND": remote.ssh} if scheme == "ssh" else {}
            secret = {"http.extraHeader": remote.header} if remote.header else {}
        return Git(
            git_dir=str(workspace.admin if workspace else bare or ""),
            work_tree=str(workspace.path) if workspace else "",
            config={"core.symlinks": "true", "core.bare": "false" if workspace else "true"},
            variables=variables,
            protocols=protocols,
            secret=secret,
            timeout_s=self._options.timeout_s,
        )


def _scheme(url: str) -> str:
    """Name the one protocol that a remote is spoken to with. Raises `WorkspaceFailed` for others than git's own."""
    if url.startswith("/"):
        return "file"
    parts = urlsplit(url)
    if parts.scheme not in {*NETWORK, "file"} or parts.password or (parts.username and parts.scheme != "ssh"):
        raise WorkspaceFailed("a repository is at a path, or at a URL (https, ssh) without a password", permanent=True)
    return parts.scheme


@contextlib.asynccontextmanager
async def _told() -> AsyncIterator[None]:
    """Tell git's faults, and answers that are none, as the workspace's."""
    try:
        yield
    except GitFailed as error:
        raise WorkspaceFailed(str(error)) from error
    except (OSError, ValueError) as error:
        raise WorkspaceFailed(f"the workspace can't be used: {error}") from error


def _closed(bare: Path) -> None:
    fresh = bare / "config.new"
    fresh.write_text(_CONFIG)
    if (bare / "config").is_dir() and not (bare / "config").is_symlink():
        shutil.rmtree(bare / "config")
    fresh.rename(bare / "config")
    admins = [*(bare / "worktrees").iterdir()] if (bare / "worktrees").is_dir() else []
    for place in (bare, *admins):
        for name in _LEFT:
            (place / name).unlink(missing_ok=True)
    shutil.rmtree(bare / "hooks", ignore_errors=True)


def _admin(path: Path, bare: Path) -> Path:
    """Read, before a step can have changed it, where git keeps a worktree's state."""
    admin = Path((path / ".git").read_text().removeprefix("gitdir: ").strip())
    if admin.parent.resolve() != (bare / "worktrees").resolve():
        raise ValueError("git put the worktree elsewhere")
    return admin
