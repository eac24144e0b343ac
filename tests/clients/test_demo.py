"""`millpond demo` with a real Docker Engine: what it deployed ran, and is gone afterwards."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from tests.clients.deployed import programs
from tests.engine import Engine, Impossible

pytestmark = [pytest.mark.client, pytest.mark.timeout(400)]


def test_the_issue_is_deployed_and_everything_is_taken_away(tmp_path: Path):
    if os.geteuid() != 0:
        pytest.skip("a Docker Engine of one's own takes root")
    try:
        with Engine(None, "127.0.0.0/8") as engine:
            path = programs(tmp_path / "bin")
            environ = {"PATH": path, "HOME": str(tmp_path), "TMPDIR": str(tmp_path), "DOCKER_HOST": engine.host}
            environ["PYTHONPATH"] = os.environ.get("PYTHONPATH", "")
            argv = [sys.executable, "-m", "millpond", "demo"]
            told = subprocess.run(argv, capture_output=True, text=True, timeout=300, env=environ, check=False)
            assert told.returncode == 0, told.stdout + told.stderr
            assert "It was deployed: release 1 of mpdemo" in told.stdout
            assert "is active" in told.stdout
            assert "DEMO-1  Done" in told.stdout
            assert "monitoring" in told.stdout
            for kind in ("container", "network", "image"):
                listed = engine.docker(kind, "ls", *(["--all"] if kind == "container" else []), "--quiet").output
                names = engine.docker(kind, "ls").output
                assert "mpdemo" not in names, names
                assert kind == "network" or listed.split("\n", 1)[1] == "", listed
    except Impossible as error:
        pytest.skip(str(error))
    assert list(tmp_path.glob("millpond-demo-*")) == []
