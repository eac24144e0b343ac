"""Local git as a forge, with a real git: the conformance kit, statuses, conflicts, races, hostile repositories."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from millpond.adapters.gitcommand import GitCommand
from millpond.adapters.gitrepo import MAX_FILE, Repo
from millpond.adapters.localgit import LocalGit, Status
from millpond.delivery.model import Evidence, Project
from millpond.delivery.ports import ForgeFailed, Merge
from millpond.errors import BadRequest, Denied
from millpond.testing.clock import FakeClock
from millpond.testing.forge import ForgeConformance

pytestmark = pytest.mark.process

SHOP = Project("shop", "", "team/shop", "SH")
BRANCH = "feature/SH-1-a-title"
PEOPLE = {
    "PATH": os.environ["PATH"],
    "HOME": "/nonexistent",
    **{f"GIT_{role}_{what}": "a@b.example" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")},
}


def git(*words: str, cwd: Path) -> str:
    done = subprocess.run(["git", *words], cwd=cwd, env=PEOPLE, capture_output=True, text=True, check=False, timeout=60)
    assert done.returncode == 0, (words, done.stderr)
    return done.stdout.strip()


class Clone:
    """A person's clone: commits files and pushes."""

    def __init__(self, origin: Path, folder: Path) -> None:
        self.folder = folder
        git("clone", "-q", str(origin), str(folder), cwd=origin.parent)

    def commit(self, branch: str, start: str = "", **files: str | bytes) -> str:
        git("checkout", "-q", "-B", branch, *([start] if start else []), cwd=self.folder)
        for name, content in files.items():
            path = self.folder / name.replace("__", "/")
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
        git("add", "-A", cwd=self.folder)
        git("commit", "-q", "-m", "x", cwd=self.folder)
        git("push", "-q", "-f", "origin", branch, cwd=self.folder)
        return git("rev-parse", "HEAD", cwd=self.folder)


@pytest.fixture
def forge(tmp_path: Path) -> LocalGit:
    return LocalGit(tmp_path / "git", FakeClock())


@pytest.fixture
async def clone(forge: LocalGit, tmp_path: Path) -> Clone:
    clone = Clone(await forge.ensure(SHOP), tmp_path / "clone")
    clone.commit("main", README="hello")
    return clone


def facts(told: Any, kind: str) -> dict[str, Any]:
    found: list[Evidence] = [one for one in told if one.kind == kind]
    assert len(found) == 1, (kind, found)
    return dict(found[0].facts)


class TestConformance(ForgeConformance):
    @pytest.fixture
    def project(self) -> Project:
        return SHOP

    @pytest.fixture
    def branch(self, clone: Clone) -> str:
        clone.commit(BRANCH, file="x")
        return BRANCH


async def test_a_repository_is_made_when_it_is_first_asked_for(forge: LocalGit):
    assert await forge.observe(SHOP, BRANCH, []) == []
    path = forge.path(SHOP)
    assert path == forge.root / "team/shop.git"
    assert (path / "HEAD").read_text() == "ref: refs/heads/main\n"
    assert not (path / "hooks").exists()
    assert [one.name for one in path.parent.iterdir()] == ["shop.git"]


async def test_many_who_ask_first_make_one(tmp_path: Path):
    forges = [LocalGit(tmp_path / "git", FakeClock()) for _ in range(4)]
    paths = await asyncio.gather(*(forge.ensure(SHOP) for forge in forges for _ in range(2)))
    assert len(set(paths)) == 1
    assert [one.name for one in paths[0].parent.iterdir()] == ["shop.git"]


@pytest.mark.parametrize("repo", ["../x", "a/../../x", "-x", "", "a b"])
async def test_a_name_that_leads_elsewhere_is_refused(forge: LocalGit, repo: str):
    with pytest.raises(ForgeFailed, match="repository's name") as caught:
        await forge.observe(Project("p", "", repo, "P"), "main", [])
    assert caught.value.permanent


async def test_a_repository_elsewhere_is_used_if_it_is_bare(forge: LocalGit, clone: Clone, tmp_path: Path):
    here = Project("p", "", str(clone.folder / ".git"), "P")
    with pytest.raises(ForgeFailed, match="git clone --bare"):
        await forge.contains(here, "main", "0" * 40)
    git("clone", "-q", "--bare", str(clone.folder), str(tmp_path / "bare"), cwd=tmp_path)
    there = Project("p", "", str(tmp_path / "bare"), "P")
    assert await forge.contains(there, "main", git("rev-parse", "main", cwd=clone.folder))
    with pytest.raises(ForgeFailed, match="no bare git repository"):
        await forge.observe(Project("p", "", str(tmp_path / "nothing"), "P"), "main", [])


async def test_what_is_told_of_a_branch(forge: LocalGit, clone: Clone):
    sha = clone.commit(BRANCH, docs__review="---\nverdict: approved\n---\n", docs__plain="x")
    told = await forge.observe(SHOP, BRANCH, ["docs/review", "docs/plain", "docs", "../x", "docs/none"])
    assert {one.sha for one in told} == {sha}
    assert facts(told, "head") == {}
    assert facts(told, "statuses") == {"statuses": {}}
    assert facts(told, "mergeable") == {"mergeable": True}
    assert facts(told, "base") == {"contained": True}
    assert {one.facts["path"]: one.facts["present"] for one in told if one.kind == "file"} == {
        "docs/review": True, "docs/plain": True, "docs": False, "../x": False, "docs/none": False,
    }  # fmt: skip
    assert facts(told, "front-matter") == {"path": "docs/review", "fields": {"verdict": "approved"}}


async def test_a_link_is_no_file_and_a_huge_file_is_not_read(forge: LocalGit, clone: Clone):
    (clone.folder / "link").symlink_to("/etc/passwd")
    clone.commit(BRANCH, large=b"---\nverdict: approved\n---\n" + b"x" * MAX_FILE)
    told = await forge.observe(SHOP, BRANCH, ["link", "large"])
    assert [(one.facts["path"], one.facts["present"]) for one in told if one.kind == "file"] == [
        ("link", False),
        ("large", True),
    ]
    assert not [one for one in told if one.kind == "front-matter"]


async def test_a_push_is_seen_by_the_next_look_and_voids_statuses(forge: LocalGit, clone: Clone):
    first = clone.commit(BRANCH, file="1")
    await forge.report(SHOP, first, Status("ci", "pending"))
    await forge.report(SHOP, first, Status("ci", "success"))
    await forge.report(SHOP, first, Status("lint", "failure"))
    told = await forge.observe(SHOP, BRANCH, [])
    assert facts(told, "statuses") == {"statuses": {"ci": "success", "lint": "failure"}}
    clone.commit(BRANCH, file="2")
    assert facts(await forge.observe(SHOP, BRANCH, []), "statuses") == {"statuses": {}}


async def test_many_branches_are_told_of_by_a_few_gits_and_each_change_is_seen(
    forge: LocalGit, clone: Clone, monkeypatch: pytest.MonkeyPatch
):
    names = [f"feature/SH-{number}-x" for number in range(40)]
    shas = [clone.commit(name, "main", file=name) for name in names]
    done = clone.commit("main", "main", other="the base moves on")
    ran, run = list[str](), GitCommand.run

    async def counted(command: GitCommand, *words: str, **more: Any) -> Any:
        ran.append(words[0])
        return await run(command, *words, **more)

    monkeypatch.setattr(GitCommand, "run", counted)

    async def told(*paths: str) -> list[dict[str, Any]]:
        found = await asyncio.gather(*(forge.observe(SHOP, name, paths) for name in names))
        return [{**{one.kind: one.facts for one in each}, "sha": each[0].sha} for each in found]

    assert [one["sha"] for one in await told("file")] == shas
    assert ran.count("for-each-ref") <= 6  # two for each lot: where branches are, then statuses of their commits
    ran.clear()
    assert [one["sha"] for one in await told("file")] == shas
    assert ran == ["for-each-ref"]  # all else was about commits that are the same
    shas[3] = clone.commit(names[3], names[3], file="again")
    await forge.report(SHOP, shas[5], Status("ci", "success"))
    clone.commit("main", "main", other="and on")
    after = await told()
    assert [one["sha"] for one in after] == shas
    assert [one["statuses"]["statuses"] for one in after] == [{"ci": "success"} if n == 5 else {} for n in range(40)]
    assert not any(one["base"]["contained"] for one in after)
    ran.clear()
    assert [await forge.contains(SHOP, "main", one) for one in (done, shas[0], done)] == [True, False, True]
    assert ran.count("merge-base") == 2


async def test_a_commit_follows_what_its_history_has_only(forge: LocalGit, clone: Clone):
    first = clone.commit("one", "main", file="1")
    second = clone.commit("one", "one", file="2")
    other = clone.commit("two", "main", file="3")
    assert await forge.follows(SHOP, second, first)
    assert not await forge.follows(SHOP, first, second)
    assert not await forge.follows(SHOP, second, other)
    with pytest.raises(ForgeFailed, match="is no commit"):
        await forge.follows(SHOP, second, "main")


async def test_reports_at_once_are_all_kept(forge: LocalGit, clone: Clone):
    sha = clone.commit(BRANCH, file="1")
    others = LocalGit(forge.root, FakeClock())
    await asyncio.gather(
        forge.report(SHOP, sha, Status("a", "success")), others.report(SHOP, sha, Status("b", "success"))
    )
    told = facts(await forge.observe(SHOP, BRANCH, []), "statuses")
    assert told == {"statuses": {"a": "success", "b": "success"}}


async def test_reports_have_limits(forge: LocalGit, clone: Clone):
    sha = clone.commit(BRANCH, file="1")
    for status in (Status("ci", "green"), Status("", "success"), Status("x" * 501, "success")):
        with pytest.raises(BadRequest):
            await forge.report(SHOP, sha, status)
    with pytest.raises(ForgeFailed, match="no commit"):
        await forge.report(SHOP, "0" * 40, Status("ci", "success"))


async def test_nobody_pushes_statuses(clone: Clone):
    blob = git("hash-object", "-w", "README", cwd=clone.folder)
    git("update-ref", "refs/mine", blob, cwd=clone.folder)
    done = subprocess.run(
        ["git", "push", "-q", "origin", "refs/mine:refs/millpond/statuses/x"],
        cwd=clone.folder, env=PEOPLE, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode != 0
    assert "hidden ref" in done.stderr


async def test_a_conflict_is_told_and_not_merged(forge: LocalGit, clone: Clone):
    sha = clone.commit(BRANCH, README="mine")
    clone.commit("main", "origin/main", README="theirs")
    told = await forge.observe(SHOP, BRANCH, [])
    assert facts(told, "mergeable")["mergeable"] is False
    assert facts(told, "base") == {"contained": False}
    change = await forge.open_change(SHOP, BRANCH, "x")
    assert await forge.merge(SHOP, change.number, sha) is Merge.CONFLICT
    assert not await forge.contains(SHOP, "main", sha)


async def test_histories_without_a_common_commit_conflict(forge: LocalGit, clone: Clone):
    git("checkout", "-q", "--orphan", "lone", cwd=clone.folder)
    sha = clone.commit("lone", other="x")
    assert facts(await forge.observe(SHOP, "lone", []), "mergeable")["mergeable"] is False
    change = await forge.open_change(SHOP, "lone", "x")
    assert await forge.merge(SHOP, change.number, sha) is Merge.CONFLICT


async def test_a_base_that_moved_without_a_conflict_is_merged_with(forge: LocalGit, clone: Clone):
    sha = clone.commit(BRANCH, mine="x")
    theirs = clone.commit("main", "origin/main", theirs="x")
    change = await forge.open_change(SHOP, BRANCH, "A title; with `odd` $(signs)\n--amend")
    assert await forge.merge(SHOP, change.number, sha) is Merge.MERGED
    git("fetch", "-q", cwd=clone.folder)
    assert git("ls-tree", "--name-only", "origin/main", cwd=clone.folder).split() == ["README", "mine", "theirs"]
    assert git("rev-list", "--parents", "-1", "origin/main", cwd=clone.folder).split()[1:] == [theirs, sha]
    assert "`odd` $(signs)" in git("log", "-1", "--format=%B", "origin/main", cwd=clone.folder)


async def test_a_commit_that_came_after_the_judgement_is_not_merged(forge: LocalGit, clone: Clone):
    judged = clone.commit(BRANCH, file="1")
    change = await forge.open_change(SHOP, BRANCH, "x")
    later = clone.commit(BRANCH, file="2")
    assert await forge.merge(SHOP, change.number, judged) is Merge.MOVED
    assert not await forge.contains(SHOP, "main", judged)
    assert await forge.merge(SHOP, change.number, later) is Merge.MERGED


async def test_a_push_in_the_middle_of_a_merge_wins(forge: LocalGit, clone: Clone, monkeypatch: pytest.MonkeyPatch):

    judged = clone.commit(BRANCH, file="1")
    change = await forge.open_change(SHOP, BRANCH, "x")
    inner = Repo.commit

    async def commit(*args: Any) -> str:
        clone.commit(BRANCH, file="2")
        return await inner(*args)

    monkeypatch.setattr(Repo, "commit", commit)
    assert await forge.merge(SHOP, change.number, judged) is Merge.MOVED
    assert not await forge.contains(SHOP, "main", judged)


async def test_two_merges_at_once_both_land(forge: LocalGit, clone: Clone):
    one, two = clone.commit("feature/one", "origin/main", one="x"), clone.commit("feature/two", "origin/main", two="x")
    changes = [await forge.open_change(SHOP, name, name) for name in ("feature/one", "feature/two")]
    assert [change.number for change in changes] == [1, 2]
    other = LocalGit(forge.root, FakeClock())
    results = await asyncio.gather(forge.merge(SHOP, 1, one), other.merge(SHOP, 2, two))
    assert results == [Merge.MERGED, Merge.MERGED]
    assert await forge.contains(SHOP, "main", one)
    assert await forge.contains(SHOP, "main", two)


async def test_a_merged_branch_that_goes_on_has_another_change(forge: LocalGit, clone: Clone):
    sha = clone.commit(BRANCH, file="1")
    first = await forge.open_change(SHOP, BRANCH, "x")
    assert await forge.merge(SHOP, first.number, sha) is Merge.MERGED
    assert (await forge.open_change(SHOP, BRANCH, "x")).number == first.number
    git("push", "-q", "origin", f":{BRANCH}", cwd=clone.folder)
    assert await forge.merge(SHOP, first.number, sha) is Merge.MERGED
    clone.commit(BRANCH, file="2")
    assert (await forge.open_change(SHOP, BRANCH, "x")).number == first.number + 1


async def test_what_is_asked_for_in_vain(forge: LocalGit, clone: Clone):
    with pytest.raises(ForgeFailed, match="push it"):
        await forge.open_change(SHOP, "feature/none", "x")
    with pytest.raises(ForgeFailed, match="no change 7"):
        await forge.merge(SHOP, 7, "0" * 40)
    with pytest.raises(ForgeFailed, match="no name for a branch"):
        await forge.observe(SHOP, "--upload-pack=x", [])
    with pytest.raises(ForgeFailed, match="no commit"):
        await forge.contains(SHOP, "main", "main")
    with pytest.raises(Denied):
        forge.parse({}, b"")


async def test_hooks_and_settings_of_a_repository_run_nothing(forge: LocalGit, clone: Clone, tmp_path: Path):
    sha = clone.commit(BRANCH, **{".gitattributes": "* merge=evil diff=evil filter=evil\n", "README": "b"})
    path = forge.path(SHOP)
    script, proof = tmp_path / "script", tmp_path / "proof"
    script.write_text(f"#!/bin/sh\ntouch {proof}\nexit 1\n")
    script.chmod(0o755)
    (path / "hooks").mkdir()
    for name in ("reference-transaction", "post-update", "pre-merge-commit", "commit-msg", "update"):
        (path / "hooks" / name).symlink_to(script)
    change = await forge.open_change(SHOP, BRANCH, "x")
    await forge.report(SHOP, sha, Status("ci", "success"))
    assert await forge.merge(SHOP, change.number, sha) is Merge.MERGED
    assert not proof.exists()


async def test_replaced_objects_do_not_deceive(forge: LocalGit, clone: Clone):
    """`refs/replace` would show a gate another commit than the one that is merged."""
    bad = clone.commit(BRANCH, review="---\nverdict: rejected\n---\n")
    good = clone.commit("other", review="---\nverdict: approved\n---\n")
    git("push", "-q", "origin", f"{good}:refs/replace/{bad}", cwd=clone.folder)
    told = await forge.observe(SHOP, BRANCH, ["review"])
    assert facts(told, "front-matter")["fields"] == {"verdict": "rejected"}


async def test_a_git_that_is_too_old_says_so(forge: LocalGit, clone: Clone, tmp_path: Path, monkeypatch: Any):
    clone.commit(BRANCH, file="x")
    real, bin_ = shutil.which("git"), tmp_path / "bin"
    bin_.mkdir()
    (bin_ / "git").write_text(f'#!/bin/sh\ncase "$*" in *merge-tree*) exit 129;; esac\nexec {real} "$@"\n')
    (bin_ / "git").chmod(0o755)
    monkeypatch.setenv("PATH", f"{bin_}:{os.environ['PATH']}")
    with pytest.raises(ForgeFailed, match=r"install 2\.38"):
        await forge.observe(SHOP, BRANCH, [])
