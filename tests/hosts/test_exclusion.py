"""One deploy of an app on an engine at a time: by real shells and the real flock(1)."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from millpond.hosts.commands import Docker
from millpond.hosts.exclusion import HELD, alone

pytestmark = pytest.mark.process

SHELLS = [found for name in ("dash", "bash", "busybox") if (found := shutil.which(name))]
needs_flock = pytest.mark.skipif(shutil.which("flock") is None, reason="no flock(1) here")
FIRST, SECOND = Docker(), Docker("unix:///run/second.sock")
AT_WORK = ("sh", "-c", 'echo at work; while [ ! -e "$0" ]; do sleep 0.05; done')
Words = Callable[..., list[str]]


@pytest.fixture(params=SHELLS, ids=lambda path: Path(path).name)
def words(request: pytest.FixtureRequest) -> Words:
    def made(*argv: str, docker: Docker = FIRST, app: str = "shop", wait_s: int = 0) -> list[str]:
        shell = [request.param, *(["sh"] if request.param.endswith("busybox") else [])]
        return [*shell, *alone(argv, docker, app, wait_s)[1:]]

    return made


def run(argv: list[str], home: Path | None, **env: str) -> subprocess.CompletedProcess[str]:
    environ = {**os.environ, **({"HOME": str(home)} if home else {}), **env}
    if home is None:
        del environ["HOME"]
    return subprocess.run(argv, env=environ, capture_output=True, text=True, timeout=60, check=False)


def begun(argv: list[str], home: Path) -> subprocess.Popen[str]:
    """Start what says "at work", and wait until it does."""
    env = {**os.environ, "HOME": str(home)}
    left = subprocess.Popen(argv, env=env, stdout=subprocess.PIPE, text=True, start_new_session=True)
    assert left.stdout is not None
    assert left.stdout.readline() == "at work\n"
    return left


def is_there(pid: int) -> bool:
    state = Path(f"/proc/{pid}/stat")
    return state.exists() and state.read_text().rpartition(")")[2].split()[0] != "Z"


def test_it_runs_with_its_words_its_input_and_its_exit_code(words: Words, tmp_path: Path):
    assert run(words("echo", "a b", "$HOME"), tmp_path).stdout == "a b $HOME\n"
    assert run(words("sh", "-c", "exit 7"), tmp_path).returncode == 7
    argv = words("cat")
    env = {**os.environ, "HOME": str(tmp_path)}
    given = subprocess.run(argv, env=env, input="document", capture_output=True, text=True, timeout=60, check=True)
    assert given.stdout == "document"


@needs_flock
def test_what_was_left_behind_is_waited_for_by_this_app_on_this_engine_only(words: Words, tmp_path: Path):
    """Three places share a home: the app on two engines, and another app on the first."""
    go_on = tmp_path / "go on"
    left = begun(words(*AT_WORK, str(go_on)), tmp_path)
    held = run(words("echo", "me"), tmp_path)
    assert (held.returncode, held.stdout) == (HELD, "")
    assert "another deploy of it is still at work on this engine" in held.stderr
    assert run(words("echo", "me", docker=SECOND), tmp_path).stdout == "me\n"
    assert run(words("echo", "me", app="../$(id) other"), tmp_path).stdout == "me\n"
    env = {**os.environ, "HOME": str(tmp_path)}
    waiting = subprocess.Popen(words("echo", "me", wait_s=50), env=env, stdout=subprocess.PIPE, text=True)
    go_on.touch()
    assert waiting.communicate(timeout=60)[0] == "me\n"
    left.communicate(timeout=60)
    place = tmp_path / ".millpond"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".millpond", "go on"]
    assert place.stat().st_mode & 0o777 == 0o700
    assert [(one.stat().st_size, one.stat().st_mode & 0o777) for one in place.iterdir()] == [(0, 0o600)] * 3


@needs_flock
def test_what_the_command_leaves_in_the_background_does_not_hold_it(words: Words, tmp_path: Path):
    done = run(words("sh", "-c", "sleep 300 >/dev/null 2>&1 & echo $!"), tmp_path)
    child = int(done.stdout)
    try:
        assert is_there(child)
        assert run(words("echo", "me"), tmp_path).stdout == "me\n"
    finally:
        os.kill(child, signal.SIGKILL)


@needs_flock
@pytest.mark.parametrize("stubborn", [False, True])
def test_a_time_out_that_signals_the_shell_alone_ends_the_command(words: Words, tmp_path: Path, stubborn: bool):
    """As busybox's timeout does; one that does not listen is killed, and the lock is held until then."""
    ignoring = "trap '' TERM; " if stubborn else ""
    told = tmp_path / "pid"
    script = f'{ignoring}echo $$ >"$0"; echo at work; while :; do sleep 0.05; done'
    left = begun(words("sh", "-c", script, str(told)), tmp_path)
    pid = int(told.read_text())
    try:
        left.terminate()
        if stubborn:
            time.sleep(0.5)
            assert is_there(pid)
            assert run(words("echo", "me"), tmp_path).returncode == HELD
        left.communicate(timeout=60)
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(left.pid, signal.SIGKILL)
    assert left.returncode in {128 + signal.SIGTERM, 128 + signal.SIGKILL}
    assert not is_there(pid)
    assert run(words("echo", "me"), tmp_path).stdout == "me\n"


@needs_flock
def test_a_folder_that_is_not_the_login_s_own_is_not_written_to(words: Words, tmp_path: Path):
    """Then the lock is on the home itself: without a folder it still fences."""
    (tmp_path / "home").mkdir()
    (tmp_path / "else").mkdir()
    (tmp_path / "home/.millpond").symlink_to(tmp_path / "else")
    go_on = tmp_path / "go on"
    left = begun(words(*AT_WORK, str(go_on)), tmp_path / "home")
    assert run(words("echo", "me"), tmp_path / "home").returncode == HELD
    go_on.touch()
    left.communicate(timeout=60)
    assert list((tmp_path / "else").iterdir()) == []


@pytest.mark.parametrize("lacks", ["flock", "a home", "HOME"])
def test_without_a_lock_it_runs_all_the_same(words: Words, lacks: str, tmp_path: Path):
    path = {"PATH": "/nowhere"} if lacks == "flock" else {}
    done = run(words("/bin/echo", "me"), None if lacks == "HOME" else tmp_path / "gone", **path)
    assert (done.returncode, done.stdout, done.stderr) == (0, "me\n", "")
