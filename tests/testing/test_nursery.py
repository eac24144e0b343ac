"""Daemons that begin as copies: what each is given, how each ends, and that they are no different from fresh ones."""

from __future__ import annotations

import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from millpond.testing.nursery import Nursery
from millpond.testing.pond import PondProcess

pytestmark = pytest.mark.process
CONFIG = """
[repositories.kept]
package = "generic"
type = "local"
"""


def run(nursery: Nursery, folder: Path, *arguments: str, **environ: str) -> tuple[int, str]:
    folder.mkdir(exist_ok=True)
    copy = nursery.spawn(arguments, log=folder / "log", environ=environ, folder=folder)
    return copy.wait(60), (folder / "log").read_text()


def test_a_copy_has_its_own_arguments_environment_folder_and_exit_code(nursery: Nursery, tmp_path: Path):
    (tmp_path / "here").mkdir()
    (tmp_path / "here/millpond.toml").write_text(CONFIG)
    code, told = run(nursery, tmp_path / "here", "repo", "ls", "--json", MILLPOND_SERVER__PORT="none")
    assert code == 2
    assert "MILLPOND_SERVER__PORT" in told
    code, told = run(nursery, tmp_path / "there", "repo", "ls", "--config", "millpond.toml")
    assert code == 2
    assert "millpond.toml" in told
    assert run(nursery, tmp_path / "version", "--version")[0] == 0


def test_many_at_once_are_told_apart(nursery: Nursery, tmp_path: Path):
    with ThreadPoolExecutor(4) as pool:
        orders = [(tmp_path / str(number), ("--version",) if number % 2 else ("--nonsense",)) for number in range(12)]
        codes = list(pool.map(lambda order: run(nursery, order[0], *order[1])[0], orders))
    assert codes == [2, 0] * 6


def test_a_daemon_serves_is_killed_and_serves_again(nursery: Nursery, tmp_path: Path):
    with PondProcess(tmp_path / "pond", CONFIG, nursery=nursery, workers=2) as pond:
        bearer = {"authorization": f"Bearer {pond.admin_token}"}
        assert pond.get("/api/v1/remote/kept/a.bin", bearer, "PUT", b"body").status == 201
        first = pond._process
        with pytest.raises(subprocess.TimeoutExpired):
            first.wait(0.01)
        assert first.poll() is None
        pond.kill()
        assert first.poll() == -signal.SIGKILL
        pond.start()
        assert pond.get("/kept/a.bin").body == b"body"
        assert pond.stop() == 0
