"""What the rungs remove on a host, and what they never do."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest
from tests.hosts.conftest import INFO, ROOT, df

from millpond.hosts.model import Completed, DiskOptions, HostFailed, Rung
from millpond.hosts.places import AT_ONCE, BATCH, HostPlace, NoRoots, PondPlace
from millpond.hosts.prune import Watched
from millpond.testing.hosts import Asked, FakeHost

Watch = Callable[..., Watched]
OLD = "2020-01-01T00:00:00Z"


def id_of(number: int) -> str:
    return f"sha256:{number:064x}"


class Machine:
    """An engine's images and containers, behind a fake host."""

    def __init__(self, watched: Watched) -> None:
        assert isinstance(watched.host, FakeHost)
        self.host, self.watched = watched.host, watched
        self.images: dict[str, dict[str, object]] = {}
        self.containers: dict[str, str] = {}
        self.refusing: set[str] = set()
        self.removed: list[str] = []
        self.host.on("docker", "image", "ls", answer=self._listed)
        self.host.on("docker", "image", "inspect", answer=self._inspected)
        self.host.on(
            "docker", "container", "ls", answer=lambda _: Completed(0, "".join(f"{c}\n" for c in self.containers))
        )
        self.host.on("docker", "container", "inspect", answer=self._used)
        self.host.on("docker", "image", "rm", answer=self._rm)

    def image(self, number: int, *tags: str, digests: tuple[str, ...] = (), tagged: str = OLD) -> str:
        facts = {
            "id": id_of(number),
            "tags": list(tags),
            "digests": list(digests),
            "size": 100,
            "created": OLD,
            "tagged": tagged,
        }
        self.images[id_of(number)] = facts
        return id_of(number)

    def _listed(self, asked: Asked) -> Completed:
        ids = [i for i, facts in self.images.items() if "dangling=true" not in asked.argv or not facts["tags"]]
        return Completed(0, "".join(f"{i}\n" for i in ids))

    def _inspected(self, asked: Asked) -> Completed:
        ids = asked.argv[asked.argv.index("--") + 1 :]
        assert len(ids) <= BATCH
        return Completed(0, "".join(json.dumps(self.images[i]) + "\n" for i in ids))

    def _used(self, asked: Asked) -> Completed:
        ids = asked.argv[asked.argv.index("--") + 1 :]
        return Completed(0, "".join(json.dumps(self.containers[c]) + "\n" for c in ids))

    def _rm(self, asked: Asked) -> Completed:
        assert "-f" not in asked.argv
        words = asked.argv[asked.argv.index("--") + 1 :]
        self.removed += words
        if self.refusing & set(words):
            return Completed(1, "", "Error response from daemon: conflict: unable to remove: container is using it")
        return Completed(0, "".join(f"Deleted: {word}\n" for word in words))


@pytest.fixture
def machine(watch: Watch) -> Machine:
    return Machine(watch(disk=DiskOptions(image_min_age_s=0)))


class Roots:
    def __init__(self, *roots: str) -> None:
        self.roots = roots

    async def protected(self, host: str) -> tuple[str, ...]:
        assert host == "web1"
        return self.roots


async def freed(machine: Machine, rung: Rung, roots: object = None) -> list[str]:
    place = HostPlace(machine.watched, roots or NoRoots())  # type: ignore[arg-type]
    return [step.what async for step in place.free(rung)]


async def test_it_measures_the_disk_of_the_engine_s_own_folder(machine: Machine):
    room = await HostPlace(machine.watched, NoRoots()).measure()
    assert round(room.bytes.percent) == 50
    assert ("df", "-P", "-k", "--", ROOT) in machine.host.argvs
    assert ("df", "-P", "-i", "--", ROOT) in machine.host.argvs


async def test_build_cache_goes_by_the_pruner_s_command(machine: Machine):
    await freed(machine, Rung.BUILD_CACHE)
    assert machine.host.argvs[-1] == ("docker", "builder", "prune", "-f", "--filter", "until=1h")


async def test_build_cache_stays_while_a_build_runs(machine: Machine):
    machine.host.on("docker", "system", "df", answer='[{"InUse": "true", "CreatedSince": "1 hour ago"}]')
    with pytest.raises(HostFailed, match="runs a build"):
        await freed(machine, Rung.BUILD_CACHE)
    assert not [argv for argv in machine.host.argvs if "prune" in argv]


async def test_running_and_stopped_containers_keep_their_images(machine: Machine):
    kept, gone = machine.image(1, "app:1", "app:alias"), machine.image(2, "old:1")
    machine.containers["c" * 64] = kept
    assert await freed(machine, Rung.IMAGES) == ["old:1"]
    assert machine.removed == ["old:1"]
    assert "-a" in next(argv for argv in machine.host.argvs if argv[1:3] == ("container", "ls"))
    assert gone


async def test_current_and_previous_releases_stay_however_they_are_named(machine: Machine):
    digest = "sha256:" + "d" * 64
    machine.image(1, "app:current")
    machine.image(2, digests=(f"pond.lan/app@{digest}",))
    third = machine.image(3, "app:3")
    machine.image(4, "app:4")
    assert await freed(machine, Rung.IMAGES, Roots("app:current", digest, third)) == ["app:4"]


async def test_images_of_a_swarm_s_services_stay(machine: Machine):
    machine.image(1, "svc:1")
    told = json.loads(INFO) | {"Swarm": {"LocalNodeState": "active", "ControlAvailable": True}}
    machine.host.on("docker", "info", answer=json.dumps(told))
    machine.host.on("docker", "service", "ls", answer='"svc:1"\n')
    assert await freed(machine, Rung.IMAGES) == []


@pytest.mark.parametrize("what", [("container", "ls"), ("container", "inspect"), ("image", "inspect"), ("info",)])
@pytest.mark.parametrize(
    "answer", [Completed(1, "", "no"), Completed(0, "garbage\n"), Completed(0, "", "", truncated=True)]
)
async def test_whatever_can_t_be_found_out_keeps_them_all(machine: Machine, what: tuple[str, ...], answer: Completed):
    machine.image(1, "app:1")
    machine.containers["c" * 64] = id_of(9)
    machine.host.on("docker", *what, answer=answer)
    with pytest.raises((HostFailed, ValueError)):
        await freed(machine, Rung.IMAGES)
    assert machine.removed == []


async def test_roots_that_can_t_be_read_keep_them_all(machine: Machine):
    machine.image(1, "app:1")
    with pytest.raises(HostFailed, match="no image reference"):
        await freed(machine, Rung.IMAGES, Roots("Not One"))
    assert machine.removed == []


async def test_they_go_a_few_at_a_time(machine: Machine):
    for number in range(2 * AT_ONCE + 1):
        machine.image(number, f"app:{number}")
    steps = await freed(machine, Rung.IMAGES)
    assert [len(step.split(", ")) for step in steps] == [AT_ONCE, AT_ONCE, 1]


async def test_what_came_into_use_meanwhile_stays_without_ado(machine: Machine):
    machine.image(1, "app:1")
    machine.image(2, "app:2")
    machine.refusing = {"app:1"}
    assert await freed(machine, Rung.IMAGES) == ["app:2"]


async def test_nameless_images_go_and_those_with_a_digest_do_not(machine: Machine):
    nameless, used = machine.image(1), machine.image(2)
    machine.image(3, digests=("app@sha256:" + "d" * 64,))
    machine.image(4, "app:4")
    machine.containers["c" * 64] = used
    await freed(machine, Rung.DANGLING)
    assert machine.removed == [nameless]
    assert not [argv for argv in machine.host.argvs if "prune" in argv], "docker's own would take the third one too"


async def test_many_are_asked_for_in_batches(machine: Machine):
    for number in range(BATCH * 2 + 1):
        machine.image(number)
    await freed(machine, Rung.DANGLING)
    assert len(machine.removed) == BATCH * 2 + 1


async def test_lately_pulled_images_stay(watch: Watch, clock):
    machine = Machine(watch(disk=DiskOptions(image_min_age_s=3600)))
    machine.image(1, "app:1", tagged="2023-11-14T22:00:00Z")
    machine.image(2, "app:2", tagged="2023-11-14T20:00:00Z")
    assert await freed(machine, Rung.IMAGES) == ["app:2"]


async def test_what_would_go_is_told_with_sizes_and_stays(machine: Machine):
    machine.image(1, "app:1")
    machine.image(2)
    machine.host.on("docker", "system", "df", answer='[{"Size": "1kB", "InUse": "false"}]')
    place = HostPlace(machine.watched, NoRoots())
    told = [await place.would(rung) for rung in place.ladder]
    assert [(would.bytes, would.what) for would in told] == [
        (1000, ("build cache not used for 1h",)), (100, (id_of(2),)), (100, ("app:1",)),
    ]  # fmt: skip
    assert machine.removed == []


async def test_the_pond_collects():
    class Pond:
        async def measure(self) -> object:
            return df

        async def collect(self, *, dry_run: bool) -> int:
            return 5 if dry_run else 7

    place = PondPlace(Pond())  # type: ignore[arg-type]
    assert [step.bytes async for step in place.free(Rung.POND)] == [7]
    assert (await place.would(Rung.POND)).bytes == 5
