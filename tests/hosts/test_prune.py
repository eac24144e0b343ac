"""The build-cache pruner: when, what, what not, and what is told of it (contract, part C)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hosts.conftest import FakeNotifier, df

from millpond.errors import Busy
from millpond.hosts import prune
from millpond.hosts.model import Completed, HostFailed, Kind, PruneOptions, Run
from millpond.hosts.prune import BUILDING, LEASED, NO_HOST, TASK, Pruner, Watched, due, status, status_of
from millpond.leases import host_lease
from millpond.testing.clock import FakeClock
from millpond.testing.hosts import FakeHost

Watch = Callable[..., Watched]
PRUNE = ("docker", "builder", "prune", "-f", "--filter", "until=24h")
EIGHT = ["enabled", "interval_s", "until", "all", "last_run_ts", "last_reclaimed", "last_reclaimed_bytes", "last_error"]
REFUSED = HostFailed("web1", "connect to port 22: Connection refused", kind=Kind.TRANSIENT, reason="refused", rc=255)
NO_SSH = HostFailed("web1", "ssh is not installed here", kind=Kind.PERMANENT, reason="no-ssh", rc=127)


def host_of(watched: Watched) -> FakeHost:
    assert isinstance(watched.host, FakeHost)
    return watched.host


def prunes(watched: Watched) -> list[tuple[str, ...]]:
    return [argv for argv in host_of(watched).argvs if "prune" in argv]


async def last(watched: Watched) -> Run:
    return await watched.runs.of("web1", prune.TASK)


@given(st.floats(1, 1e6), st.floats(0, 1e9), st.floats(-1e6, 1e6))
def test_it_is_due_when_the_interval_is_over_and_never_before(interval: float, at: float, later: float):
    options = PruneOptions(interval_s=interval)
    assert due(options, None, at)
    assert due(options, at, at + later) == (at + later < at or at + later - at >= interval)


async def test_it_prunes_once_in_an_interval(watch: Watch, clock: FakeClock):
    watched = watch()
    pruner = Pruner(watched)
    await pruner.tick()
    assert prunes(watched) == [PRUNE]
    clock.advance(21599)
    await pruner.tick()
    assert len(prunes(watched)) == 1
    clock.advance(1)
    await pruner.tick()
    assert len(prunes(watched)) == 2


async def test_a_restart_does_not_prune_again(watch: Watch, clock: FakeClock):
    await Pruner(watch()).tick()
    clock.advance(60)
    again = watch()
    await Pruner(again).tick()
    assert prunes(again) == []


async def test_nothing_but_questions_and_the_one_command_is_run(watch: Watch):
    watched = watch(prune=PruneOptions(all=True, until="7d"))
    await Pruner(watched).tick()
    removing = {"rm", "rmi", "prune", "kill", "stop", "restart", "volume"}
    assert [argv for argv in host_of(watched).argvs if removing & set(argv)] == [
        ("docker", "builder", "prune", "-f", "-a", "--filter", "until=168h")
    ]


async def test_the_kill_switch_kills(watch: Watch):
    watched = watch(prune=PruneOptions(enabled=False))
    await Pruner(watched).tick()
    assert host_of(watched).argvs == []


async def test_the_status_has_the_contract_s_eight_fields_in_order(watch: Watch, clock: FakeClock):
    watched = watch()
    assert status_of(watched.options.prune, Run())["last_run_ts"] is None
    await Pruner(watched).tick()
    told = status_of(watched.options.prune, await last(watched))
    assert list(told)[:8] == EIGHT
    assert [told[key] for key in EIGHT] == [True, 21600, "24h", False, clock.now(), "1.5GB", 1_500_000_000, None]
    assert told["free_before_bytes"] == told["free_after_bytes"] == 500 * 1024


async def test_the_disk_is_measured_before_and_after(watch: Watch):
    watched = watch()
    host_of(watched).on("df", "-P", "-k", answer=df(90), times=1)
    await Pruner(watched).tick()
    told = (await last(watched)).told
    assert (told["free_before_bytes"], told["free_after_bytes"]) == (100 * 1024, 500 * 1024)


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        (REFUSED, "rc=255: connect to port 22: Connection refused"),
        (NO_SSH, "rc=127: ssh is not installed here"),
        (Completed(1, "", "Cannot connect to the Docker daemon\n"), "rc=1: Cannot connect to the Docker daemon"),
        (Completed(125), "rc=125: it said nothing"),
    ],
)
async def test_a_failure_is_remembered_counts_as_a_run_and_goes_with_success(
    watch: Watch, clock: FakeClock, answer: object, said: str
):
    watched = watch()
    pruner = Pruner(watched)
    await pruner.tick()
    clock.advance(21600)
    host_of(watched).on("docker", "builder", "prune", answer=answer, times=1)
    await pruner.tick()
    run = await last(watched)
    assert (run.ran_at, run.error) == (clock.now(), said)
    assert run.told["reclaimed"] == "1.5GB", "what the last good one reclaimed stays"
    clock.advance(60)
    await pruner.tick()
    assert len(prunes(watched)) == 2, "not due yet"
    clock.advance(21600)
    await pruner.tick()
    assert (await last(watched)).error == ""


async def test_a_time_out_is_called_one(watch: Watch):
    watched = watch(prune=PruneOptions(timeout_s=0.01))
    host_of(watched).on("docker", "builder", "prune", answer="", delay_s=60)
    await Pruner(watched).tick()
    assert (await last(watched)).error.startswith("timeout: ")


async def test_a_host_that_can_t_be_reached_at_all_is_a_failed_run(watch: Watch, clock: FakeClock):
    watched = watch()
    host_of(watched).on("docker", answer=REFUSED)
    await Pruner(watched).tick()
    run = await last(watched)
    assert run.error.startswith("rc=255")
    assert run.ran_at == clock.now()


@pytest.mark.parametrize("answer", [lambda _: 1 / 0, "\x00" * 1000])
async def test_nothing_is_raised_out_of_a_tick(watch: Watch, answer: object):
    watched = watch()
    host_of(watched).on("docker", "builder", "prune", answer=answer)
    await Pruner(watched).tick()
    assert (await last(watched)).ran_at is not None


async def test_a_database_that_is_away_does_not_end_the_loop(watch: Watch):
    watched = watch()

    class Broken:
        async def of(self, *_: str) -> Run:
            raise OSError("no disk")

    await Pruner(replace(watched, runs=Broken())).tick()  # type: ignore[arg-type]


async def test_while_a_deploy_holds_the_host_nothing_is_pruned_and_that_is_no_run(watch: Watch, clock: FakeClock):
    watched = watch()
    lease = await watched.leases.acquire(host_lease("web1"), "a deploy", 600)
    assert lease is not None
    await Pruner(watched).tick()
    run = await last(watched)
    assert (prunes(watched), run.ran_at, run.told["skipped"], run.told["skipped_ts"]) == ([], None, LEASED, clock.now())
    await watched.leases.release(lease)
    await Pruner(watched).tick()
    assert prunes(watched) == [PRUNE]
    assert (await last(watched)).told.get("skipped") is None


async def test_a_deploy_can_t_begin_in_the_middle_of_a_prune(watch: Watch):
    watched = watch()
    seen = []

    async def busy(_: object) -> Completed:
        seen.append(await watched.leases.acquire(host_lease("web1"), "a deploy", 600))
        return Completed(0, "Total: 0B\n")

    host_of(watched).on("docker", "builder", "prune", answer=busy)
    await Pruner(watched).tick()
    assert seen == [None]
    assert await watched.leases.current(host_lease("web1")) is None, "it is given back"


@pytest.mark.parametrize("by", ["engine", "buildx"])
async def test_while_a_build_runs_there_nothing_is_pruned(watch: Watch, by: str):
    watched = watch()
    if by == "buildx":
        host_of(watched).on("docker", "buildx", "du", answer="ID:\tx\nReclaimable:\tfalse\nLast used:\tnow\n", times=1)
    else:
        host_of(watched).on(
            "docker", "system", "df", answer='[{"InUse": "true", "LastUsedSince": "1 hour ago"}]', times=1
        )
    await Pruner(watched).tick()
    assert (prunes(watched), (await last(watched)).told["skipped"]) == ([], BUILDING)
    await Pruner(watched).tick()
    assert prunes(watched) == [PRUNE], "the next tick looks again"


async def test_a_builder_that_can_t_be_looked_at_is_pruned(watch: Watch):
    watched = watch()
    host_of(watched).on("docker", "system", "df", answer=Completed(1, "", "broken"))
    await Pruner(watched).tick()
    assert prunes(watched) == [PRUNE]


@pytest.mark.parametrize(("least", "told"), [(0, 0), (1.6, 0), (1.5, 1), (0.1, 1)])
async def test_a_large_prune_is_told_once(watch: Watch, notifier: FakeNotifier, least: float, told: int):
    await Pruner(watch(prune=PruneOptions(notify_min_gb=least))).tick()
    assert len(notifier.sent) == told
    assert all("build-cache-pruner" in title and "web1" in title for title, _ in notifier.sent)


async def test_by_hand_it_runs_when_it_is_not_due_and_switched_off(watch: Watch):
    watched = watch(prune=PruneOptions(enabled=False))
    assert (await Pruner(watched).prune()).error == ""
    assert prunes(watched) == [PRUNE]


async def test_the_plan_changes_nothing(watch: Watch):
    watched = watch()
    host_of(watched).on("docker", "system", "df", answer='[{"Size": "2GB", "InUse": "false"}]')
    planned = await Pruner(watched).plan()
    assert planned == {"argv": list(PRUNE), "enabled": True, "due": True, "skip": "", "at_most_bytes": 2 * 10**9}
    assert prunes(watched) == []


def test_over_all_hosts_it_is_summed_and_each_is_told():
    good = Run(10.0, "", {"reclaimed": "1.5GB", "reclaimed_bytes": 1_500_000_000})
    better = Run(20.0, "", {"reclaimed": "500MB", "reclaimed_bytes": 500_000_000})
    bad = Run(15.0, "timeout: 120 s", {})
    options = PruneOptions()
    told = status(options, {"a": (options, good), "b": (options, better), "c": (options, bad)})
    assert list(told) == [*EIGHT, "hosts"]
    assert [told[key] for key in EIGHT[4:]] == [20.0, "2GB", 2_000_000_000, "c: timeout: 120 s"]
    assert list(told["hosts"]) == ["a", "b", "c"]
    alone = status(options, {"a": (options, good)})
    assert [alone[key] for key in EIGHT[4:]] == [10.0, "1.5GB", 1_500_000_000, None]


def test_without_hosts_it_says_so():
    told = status(PruneOptions(), {})
    assert told["last_error"] == NO_HOST
    assert "no ssh host" in NO_HOST
    assert (told["last_run_ts"], told["hosts"]) == (None, {})
    assert status(PruneOptions(enabled=False), {})["last_error"] is None


async def test_nothing_reclaimed_is_zero_and_nothing_said_is_null(watch: Watch, clock: FakeClock):
    watched = watch()
    host_of(watched).on("docker", "builder", "prune", answer="Total reclaimed space: 0B\n", times=1)
    await Pruner(watched).tick()
    assert [(await last(watched)).told[key] for key in ("reclaimed", "reclaimed_bytes")] == ["0B", 0]
    clock.advance(30_000)
    host_of(watched).on("docker", "builder", "prune", answer="done\n", times=1)
    await Pruner(watched).tick()
    assert [(await last(watched)).told[key] for key in ("reclaimed", "reclaimed_bytes")] == [None, None]


async def test_a_clock_that_is_set_back_a_day_does_not_stop_it_for_a_day(watch: Watch, clock: FakeClock):
    watched = watch()
    await Pruner(watched).tick()
    clock.jump(-86400)
    await Pruner(watched).tick()
    assert len(prunes(watched)) == 2


async def test_fifty_hosts_of_which_some_hang_and_some_refuse(watch: Watch):
    fleet = {f"h{n}": watch(f"h{n}", prune=PruneOptions(timeout_s=0.05)) for n in range(50)}
    for name, watched in fleet.items():
        if name.endswith("1"):
            host_of(watched).on("docker", "builder", "prune", answer="", delay_s=60)
        if name.endswith("2"):
            host_of(watched).on("docker", answer=REFUSED)
    async with asyncio.timeout(60):
        await asyncio.gather(*(Pruner(watched).tick() for watched in fleet.values()))
    runs = await watch().runs.all(prune.TASK, fleet)
    assert len(runs) == 50
    for name, run in runs.items():
        expected = {"1": "timeout: ", "2": "rc=255: "}.get(name[-1], "")
        assert run.error.startswith(expected), name
        assert bool(run.error) == bool(expected), name


async def test_a_lease_that_is_lost_during_a_prune_is_its_last_error(watch: Callable[..., Watched]):
    watched = watch()

    class Lost:
        @asynccontextmanager
        async def holding(self, *_: object) -> AsyncIterator[bool]:
            yield True
            raise Busy("the lease host:web1 was lost to somebody else")

    run = await Pruner(replace(watched, leases=Lost())).prune()
    assert "was lost" in run.error
    assert "was lost" in (await watched.runs.of("web1", TASK)).error
