"""A Docker Engine pulls through the pond, by its address and as a registry mirror, with no other way out."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests import jail as jails
from tests.clients.registries import Registry, needed
from tests.engine import Engine, Impossible
from tests.images import Image, image

from millpond.testing.nursery import Nursery
from millpond.testing.pond import PondProcess, free_port

pytestmark = [pytest.mark.client, pytest.mark.timeout(300)]
TTL_S = 1.0
NAME = "library/demo"
CONFIG = """
[server]
mirror_listen = "{host}:{port}"
[access]
anonymous = "{anonymous}"
allow_open_network = true
[repositories.hub]
package = "docker"
base_url = "{url}"
mirror_of = "docker.io"
mutable_ttl_s = {ttl}
"""


@dataclass
class Mill:
    """What the tests have: an engine, the pond before a registry, and how images are named."""

    engine: Engine
    pond: PondProcess
    registry: Registry
    old: Image = field(default_factory=image)
    new: Image = field(default_factory=image)

    @property
    def direct(self) -> str:
        """The image by the pond's address."""
        return f"{self.pond.host}:{self.pond.port}/hub/{NAME}"

    def reference(self, way: str) -> str:
        return self.direct if way == "direct" else "demo"

    def pull(self, reference: str, *options: str) -> dict[str, object]:
        """Pull into an empty storage; a failure shows what the pond logged, too."""
        try:
            return self.engine.pull(reference, *options)
        except AssertionError as error:
            raise AssertionError(f"{error}\n{self.pond.log.read_text()[-3000:]}") from error


@pytest.fixture(scope="module")
def jail(jail: jails.Jail) -> jails.Jail:
    for reason in needed("docker-registry", "skopeo", "dockerd", "docker", "nsenter"):
        pytest.skip(reason)
    return jail


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def mill(
    request: pytest.FixtureRequest, jail: jails.Jail, nursery: Nursery, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Mill]:
    folder = tmp_path_factory.mktemp("mill")
    mirror = free_port(jail.address)
    with Registry(folder / "registry") as registry:
        text = CONFIG.format(host=jail.address, port=mirror, url=registry.url, ttl=TTL_S, anonymous="read")
        pond = PondProcess(folder / "pond", text, host=jail.address, workers=request.param, nursery=nursery)
        try:
            pond.start()
            with Engine(jail, f"{pond.host}:{pond.port}", f"http://{jail.address}:{mirror}") as engine:
                yield Mill(engine, pond, registry)
        except Impossible as reason:
            pytest.skip(str(reason))
        finally:
            pond.kill()


@pytest.fixture(autouse=True)
def cold(request: pytest.FixtureRequest) -> None:
    """Each test begins with an old image upstream, and nothing in the pond or the engine.

    The images are its own: an engine keeps manifests for a while when the image is gone, and does not ask for them.
    """
    if "mill" not in request.fixturenames:
        return
    mill = request.getfixturevalue("mill")
    mill.old, mill.new = image(f"old of {request.node.name}"), image(f"new of {request.node.name}")
    mill.registry.push(mill.old, NAME)
    headers = {"authorization": f"Bearer {mill.pond.admin_token}"}
    assert mill.pond.get("/cache/flush", headers, "PUT").status == 200
    mill.registry.forget()


ways = pytest.mark.parametrize("way", ["direct", "mirror"])


def is_image(found: dict[str, object], one: Image, architecture: str = "amd64") -> bool:
    """Whether the engine has that platform of that image: its layers are those that the configuration names."""
    rows = json.loads(one.manifests[one.of(architecture)])
    configuration = json.loads(one.blobs[rows["config"]["digest"]])
    return found["RootFS"]["Layers"] == configuration["rootfs"]["diff_ids"]


def expire() -> None:
    time.sleep(TTL_S + 0.2)


@ways
def test_by_tag_cold_and_warm(mill: Mill, way: str):
    found = mill.pull(mill.reference(way))
    assert is_image(found, mill.old)
    assert f"@{mill.old.digest}" in found["RepoDigests"][0]
    fetched = mill.registry.asked()
    blobs = [path for _, path in fetched if "/blobs/" in path]
    assert len(blobs) == len(set(blobs)) == 3, "each once: a configuration and two layers"
    assert is_image(mill.pull(mill.reference(way)), mill.old)
    assert [path for _, path in mill.registry.asked() if "/blobs/" in path] == blobs


@ways
def test_by_digest_and_for_another_platform(mill: Mill, way: str):
    found = mill.pull(f"{mill.reference(way)}@{mill.old.digest}")
    assert is_image(found, mill.old)
    found = mill.pull(mill.reference(way), "--platform", "linux/arm64")
    assert is_image(found, mill.old, "arm64")


@ways
def test_stale_unchanged_then_changed(mill: Mill, way: str):
    mill.pull(mill.reference(way))
    expire()
    mill.registry.forget()
    assert is_image(mill.pull(mill.reference(way)), mill.old)
    assert {method for method, _ in mill.registry.asked()} == {"HEAD"}
    mill.registry.push(mill.new, NAME)
    expire()
    assert is_image(mill.pull(mill.reference(way)), mill.new)


@ways
def test_offline(mill: Mill, way: str):
    mill.pull(mill.reference(way))
    mill.registry.stop()
    try:
        expire()
        assert is_image(mill.pull(mill.reference(way)), mill.old)
        assert is_image(mill.pull(f"{mill.reference(way)}@{mill.old.digest}"), mill.old)
    finally:
        mill.registry.start()


def test_what_is_not_there(mill: Mill):
    ran = mill.engine.docker("pull", f"{mill.direct}:unknown")
    assert not ran.ok
    assert "manifest unknown" in ran.output


def test_login(jail: jails.Jail, tmp_path: Path):
    with Registry(tmp_path / "registry") as registry:
        old = image("old")
        registry.push(old, NAME)
        mirror = free_port(jail.address)
        text = CONFIG.format(host=jail.address, port=mirror, url=registry.url, ttl=TTL_S, anonymous="none")
        pond = PondProcess(tmp_path / "pond", text, host=jail.address)
        try:
            pond.start()
            where = f"{pond.host}:{pond.port}"
            with Engine(jail, where) as engine:
                assert not engine.docker("pull", f"{where}/hub/{NAME}").ok
                wrong = engine.docker("login", "-u", "anybody", "-p", "wrong", where)
                assert not wrong.ok
                assert "unauthorized" in wrong.output
                assert engine.docker("login", "-u", "anybody", "-p", pond.admin_token, where).ok
                assert is_image(engine.pull(f"{where}/hub/{NAME}"), old)
                pond.command("token", "revoke", "admin")
                engine.empty()
                assert not engine.docker("pull", f"{where}/hub/{NAME}").ok
        except Impossible as reason:
            pytest.skip(str(reason))
        finally:
            pond.kill()
