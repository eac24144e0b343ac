"""Deploy and roll back, on hosts by script: the order of things, what is recorded, what is never done."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any

import pytest
from tests.hosts.deploys import FAILURE, World, reference, world

from millpond.db import Database
from millpond.errors import BadRequest, Busy, MillpondError, NotFound
from millpond.hosts.apps import AppKind, Health
from millpond.hosts.commands import Docker
from millpond.hosts.deploying import BEFORE, NotDeployed, Order
from millpond.hosts.exclusion import HELD, alone
from millpond.hosts.holding import Held, app_lease
from millpond.hosts.model import Completed, HostFailed, Kind
from millpond.hosts.release import Release, State
from millpond.hosts.releases import ReleaseRoots
from millpond.leases import host_lease
from millpond.testing.clock import FakeClock
from millpond.testing.hosts import Asked, Crowd

LOST = HostFailed("web1", "the connection broke", kind=Kind.TRANSIENT, reason="lost", rc=255)


@pytest.fixture
def made(db: Database, clock: FakeClock) -> World:
    return world(db, clock)


async def deploy(made: World, version: str = "1", **order: object) -> Release:
    made.prepares.version = version
    return await made.deploying.deploy(made.app, Order(**order), lambda *_: None)


async def rollback(made: World, to: int | None = None) -> Release:
    return await made.deploying.rollback(made.app, to, Order(by="ann"), lambda *_: None)


async def states(made: World) -> dict[int, str]:
    return {one.number: one.state.value for one in await made.releases.of("shop")}


def running(made: World) -> dict[str, str]:
    return {name: engine.running.get("web", "") for name, engine in made.engines.items()}


def ups(made: World) -> dict[str, int]:
    return {name: len(engine.documents) for name, engine in made.engines.items()}


async def test_a_deploy_goes_its_steps_and_is_recorded(made: World, clock: FakeClock):
    release = await deploy(made, by="ann", sets={"X": "1"})
    assert made.steps == [
        "leased", "resolved", "prepulled", "recorded", "deploying", "host:web1", "host:web2", "host:web3", "healthy",
        "active",
    ]  # fmt: skip
    assert (release.state, release.number, release.by, release.commit) == (State.ACTIVE, 1, "ann", "c0ffee")
    assert release.images == {"web": reference("1")}
    assert (release.sets, made.prepares.asked) == ({"X": "1"}, [{"X": "1"}])
    assert release.progress == dict.fromkeys(made.app.hosts, "done")
    assert release.activated_at == clock.now()
    assert running(made) == dict.fromkeys(made.app.hosts, reference("1"))
    assert made.outcomes == ["shop active"]
    assert (await made.releases.of("shop")) == [release]
    text = await made.releases.document(release)
    assert {document for engine in made.engines.values() for document in engine.documents} == {text}
    for name in (app_lease("shop"), host_lease("web1")):
        assert await made.leases.current(name) is None, "nothing is held afterwards"


async def test_a_failed_pull_stops_it_before_anything_is_changed(made: World):
    await deploy(made)
    made.prepares.failure = FAILURE
    with pytest.raises(NotDeployed) as caught:
        await deploy(made, "2")
    assert BEFORE in str(caught.value)
    assert "app:1 on web1: manifest unknown" in str(caught.value)
    assert await states(made) == {1: "active"}
    assert ups(made) == {"web1": 1, "web2": 1, "web3": 1}
    assert made.outcomes == ["shop active", "shop stopped"]


async def test_the_first_host_that_fails_stops_the_rest_and_rollback_brings_back_what_was(made: World):
    await deploy(made)
    made.engines["web1"].breaks[reference("2")] = {"Status": "exited", "ExitCode": 3, "Health": None}
    failed = await deploy(made, "2")
    assert failed.state is State.FAILED
    assert failed.error == "web1: web: exited with code 3; not begun: web2, web3"
    assert failed.details == ("web1: web| starting", "web1: web| boom: pw is ********")
    assert failed.progress == {"web1": "failed"}
    assert ups(made) == {"web1": 2, "web2": 1, "web3": 1}, "the others still run what they did"
    back = await rollback(made)
    assert (back.state, back.number, back.restores, back.by) == (State.ACTIVE, 3, 1, "ann")
    assert set(running(made).values()) == {reference("1")}
    assert await states(made) == {1: "superseded", 2: "failed", 3: "active"}


async def test_a_later_host_that_fails_is_told_with_those_that_are_done(made: World):
    made.app = replace(made.app, parallel=1)
    made.hosts["web2"].on("docker", "compose", "--ansi", answer=LOST)
    failed = await deploy(made)
    assert failed.progress == {"web1": "done", "web2": "failed"}
    assert failed.error == "web2: rc=255: the connection broke; not begun: web3"
    again = world_again(made)
    release = await deploy(again)
    assert (release.state, release.number) == (State.ACTIVE, 2), "the same deploy can be run again"


def world_again(made: World) -> World:
    made.hosts["web2"]._rules.pop(0)
    return made


async def test_hosts_after_the_first_are_deployed_to_side_by_side_and_never_more_than_the_cap(
    db: Database, clock: FakeClock
):
    made = world(db, clock, tuple(f"h{n}" for n in range(20)), parallel=3)
    at_once = Crowd()

    def slowly(name: str):
        async def up(asked: Asked) -> Completed:
            at_once.enter()
            await asyncio.sleep(0.01)
            at_once.leave()
            return made.engines[name]._up(asked)

        return up

    for name, host in made.hosts.items():
        host.on("docker", "compose", "--ansi", answer=slowly(name))
    assert (await deploy(made)).state is State.ACTIVE
    assert at_once.most == 3
    assert made.steps.index("host:h0") < made.steps.index("host:h1")
    assert len([step for step in made.steps if step.startswith("host:")]) == 20


async def test_a_second_deploy_is_told_who_holds_the_app(made: World):
    await made.leases.acquire(app_lease("shop"), "elsewhere/7/deploy of shop/ab", 60)
    with pytest.raises(Busy, match=r"app:shop is held by deploy of shop \(process 7\)"):
        await deploy(made)
    await made.leases.acquire(host_lease("web2"), "elsewhere/8/build-cache-pruner", 60)
    made.clock.advance(61)
    await made.leases.acquire(host_lease("web2"), "elsewhere/8/build-cache-pruner", 60)
    with pytest.raises(Busy, match="host:web2 is held by build-cache-pruner"):
        await deploy(made)
    assert await made.leases.current(app_lease("shop")) is None, "all or none"
    assert await states(made) == {}


async def test_two_at_once_in_one_process_are_still_two(made: World):
    results = await asyncio.gather(deploy(made), deploy(made), return_exceptions=True)
    assert sorted(type(one).__name__ for one in results) == ["Busy", "Release"]


async def test_a_lease_that_was_lost_stops_it_before_the_next_host(made: World):
    async def taken(asked: object) -> Completed:
        made.clock.advance(1000)
        assert await made.leases.acquire(app_lease("shop"), "another", 60)
        await made.releases.recover("shop")
        return Completed(0)

    made.hosts["web1"].on("docker", "compose", "--ansi", answer=taken)
    with pytest.raises(Busy, match="another run took over"):
        await deploy(made)
    assert ups(made)["web2"] == 0
    assert await states(made) == {1: "interrupted"}


@pytest.mark.parametrize("step", ["prepulled", "recorded", "host:web1", "healthy"])
async def test_a_host_s_lease_that_was_lost_is_found_out_before_the_next_step(made: World, step: str):
    """Somebody else took web3 while this process slept: nothing is changed after that, there or elsewhere."""
    made.app = replace(made.app, parallel=1)

    async def take() -> None:
        made.clock.advance(1000)
        assert await made.leases.acquire(host_lease("web3"), "another/1/prune", 60)

    taking: list[asyncio.Task[None]] = []

    def reached(name: str) -> None:
        made.steps.append(name)
        if name == step:
            taking.append(asyncio.create_task(take()))

    made.deploying = replace(made.deploying, reached=reached)

    class Slow(Held):
        async def check(self) -> None:
            await asyncio.gather(*taking)
            await Held.check(self)

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("millpond.hosts.holding.Held", Slow)
        with pytest.raises(Busy, match="the lease host:web3 was lost to somebody else"):
            await deploy(made)
    done = {"prepulled": {}, "recorded": {}, "host:web1": {"web1": 1}, "healthy": dict.fromkeys(made.app.hosts, 1)}
    assert ups(made) == {**dict.fromkeys(made.app.hosts, 0), **done[step]}
    assert await states(made) == ({} if step == "prepulled" else {1: "failed"})
    assert [one.began_at is None for one in await made.releases.of("shop")] == (
        [step == "recorded"] * (step != "prepulled")
    )


async def test_whatever_ends_a_deploy_is_recorded(made: World):
    async def broken(release: Release) -> Release:
        raise KeyError("a bug that names canary-pw")

    made.releases.activate = broken
    with pytest.raises(KeyError):
        await deploy(made)
    (release,) = await made.releases.of("shop")
    assert (release.state, release.error) == (State.FAILED, "KeyError: 'a bug that names ********'")
    assert set(release.progress.values()) == {"done"}
    del made.releases.activate
    assert (await deploy(made)).state is State.ACTIVE


async def test_a_database_that_fails_too_does_not_hide_the_fault(made: World):
    async def broken(*_: object) -> Release:
        raise OSError("disk full")

    made.releases.activate = made.releases.failed = broken
    with pytest.raises(OSError, match="disk full"):
        await deploy(made)
    assert await states(made) == {1: "deploying"}, "the next run notes it"


async def test_one_that_is_called_off_in_the_middle_is_recorded_as_interrupted(made: World):
    """A daemon that is stopped cancels what runs."""
    began = asyncio.Event()

    async def up(asked: Asked) -> Completed:
        began.set()
        await asyncio.sleep(60)
        raise AssertionError

    made.hosts["web1"].on("docker", "compose", "--ansi", answer=up)
    running_deploy = asyncio.create_task(deploy(made))
    async with asyncio.timeout(30):
        await began.wait()
    running_deploy.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running_deploy
    (release,) = await made.releases.of("shop")
    assert (release.state, release.progress) == (State.INTERRUPTED, {"web1": "deploying"})
    assert release.error == "it was called off, or Millpond was stopped, in the middle of it; run the deploy again"
    assert await made.leases.current(app_lease("shop")) is None
    assert made.outcomes == ["shop interrupted"]
    made.hosts["web1"]._rules.pop(0)
    assert (await deploy(made)).state is State.ACTIVE


async def test_a_lease_that_is_lost_while_many_are_deployed_to_is_told_as_one_fault(made: World):
    async def taken(asked: Asked) -> Completed:
        await made.releases.recover("shop")
        return made.engines["web2"]._up(asked)

    made.hosts["web2"].on("docker", "compose", "--ansi", answer=taken)
    with pytest.raises(Busy, match="another run took over"):
        await deploy(made)
    assert made.outcomes == ["shop interrupted"]


async def test_what_a_dead_run_left_is_interrupted_and_the_next_one_goes_on(made: World):
    def die(step: str) -> None:
        if step == "host:web1":
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await replace(made.deploying, reached=die).deploy(made.app, Order(), lambda *_: None)
    assert await states(made) == {1: "deploying"}
    release = await deploy(made)
    assert await states(made) == {1: "interrupted", 2: "active"}
    assert set(running(made).values()) == {reference("1")}
    assert release.state is State.ACTIVE


async def test_compose_s_exit_code_is_not_believed(made: World):
    made.engines["web1"].on_up = lambda: Completed(0, "", "Error response from daemon: No such image: x\n")
    made.app = replace(made.app, converge_timeout_s=0.05)
    failed = await deploy(made)
    assert "web: 0 of 1 containers are there" in failed.error
    assert "not as it should be after 0.05 s" in failed.error


async def test_what_compose_says_of_its_failure_is_told(made: World):
    made.engines["web1"].on_up = lambda: Completed(
        1, "", " Container a  Creating\nBind for 0.0.0.0:80: port is already allocated\n"
    )
    failed = await deploy(made)
    assert "port is already allocated" in failed.error
    assert "Creating" not in failed.error


async def test_a_connection_that_breaks_while_it_looks_is_taken_up_again(made: World):
    made.hosts["web1"].on("docker", "container", "ls", answer=LOST, times=3)
    assert (await deploy(made)).state is State.ACTIVE


async def test_without_compose_nothing_is_changed_anywhere(made: World):
    made.hosts["web3"].on("docker", "compose", "version", answer=Completed(1, "", "no such command"))
    failed = await deploy(made)
    assert "web3: rc=127: no Docker Compose of version 2 or later" in failed.error
    assert failed.began_at is None
    assert ups(made) == {"web1": 0, "web2": 0, "web3": 0}


async def test_old_compose_is_refused(made: World):
    made.hosts["web1"].on("docker", "compose", "version", answer="1.29.2")
    assert "(1.29.2)" in (await deploy(made)).error


async def test_the_url_has_to_answer_well(made: World):
    made.app = replace(made.app, health=Health("http://shop.lan/health", (), 5.0, 0.001))
    made.asker.statuses = [OSError("connection refused"), 503, 302]
    assert (await deploy(made)).state is State.ACTIVE
    assert made.asker.asked == 3
    made.app = replace(made.app, health=Health("http://shop.lan/health", (), 0.05, 0.001))
    made.asker.statuses = [500]
    failed = await deploy(made, "2")
    assert failed.error.endswith("does not say that it is well after 0.05 s: status 500")
    assert set(failed.progress.values()) == {"done"}
    assert (await rollback_of(made)).restores == 1


async def rollback_of(made: World) -> Release:
    made.asker.statuses = [200]
    return await rollback(made)


async def test_the_command_has_to_end_with_0_on_each_host(made: World):
    made.app = replace(made.app, health=Health("", ("curl", "-f", "x"), 0.05, 0.001))
    for host in made.hosts.values():
        host.on("curl", answer="")
    made.hosts["web2"].on("curl", answer=Completed(7, "", "no route"))
    failed = await deploy(made)
    assert (
        "the health check's command on web2 does not say that it is well after 0.05 s: rc=7: no route" in failed.error
    )


async def test_a_rollback_asks_no_upstream_and_a_missing_image_is_refused_before_anything_is_changed(made: World):
    await deploy(made)
    await deploy(made, "2")
    for host in made.hosts.values():
        host.asked.clear()
    made.engines["web2"].images.discard(reference("1"))
    with pytest.raises(MillpondError, match="is not on web2, and can't be pulled: connection refused") as caught:
        await rollback(made)
    assert "nothing was changed" in str(caught.value)
    assert set(running(made).values()) == {reference("2")}
    assert await states(made) == {1: "superseded", 2: "active"}
    assert not [argv for argv in made.hosts["web1"].argvs if "pull" in argv], "what is there is not pulled"
    assert made.prepares.slept == [1.0, 4.0, 10.0], "tried again, as in a pre-pull"

    def pull(asked: Asked) -> Completed:
        made.engines["web2"].images.add(asked.argv[-1])
        return Completed(0)

    made.hosts["web2"].on("docker", "image", "pull", answer=pull)
    back = await rollback(made)
    assert back.restores == 1
    assert set(running(made).values()) == {reference("1")}


async def test_rollback_goes_further_back_each_time_and_to_a_number(made: World):
    for version in ("1", "2", "3"):
        await deploy(made, version)
    assert (await rollback(made)).restores == 2
    assert (await rollback(made)).restores == 1
    with pytest.raises(NotFound, match="no earlier release"):
        await rollback(made)
    assert (await rollback(made, 3)).restores == 3
    assert set(running(made).values()) == {reference("3")}
    with pytest.raises(NotFound, match="no release 99"):
        await rollback(made, 99)


async def test_a_release_that_never_ran_can_t_be_gone_back_to(made: World):
    made.engines["web1"].breaks[reference("1")] = {"Status": "exited", "ExitCode": 1}
    await deploy(made)
    await deploy(made, "2")
    with pytest.raises(BadRequest, match="never ran as it should"):
        await rollback(made, 1)


async def test_only_so_many_releases_are_kept_and_the_roots_are_current_and_previous(made: World, db: Database):
    made.app = replace(made.app, keep=3)
    for version in "12345":
        await deploy(made, version)
    assert await states(made) == {3: "superseded", 4: "superseded", 5: "active"}
    assert await ReleaseRoots(db).protected("web1") == {reference("5"), reference("4")}
    assert await ReleaseRoots(db).protected("other") == set()


async def test_what_goes_wrong_holds_no_secret(made: World):
    made.engines["web1"].on_up = lambda: Completed(1, "", "can't log in with canary-pw\n")
    failed = await deploy(made)
    assert "can't log in with ********" in failed.error
    assert "canary" not in repr(failed)


async def test_a_service_that_is_only_built_runs_what_every_host_has(made: World):
    async def resolved(app, sets):
        from millpond.hosts.apps import Resolved

        return Resolved({"services": {"own": {"build": {"context": "."}}}}, (), {})

    made.prepares.resolve = resolved
    with pytest.raises(BadRequest, match="shop-own, which the service own is built as, is not there on every host"):
        await made.deploying.deploy(made.app, Order(), lambda *_: None)
    for engine in made.engines.values():
        engine.images.add("shop-own:latest")
    release = await made.deploying.deploy(made.app, Order(), lambda *_: None)
    assert release.images == {"own": "sha256:" + "f" * 64}
    assert release.state is State.ACTIVE


async def test_deploys_that_fail_again_and_again_are_not_kept_for_ever(made: World):
    made.app = replace(made.app, keep=2)
    await deploy(made)
    made.engines["web1"].breaks[reference("2")] = {"Status": "exited", "ExitCode": 1}
    for _ in range(4):
        await deploy(made, "2")
    assert await states(made) == {1: "active", 4: "failed", 5: "failed"}


async def test_what_an_ended_millpond_left_at_work_on_a_host_is_waited_for(made: World):
    """Its lease was taken over, but compose still brings out there what it was given."""
    heard: list[str] = []
    made.app = replace(made.app, hosts=("web1",))
    made.hosts["web1"].on(*alone((), Docker(), "shop", 0), answer=Completed(HELD))
    release = await made.deploying.deploy(made.app, Order(), lambda text, *_: heard.append(text))
    assert release.state is State.ACTIVE
    assert "waiting: an earlier deploy is still at work on web1" in heard
    waits = [argv[5] for argv in made.hosts["web1"].argvs if argv[-1] == "true" and len(argv) > 1]
    assert waits == ["0", "20"], "as long as that was given, and a little"
    made.hosts["web1"].on("sh", "-c", answer=Completed(HELD))
    failed = await deploy(made, "2")
    assert failed.error.startswith("web1: an earlier deploy is still at work there, longer than it may")
    assert ups(made)["web1"] == 1


async def test_both_compose_and_stacks_are_brought_out_alone(made: World):
    await deploy(made)
    fenced = [argv for argv in made.hosts["web1"].argvs if argv[:2] == ("sh", "-c") and "up" in argv]
    assert len(fenced) == 1
    assert int(fenced[0][5]) >= 3, "it waits for another one, as long as there is time"
    await swarm(made, {}, [{"CurrentState": "Running 3 seconds ago"}])
    assert [argv for argv in made.hosts["web2"].argvs if argv[:2] == ("sh", "-c") and "stack" in argv]


async def test_compose_that_does_not_end_is_told_with_what_the_containers_wait_for(made: World):
    waiting = {"Status": "running", "Health": {"Status": "starting", "Log": [{"Output": "no db yet"}]}}
    made.engines["web1"].breaks[reference("1")] = waiting
    made.engines["web1"].running = {"web": reference("1")}
    slow = HostFailed("web1", "`docker compose` did not end within 5 s", kind=Kind.TRANSIENT, reason="timeout")
    made.hosts["web1"].on("docker", "compose", "--ansi", answer=slow)
    failed = await deploy(made)
    assert "its health check has not passed yet: no db yet" in failed.error
    assert "did not end within 5 s" in failed.error


async def swarm(
    made: World, service: dict[str, Any], tasks: list[dict[str, Any]], more: tuple[int, ...] = ()
) -> Release:
    """Deploy as a stack; web1 is no manager, and web2 tells this."""
    made.app = replace(made.app, kind=AppKind.SWARM, converge_timeout_s=0.2)
    made.hosts["web1"].on("docker", "info", answer=HostFailed("web1", "no", kind=Kind.TRANSIENT, reason="lost"))
    info = {
        "ServerVersion": "20",
        "DockerRootDir": "/x",
        "Swarm": {"LocalNodeState": "active", "ControlAvailable": True, "NodeID": "n2"},
    }
    host = made.hosts["web2"].on("docker", "info", answer=json.dumps(info))
    worker = info | {"Swarm": {"LocalNodeState": "active", "NodeID": "n3"}}
    made.hosts["web3"].on("docker", "info", answer=json.dumps(worker))
    rows = [{"ID": f"n{n}", "Hostname": f"node{n}", "Status": "Ready", "Availability": "Active"} for n in (2, 3, *more)]
    drained = {"ID": "n9", "Hostname": "node9", "Status": "Ready", "Availability": "Drain"}
    host.on("docker", "node", "ls", answer="\n".join(map(json.dumps, [*rows, drained])))
    host.on("docker", "stack", "deploy", answer="")
    host.on("docker", "service", "ls", answer="s1\n")
    plain = {
        "id": "s1",
        "name": "shop_web",
        "image": reference("1"),
        "mode": {"Replicated": {"Replicas": 1}},
        "update": None,
    }
    host.on("docker", "service", "inspect", answer=json.dumps(plain | service))
    host.on("docker", "service", "logs", answer="boom canary-pw\n")
    task = {
        "ID": "t1",
        "Name": "shop_web.1",
        "Image": reference("1"),
        "Node": "n",
        "DesiredState": "Running",
        "Error": "",
    }
    host.on("docker", "stack", "ps", answer="\n".join(json.dumps(task | one) for one in tasks))
    return await deploy(made)


async def test_a_stack_is_deployed_on_the_first_manager_and_looked_at_there(made: World):
    release = await swarm(made, {}, [{"CurrentState": "Running 3 seconds ago"}])
    assert (release.state, release.progress) == (State.ACTIVE, {"web2": "done"})
    (handed,) = [one for one in made.hosts["web2"].asked if one.argv[1:3] == ("stack", "deploy")]
    assert json.loads(handed.stdin)["services"]["web"]["image"] == reference("1")
    assert not [argv for argv in made.hosts["web3"].argvs if "stack" in argv]


async def test_nodes_that_are_none_of_the_app_s_hosts_are_told(made: World):
    release = await swarm(made, {}, [{"CurrentState": "Running 3 seconds ago"}], more=(7,))
    assert release.state is State.ACTIVE
    told = "nothing was pre-pulled on node7: of the swarm's nodes, and none of the app's hosts"
    assert release.details == (told,)
    assert (await made.releases.of("shop"))[0].details == (told,)


async def test_a_service_for_every_node_is_waited_for_on_each(made: World):
    everywhere = {"mode": {"Global": {}}, "placement": {}}
    late = await swarm(made, everywhere, [{"CurrentState": "Running 3 seconds ago"}])
    assert late.error.startswith("web2: web: 1 of 2 tasks are running")
    constrained = {"mode": {"Global": {}}, "placement": {"Constraints": ["node.labels.a==b"]}}
    assert (await swarm(made, constrained, [{"CurrentState": "Running 3 seconds ago"}])).state is State.ACTIVE


async def test_a_stack_that_does_not_come_up_says_why(made: World):
    late = await swarm(made, {}, [{"CurrentState": "Preparing 1 second ago", "Error": ""}])
    assert late.error == "web2: web: 0 of 1 tasks are running; not as it should be after 0.2 s"
    assert late.details == ("web2: web| boom ********",)
    stuck = await swarm(made, {"update": {"State": "paused", "Message": "update paused"}}, [])
    assert stuck.error == "web2: web: its update is paused: update paused"
    made.hosts["web2"].on("docker", "stack", "deploy", answer=Completed(1, "", "this node is not a swarm manager"))
    assert "not a swarm manager" in (await deploy(made)).error


async def test_without_any_manager_nothing_is_changed(made: World):
    made.app = replace(made.app, kind=AppKind.SWARM)
    for host in made.hosts.values():
        host.on("docker", "info", answer=json.dumps({"DockerRootDir": "/x"}))
    failed = await deploy(made)
    assert "none of its hosts is a manager" in failed.error
    assert failed.began_at is None
