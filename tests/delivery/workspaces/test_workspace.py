from __future__ import annotations

import asyncio
import contextlib
import os
import stat
import subprocess
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from millpond.delivery.model import Project
from millpond.delivery.workspaces import workspace
from millpond.delivery.workspaces.folders import delete
from millpond.delivery.workspaces.workspace import BranchMoved, Remote, WorkspaceFailed, WorkspaceOptions, Workspaces

pytestmark = pytest.mark.process

SHOP = Project("shop", "p1", "team/shop", "SH")
BRANCH = "feature/SH-1-a-thing"
ME = {f"GIT_{role}_{what}": "me" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def git(*words: str, cwd: Path) -> str:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", **ME}
    done = subprocess.run(["git", *words], cwd=cwd, env=env, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def forge(tmp_path: Path) -> Path:
    """A bare repository with one commit on main."""
    git("init", "-q", "--bare", "-b", "main", "forge.git", cwd=tmp_path)
    other = tmp_path / "other"
    git("clone", "-q", "forge.git", "other", cwd=tmp_path)
    git("checkout", "-q", "-b", "main", cwd=other)
    (other / "README").write_text("one\n")
    (other / "run.sh").write_text("true\n")
    (other / "run.sh").chmod(0o755)
    (other / "link").symlink_to("README")
    git("add", ".", cwd=other)
    git("commit", "-qm", "one", cwd=other)
    git("push", "-q", "origin", "main", cwd=other)
    return tmp_path / "forge.git"


@pytest.fixture
def spaces(tmp_path: Path, forge: Path) -> Workspaces:
    return Workspaces(tmp_path / "ws", lambda _: Remote(str(forge)), WorkspaceOptions(keep_free_bytes=0, keep_s=0))


def others_push(forge: Path, name: str, branch: str = BRANCH) -> str:
    other = forge.parent / "other"
    git("fetch", "-q", "origin", cwd=other)
    known = git("branch", "-r", "--list", f"origin/{branch}", cwd=other)
    git("checkout", "-q", "-B", "tmp", f"origin/{branch}" if known else "origin/main", cwd=other)
    (other / name).write_text(name)
    git("add", ".", cwd=other)
    git("commit", "-qm", name, cwd=other)
    git("push", "-q", "origin", f"tmp:{branch}", cwd=other)
    return git("rev-parse", "tmp", cwd=other)


async def test_from_the_base_to_a_pushed_branch_and_on_from_there(spaces: Workspaces, forge: Path):
    made = await spaces.prepare(SHOP, "SH-1", BRANCH)
    assert (made.path / "README").read_text() == "one\n"
    assert (made.path / "link").is_symlink()
    assert os.access(made.path / "run.sh", os.X_OK)
    assert made.remote_head == ""
    (made.path / "new").write_text("new")
    (made.path / "README").unlink()
    sha = await spaces.commit(made, "SH-1: a thing")
    await spaces.push(SHOP, made, sha)
    assert git("rev-parse", BRANCH, cwd=forge) == sha
    assert git("log", "-1", "--format=%s/%an/%ce", sha, cwd=forge) == "SH-1: a thing/Millpond/millpond@localhost"
    assert git("ls-tree", "--name-only", sha, cwd=forge).split() == ["link", "new", "run.sh"]
    again = await spaces.prepare(SHOP, "SH-1", BRANCH)
    assert (again.start, again.remote_head) == (sha, sha)
    assert await spaces.commit(again, "nothing") == sha
    await spaces.push(SHOP, again, sha)


async def test_commits_that_the_step_made_are_kept(spaces: Workspaces):
    made = await spaces.prepare(SHOP, "SH-1", BRANCH)
    (made.path / "a").write_text("a")
    git("add", ".", cwd=made.path)
    git("commit", "-qm", "its own", cwd=made.path)
    (made.path / "b").write_text("b")
    sha = await spaces.commit(made, "ours")
    assert git("log", "--format=%s", sha, cwd=made.path).split("\n") == ["ours", "its own", "one"]


async def test_nobody_s_commit_is_overwritten(spaces: Workspaces, forge: Path):
    made = await spaces.prepare(SHOP, "SH-1", BRANCH)
    theirs = others_push(forge, "theirs")
    (made.path / "ours").write_text("x")
    with pytest.raises(BranchMoved, match=theirs[:12]):
        await spaces.push(SHOP, made, await spaces.commit(made, "ours"))
    assert git("rev-parse", BRANCH, cwd=forge) == theirs


async def test_history_that_the_step_rewrote_replaces_only_what_it_began_at(spaces: Workspaces, forge: Path):
    others_push(forge, "theirs")
    made = await spaces.prepare(SHOP, "SH-1", BRANCH)
    git("reset", "-q", "--hard", "HEAD~1", cwd=made.path)
    (made.path / "ours").write_text("x")
    sha = await spaces.commit(made, "ours")
    await spaces.push(SHOP, made, sha)
    assert git("rev-parse", BRANCH, cwd=forge) == sha


async def test_a_push_whose_answer_was_lost_is_seen_to_be_done(spaces: Workspaces, forge: Path):
    made = await spaces.prepare(SHOP, "SH-1", BRANCH)
    (made.path / "ours").write_text("x")
    sha = await spaces.commit(made, "ours")
    await spaces.push(SHOP, made, sha)
    await spaces.push(SHOP, made, sha)
    assert git("rev-parse", BRANCH, cwd=forge) == sha


async def test_nothing_that_a_step_left_makes_git_run_a_program(spaces: Workspaces, tmp_path: Path, forge: Path):
    made = await spaces.prepare(SHOP, "SH-1", BRANCH)
    ran = tmp_path / "ran"
    evil = tmp_path / "evil.sh"
    evil.write_text(f"#!/bin/sh\necho $0 $* >> {ran}\ncat\n")
    evil.chmod(0o755)
    for hooks in (made.bare / "hooks", made.path / ".githooks"):
        hooks.mkdir(exist_ok=True)
        for name in ("pre-commit", "post-commit", "pre-push", "post-checkout", "reference-transaction"):
            (hooks / name).write_text(evil.read_text())
            (hooks / name).chmod(0o755)
    config = "\n".join(
        [
            f"[core]\n\tfsmonitor = {evil}\n\thooksPath = .githooks\n\tsshCommand = {evil}\n\teditor = {evil}",
            f'[filter "x"]\n\tclean = {evil}\n\tsmudge = {evil}\n\tprocess = {evil}\n\trequired = true',
            f"[diff]\n\texternal = {evil}\n[credential]\n\thelper = {evil}",
            f'[url "ext::{evil} %S"]\n\tinsteadOf = {forge}\n[gpg]\n\tprogram = {evil}\n[commit]\n\tgpgSign = true',
            f'[remote "origin"]\n\treceivepack = {evil}\n\tuploadpack = {evil}\n[extensions]\n\tworktreeConfig = true',
        ]
    )
    for place in (made.bare / "config", made.admin / "config.worktree", made.bare / "config.worktree"):
        place.write_text(config)
    (made.bare / "info").mkdir(exist_ok=True)
    (made.bare / "info" / "attributes").write_text("* filter=x\n")
    (made.path / ".gitattributes").write_text("* filter=x diff=x\n")
    (made.path / ".git").unlink()
    git("init", "-q", ".", cwd=made.path)
    (made.path / ".git" / "config").write_text(config)
    (made.path / "new").write_text("plain")
    sha = await spaces.commit(made, "ours")
    await spaces.push(SHOP, made, sha)
    await spaces.prepare(SHOP, "SH-1", BRANCH)
    await spaces.remove(SHOP, "SH-1")
    assert not ran.exists()
    assert git("show", f"{sha}:new", cwd=forge) == "plain"
    assert ".git" not in git("ls-tree", "--name-only", sha, cwd=forge).split()


async def test_a_repository_within_is_refused(spaces: Workspaces):
    made = await spaces.prepare(SHOP, "SH-1", BRANCH)
    (made.path / "inner").mkdir()
    git("init", "-q", ".", cwd=made.path / "inner")
    (made.path / "inner" / "x").write_text("x")
    git("add", ".", cwd=made.path / "inner")
    git("commit", "-qm", "x", cwd=made.path / "inner")
    with pytest.raises(WorkspaceFailed, match="within the repository"):
        await spaces.commit(made, "ours")


async def test_credentials_are_in_no_file_and_no_argument(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, forge: Path):
    seen = tmp_path / "seen"
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "git").write_text(
        f'#!/bin/sh\necho "$@" >> {seen}\nenv | grep -c canary >> {tmp_path}/env\nexec /usr/bin/git "$@"\n'
    )
    (tools / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}:{os.environ['PATH']}")
    remote = Remote(str(forge), header="Authorization: token canary-123456")
    spaces = Workspaces(tmp_path / "ws", lambda _: remote, WorkspaceOptions(keep_free_bytes=0, keep_s=0))
    made = await spaces.prepare(SHOP, "SH-1", BRANCH)
    (made.path / "x").write_text("x")
    await spaces.push(SHOP, made, await spaces.commit(made, "x"))
    assert "canary" not in seen.read_text()
    assert "canary" not in repr(remote)
    assert "1" in (tmp_path / "env").read_text()
    for file in (tmp_path / "ws").rglob("*"):
        assert not file.is_file() or b"canary" not in file.read_bytes()


@pytest.mark.parametrize("key", ["../SH-1", "SH-1/..", "", "SH", "-1", "SH-1\n"])
async def test_a_key_leads_nowhere_else(spaces: Workspaces, key: str):
    with pytest.raises(WorkspaceFailed, match="no task's key"):
        await spaces.prepare(SHOP, key, BRANCH)


@pytest.mark.parametrize("url", ["ext::sh -c x", "https://me:pw@forge.example/x.git", "--upload-pack=x", "relative"])
async def test_remotes_are_paths_and_plain_urls(tmp_path: Path, url: str):
    spaces = Workspaces(tmp_path / "ws", lambda _: Remote(url), WorkspaceOptions(keep_free_bytes=0, keep_s=0))
    with pytest.raises(WorkspaceFailed, match="without a password"):
        await spaces.prepare(SHOP, "SH-1", BRANCH)


async def test_a_branch_that_is_none_and_a_base_that_is_not_there_are_told(spaces: Workspaces):
    with pytest.raises(WorkspaceFailed, match="no name for a branch"):
        await spaces.prepare(SHOP, "SH-1", "--force")
    with pytest.raises(WorkspaceFailed, match="no branch trunk"):
        await spaces.prepare(Project("shop", "p1", "team/shop", "SH", "trunk"), "SH-1", BRANCH)


async def test_side_by_side_each_has_its_own(spaces: Workspaces):
    keys = [f"SH-{number}" for number in range(1, 7)]
    made = await asyncio.gather(*(spaces.prepare(SHOP, key, f"feature/{key}") for key in keys))
    for one in made:
        (one.path / "x").write_text(one.branch)
    shas = await asyncio.gather(*(spaces.commit(one, one.branch) for one in made))
    await asyncio.gather(*(spaces.push(SHOP, one, sha) for one, sha in zip(made, shas, strict=True)))
    assert len(set(shas)) == 6


async def test_removed_whatever_rights_were_left(spaces: Workspaces):
    made = await spaces.prepare(SHOP, "SH-1", BRANCH)
    (made.path / "closed" / "in").mkdir(parents=True)
    (made.path / "closed").chmod(0)
    (made.path / "out").symlink_to("/etc")
    await spaces.remove(SHOP, "SH-1")
    assert not made.path.exists()
    assert not made.admin.exists()
    assert await spaces.find(SHOP, "SH-1") is None
    await spaces.remove(SHOP, "SH-1")


async def test_found_again_as_it_was_made_and_swept_when_its_task_has_ended(spaces: Workspaces, tmp_path: Path):
    made = await spaces.prepare(SHOP, "SH-1", BRANCH)
    await spaces.prepare(SHOP, "SH-2", "feature/SH-2")
    assert await spaces.find(SHOP, "SH-1") == made
    assert await spaces.sweep([SHOP], [("shop", "SH-1")]) == ["SH-2"]
    assert made.path.exists()
    assert stat.S_IMODE((tmp_path / "ws").stat().st_mode) == 0o700


async def test_one_that_cannot_be_removed_is_told_of_once_and_holds_up_no_other(
    spaces: Workspaces, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    till = Project("till", "p2", "team/till", "TI")
    for project, key in ((SHOP, "SH-1"), (SHOP, "SH-2"), (till, "TI-1")):
        await spaces.prepare(project, key, f"feature/{key}")

    def closed(path: Path) -> None:
        if path.name == "SH-1":
            raise PermissionError(13, "Permission denied", str(path))
        delete(path)

    monkeypatch.setattr(workspace, "delete", closed)
    with capture_logs() as logged:
        assert await spaces.sweep([SHOP, till], []) == ["SH-2", "TI-1"]
        assert await spaces.sweep([SHOP, till], []) == []
    (told,) = [one for one in logged if "swept" in one["event"]]
    assert told["workspace"] == "shop SH-1"
    assert "Permission denied" in told["error"]
    monkeypatch.undo()
    assert await spaces.sweep([SHOP, till], []) == ["SH-1"]


async def test_a_copy_is_cleaned_where_something_of_it_was_removed_and_only_there(
    spaces: Workspaces, monkeypatch: pytest.MonkeyPatch
):
    till = Project("till", "p2", "team/till", "TI")
    await spaces.prepare(SHOP, "SH-1", BRANCH)
    await spaces.prepare(till, "TI-1", "feature/TI-1")
    collected: list[str] = []

    async def collect(project: Project) -> bool:
        collected.append(project.name)
        raise WorkspaceFailed("the disk is full")

    monkeypatch.setattr(spaces, "_collected", collect)
    assert await spaces.sweep([SHOP, till], [("till", "TI-1")]) == ["SH-1"]
    assert collected == ["shop"]


@pytest.mark.parametrize("head", ["0" * 40 + "\n", "", None])
async def test_a_worktree_that_a_killed_git_left_half_made_stops_no_other(spaces: Workspaces, head: str | None):
    made = await spaces.prepare(SHOP, "SH-1", BRANCH)
    if head is None:
        (made.admin / "HEAD").unlink()
    else:
        (made.admin / "HEAD").write_text(head)
    assert (await spaces.prepare(SHOP, "SH-2", "feature/SH-2-b")).path.exists()
    assert (await spaces.prepare(SHOP, "SH-1", BRANCH)).path.exists()


@pytest.mark.parametrize("name", [f"refs/heads/{BRANCH}.lock", "refs/remotes/origin/main.lock", "packed-refs.lock"])
async def test_a_lock_that_a_killed_git_left_goes_once_nobody_can_have_it(spaces: Workspaces, forge: Path, name: str):
    made = await spaces.prepare(SHOP, "SH-1", "feature/SH-1-other")
    lock = made.bare / name
    lock.parent.mkdir(parents=True, exist_ok=True)
    lock.touch()
    git("update-ref", "refs/heads/main", others_push(forge, "more"), cwd=forge)  # so that there is something to fetch
    with contextlib.suppress(WorkspaceFailed):
        await spaces.prepare(SHOP, "SH-1", BRANCH)
    assert lock.exists(), "somebody may be at work with it"
    os.utime(lock, (1.0, 1.0))
    assert (await spaces.prepare(SHOP, "SH-1", BRANCH)).path.exists()
    assert not lock.exists()


async def test_what_only_a_swept_branch_has_can_be_freed(spaces: Workspaces, forge: Path):
    made = await spaces.prepare(SHOP, "SH-1", BRANCH)
    (made.path / "big").write_text("x" * 1000)
    sha = await spaces.commit(made, "big")
    await spaces.push(SHOP, made, sha)
    await spaces.prepare(SHOP, "SH-1", BRANCH)
    kept = await spaces.prepare(SHOP, "SH-2", "feature/SH-2-b")
    git("branch", "-D", BRANCH, cwd=forge)
    assert await spaces.sweep([SHOP], [("shop", "SH-2")]) == ["SH-1"]
    assert BRANCH not in git("for-each-ref", cwd=made.bare)
    assert "feature/SH-2-b" in git("for-each-ref", cwd=made.bare)
    git("gc", "-q", "--prune=now", cwd=made.bare)
    with pytest.raises(subprocess.CalledProcessError):
        git("cat-file", "-e", sha, cwd=made.bare)
    assert kept.path.exists()


async def test_a_workspace_that_was_just_made_is_not_swept(tmp_path: Path, forge: Path):
    spaces = Workspaces(tmp_path / "ws", lambda _: Remote(str(forge)), WorkspaceOptions(keep_free_bytes=0))
    made = await spaces.prepare(SHOP, "SH-1", BRANCH)
    assert await spaces.sweep([SHOP], []) == []
    assert made.path.exists()


async def test_disk_is_bounded(tmp_path: Path, forge: Path):
    full = Workspaces(tmp_path / "ws", lambda _: Remote(str(forge)), WorkspaceOptions(keep_free_bytes=1 << 60))
    with pytest.raises(WorkspaceFailed, match="bytes are free") as failed:
        await full.prepare(SHOP, "SH-1", BRANCH)
    assert not failed.value.permanent
    options = WorkspaceOptions(keep_free_bytes=0, max_bytes=1000)
    small = Workspaces(tmp_path / "ws", lambda _: Remote(str(forge)), options)
    made = await small.prepare(SHOP, "SH-1", BRANCH)
    (made.path / "large").write_bytes(bytes(2000))
    with pytest.raises(WorkspaceFailed, match="larger than 1000"):
        await small.commit(made, "x")
