"""What a release's rollout says of its failure: no secret, and no half of one."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from tests.hosts.deploys import World, reference, world

from millpond.db import Database
from millpond.hosts import deploying, rollout
from millpond.hosts import orchestrators as orch
from millpond.hosts.apps import AppKind, Health
from millpond.hosts.deploying import Order
from millpond.hosts.model import Completed
from millpond.hosts.release import Release, State
from millpond.testing.clock import FakeClock

SECRET = "canary-pw"  # as `deploys.FakePrepares` has it
JUST_CUT = f"{'x' * 296}{SECRET} was refused"


@pytest.fixture
def made(db: Database, clock: FakeClock) -> World:
    return world(db, clock)


async def failed(made: World, **app: object) -> Release:
    release = await made.deploying.deploy(replace(made.app, **app), Order(), lambda *_: None)
    assert release.state is State.FAILED
    told = json.dumps([release.error, release.details])
    assert "xxx" in told
    assert "cana" not in told
    return release


async def test_what_compose_says_is_masked_before_it_is_cut(made: World):
    made.engines["web1"].on_up = lambda: Completed(1, "", JUST_CUT)
    await failed(made)


async def test_what_a_container_says_last_is_too(made: World):
    made.engines["web1"].breaks[reference("1")] = {"Status": "exited", "ExitCode": 3, "Health": None}
    made.hosts["web1"].on("docker", "container", "logs", answer=f"{JUST_CUT}\n")
    assert (await failed(made)).details


@pytest.mark.parametrize(
    "state",
    [
        {"Health": {"Status": "unhealthy", "Log": [{"Output": JUST_CUT}]}},
        {"Status": "exited", "ExitCode": 3, "Error": JUST_CUT},
    ],
)
async def test_what_the_engine_says_of_it_is_too(made: World, state: dict[str, object]):
    made.engines["web1"].breaks[reference("1")] = {"Health": None} | state
    await failed(made)


async def test_what_the_health_check_says_is_too(made: World):
    made.hosts["web1"].on("check", answer=Completed(1, "", JUST_CUT))
    await failed(made, health=Health(command=("check",), timeout_s=0.01, interval_s=0.01))


async def test_what_a_stack_s_deployment_says_is_too(made: World):
    host = made.hosts["web1"]
    info = {
        "ServerVersion": "20.10",
        "DockerRootDir": "/d",
        "Swarm": {"LocalNodeState": "active", "ControlAvailable": True},
    }
    host.on("docker", "info", answer=json.dumps(info))
    host.on("docker", "node", "ls", answer="").on("docker", "service", "ls", answer="")
    host.on("docker", "stack", "deploy", answer=Completed(1, "", JUST_CUT))
    await failed(made, kind=AppKind.SWARM)


async def test_the_error_names_all_hosts_that_failed(made: World):
    for engine in made.engines.values():
        engine.on_up = lambda: Completed(1, "", "z" * 295)
    made.engines["web1"].on_up = lambda: None
    release = await made.deploying.deploy(made.app, Order(), lambda *_: None)
    assert "web2: " in release.error
    assert "web3: " in release.error


async def test_documents_are_written_and_read_off_the_event_loop(made: World, monkeypatch: pytest.MonkeyPatch):
    threads = {}

    def noted(name: str, does: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: object) -> Any:
            threads[name] = threading.current_thread()
            return does(*args)

        return call

    monkeypatch.setattr(deploying, "render", noted("render", deploying.render))
    monkeypatch.setattr(rollout, "Mask", noted("mask", rollout.Mask))
    monkeypatch.setattr(rollout, "wanted_of", noted("wanted", rollout.wanted_of))
    assert (await made.deploying.deploy(made.app, Order(), lambda *_: None)).state is State.ACTIVE
    assert threads.keys() == {"render", "mask", "wanted"}
    assert threading.main_thread() not in threads.values()


async def test_the_commit_is_that_of_the_files_that_were_read(made: World):
    order: list[str] = []
    resolve = made.prepares.resolve

    async def commit(app: object) -> str:
        order.append("commit")
        return "c0ffee"

    async def resolved(*args: Any) -> Any:
        order.append("resolve")
        return await resolve(*args)

    made.prepares.commit, made.prepares.resolve = commit, resolved
    assert (await made.deploying.deploy(made.app, Order(), lambda *_: None)).commit == "c0ffee"
    assert order == ["commit", "resolve"], "and not after minutes of pulling"


async def test_a_document_is_read_once_for_all_hosts(made: World, monkeypatch: pytest.MonkeyPatch):
    times = []
    read = rollout.wanted_of
    monkeypatch.setattr(rollout, "wanted_of", lambda document: times.append(1) or read(document))
    assert (await made.deploying.deploy(made.app, Order(), lambda *_: None)).state is State.ACTIVE
    assert len(times) == 1


async def test_of_much_that_a_container_wrote_only_what_is_told_is_masked(made: World, monkeypatch: pytest.MonkeyPatch):
    lines: list[str] = []
    brief = rollout.Mask.brief
    monkeypatch.setattr(rollout.Mask, "brief", lambda mask, text: lines.append(text) or brief(mask, text))
    made.engines["web1"].breaks[reference("1")] = {"Status": "exited", "ExitCode": 3, "Health": None}
    made.hosts["web1"].on("docker", "container", "logs", answer="\n".join(f"line {n}" for n in range(50_000)))
    release = await made.deploying.deploy(made.app, Order(), lambda *_: None)
    assert release.details[-1].endswith("line 49999")
    assert len([line for line in lines if line.startswith("line ")]) == orch.TAIL


async def test_what_a_health_check_says_is_cut_and_masked_off_the_event_loop(
    made: World, monkeypatch: pytest.MonkeyPatch
):
    threads = set()
    brief = rollout.Mask.brief
    noted = lambda mask, text: threads.add(threading.current_thread()) or brief(mask, text)  # noqa: E731
    monkeypatch.setattr(rollout.Mask, "brief", noted)
    monkeypatch.setattr(rollout.Mask, "__call__", lambda _, text: text if len(text) < 5000 else 1 / 0)
    state = {"Health": {"Status": "unhealthy", "Log": [{"Output": "x" * 1_000_000}]}}
    made.engines["web1"].breaks[reference("1")] = state
    release = await made.deploying.deploy(made.app, Order(), lambda *_: None)
    assert "is unhealthy: xxx" in release.error
    assert threading.main_thread() not in threads
