"""The clients, the jail they run in, and what they may install."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests import jail as jails
from tests.clients.deployed import Parts, World, fill, programs
from tests.clients.deployed import config as deploy_config
from tests.clients.indexes import TTL_S, Index, Mill, config
from tests.clients.node import Manager, Npm, Pnpm
from tests.clients.programs import Client, Pip, Room, Uv
from tests.clients.registries import Registry as RealRegistry
from tests.clients.registries import needed
from tests.conftest import MakePond
from tests.engine import Engine
from tests.engine import Impossible as NoEngine
from tests.registries import Registry
from tests.sshd import Impossible as NoSshd
from tests.sshd import Sshd

from millpond.testing.nursery import Nursery
from millpond.testing.pond import PondProcess, free_port
from millpond.testing.upstream import ThreadedUpstream

MakeMill = Callable[..., Mill]


@pytest.fixture(scope="session")
def jail() -> Iterator[jails.Jail]:
    made = jails.jail()
    try:
        one = made.__enter__()
    except jails.Impossible as reason:
        pytest.skip(str(reason))
    yield one
    made.__exit__(None, None, None)


@pytest.fixture(scope="session")
def python(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh virtual environment's Python, with a pip of its own."""
    folder = tmp_path_factory.mktemp("client") / "venv"
    done = subprocess.run([sys.executable, "-m", "venv", folder], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no virtual environment can be made here (Debian: python3-venv): {done.stdout.strip()}")
    return folder / "bin/python"


@pytest.fixture(scope="session")
def pip(python: Path) -> Pip:
    return Pip(python)


@pytest.fixture(scope="session")
def uv(python: Path) -> Uv:
    program = shutil.which("uv", path=str(Path(sys.executable).parent)) or shutil.which("uv")
    if program is None:
        pytest.skip("uv is not installed beside this Python (it is in the extra `dev`)")
    return Uv(program, python)


@pytest.fixture(params=["pip", "uv"])
def client(request: pytest.FixtureRequest) -> Client:
    return request.getfixturevalue(request.param)


@pytest.fixture
def room(tmp_path: Path, jail: jails.Jail) -> Room:
    """Inside the jail."""
    return Room(tmp_path / "jailed", jail)


@pytest.fixture
def outside(tmp_path: Path) -> Room:
    """Outside of it, for what a client gets without the pond."""
    return Room(tmp_path / "outside", None)


@pytest.fixture(params=["html", "json"])
def index(request: pytest.FixtureRequest, upstream: ThreadedUpstream, files_host: ThreadedUpstream) -> Index:
    return Index(upstream, files_host, as_json=request.param == "json")


@pytest.fixture
def mill(jail: jails.Jail, make_pond: MakePond, index: Index) -> MakeMill:
    """Put a pond in front of the index, where the jail can reach it."""

    def make(*, ttl_s: float = TTL_S, workers: int = 1) -> Mill:
        return Mill(make_pond(config(index, ttl_s=ttl_s), host=jail.address, workers=workers), index)

    return make


TOOLS = Path(__file__).parents[2] / "build/test-tools"
"""Where tests/install-tools.sh puts what is not in Debian."""


@pytest.fixture(scope="session")
def npm() -> Npm:
    program = shutil.which("npm")
    if program is None or shutil.which("node") is None:
        pytest.skip("npm is not installed (Debian: npm)")
    return Npm(program)


@pytest.fixture(scope="session")
def pnpm() -> Pnpm:
    node, script = shutil.which("node"), TOOLS / "node_modules/pnpm/bin/pnpm.cjs"
    if node is None or not script.exists():
        pytest.skip("pnpm is not there: `sh tests/install-tools.sh` installs it from npm's registry")
    return Pnpm(node, str(script))


@pytest.fixture(params=["npm", "pnpm"])
def manager(request: pytest.FixtureRequest) -> Manager:
    return request.getfixturevalue(request.param)


@pytest.fixture(params=["native", "off-host"])
def registry(request: pytest.FixtureRequest, upstream: ThreadedUpstream, files_host: ThreadedUpstream) -> Registry:
    native = request.param == "native"
    return Registry(upstream, upstream if native else files_host, native=native)


@pytest.fixture(scope="module")
def parts(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Parts]:
    """A registry with an app's versions, and an engine behind an sshd with compose."""
    if os.geteuid() != 0:
        pytest.skip("a Docker Engine of the test's own takes root")
    for reason in needed("dockerd", "docker", "busybox", "docker-registry"):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("deploys")
    path, there = programs(folder / "here"), programs(folder / "there", "/usr/bin/docker")
    try:
        with (
            Sshd(there) as sshd,
            Engine(None, "127.0.0.0/8") as engine,
            RealRegistry(folder / "registry") as registry,
        ):
            reason = fill(registry, engine, folder / "images")
            if reason:
                pytest.skip(reason)
            yield Parts(path, folder / "there", sshd, engine, registry)
    except (NoEngine, NoSshd) as reason:
        pytest.skip(str(reason))


@pytest.fixture
def world(parts: Parts, nursery: Nursery, tmp_path: Path) -> Iterator[World]:
    """A pond of its own, with no release yet and nothing on the engine."""
    port = free_port()
    config, environ = deploy_config(parts, port, tmp_path), {"PATH": parts.path}
    pond = PondProcess(tmp_path / "pond", config, port=port, environ=environ, nursery=nursery)
    made = World(tmp_path, parts, pond)
    made.write("1")
    pond.start()
    try:
        yield made
    finally:
        made.hook("")
        pond.kill()
        made.down()
        parts.engine.empty()
        if parts.registry._process is None:
            parts.registry.start()
