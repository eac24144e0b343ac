"""Upkeep of a real Docker Engine behind a real sshd: build cache pruned, a full disk recovered, the rest untouched."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import random
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from tests.clients.registries import Registry, needed
from tests.engine import Engine, Impossible
from tests.hosts.conftest import FakeNotifier
from tests.images import image
from tests.sshd import Impossible as NoSshd
from tests.sshd import Sshd

from millpond.adapters.ssh import Connections, SshHost
from millpond.clock import SystemClock
from millpond.db import Database
from millpond.hosts.checking import check
from millpond.hosts.disk import TASK as DISK
from millpond.hosts.disk import Watchdog
from millpond.hosts.inspecting import runs_build
from millpond.hosts.model import DiskOptions, HostOptions, Limits, Marks, PruneOptions, Rung
from millpond.hosts.places import HostPlace
from millpond.hosts.prune import BUILDING, TASK, Pruner, Watched
from millpond.hosts.runs import Runs
from millpond.leases import Leases

pytestmark = [pytest.mark.client, pytest.mark.timeout(600)]
MB = 1_000_000
UNTIL_S = 20
Watch = Callable[..., Watched]


@pytest.fixture(scope="module")
def sshd() -> Iterator[Sshd]:
    if os.geteuid() != 0:
        pytest.skip("a Docker Engine of the test's own takes root")
    for reason in needed("dockerd", "docker", "busybox"):
        pytest.skip(reason)
    try:
        with Sshd() as made:
            yield made
    except NoSshd as reason:
        pytest.skip(str(reason))


@pytest.fixture(scope="module")
def engine(sshd: Sshd) -> Iterator[Engine]:
    try:
        with Engine(None, "127.0.0.0/8") as made:
            yield made
    except Impossible as reason:
        pytest.skip(str(reason))


@pytest.fixture
async def watch(sshd: Sshd, tmp_path: Path, sockets: Path) -> AsyncIterator[Watch]:
    """Put an engine behind the sshd under upkeep."""
    db = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    made: list[SshHost] = []

    def make(engine: Engine, **options: object) -> Watched:
        limits = Limits(connect_timeout_s=30, command_timeout_s=120)
        settings: HostOptions = sshd.options(docker_host=engine.host, limits=limits, **options)
        made.append(SshHost(settings, Connections(sockets)))
        clock = SystemClock()
        return Watched(made[-1], settings, Runs(db), Leases(db, clock), FakeNotifier(), clock, "test")

    yield make
    for host in made:
        await host.close()
    await db.close()


def context(folder: Path, size: int, seed: str, *last: str) -> Path:
    """Make a folder to build from: a static program, and bytes that don't compress."""
    folder.mkdir(parents=True)
    shutil.copy(shutil.which("busybox", path="/usr/bin:/bin"), folder / "busybox")
    (folder / f"blob-{seed}").write_bytes(random.Random(seed).randbytes(size))
    lines = ["FROM scratch", "COPY busybox /bin/busybox", f"COPY blob-{seed} /blob", *last]
    (folder / "Dockerfile").write_text("\n".join([*lines, 'CMD ["/bin/busybox", "sleep", "3600"]', ""]))
    return folder


def built(engine: Engine, folder: Path, tag: str, size: int = MB, *, seed: str = "") -> str:
    """Build an image by BuildKit; gives its id."""
    if not engine.build(context(folder, size, seed or tag), tag):
        pytest.skip(f"BuildKit builds nothing here: {engine.build_log()[-500:]}")
    return inspect(engine, "image", tag)["Id"]


def inspect(engine: Engine, kind: str, name: str) -> dict:
    ran = engine.docker(kind, "inspect", name)
    assert ran.ok, ran.output
    return json.loads(ran.output.partition("\n")[2])[0]


def cache(engine: Engine) -> dict[str, str]:
    """Give the build cache's records: id -> size."""
    ran = engine.docker("system", "df", "-v", "--format", "{{json .BuildCache}}")
    return {one["ID"]: one["Size"] for one in json.loads(ran.output.partition("\n")[2]) or ()}


async def running(watched: Watched) -> bool:
    return await runs_build(watched.host, watched.docker, watched.options.limits, watched.clock.now())


async def until(condition, timeout_s: float = 90) -> None:
    async with asyncio.timeout(timeout_s):
        while not await condition():
            await asyncio.sleep(0.2)


def test_the_engine_is_real(engine: Engine):
    assert engine.docker("version").ok


async def test_old_build_cache_is_pruned_and_the_younger_images_and_containers_stay(
    engine: Engine, watch: Watch, tmp_path: Path
):
    kept = built(engine, tmp_path / "kept", "kept:1")
    assert engine.docker("run", "-d", "--network", "none", "--name", "runs", "kept:1").ok
    built(engine, tmp_path / "old", "old:1", 5 * MB)
    assert engine.docker("image", "rm", "old:1").ok
    engine.docker("volume", "create", "precious")
    old = cache(engine)
    began = time.monotonic()
    await asyncio.sleep(UNTIL_S + 1)
    built(engine, tmp_path / "young", "young:1", 7 * MB)
    assert engine.docker("image", "rm", "young:1").ok
    young = set(cache(engine)) - set(old)
    assert young
    watched = watch(engine, prune=PruneOptions(until=f"{UNTIL_S}s"))
    await Pruner(watched).tick()
    run = await watched.runs.of("web1", TASK)
    assert run.error == ""
    left = set(cache(engine))
    assert young <= left, f"the younger cache is kept (pruned {time.monotonic() - began:.0f} s after the old build)"
    assert set(old) - left, "old cache is gone"
    assert run.told["reclaimed_bytes"] >= 5 * MB
    assert run.told["free_before_bytes"] > 0
    assert inspect(engine, "image", "kept:1")["Id"] == kept
    assert inspect(engine, "container", "runs")["State"]["Running"] is True
    assert "precious" in engine.docker("volume", "ls", "-q").output
    again = watch(engine, prune=PruneOptions(until=f"{UNTIL_S}s"))
    await Pruner(again).tick()
    assert (await again.runs.of("web1", TASK)) == run, "not due again"
    engine.docker("rm", "-f", "runs")


async def test_a_running_build_is_seen_and_not_pruned_under(engine: Engine, watch: Watch, tmp_path: Path):
    folder = context(tmp_path / "slow", MB, "slow", 'RUN ["/bin/busybox", "sleep", "600"]')
    watched = watch(engine, prune=PruneOptions(until="1s"))
    assert not await running(watched)
    process = engine.building(folder, "--no-cache")
    try:
        with contextlib.suppress(TimeoutError):
            await until(lambda: running(watched), 60)
        if process.poll() is not None:
            pytest.skip(f"BuildKit runs nothing here: {engine.build_log()[-500:]}")
        assert await running(watched)
        before = cache(engine)
        await Pruner(watched).tick()
        run = await watched.runs.of("web1", TASK)
        assert (run.ran_at, run.told["skipped"]) == (None, BUILDING)
        assert set(cache(engine)) >= set(before)
        assert process.poll() is None, "the build goes on"
    finally:
        process.terminate()
        process.wait(60)

    async def over() -> bool:
        return not await running(watched)

    await until(over)
    await asyncio.sleep(1.1)
    await Pruner(watched).tick()
    run = await watched.runs.of("web1", TASK)
    assert (run.error, run.ran_at is not None) == ("", True)


async def test_everything_is_pruned_with_all_and_only_with_the_filter(engine: Engine, watch: Watch, tmp_path: Path):
    built(engine, tmp_path / "x", "x:1")
    await asyncio.sleep(1.1)
    await Pruner(watch(engine, prune=PruneOptions(until="1s", all=True))).prune()
    assert cache(engine) == {}
    assert inspect(engine, "image", "x:1")


async def test_a_stopped_engine_is_recorded_and_the_next_tick_works(sshd: Sshd, watch: Watch):
    try:
        with Engine(None, "127.0.0.0/8") as short:
            watched = watch(short, prune=PruneOptions(interval_s=0.01))
            await Pruner(watched).tick()
            assert (await watched.runs.of("web1", TASK)).error == ""
            short.stop()
            await Pruner(watched).tick()
            told = await watched.runs.of("web1", TASK)
            assert told.error.startswith("rc=1: ")
            assert "docker" in told.error.lower()
            short.start()
            await Pruner(watched).tick()
            assert (await watched.runs.of("web1", TASK)).error == ""
    except Impossible as reason:
        pytest.skip(str(reason))


async def test_a_real_host_is_checked(engine: Engine, watch: Watch):
    watched = watch(engine)
    found = {one.what: one for one in await check(watched.host, watched.options)}
    assert found["ssh"].ok
    assert found["docker"].ok, found["docker"].told
    assert "engine" in found["docker"].told
    assert found["disk"].told.startswith("/")
    assert "inactive" in found["swarm"].told


async def test_an_image_that_has_only_a_digest_is_no_nameless_one_and_a_release_keeps_it(
    engine: Engine, watch: Watch, tmp_path: Path
):
    for reason in needed("docker-registry", "skopeo"):
        pytest.skip(reason)
    with Registry(tmp_path / "registry") as registry:
        registry.push(image("release"), "shop/app")
        digest = image("release").digest
        reference = f"127.0.0.1:{registry.port}/shop/app@{digest}"
        assert engine.docker("pull", reference).ok
    watched = watch(engine, disk=DiskOptions(image_min_age_s=0))
    for roots, there in ((Roots(digest), True), (Roots(reference), True), (Roots(), False)):
        place = HostPlace(watched, roots)
        for rung in (Rung.DANGLING, Rung.IMAGES):
            async for step in place.free(rung):
                assert rung is Rung.IMAGES, step
        assert engine.docker("image", "inspect", reference).ok is there, roots.roots


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 600 MB on a loop device."""
    image, place = tmp_path / "disk.img", tmp_path / "disk"
    place.mkdir()
    with image.open("wb") as file:
        file.truncate(600 * MB)
    subprocess.run(["/usr/sbin/mkfs.ext4", "-q", "-F", str(image)], check=True, timeout=60)
    mounted = subprocess.run(
        ["mount", "-o", "loop", str(image), str(place)], capture_output=True, text=True, check=False
    )
    if mounted.returncode:
        pytest.skip(f"no loop mount on this machine: {mounted.stderr.strip()}")
    yield place
    subprocess.run(["umount", "-l", str(place)], check=False, timeout=60)


class Roots:
    """What a release needs."""

    def __init__(self, *roots: str) -> None:
        self.roots = roots

    async def protected(self, host: str) -> tuple[str, ...]:
        assert host == "web1"
        return self.roots


async def test_a_full_disk_comes_back_with_what_runs_and_what_may_be_rolled_back_to(
    sshd: Sshd, watch: Watch, small_disk: Path, tmp_path: Path
):
    try:
        with Engine(None, "127.0.0.0/8", data=small_disk) as engine:
            await _filled_and_recovered(engine, watch, small_disk, tmp_path)
    except Impossible as reason:
        pytest.skip(str(reason))


async def _filled_and_recovered(engine: Engine, watch: Watch, small_disk: Path, tmp_path: Path) -> None:
    current = built(engine, tmp_path / "current", "app:2", 20 * MB)
    previous = built(engine, tmp_path / "previous", "app:1", 20 * MB)
    stopped = built(engine, tmp_path / "stopped", "batch:1", 10 * MB)
    assert engine.docker("run", "-d", "--network", "none", "--name", "app", "app:2").ok
    assert engine.docker("run", "--network", "none", "--name", "batch", "batch:1", "/bin/busybox", "true").ok
    for number in range(5):
        built(engine, tmp_path / f"unused{number}", f"unused:{number}", 20 * MB)
    nameless = built(engine, tmp_path / "nameless", "nameless:1", 10 * MB)
    built(engine, tmp_path / "renamed", "nameless:1", 10 * MB, seed="another")
    assert engine.docker("builder", "prune", "-a", "-f").ok, "else that rung would be enough"
    with contextlib.suppress(OSError), (small_disk / "filler").open("wb", buffering=0) as filler:
        while True:
            filler.write(bytes(MB))
    stat = os.statvfs(small_disk)
    assert stat.f_bavail == 0, "the disk is full"
    room = Marks(90, 85)
    os.truncate(small_disk / "filler", max((small_disk / "filler").stat().st_size - 2 * MB, 0))
    watched = watch(
        engine,
        disk=DiskOptions(bytes=room, inodes=Marks(100, 99.9), until="1s", image_min_age_s=0, timeout_s=120),
    )
    place = HostPlace(watched, Roots("app:1"))
    dog = Watchdog(
        place, watched.options.disk, place.ladder, runs=watched.runs, notifier=watched.notifier, clock=watched.clock
    )
    planned = await dog.plan()
    assert planned["needed"]
    would = {rung["rung"]: rung for rung in planned["rungs"]}
    assert {f"unused:{number}" for number in range(5)} <= set(would[Rung.IMAGES]["what"])
    assert not {"app:1", "app:2", "batch:1"} & set(would[Rung.IMAGES]["what"])
    assert nameless in would[Rung.DANGLING]["what"]
    await asyncio.sleep(1.1)
    await dog.tick()
    run = await watched.runs.of("web1", DISK)
    assert run.error == "", run
    assert list(dict.fromkeys(step["rung"] for step in run.told["steps"])) == ["build_cache", "dangling", "images"]
    assert run.told["bytes_percent"] < 85
    assert inspect(engine, "image", "app:2")["Id"] == current
    assert inspect(engine, "image", "app:1")["Id"] == previous
    assert inspect(engine, "image", "batch:1")["Id"] == stopped
    assert inspect(engine, "container", "app")["State"]["Running"] is True
    assert not engine.docker("image", "inspect", nameless).ok
    gone = [number for number in range(5) if not engine.docker("image", "inspect", f"unused:{number}").ok]
    assert gone
    assert run.told["freed_bytes"] > 20 * MB
    assert isinstance(watched.notifier, FakeNotifier)
    assert len(watched.notifier.sent) == 1
    assert engine.docker("start", "batch").ok, "what was stopped can be started again"
    engine.docker("rm", "-f", "app", "batch")
