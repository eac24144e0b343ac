"""A task's job goes on whatever becomes of the daemon: reloaded, stopped, killed; its log is read meanwhile."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from millpond.testing.pond import PondProcess

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]
CONFIG = """
[repositories.local]
package = "generic"
type = "local"
[delivery]
lease_s = 20
poll_interval_s = POLL
[projects.shop]
prefix = "SH"
[[projects.shop.pipeline.stages]]
name = "build"
step = "command"
settings = { argv = ["sh", "-c", "echo begun; until [ -e GO ]; do sleep .1; done; echo made >made.txt"], commit = true }
gates = ["branch-pushed"]
[[projects.shop.pipeline.stages]]
name = "merge"
step = "merge"
"""
WHO = {f"GIT_{role}_{what}": "ada@shop.example" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}


def shell(*argv: str) -> str:
    return subprocess.run(argv, capture_output=True, text=True, check=True, env={**os.environ, **WHO}).stdout


def said(pond: PondProcess, *words: str) -> Any:
    return json.loads(pond.command(*words, "--json").stdout)


def until(what: Callable[[], Any], limit_s: float = 90.0) -> Any:
    end = time.monotonic() + limit_s
    while not (found := what()):
        assert time.monotonic() < end
        time.sleep(0.1)
    return found


def begun(pond: PondProcess, folder: Path) -> None:
    """Push a first commit, make an issue, and wait until its job has said something."""
    bare = pond.data / "git/shop.git"
    until((bare / "HEAD").exists)
    shell("git", "init", "-q", "-b", "main", str(folder))
    shell("git", "-C", str(folder), "commit", "-q", "--allow-empty", "-m", "first")
    shell("git", "-C", str(folder), "push", "-q", str(bare), "main")
    pond.command("board", "new", "Make it", "--column", "To Analyse")
    until(lambda: "begun" in pond.command("task", "log", "SH-1").stdout)


@pytest.mark.parametrize("how", ["reload", "stop", "kill"])
def test_a_job_goes_on_through_what_happens_to_the_daemon(
    make_pond: Callable[..., PondProcess], tmp_path: Path, how: str
):
    config = CONFIG.replace("GO", str(tmp_path / "go"))
    pond = make_pond(config.replace("POLL", "5"))
    begun(pond, tmp_path / "work")
    if how == "reload":
        (pond.folder / "millpond.toml").write_text(config.replace("POLL", "6"))
        assert pond.command("reload").stdout == "reloaded\n"
    elif how == "stop":
        assert pond.stop() == 0
        pond.start()
    else:
        pond.kill()
        pond.start()
    (tmp_path / "go").write_text("")
    until(lambda: said(pond, "task", "ls", "--all")[0]["phase"] == "done")
    jobs = said(pond, "task", "show", "SH-1")["jobs"]
    assert [(job["stage"], job["attempt"], job["state"]) for job in jobs] == [
        ("build", 1, "succeeded"),
        ("merge", 1, "succeeded"),
    ]
    assert shell("git", f"--git-dir={pond.data}/git/shop.git", "show", "main:made.txt") == "made\n"


def test_a_log_is_followed_through_a_restart_of_the_daemon(make_pond: Callable[..., PondProcess], tmp_path: Path):
    pond = make_pond(
        CONFIG.replace("GO", str(tmp_path / "go")).replace("POLL", "5").replace("echo made", "echo over; echo made")
    )
    begun(pond, tmp_path / "work")
    where = ["--config", str(pond.folder / "millpond.toml"), "--data", str(pond.data)]
    with (tmp_path / "log").open("wb") as log, (tmp_path / "err").open("wb") as err:
        follows = subprocess.Popen(
            [sys.executable, "-m", "millpond", "task", "log", "SH-1", "--follow", *where], stdout=log, stderr=err
        )
        try:
            until(lambda: "begun" in (tmp_path / "log").read_text())
            pond.kill()
            until(lambda: "waiting for one" in (tmp_path / "err").read_text())
            pond.start()
            (tmp_path / "go").write_text("")
            assert follows.wait(90) == 0
        finally:
            follows.kill()
            follows.wait()
    assert (tmp_path / "log").read_text() == "begun\nover\n"


def test_a_job_that_is_taken_back_is_stopped(make_pond: Callable[..., PondProcess], tmp_path: Path):
    pond = make_pond(CONFIG.replace("GO", str(tmp_path / "go")).replace("POLL", "5"))
    begun(pond, tmp_path / "work")
    pond.command("task", "cancel", "SH-1")
    until(lambda: said(pond, "task", "ls", "--all")[0]["phase"] == "cancelled")
    assert said(pond, "task", "show", "SH-1")["jobs"][0]["state"] == "cancelled"
    until(lambda: said(pond, "board", "show", "SH-1")["column"] == "Cancelled")
    assert not [path for path in Path("/proc").glob("[0-9]*/cmdline") if mentions(path, str(tmp_path / "go"))]


def mentions(path: Path, text: str) -> bool:
    try:
        return text in path.read_bytes().decode(errors="replace")
    except OSError:
        return False
