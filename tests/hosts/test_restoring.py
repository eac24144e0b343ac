"""The images of a release that is brought back, on simulated hosts."""

from __future__ import annotations

import pytest
from tests.hosts.fleet import POND, Counting, Simulated, Work, app, digest, hosts

from millpond.errors import MillpondError
from millpond.hosts.apps import PullFrom
from millpond.hosts.model import Completed, HostFailed, Kind
from millpond.hosts.restoring import restore

WEB, DB, BUILT = f"{POND}/hub/library/web@{digest('a')}", f"db@{digest('b')}", digest("1")


@pytest.fixture
def work() -> Work:
    return Work(Counting())


async def run(work: Work, places: list[Simulated], *images: str, platform: str = "", **options: object) -> None:
    wanted = dict.fromkeys(images or (WEB,), platform)
    await restore(app(*(place.name for place in places), **options), wanted, places, work.means, work.tell)


async def refused(work: Work, places: list[Simulated], *images: str, **options: object) -> str:
    with pytest.raises(MillpondError, match="shop can't be rolled back, and nothing was changed: ") as caught:
        await run(work, places, *images, **options)
    return str(caught.value)


async def test_what_is_there_is_found_without_any_network(work: Work):
    places = hosts("a", "b")
    for place in places:
        place.have(WEB)
        place.have("shop-own:1")
    await run(work, places, WEB, BUILT)
    assert [place.pulls for place in places] == [[], []]


async def test_what_is_missing_is_pulled_by_its_very_name_for_its_platform_and_gets_no_tag(work: Work):
    places = hosts("a", "b")
    places[0].have(WEB)
    await run(work, places, WEB, DB, platform="linux/arm64")
    assert [argv[-1] for argv in places[0].pulls] == [DB]
    assert [argv[3:] for argv in places[1].pulls] == [("--platform", "linux/arm64", "--", one) for one in (WEB, DB)]
    assert not any(":1" in name for place in places for name in place.images)
    assert (work.registry.pins, work.registry.warmed) == ([], [])


@pytest.mark.parametrize(
    ("fails", "slept", "rooms"),
    [(["unexpected EOF"] * 3, [1.0, 4.0, 10.0], []), (["no space left on device"], [0.0], ["a"])],
)
async def test_a_pull_that_fails_is_handled_as_in_a_pre_pull(work: Work, fails: list[str], slept, rooms):
    places = hosts("a")
    places[0].fails = list(fails)
    await run(work, places)
    assert (work.slept, work.rooms) == (slept, rooms)


async def test_nothing_of_it_goes_while_room_is_made(work: Work):
    places, kept = hosts("a"), []
    places[0].fails = ["no space left on device"]

    async def ladder() -> None:
        kept.append(await work.underway.protected("a"))

    work.on_room = ladder
    await run(work, places, WEB, DB)
    assert kept == [{WEB, DB}]


async def test_every_image_host_and_cause_is_named(work: Work):
    places = hosts("a", "b", "c")
    places[0].fails = ["manifest unknown"] * 2
    told = await refused(work, places[:2], WEB)
    assert f"{WEB} is not on a, and can't be pulled: Error response from daemon: manifest unknown" in told
    assert "choose another release with --to" in told
    places[1].fake.on("docker", "version", answer=HostFailed("b", "gone", kind=Kind.TRANSIENT, reason="lost", rc=255))
    places[2].fake.on("docker", "version", answer=Completed(1, "", "Cannot connect to the Docker daemon"))
    told = await refused(work, places, WEB)
    assert "b: rc=255: gone" in told
    assert "c: rc=1: Cannot connect" in told
    places[2].fake.on("docker", "version", answer="linux/amd64")
    places[2].fake.on("docker", "image", "inspect", answer=HostFailed("c", "n", kind=Kind.TRANSIENT, reason="lost"))
    assert "c: n" in await refused(work, places, WEB)


async def test_where_one_image_can_t_be_had_nothing_is_pulled(work: Work):
    places = hosts("a", "b")
    told = await refused(work, places, BUILT, WEB)
    assert f"{BUILT} is not on b, and no registry has it (it was built or loaded there)" in told
    assert [place.pulls for place in places] == [[], []]


async def test_without_a_daemon_only_what_comes_through_the_pond_is_missing(work: Work):
    work.away = "no daemon runs: start `millpond serve`"
    places = hosts("a")
    assert "no daemon runs: start `millpond serve`" in await refused(work, places, WEB)
    assert places[0].pulls == []
    await run(work, places, DB, pull=PullFrom.DIRECT)
    places[0].have(WEB)
    await run(work, places)
