"""Pre-pull on simulated hosts: what is there is left alone, each failure has its sequel, all of them are told."""

from __future__ import annotations

import asyncio
from collections import Counter

import pytest
from tests.hosts.fleet import POND, Counting, Simulated, Work, app, digest, hosts, resolved

from millpond.hosts.apps import AppFailed, AppKind, PullFrom, Wanted
from millpond.hosts.model import Completed, HostFailed, Kind
from millpond.hosts.ports import NotPulled
from millpond.hosts.prepull import WARMS_AT_ONCE, prepull

WEB = digest("a")
PINNED = f"{POND}/hub/library/web@{WEB}"


@pytest.fixture
def work() -> Work:
    return Work(Counting(web=WEB, db=digest("b")))


async def run(work: Work, places: list[Simulated], *images: str | Wanted, **options):
    how = {key: options.pop(key) for key in ("refresh", "dry_run") if key in options}
    made = app(*(place.name for place in places), **options)
    return await prepull(made, resolved(*(images or ("web:1",))), places, work.means, work.tell, **how)


async def test_every_host_gets_it_by_digest_and_under_the_app_s_own_reference(work: Work):
    places = hosts("a", "b")
    done = await run(work, places)
    assert done.ok
    assert [pin.reference for pin in done.pins.values()] == [PINNED]
    for place in places:
        assert place.pulls == [("docker", "image", "pull", "--", PINNED)]
        assert "docker.io/library/web:1" in place.images
        assert done.hosts[place.name].succeeded == 1
    assert work.registry.warmed == [(f"web@{WEB}", ("linux/amd64",))]
    assert ("a", "pulled", 1000) in work.measured
    assert ("b: web:1", 1000, 1000) in work.told


async def test_a_second_run_asks_nobody_but_the_hosts(work: Work):
    places = hosts("a", "b")
    first = await run(work, places)
    again = Work(Counting())
    done = await run(again, places)
    assert (done.ok, done.pins) == (True, first.pins)
    assert (again.registry.pins, again.registry.warmed) == ([], [])
    assert [len(place.pulls) for place in places] == [1, 1]


async def test_what_a_broken_run_has_pulled_is_found_by_digest_and_only_tagged(work: Work):
    places = hosts("a", "b")
    places[0].have("web:1", PINNED)
    places[1].have(PINNED)
    work.registry.fails = {"warm library/web": [NotPulled("the registry is away", kind=Kind.PERMANENT)]}
    dry = await run(work, places, dry_run=True)
    assert (dry.hosts["b"].succeeded, "docker.io/library/web:1" in places[1].images) == (1, False)
    done = await run(work, places)
    assert done.ok
    assert (places[1].pulls, "docker.io/library/web:1" in places[1].images) == ([], True)
    assert (work.registry.pins, work.registry.warmed) == ([], [])


async def test_a_host_that_goes_between_two_looks_is_left_out(work: Work):
    places = hosts("a", "b")
    gone = HostFailed("a", "gone", kind=Kind.TRANSIENT, reason="lost", rc=255)
    places[0].fake.on("docker", "image", "inspect", answer=gone)
    places[0].fake.on("docker", "image", "inspect", answer=Completed(1, "", "Error: No such image: web:1"), times=1)
    done = await run(work, places)
    assert done.hosts["a"].error == "rc=255: gone"
    assert done.hosts["b"].ok


async def test_a_first_host_that_fails_while_it_pulls_by_tag_is_told(work: Work):
    places = hosts("a")
    places[0].fails = [HostFailed("a", "gone", kind=Kind.PERMANENT, reason="denied", rc=255)]
    done = await run(work, places, "quay.example/x:1", pull=PullFrom.DIRECT)
    assert "gone" in done.hosts["a"].failures[0].text


async def test_a_present_image_keeps_its_own_name(work: Work):
    places = hosts("a", "b")
    for place in places:
        place.have("web:1", f"web@{digest('c')}")
    done = await run(work, places)
    assert [pin.reference for pin in done.pins.values()] == [f"web@{digest('c')}"]
    assert (work.registry.pins, places[0].pulls) == ([], [])


async def test_no_images_ask_no_host(work: Work):
    places = hosts("a")
    done = await prepull(app("a"), resolved(), places, work.means, work.tell)
    assert done.ok
    assert places[0].fake.asked == []


async def test_a_refresh_asks_for_the_tag_and_a_dry_run_pulls_nothing(work: Work):
    places = hosts("a")
    places[0].have("web:1", f"web@{digest('c')}")
    dry = await run(work, places, "web:1", "db:7", dry_run=True)
    assert (dry.hosts["a"].succeeded, dry.hosts["a"].desired, places[0].pulls) == (1, 2, [])
    assert dry.pins[Wanted("db:7")].digest == digest("b")
    done = await run(work, places, refresh=True)
    assert done.ok
    assert done.pins[Wanted("web:1")].digest == WEB


async def test_what_no_registry_has_is_told_for_all_hosts_before_anything_is_pulled(work: Work):
    places = hosts("a", "b")
    done = await run(work, places, "web:1", "nope:1", "neither:2")
    assert not done.ok
    for state in done.hosts.values():
        assert [(one.image, one.kind) for one in state.failures] == [
            ("nope:1", Kind.PERMANENT),
            ("neither:2", Kind.PERMANENT),
        ]
        assert "manifest unknown" in state.failures[0].text
    assert not any(place.pulls for place in places)


async def test_a_registry_that_no_repository_stands_for_is_told_with_what_to_write(work: Work):
    with pytest.raises(AppFailed, match=r"no repository of the pond stands for quay\.example"):
        await run(work, hosts("a"), "quay.example/x:1")


async def test_the_pond_is_warmed_once_for_the_union_of_platforms(work: Work):
    places = [*hosts("a", "b"), *hosts("c", "d", platform="linux/arm64")]
    done = await run(work, places, "web:1", Wanted("web:1", "linux/s390x"))
    assert done.ok
    assert dict(Counter(work.registry.upstream)) == {
        f"{WEB} {one}": 1 for one in ("linux/amd64", "linux/arm64", "linux/s390x")
    }


@pytest.mark.parametrize(
    ("fails", "ok", "kind"),
    [
        (["toomanyrequests: wait"], True, None),
        (["unexpected EOF", "TLS handshake timeout", "i/o timeout"], True, None),
        (["unexpected EOF"] * 4, False, Kind.TRANSIENT),
        (["toomanyrequests: wait"] * 3, False, Kind.WAIT),
        (["write /x: no space left on device"], True, None),
        (["no space left on device"] * 2, False, Kind.DISK),
        (["filesystem layer verification failed for digest"], True, None),
        (["filesystem layer verification failed for digest"] * 2, False, Kind.CORRUPT),
        (["manifest unknown"], False, Kind.PERMANENT),
        (["unauthorized: authentication required"], False, Kind.CREDENTIALS),
        (["server gave HTTP response to HTTPS client"], False, Kind.PERMANENT),
        ([HostFailed("a", "gone", kind=Kind.TRANSIENT, reason="lost")], True, None),
    ],
)
async def test_each_class_of_failure_is_handled_in_its_own_way(work: Work, fails, ok: bool, kind: Kind | None):
    places = hosts("a", "b")
    places[0].fails = list(fails)
    done = await run(work, places)
    assert done.ok is ok
    assert done.hosts["b"].ok, "the others come to their end"
    assert [one.kind for one in done.hosts["a"].failures] == ([kind] if kind else [])
    assert work.rooms == (["a"] if "no space" in str(fails[0]) else [])
    assert work.registry.dropped == ([f"web@{WEB}"] if "verification" in str(fails[0]) else [])


async def test_without_room_it_is_not_tried_again(work: Work):
    work.room = False
    places = hosts("a")
    places[0].fails = ["no space left on device"]
    assert [one.kind for one in (await run(work, places)).hosts["a"].failures] == [Kind.DISK]
    assert len(places[0].pulls) == 1


@pytest.mark.parametrize(
    "fault",
    [
        HostFailed("a", "`docker image pull` did not end", kind=Kind.TRANSIENT, reason="timeout"),
        HostFailed("a", "Connection refused", kind=Kind.PERMANENT, reason="refused", rc=255),
    ],
)
async def test_a_host_that_hangs_or_refuses_in_the_middle_is_one_line(work: Work, fault: HostFailed):
    places = hosts("a", "b")
    places[0].fails = [fault]
    done = await run(work, places)
    assert (done.hosts["a"].error, done.hosts["a"].active) == (fault.told, 0)
    assert done.hosts["b"].ok
    assert (await run(work, places)).ok, "and the next run works"


async def test_a_host_that_is_not_there_from_the_start_and_an_engine_that_is_down(work: Work):
    places = hosts("a", "b", "c")
    gone = HostFailed("a", "refused", kind=Kind.TRANSIENT, reason="refused", rc=255)
    places[0].fake.on("docker", "version", answer=gone)
    places[1].fake.on("docker", "version", answer=Completed(1, "", "Cannot connect to the Docker daemon"))
    done = await run(work, places)
    assert done.hosts["a"].error == "rc=255: refused"
    assert "Cannot connect" in done.hosts["b"].error
    assert done.hosts["c"].ok


async def test_the_registry_s_own_failures_are_waited_for_in_bounds(work: Work):
    work.registry.fails = {
        "pin web:1": [NotPulled("slow down", kind=Kind.WAIT, retry_after_s=20)],
        "warm library/web": [NotPulled("reset", kind=Kind.TRANSIENT)],
    }
    assert (await run(work, hosts("a"))).ok
    assert work.slept == [20, 1]
    work.registry.fails = {"pin db:1": [NotPulled("tomorrow", kind=Kind.WAIT, retry_after_s=86400)]}
    done = await run(work, hosts("a"), "db:1")
    assert [one.text for one in done.hosts["a"].failures] == ["tomorrow"]


async def test_what_the_pond_can_t_fetch_is_pulled_to_no_host(work: Work):
    text = "no matching manifest for linux/arm64 in web:1"
    work.registry.fails = {"warm library/web": [NotPulled(text, kind=Kind.PERMANENT)]}
    places = hosts("a", "b")
    done = await run(work, places, "web:1", "db:7")
    assert [one.text for one in done.hosts["b"].failures] == [text]
    assert not any(place.pulls for place in places)


async def test_what_does_not_arrive_by_its_digest_is_no_success(work: Work):
    places = hosts("a")
    places[0].fake.on("docker", "image", "pull", answer="Status: fine\n")
    done = await run(work, places)
    assert [one.kind for one in done.hosts["a"].failures] == [Kind.CORRUPT]
    assert "is not there after its pull" in done.hosts["a"].failures[0].text


async def test_what_was_built_there_is_pinned_by_its_id_for_compose_only(work: Work):
    places = hosts("a", "b")
    for place in places:
        place.have("web:1")
    done = await run(work, places)
    assert done.ok
    assert [(pin.reference, pin.local) for pin in done.pins.values()] == [(digest("1"), True)]
    refused = await run(work, places, kind=AppKind.SWARM)
    assert "a swarm runs only what a registry has" in refused.hosts["a"].failures[0].text
    torn = await run(work, [*places, *hosts("c")])
    assert "not all hosts have the same" in torn.hosts["c"].failures[0].text


async def test_direct_pulls_are_pinned_by_the_first_host_where_the_pond_knows_no_registry(work: Work):
    places = hosts("a", "b")
    done = await run(work, places, "quay.example/x:1", pull=PullFrom.DIRECT)
    assert done.ok, done
    pinned = f"quay.example/x@{digest('f')}"
    assert [pin.reference for pin in done.pins.values()] == [pinned]
    assert [argv[-1] for argv in places[0].pulls] == ["quay.example/x:1"]
    assert [argv[-1] for argv in places[1].pulls] == [pinned]
    assert work.registry.warmed == []
    dry = await run(work, hosts("c"), "quay.example/x:1", pull=PullFrom.DIRECT, dry_run=True)
    assert (dict(dry.pins), dry.hosts["c"].failures) == ({}, ())


async def test_direct_pulls_are_pinned_by_the_pond_s_upstream_where_it_stands_for_the_registry(work: Work):
    done = await run(work, hosts("a"), pull=PullFrom.DIRECT)
    assert [pin.reference for pin in done.pins.values()] == [f"web@{WEB}"]


async def test_what_is_under_way_is_a_root_for_the_watchdog(work: Work):
    places, seen = hosts("a"), []
    means = work.means

    async def pull(asked):
        seen.append(await means.underway.protected("a"))
        return Completed(1, "", "manifest unknown")

    places[0].fake.on("docker", "image", "pull", answer=pull)
    await prepull(app("a"), resolved("web:1"), places, means, work.tell)
    assert seen == [{"web:1", PINNED}]
    assert await means.underway.protected("a") == frozenset()


async def test_room_for_one_image_takes_no_other_one_of_the_app(work: Work):
    """The first host's engine pins `x:1`, and has no room for it: the ladder takes what no root keeps."""
    (place,) = places = hosts("a")
    place.have("db:1", f"db@{digest('b')}")
    place.fails = ["no space left on device"]
    kept = []

    async def ladder() -> None:
        kept.append(await work.underway.protected("a"))

    work.on_room = ladder
    done = await run(work, places, "db:1", "quay.example/x:1", pull=PullFrom.DIRECT)
    assert done.ok
    assert kept == [{"db:1", "quay.example/x:1"}]


@pytest.mark.parametrize("local", [False, True])
async def test_what_was_there_and_goes_meanwhile_is_no_success(work: Work, local: bool):
    """Somebody prunes images on the host while others are pulled to it."""
    places = hosts("a", "b")
    for place in places:
        place.have("db:1", *([] if local else [f"db@{digest('b')}"]))

    async def pull(asked):
        places[1].images = {name: image for name, image in places[1].images.items() if "db" not in name}
        return await places[1]._pull(asked)

    places[1].fake.on("docker", "image", "pull", answer=pull)
    done = await run(work, places, "db:1", "web:1")
    assert done.hosts["a"].ok
    (failure,) = done.hosts["b"].failures
    assert (failure.image, failure.kind) == ("db:1", Kind.TRANSIENT)
    assert "was removed meanwhile: run it again" in failure.text
    assert done.hosts["b"].succeeded == 1


async def test_a_host_that_is_gone_at_the_last_look_is_told(work: Work):
    places = hosts("a", "b")
    looks = 0

    def inspect(asked):
        nonlocal looks
        looks += 1
        if looks == 4:  # by name, by digest, after the pull, at the end
            raise HostFailed("a", "gone", kind=Kind.TRANSIENT, reason="lost", rc=255)
        return places[0]._inspect(asked)

    places[0].fake.on("docker", "image", "inspect", answer=inspect)
    done = await run(work, places)
    assert (done.hosts["a"].error, done.hosts["b"].ok) == ("rc=255: gone", True)


@pytest.mark.parametrize("what", ["version", "inspect", "pull"])
async def test_after_an_unforeseen_fault_nothing_goes_on_behind_the_leases(work: Work, what: str):
    places = hosts("a", "b", "c")
    words = {"version": ("docker", "version"), "inspect": ("docker", "image", "inspect")}
    places[2].fake.on(*words.get(what, ("docker", "image", "pull")), answer=broken)
    ended: list[str] = []

    async def slow(asked):
        try:
            await asyncio.sleep(60)
        finally:
            await asyncio.sleep(0)
            ended.append("b")

    places[1].fake.on(*words.get(what, ("docker", "image", "pull")), answer=slow)
    with pytest.raises(KeyError, match="a bug"):
        await run(work, places)
    assert ended == ["b"]


def broken(asked) -> Completed:
    raise KeyError("a bug")


async def test_only_some_images_are_warmed_at_a_time(work: Work):
    names = [f"i{number}" for number in range(20)]
    work.registry.tags = {name: "sha256:" + f"{number:064x}" for number, name in enumerate(names)}
    work.registry.warm_s = 0.005
    done = await run(work, hosts("a"), *(f"{name}:1" for name in names))
    assert done.ok
    assert work.registry.warming.most == WARMS_AT_ONCE


async def test_a_registry_that_drips_does_not_keep_the_hosts_for_ever(work: Work):
    work.registry.warm_s = 3600.0
    places = hosts("a")
    done = await run(work, places, pull_timeout_s=0.05)
    (failure,) = done.hosts["a"].failures
    assert failure.text == "the pond did not get it within 0.05 s (pull_timeout_s): is the registry slow?"
    assert (failure.kind, places[0].pulls) == (Kind.TRANSIENT, [])


async def test_a_refresh_asks_the_registry_itself(work: Work):
    await run(work, hosts("a"), refresh=True)
    assert work.registry.pins == ["web:1 again"]


async def test_without_a_daemon_it_ends_only_where_something_has_to_be_pulled_through_the_pond(work: Work):
    work.away = "no daemon runs: start `millpond serve`"
    places = hosts("a", "b")
    with pytest.raises(AppFailed, match="no daemon runs: start `millpond serve`"):
        await run(work, places)
    assert (work.registry.warmed, places[0].pulls) == ([], [])
    for place in places:
        place.have("web:1", PINNED)
    assert (await run(work, places)).ok
    assert (await run(work, hosts("c"), pull=PullFrom.DIRECT)).ok


async def test_a_pond_that_wants_a_token_is_told_with_what_to_do(work: Work):
    places = hosts("a")
    places[0].fails = ["no basic auth credentials"]
    done = await run(work, places)
    (failure,) = done.hosts["a"].failures
    assert failure.kind is Kind.CREDENTIALS
    assert "`millpond token create a --scope read:hub`, then" in failure.text
    assert f"`docker login {POND} -u token` on a (" in failure.text
    assert "no basic auth credentials" in failure.text
    assert len(places[0].pulls) == 1
    places[0].fails = ["no basic auth credentials"]
    direct = await run(work, places, pull=PullFrom.DIRECT)
    assert "millpond token" not in direct.hosts["a"].failures[0].text


FAULTS = {
    3: ("manifest unknown", Kind.PERMANENT),
    7: ("unauthorized: authentication required", Kind.CREDENTIALS),
    11: ("toomanyrequests", Kind.WAIT),
    19: ("no space left on device", Kind.DISK),
    23: ("filesystem layer verification failed", Kind.CORRUPT),
    31: ("unexpected EOF", Kind.TRANSIENT),
}


async def test_50_hosts_the_cap_holds_each_class_is_named_the_others_finish_one_copy_for_each_platform(work: Work):
    names = [f"h{number:02}" for number in range(50)]
    cap = 4
    shared = hosts(*names)
    running = most = 0
    firsts: list[str] = []
    for number, place in enumerate(shared):
        place.platform = "linux/arm64" if number % 2 else "linux/amd64"
        place.fake.on("docker", "version", answer=place.platform)
        place.fails = [FAULTS[number][0]] * 9 if number in FAULTS else []

        async def pull(asked, place=place):
            nonlocal running, most
            running += 1
            most = max(most, running)
            firsts.append(place.name)
            if place.name == "h00":
                assert set(firsts) == {"h00"}, "one first"
            await asyncio.sleep(0.005)
            running -= 1
            return await place._pull(asked)

        place.fake.on("docker", "image", "pull", answer=pull)
    shared[40].fails = [HostFailed("h40", "gone", kind=Kind.PERMANENT, reason="denied", rc=255)]
    done = await run(work, shared, "web:1", "db:7", parallel=cap)
    assert most == cap
    assert firsts[:2] == ["h00", "h00"]
    for number, (_, kind) in FAULTS.items():
        assert {one.kind for one in done.hosts[names[number]].failures} == {kind}, names[number]
    assert done.hosts["h40"].error == "rc=255: gone"
    bad = {names[number] for number in FAULTS} | {"h40"}
    assert {name for name, state in done.hosts.items() if not state.ok} == bad
    assert all(done.hosts[name].succeeded == 2 for name in set(names) - bad)
    assert len(work.registry.warmed) - len(work.registry.dropped) == 2, "once for each image"
    assert len(work.registry.upstream) == 4, "two images for two platforms"
