"""A job's settings with real clients: what they draw is on record as its task's, token needed or not."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from tests.clients import indexes
from tests.clients.indexes import Index
from tests.clients.node import make_project
from tests.clients.test_install import ALPHA, BETA
from tests.conftest import MakePond
from tests.registries import Package, Registry
from tests.registries import config as npm_config

from millpond.app.jobs import point
from millpond.testing.pond import PondProcess

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]
NAME = "job:SH-1:7"


@pytest.fixture(params=["none", "read"])
def anonymous(request: pytest.FixtureRequest) -> str:
    """What callers without a token may do: clients show theirs in either case."""
    return str(request.param)


def drawn(make_pond: MakePond, config: str, anonymous: str) -> tuple[PondProcess, str]:
    """Make a pond, and a job's token."""
    pond = make_pond(config.replace("allow_open_network = true", f'anonymous = "{anonymous}"'))
    made = pond.command("token", "create", NAME, "--scope", "read:*", "--json")
    return pond, json.loads(made.stdout)["token"]


def run(argv: list[str], home: Path, variables: dict[str, str], cwd: Path | None = None) -> str:
    env = {"PATH": os.environ["PATH"], "HOME": str(home), "LANG": "C.UTF-8", **variables}
    done = subprocess.run(argv, env=env, cwd=cwd or home, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


def used(pond: PondProcess) -> set[str]:
    told = pond.command("usage", "--task", "SH-1", "--json")
    return {one["path"] for one in json.loads(told.stdout)}


@pytest.mark.parametrize("tool", ["pip", "uv"])
def test_python_s_clients(tool: str, make_pond: MakePond, index: Index, python: Path, tmp_path: Path, anonymous: str):
    index.add(ALPHA, BETA)
    pond, secret = drawn(make_pond, indexes.config(index, ttl_s=60.0), anonymous)
    home = tmp_path / "home"
    home.mkdir()
    given = point(pond.url, {"pypi": "pypi"}, secret, home)
    target = str(tmp_path / "target")
    if tool == "uv":
        program = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
        if program is None:
            pytest.skip("uv is not installed beside this Python (it is in the extra `dev`)")
        argv = [program, "pip", "install", "--python", str(python), "--target", target, "alpha"]
    else:
        argv = [str(python), "-m", "pip", "install", "--disable-pip-version-check", "--target", target, "alpha"]
    said = run(argv, home, dict(given.variables))
    assert secret not in said
    assert (tmp_path / "target/alpha/payload.bin").read_bytes() == ALPHA.payload
    assert any(path.endswith(ALPHA.filename) for path in used(pond))


def test_npm(make_pond: MakePond, registry: Registry, tmp_path: Path, anonymous: str):
    program = shutil.which("npm")
    if program is None or shutil.which("node") is None:
        pytest.skip("npm is not installed (Debian: npm)")
    registry.add(Package("left-pad", "1.3.0", payload=b"padding" * 1000))
    pond, secret = drawn(make_pond, npm_config(registry, ttl_s=60.0), anonymous)
    home = tmp_path / "home"
    home.mkdir()
    given = point(pond.url, {"npm": "npm"}, secret, home)
    project = make_project(tmp_path / "project", {"left-pad": "1.3.0"})
    run([program, "install", "--no-audit", "--no-fund"], home, dict(given.variables), project)
    assert (project / "node_modules/left-pad/package.json").exists()
    assert any("left-pad" in path and path.endswith(".tgz") for path in used(pond))
