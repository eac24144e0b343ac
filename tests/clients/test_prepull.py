"""Pre-pull through the pond, from a real registry to real Docker Engines behind a real sshd."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from tests.clients.registries import Registry, needed
from tests.composing import compose
from tests.engine import Engine, Impossible
from tests.images import Image, image
from tests.sshd import Impossible as NoSshd
from tests.sshd import Sshd

from millpond.testing.nursery import Nursery
from millpond.testing.pond import PondProcess
from millpond.testing.tcpfaults import NONE, Faults, ThreadedFaultProxy

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

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Begin one beside the daemon."""
        argv = [sys.executable, "-m", "millpond", "prepull", "shop", *words, "--data", str(self.pond.data)]
        return subprocess.Popen(
            [*argv, "--config", str(self.pond.folder / "millpond.toml")], env=self.pond._environ, text=True,
            cwd=self.pond.folder, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        )  # fmt: skip

    def files(self, **files: str) -> None:
        folder = self.pond.folder / "shop"
        folder.mkdir(exist_ok=True)
        for name, text in files.items():
            (folder / {"env": ".env", "compose": "compose.yml"}[name]).write_text(text)


def digests(engine: Engine, reference: str) -> list[str]:
    ran = engine.docker("image", "inspect", "--format", "{{json .RepoDigests}}", reference)
    return json.loads(ran.output.partition("\n")[2]) if ran.ok else []


@pytest.fixture(scope="module")
def mill(nursery: Nursery, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mill]:
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
        pond = PondProcess(folder / "pond", "", environ=environ, nursery=nursery)
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
        "desired": 2, "active": 0, "succeeded": 0, "failed": 0, "failures": [], "error": None, "error_kind": None,
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
    with mill.start() as process:
        seen = ""
        until = time.monotonic() + 60
        while "web1: big:1" not in seen and time.monotonic() < until:
            seen += process.stderr.readline()
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


@contextlib.contextmanager
def changed(mill: Mill, old: str, new: str) -> Iterator[None]:
    """Another configuration for a while."""
    file = mill.pond.folder / "millpond.toml"
    assert old in mill.config
    file.write_text(mill.config.replace(old, new))
    try:
        assert mill.pond.command("reload").returncode == 0
        yield
    finally:
        file.write_text(mill.config)
        mill.pond.command("reload")


def test_direct_pulls_come_to_the_same(mill: Mill):
    own = f"127.0.0.1:{mill.registry.port}/library/web:1"
    mill.files(compose=f"services: {{a: {{image: '{own}'}}}}")
    with changed(mill, f'pond = "127.0.0.1:{mill.pond.port}"', 'pull = "direct"'):
        found = mill.prepull()
        assert found["ok"], found
        assert found["images"][0]["pinned"] == own.removesuffix(":1") + f"@{WEB.digest}"


def test_direct_pulls_of_a_registry_that_the_pond_does_not_know(mill: Mill):
    own = f"localhost:{mill.registry.port}/library/web:1"
    mill.files(compose=f"services: {{a: {{image: '{own}'}}}}")
    with changed(mill, f'pond = "127.0.0.1:{mill.pond.port}"', 'pull = "direct"'):
        found = mill.prepull()
        assert found["ok"], found
        assert found["images"][0]["pinned"] == own.removesuffix(":1") + f"@{WEB.digest}"


SLOW = Faults(bandwidth=1_000_000)
Broken = Callable[[], None]


@pytest.fixture
def slowly(mill: Mill) -> Iterator[Callable[[Broken], tuple[dict, ThreadedFaultProxy]]]:
    """Pull a large image over a slow line, and break something while the first host pulls; gives what came of it."""
    mill.registry.push(BIG, "library/big", "1")
    with ThreadedFaultProxy(mill.registry.port) as relay:
        mill.files(compose=f"services: {{a: {{image: '127.0.0.1:{relay.port}/library/big@{BIG.digest}'}}}}")
        settings = 'pull = "direct"\npull_timeout_s = 20'

        def run(broken: Broken) -> dict:
            relay.faults = SLOW
            process = mill.start("--json")
            with process:
                seen = ""
                until = time.monotonic() + 60
                while "web1: 127.0.0.1" not in seen and time.monotonic() < until:
                    seen += process.stderr.readline()
                time.sleep(2)
                broken()
                told, _ = process.communicate(timeout=200)
            relay.faults = NONE
            return json.loads(told)

        with changed(mill, f'pond = "127.0.0.1:{mill.pond.port}"', settings):
            run.relay = relay
            yield run


def test_an_engine_that_is_stopped_in_the_middle_of_a_pull(mill: Mill, slowly):
    found = slowly(mill.engines[0].stop)
    (failure,) = found["hosts"]["web1"]["failures"]
    assert failure["kind"] == "transient"
    mill.engines[0].start()
    assert mill.prepull()["ok"]


def test_ssh_that_breaks_and_is_refused_in_the_middle_of_a_pull(mill: Mill, slowly):
    found = slowly(mill.sshd.stop)
    for host in found["hosts"].values():
        assert "Connection refused" in host["error"] or "rc=255" in host["error"], found
    mill.sshd.start()
    assert mill.prepull()["ok"]


def test_a_registry_that_falls_silent_in_the_middle_of_a_pull(mill: Mill, slowly):
    def silent() -> None:
        slowly.relay.faults = Faults(blackhole=True)

    found = slowly(silent)
    assert "timeout: `docker" in found["hosts"]["web1"]["error"], found
    slowly.relay.down_now()
    slowly.relay.up_now()
    assert mill.prepull()["ok"], "and the line is good again"


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 MB on a loop device."""
    disk, place = tmp_path / "disk.img", tmp_path / "disk"
    place.mkdir()
    with disk.open("wb") as file:
        file.truncate(300_000_000)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", str(disk)], check=True, timeout=60)
    mounted = subprocess.run(
        ["mount", "-o", "loop", str(disk), str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no loop mount on this machine: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False, timeout=60)


def test_a_host_without_room_is_told_and_with_the_watchdog_s_ladder_it_works(mill: Mill, small_disk: Path):
    mill.registry.push(image("old", (60_000_000,)), "library/old", "1")
    mill.registry.push(image("fat", (60_000_000,)), "library/fat", "1")
    with Engine(None, "127.0.0.0/8", data=small_disk) as engine:
        small = f'[hosts.small]\nssh = "local"\nlabels = ["web"]\ndocker_host = "{engine.host}"\n'
        with changed(mill, "[apps.shop]", small + "[apps.shop]"):
            assert engine.docker("pull", f"127.0.0.1:{mill.registry.port}/library/old:1").ok
            mill.files(compose="services: {a: {image: 'fat:1'}}")
            room = os.statvfs(small_disk)
            with (small_disk / "filler").open("wb") as filler:
                filler.write(bytes(room.f_bavail * room.f_frsize - 90_000_000))
            found = mill.prepull()
            (failure,) = found["hosts"]["small"]["failures"]
            assert (failure["kind"], "no space left" in failure["text"]) == ("disk", True), failure
            assert (found["hosts"]["web1"]["succeeded"], found["hosts"]["web2"]["succeeded"]) == (1, 1)
        ladder = "[upkeep.disk]\nenabled = true\nimage_min_age_s = 0\ninterval_s = 86400\nlow_percent = 40\n"
        text = mill.config.replace("[apps.shop]", small + "[apps.shop]")
        text = text.replace("[upkeep.disk]\nenabled = false\n", ladder)
        (mill.pond.folder / "millpond.toml").write_text(text)
        try:
            assert mill.pond.command("reload").returncode == 0
            found = mill.prepull()
            assert found["ok"], found
            assert not engine.docker("image", "inspect", f"127.0.0.1:{mill.registry.port}/library/old:1").ok
        finally:
            (mill.pond.folder / "millpond.toml").write_text(mill.config)
            mill.pond.command("reload")
