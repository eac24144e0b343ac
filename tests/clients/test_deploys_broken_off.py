"""Deploys that are broken off: Millpond killed at each step, the engine restarted, ssh lost. The next run works."""

from __future__ import annotations

import os
import signal

import pytest
from tests.clients.deployed import World

pytestmark = [pytest.mark.client, pytest.mark.fault, pytest.mark.timeout(900)]
KILLED = """
import os, signal, sys
from dataclasses import replace
import millpond.app.deployops as operations
step, plain = sys.argv.pop(1), operations.deploying
def die(reached):
    if reached == step:
        os.kill(os.getpid(), signal.SIGKILL)
operations.deploying = lambda *those: replace(plain(*those), reached=die)
from millpond.cli.main import run
run()
"""
STEPS = ("leased", "resolved", "prepulled", "recorded", "deploying", "host:web1", "healthy", "active")
CHANGED = STEPS.index("deploying") + 1


@pytest.fixture
def first(world: World) -> World:
    """Version 1 runs."""
    world.deploy("1")
    return world


def runs(world: World, version: str) -> None:
    """That version runs, is the active one, and nothing is held."""
    assert world.version() == version
    found = world.container()
    (active,) = [row for row in world.told("release", "ls", "shop") if row["state"] == "active"]
    assert found["Config"]["Image"] == active["images"]["web"]
    assert f"VERSION={version}" in (world.files / ".env").read_text()


def test_killed_at_each_step_and_run_again_it_comes_to_the_same(first: World):
    """Without a daemon, so that the process that deploys is the one that is killed; the images come from before."""
    world = first
    world.deploy("2")
    world.pond.stop()
    wanted, other, told = "1", "2", {1: "superseded", 2: "active"}
    for number, step in enumerate(STEPS):
        world.write(wanted)
        before = world.container()["Id"]
        killed = world.starting("deploy", "shop", program=("-c", KILLED, step))
        said, _ = killed.communicate(timeout=300)
        assert killed.returncode == -signal.SIGKILL, said
        states = world.states()
        if number < CHANGED:
            assert world.container()["Id"] == before, step
        left = set(states) - set(told)
        assert [states[one] for one in left] in ([], ["interrupted"], ["active"]), (step, states)
        done = world.told("deploy", "shop")
        assert done["ok"], step
        runs(world, wanted)
        told = world.states()
        assert list(told.values()).count("active") == 1
        wanted, other = other, wanted
    back = world.told("rollback", "shop")
    assert back["ok"]
    runs_back = world.version()
    assert runs_back == wanted


def test_killed_while_compose_is_at_work_and_run_again(first: World):
    world = first
    world.hold()
    world.write("2")
    deploying = world.starting("deploy", "shop")
    world.reached()
    os.kill(world.pond.pid, signal.SIGKILL)
    assert deploying.wait(120) != 0
    deploying.communicate()
    world.pond.kill()
    world.go_on()
    world.pond.start()
    states = world.states()
    assert states[2] == "interrupted"
    assert world.told("deploy", "shop")["ok"]
    runs(world, "2")
    assert world.states() == {1: "superseded", 2: "interrupted", 3: "active"}


def test_the_engine_stopped_in_the_middle_is_recorded_and_the_next_run_works(first: World):
    world = first
    world.hold()
    world.write("2")
    deploying = world.starting("deploy", "shop")
    world.reached()
    world.engine.stop()
    world.go_on()
    said, _ = deploying.communicate(timeout=300)
    assert deploying.returncode == 1, said
    assert "web1: " in said
    assert "docker" in said.lower()
    assert world.states()[2] == "failed"
    world.engine.start()
    assert world.told("deploy", "shop")["ok"]
    runs(world, "2")


def test_ssh_lost_in_the_middle_is_recorded_and_the_next_run_works(first: World):
    world = first
    world.hold()
    world.write("2")
    deploying = world.starting("deploy", "shop")
    world.reached()
    world.parts.sshd.stop()
    said, _ = deploying.communicate(timeout=300)
    assert deploying.returncode == 1, said
    assert "web1: rc=255" in said
    assert world.states()[2] == "failed"
    refused = world.millpond("deploy", "shop", code=1)
    assert "clear pull error BEFORE deploy" in refused
    assert "refused" in refused
    world.parts.sshd.start()
    world.go_on()
    assert world.told("deploy", "shop")["ok"]
    runs(world, "2")
    assert world.told("host", "check", "web1", code=None)["checks"][0]["ok"], "the daemon's loops go on"
