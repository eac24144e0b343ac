"""Pre-pull through the pond, from a real registry to real Docker Engines behind a real sshd."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import NamedTuple

import pytest
from tests.clients.registries import Registry, needed
from tests.composing import compose
from tests.engine import Engine, Impossible
from tests.images import Image, image
from tests.sshd import Impossible as NoSshd
from tests.sshd import Sshd

from millpond.testing.pond import PondProcess

pytestmark = [pytest.mark.client, pytest.mark.timeout(600)]
WEB, DB, BIG = image("web"), image("db"), image("big", (30_000_000, 3_000))
CONFIG = """
[repositories.hub]
package = "docker"
base_url = "{registry}"
mirror_of = "docker.io"
mutable_ttl_s = 0
[upkeep.disk]
enabled = false
[apps.shop]
path = "shop"
hosts = ["web"]
pond = "127.0.0.1:{port}"
"""


class Mill(NamedTuple):
    """A pond before a registry, and two hosts."""

    pond: PondProcess
    registry: Registry
    engines: tuple[Engine, Engine]
    sshd: Sshd
    config: str

    def prepull(self, *words: str, app: str = "shop") -> dict:
        done = self.pond.command("prepull", app, "--json", *words, check=False)
        assert done.stdout, done.stderr
        return json.loads(done.stdout) | {"rc": done.returncode, "said": done.stderr}

    def files(self, **files: str) -> None:
        folder = self.pond.folder / "shop"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / {"env": ".env", "compose": "compose.yml"}[name]).write_text(text)


def digests(engine: Engine, reference: str) -> list[str]:
    ran = engine.docker("image", "inspect", "--format", "{{json .RepoDigests}}", reference)
    return json.loads(ran.output.partition("\n")[2]) if ran.ok else []


@pytest.fixture(scope="module")
def mill(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
    if os.geteuid() != 0:
        pytest.skip("a Docker Engine of the test's own takes root")
    for reason in needed("dockerd", "docker", "docker-registry", "skopeo"):
        pytest.skip(reason)
    folder = tmp_path_factory.mktemp("mill")
    with contextlib.ExitStack() as stack:
        registry = stack.enter_context(Registry(folder / "registry"))
        try:
            sshd = stack.enter_context(Sshd())
            engines = tuple(stack.enter_context(Engine(None, "127.0.0.0/8")) for _ in range(2))
        except (Impossible, NoSshd) as reason:
            pytest.skip(str(reason))
        bin_ = folder / "bin"
        bin_.mkdir()
        (bin_ / "docker-compose").symlink_to(compose())
        environ = {"PATH": f"{bin_}:/usr/bin:/bin"}
        pond = PondProcess(folder / "pond", "", environ=environ)
        config = CONFIG.format(registry=registry.url, port=pond.port)
        for number, engine in enumerate(engines, 1):
            config += sshd.toml(f"web{number}") + f'labels = ["web"]\ndocker_host = "{engine.host}"\n'
        (pond.folder / "millpond.toml").write_text(config)
        stack.callback(pond.kill)
        pond.start()
        yield Mill(pond, registry, engines, sshd, config)


@pytest.fixture(autouse=True)
def cold(mill: Mill) -> None:
    """Nothing on the hosts and in the pond."""
    if mill.registry._process is None:
        mill.registry.start()
    mill.registry.push(WEB, "library/web", "1")
    mill.registry.push(DB, "team/db", "7")
    for engine in mill.engines:
        engine.empty()
    headers = {"authorization": f"Bearer {mill.pond.admin_token}"}
    assert mill.pond.get("/cache/flush", headers, "PUT").status == 200
    mill.registry.forget()
    mill.files(env="VERSION=1\n", compose="services: {a: {image: 'web:${VERSION}'}, b: {image: 'team/db:7'}}")


def pond_name(mill: Mill, name: str, one: Image) -> str:
    return f"127.0.0.1:{mill.pond.port}/hub/{name}@{one.digest}"


def test_every_host_has_every_image_by_digest_and_upstream_saw_each_object_once(mill: Mill):
    planned = mill.prepull("--dry-run")
    assert planned["ok"], planned
    assert planned["hosts"]["web1"] == {
        "desired": 2, "active": 0, "succeeded": 0, "failed": 0, "failures": [], "error": None,
    }  # fmt: skip
    found = mill.prepull()
    assert found["rc"] == 0, found
    pinned = {one["image"]: one["pinned"] for one in found["images"]}
    assert pinned == {"web:1": pond_name(mill, "library/web", WEB), "team/db:7": pond_name(mill, "team/db", DB)}
    assert planned["images"] == found["images"]
    for name, engine in zip(("web1", "web2"), mill.engines, strict=True):
        assert (found["hosts"][name]["succeeded"], found["hosts"][name]["failed"]) == (2, 0)
        assert pinned["web:1"] in digests(engine, "web:1"), "by digest, and found again by the app's own reference"
    blobs = [path for method, path in mill.registry.asked() if "/blobs/" in path and method == "GET"]
    assert len(blobs) == len(set(blobs)) == 6, "one copy, of one platform"


def test_what_is_there_is_skipped_with_the_registry_stopped(mill: Mill):
    first = mill.prepull()
    assert first["ok"], first
    mill.registry.stop()
    mill.pond.stop()
    mill.pond.start()
    mill.registry.forget()
    again = mill.prepull()
    assert again["ok"], again
    assert again["images"] == first["images"]
    assert mill.registry.log.read_text() == ""
    log = mill.pond.log.read_text()
    assert mill.prepull("--dry-run")["hosts"]["web2"]["succeeded"] == 2
    assert "upstream fails" not in mill.pond.log.read_text()[len(log) :]


def test_an_image_that_was_pulled_before_keeps_its_own_name(mill: Mill):
    own = f"127.0.0.1:{mill.registry.port}/library/web:1"
    mill.files(compose=f"services: {{a: {{image: '{own}'}}}}")
    for engine in mill.engines:
        assert engine.docker("pull", own).ok
    mill.registry.stop()
    found = mill.prepull()
    assert found["ok"], found
    assert found["images"][0]["pinned"] == own.removesuffix(":1") + f"@{WEB.digest}"


def test_hosts_that_miss_it_get_the_digest_that_the_others_have(mill: Mill):
    assert mill.prepull()["ok"]
    mill.registry.push(image("moved"), "library/web", "1")
    mill.engines[1].empty()
    found = mill.prepull()
    assert found["ok"], found
    assert pond_name(mill, "library/web", WEB) in digests(mill.engines[1], "web:1")
    fresh = mill.prepull("--refresh")
    assert fresh["ok"], fresh
    for engine in mill.engines:
        assert pond_name(mill, "library/web", image("moved")) in digests(engine, "web:1"), "the tag moved"


def test_a_bad_tag_fails_clearly_before_anything(mill: Mill):
    mill.files(env="VERSION=nope\n")
    done = mill.pond.command("prepull", "shop", check=False)
    assert done.returncode == 1
    line = "clear pull error BEFORE deploy: image web:nope, host web1: permanent: manifest unknown"
    assert line in done.stdout
    assert line.replace("web1", "web2") in done.stdout
    assert digests(mill.engines[0], "team/db:7") == [], "nothing else was pulled for nothing"


def test_an_unset_variable_stops_it(mill: Mill):
    mill.files(env="")
    done = mill.pond.command("prepull", "shop", check=False)
    assert (done.returncode, done.stdout) == (1, "")
    assert "shop: not set: VERSION; set it in .env" in done.stderr


def test_an_engine_that_stops_in_the_middle_is_told_and_the_next_run_works(mill: Mill):
    mill.registry.push(BIG, "library/big", "1")
    mill.files(compose="services: {a: {image: 'big:1'}}")
    mill.engines[1].stop()
    found = mill.prepull()
    assert (found["rc"], found["hosts"]["web1"]["succeeded"]) == (1, 1)
    assert "Cannot connect to the Docker daemon" in found["hosts"]["web2"]["error"]
    mill.engines[1].start()
    assert mill.prepull()["ok"]


def test_kill_9_in_the_middle_then_again_comes_to_the_same_end(mill: Mill):
    mill.registry.push(BIG, "library/big", "1")
    mill.files(compose="services: {a: {image: 'big:1'}, b: {image: 'web:1'}}")
    argv = [sys.executable, "-m", "millpond", "prepull", "shop", "--config", str(mill.pond.folder / "millpond.toml")]
    with subprocess.Popen(
        [*argv, "--data", str(mill.pond.data)], env=mill.pond._environ, cwd=mill.pond.folder,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    ) as process:  # fmt: skip
        seen = ""
        until = time.monotonic() + 60
        while "web1: big:1" not in seen and time.monotonic() < until:
            seen += process.stdout.readline()
        os.kill(mill.pond.pid, signal.SIGKILL)
        mill.pond._process.wait(60)
        process.wait(60)
    assert "web1: big:1" in seen, seen
    assert process.returncode == 1
    mill.pond.start()
    found = mill.prepull()
    assert found["ok"], found
    for engine in mill.engines:
        assert pond_name(mill, "library/big", BIG) in digests(engine, "big:1")


def test_direct_pulls_come_to_the_same(mill: Mill):
    own = f"127.0.0.1:{mill.registry.port}/library/web:1"
    mill.files(compose=f"services: {{a: {{image: '{own}'}}}}")
    (mill.pond.folder / "millpond.toml").write_text(
        mill.config.replace(f'pond = "127.0.0.1:{mill.pond.port}"', 'pull = "direct"').replace("hub]", "other]")
    )
    try:
        assert mill.pond.command("reload").returncode == 0
        found = mill.prepull()
        assert found["ok"], found
        assert found["images"][0]["pinned"] == f"127.0.0.1:{mill.registry.port}/library/web@{WEB.digest}"
    finally:
        (mill.pond.folder / "millpond.toml").write_text(mill.config)
        mill.pond.command("reload")
