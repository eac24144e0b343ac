"""Git is closed: hostile repositories and hostile machines run nothing, and names are names."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.delivery.workspaces.gitargs import check_branch, check_path, check_repo, check_sha, environment, git


def run(*words: str, git_dir: Path, cwd: Path, **more: str) -> subprocess.CompletedProcess[str]:
    argv = git(*words, git_dir=str(git_dir))
    return subprocess.run(
        argv, cwd=cwd, env=environment(os.environ, more=more), capture_output=True, text=True, check=False, timeout=60
    )


@pytest.mark.parametrize("name", ["main", "feature/SH-1-a-title", "v1.0", "a/b/c", "x@y"])
def test_branches_that_are_names(name: str):
    assert check_branch(name) == name


NO_BRANCHES = (
    "",
    "-x",
    "--upload-pack=sh",
    "a..b",
    "a b",
    "a\nb",
    "a~1",
    "a^",
    "a:b",
    "a?",
    "a*",
    "a[",
    "a\\b",
    "@{u}",
)
NOR_THESE = ("@", "HEAD", "a//b", "/a", "a/", "a.", "a.lock", "a.lock/b", ".a", "a/.b", "\x00", "x" * 300)


@pytest.mark.parametrize("name", [*NO_BRANCHES, *NOR_THESE])
def test_branches_that_are_not(name: str):
    with pytest.raises(ValueError, match="is no name for a branch"):
        check_branch(name)


@given(st.text(max_size=30))
@settings(deadline=None, max_examples=60)
def test_what_is_taken_for_a_branch_is_one_for_git(name: str):
    try:
        check_branch(name)
    except ValueError:
        return
    argv = git("check-ref-format", "--branch", name)
    assert subprocess.run(argv, env=environment(os.environ), capture_output=True, check=False).returncode == 0


@pytest.mark.parametrize("text", ["", "abc", "A" * 40, "g" * 40, "0" * 41, "--help", "0" * 40 + "\n"])
def test_commits_have_their_full_name(text: str):
    assert check_sha("0123456789abcdef" * 4)
    assert check_sha("0123456789" * 4)
    with pytest.raises(ValueError, match="full name"):
        check_sha(text)


@pytest.mark.parametrize(
    "path", ["", "/etc/passwd", "../x", "a/../b", "a//b", "a/", "./a", "a\x00b", "a\nb", "x" * 1001]
)
def test_paths_stay_within(path: str):
    assert check_path("docs/reviews/SH-1.md")
    with pytest.raises(ValueError, match="no path"):
        check_path(path)


@pytest.mark.parametrize("name", ["", "/x", "../x", "a/../b", "-x", "a/-x", ".x", "a.git", "a b", "a/b/c/d/e", "a\n"])
def test_repositories_names_lead_nowhere_else(name: str):
    assert check_repo("team/shop") == "team/shop"
    with pytest.raises(ValueError, match="repository's name"):
        check_repo(name)


def test_no_secret_of_the_daemon_s_reaches_git():
    made = environment({"PATH": "/bin", "GITEA_TOKEN": "s3cret", "GIT_SSH_COMMAND": "sh -c x", "HOME": "/root"})
    assert made["PATH"] == "/bin"
    assert made["HOME"] != "/root"
    assert "GITEA_TOKEN" not in made
    assert "GIT_SSH_COMMAND" not in made


def test_neither_the_machine_nor_the_repository_makes_git_run_something(tmp_path: Path):
    repo, proof = tmp_path / "hostile", tmp_path / "proof"
    assert run("init", "-q", str(repo), git_dir=repo / ".git", cwd=tmp_path).returncode == 0
    script = tmp_path / "script"
    script.write_text(f"#!/bin/sh\ntouch {proof}\nexit 1\n")
    script.chmod(0o755)
    with (repo / ".git" / "config").open("a") as config:
        config.write(f"[core]\n\tfsmonitor = {script}\n\thooksPath = {tmp_path}/hooks\n\tpager = {script}\n")
        config.write(f"\teditor = {script}\n[diff]\n\texternal = {script}\n[commit]\n\tgpgSign = true\n")
        config.write(f"[gpg]\n\tprogram = {script}\n[credential]\n\thelper = !{script}\n")
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    for name in ("pre-commit", "post-commit", "reference-transaction", "post-checkout", "post-index-change"):
        (hooks / name).symlink_to(script)
        (repo / ".git" / "hooks").mkdir(exist_ok=True)
        (repo / ".git" / "hooks" / name).symlink_to(script)
    (repo / "file").write_text("x")
    who = {f"GIT_{role}_{what}": "a@b.example" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    for words in (["status"], ["add", "file"], ["commit", "-q", "-m", "x"], ["diff", "HEAD"], ["log", "-p"]):
        argv = git(*words, git_dir=str(repo / ".git"), work_tree=str(repo))
        done = subprocess.run(
            argv, cwd=repo, env=environment(os.environ, more=who), capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, (words, done.stderr)
    assert not proof.exists()


@pytest.mark.parametrize("url", ["ext::sh -c touch%20proof", "fd::0", "ssh://-oProxyCommand=x/y"])
def test_protocols_are_an_allow_list(tmp_path: Path, url: str):
    repo = tmp_path / "r.git"
    assert run("init", "-q", "--bare", str(repo), git_dir=repo, cwd=tmp_path).returncode == 0
    done = run("fetch", "--end-of-options", url, git_dir=repo, cwd=tmp_path)
    assert done.returncode != 0
    assert not (tmp_path / "proof").exists()
    assert "not allowed" in done.stderr or "blocked" in done.stderr
