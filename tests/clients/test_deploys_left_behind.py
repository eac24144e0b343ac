"""What goes on when Millpond is killed, stopped, reloaded, left or called off amid a deploy; several engines."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator

import pytest
from tests.clients.deployed import World, until
from tests.engine import Engine, Impossible

pytestmark = [pytest.mark.client, pytest.mark.fault, pytest.mark.timeout(600)]
WAITS_S = 6.0


@pytest.fixture
def held(world: World) -> Iterator[tuple[World, subprocess.Popen[str]]]:
    """Version 1 runs, and a deploy of version 2 stands right before compose brings it out on the host."""
    world.deploy("1")
    world.hold()
    world.write("2")
    deploying = world.starting("deploy", "shop")
    try:
        world.reached()
        yield world, deploying
    finally:
        world.go_on()
        if deploying.poll() is None:
            deploying.kill()
        deploying.communicate(timeout=60)


def ended(deploying: subprocess.Popen[str]) -> str:
    said, _ = deploying.communicate(timeout=200)
    return said


def waited_for(world: World) -> None:
    """What was left behind is at work: a deploy of version 1 waits for it, and version 1 is what runs in the end."""
    world.hook("")  # the one that is at work goes on to wait; those to come do not
    world.write("1")
    again = world.starting("deploy", "shop")
    try:
        until(lambda: world.states().get(3) == "deploying")
        time.sleep(WAITS_S)
        assert again.poll() is None, "it did not wait for what was left behind"
        world.go_on()
        assert "active" in ended(again)
    finally:
        if again.poll() is None:
            again.kill()
            again.communicate(timeout=60)
    assert again.returncode == 0
    assert world.states() == {1: "superseded", 2: "interrupted", 3: "active"}
    time.sleep(WAITS_S)
    assert world.version() == "1"


def test_what_a_killed_one_left_at_work_is_waited_for(held: tuple[World, subprocess.Popen[str]]):
    world, deploying = held
    os.kill(world.pond.pid, signal.SIGKILL)
    ended(deploying)
    assert deploying.returncode != 0
    world.pond.kill()
    world.pond.start()
    waited_for(world)


def test_a_stop_of_the_daemon_is_recorded_and_what_it_left_at_work_is_waited_for(
    held: tuple[World, subprocess.Popen[str]],
):
    world, deploying = held
    world.pond.stop()
    ended(deploying)
    assert deploying.returncode != 0
    world.pond.start()
    assert world.states() == {1: "active", 2: "interrupted"}
    assert "stopped" in world.told("release", "show", "shop", "2")["error"]
    waited_for(world)


def test_a_reload_amid_leaves_it_its_hosts(held: tuple[World, subprocess.Popen[str]]):
    world, deploying = held
    file = world.pond.folder / "millpond.toml"
    file.write_text(file.read_text().replace("connect_timeout_s = 30", "connect_timeout_s = 31"))
    world.millpond("reload")
    world.go_on()
    said = ended(deploying)
    assert deploying.returncode == 0, said
    assert world.states() == {1: "superseded", 2: "active"}
    assert world.version() == "2"
    assert world.deploy("1")["ok"], "the new hosts work"


def test_it_goes_on_when_who_asked_for_it_leaves(held: tuple[World, subprocess.Popen[str]]):
    world, deploying = held
    deploying.kill()
    ended(deploying)
    assert "app:shop is held by deploy of shop" in world.millpond("deploy", "shop", code=1)
    world.go_on()
    until(lambda: world.states() == {1: "superseded", 2: "active"})
    assert world.version() == "2"


def test_it_can_be_called_off(held: tuple[World, subprocess.Popen[str]]):
    world, deploying = held
    assert world.told("call-off", "shop")["called_off"] == 1
    said = ended(deploying)
    assert deploying.returncode == 1
    assert "called off" in said
    assert world.states() == {1: "active", 2: "interrupted"}
    waited_for(world)


def image_of(engine: Engine) -> str:
    """What the app's one container there is of."""
    ran = engine.docker("container", "inspect", "--format", "{{.Config.Image}}", "shop-web-1")
    assert ran.ok, ran.output
    return ran.output.partition("\n")[2].strip()


def test_two_engines_the_first_alone_and_what_it_tells_stops_the_other(world: World):
    """`one first and the rest in parallel`: a version that is sick on the first never reaches the second."""
    try:
        with Engine(None, "127.0.0.0/8") as second:
            file = world.pond.folder / "millpond.toml"
            hosts = (
                world.parts.sshd.toml("web2") + f'docker_host = "{second.host}"\nconnect_timeout_s = 30\n[apps.shop]'
            )
            file.write_text(
                file.read_text().replace("[apps.shop]", hosts).replace('hosts = ["web1"]', 'hosts = ["web1", "web2"]')
            )
            world.millpond("reload")
            done = world.deploy("1")
            assert done["release"]["progress"] == {"web1": "done", "web2": "done"}
            there = image_of(second)
            assert there == done["release"]["images"]["web"]
            sick = world.deploy("sick", code=1)
            assert sick["release"]["progress"] == {"web1": "failed"}
            assert image_of(second) == there
            assert world.told("rollback", "shop")["ok"]
            assert world.container()["Config"]["Image"] == there
    except Impossible as reason:
        pytest.skip(str(reason))
