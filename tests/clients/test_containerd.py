"""containerd pulls through the pond: it asks its plain address, and says by ``?ns=`` which registry it means."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests import jail as jails
from tests.clients.programs import Ran
from tests.clients.registries import Registry, needed, program
from tests.conftest import MakePond
from tests.images import image

from millpond.connect.containers import Address, plan

pytestmark = [pytest.mark.client, pytest.mark.timeout(180)]
NAME = "library/demo"
OLD = image("old")
CONFIG = """
[access]
allow_open_network = true
[repositories.hub]
package = "docker"
base_url = "{url}"
mirror_of = "docker.io"
"""
DAEMON = """
version = 2
root = "{folder}/root"
state = "{folder}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
address = "{folder}/c.sock"
"""


class Containerd:
    """The daemon, in the jail; `ctr` runs a command of its client there."""

    def __init__(self, jail: jails.Jail, folder: Path) -> None:
        self._jail, self._folder = jail, folder
        file = folder / "config.toml"
        file.write_text(DAEMON.format(folder=folder))
        with (folder / "log").open("wb") as log:
            argv = jail.entering([program("containerd") or "containerd", "--config", str(file)])
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, env={"PATH": jails.PATH})

    def started(self) -> bool:
        until = time.monotonic() + 30
        while time.monotonic() < until and self._process.poll() is None:
            if self.ctr("version").ok:
                return True
            time.sleep(0.2)
        return False

    def ctr(self, *words: str) -> Ran:
        argv = self._jail.entering([program("ctr") or "ctr", "--address", f"{self._folder}/c.sock", *words])
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=60, env={"PATH": jails.PATH})
        return Ran(done.returncode == 0, f"ctr {' '.join(words)}\n{done.stdout}{done.stderr}")

    def close(self) -> None:
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(30)
        self._process.kill()
        self._process.wait(30)


@pytest.fixture
def containerd(jail: jails.Jail) -> Iterator[Containerd]:
    for reason in needed("containerd", "ctr", "docker-registry", "skopeo", "nsenter"):
        pytest.skip(reason)
    folder = Path(tempfile.mkdtemp(prefix="mp-ctd"))  # a socket's path must be short
    made = Containerd(jail, folder)
    try:
        if not made.started():
            pytest.skip(f"containerd does not start here: {(folder / 'log').read_text()[-500:]}")
        yield made
    finally:
        made.close()
        shutil.rmtree(folder, ignore_errors=True)


def test_it_pulls_by_the_registrys_own_name(containerd: Containerd, make_pond: MakePond, jail, tmp_path: Path):
    with Registry(tmp_path / "registry") as registry:
        registry.push(OLD, NAME)
        pond = make_pond(CONFIG.format(url=registry.url), host=jail.address)
        wanted = plan("containerd", Address(pond.url, "", "hub"))
        hosts = tmp_path / "certs.d/docker.io/hosts.toml"
        hosts.parent.mkdir(parents=True)
        hosts.write_text(wanted.text)
        pull = ["content", "fetch", "--hosts-dir", str(tmp_path / "certs.d"), "--all-platforms"]
        for _ in range(2):
            ran = containerd.ctr(*pull, f"docker.io/{NAME}:latest")
            assert ran.ok, ran.output
            held = containerd.ctr("content", "ls", "-q").output
            assert {OLD.digest, *OLD.manifests, *OLD.blobs} <= set(held.split())
            assert containerd.ctr("images", "rm", f"docker.io/{NAME}:latest", "--sync").ok
            registry.stop()
        assert not containerd.ctr(*pull, "ghost.example/library/demo:latest").ok
