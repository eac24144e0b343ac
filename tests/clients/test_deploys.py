"""Deploys on a real Docker Engine behind a real sshd, through a real pond from a real registry: good, bad, and back."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from tests.clients.deployed import COMPOSE, PASSWORD, STACK, World
from tests.composing import compose, stack_docker

from millpond.hosts import orchestrators
from millpond.hosts.commands import Docker
from millpond.hosts.orchestrators import Service

pytestmark = [pytest.mark.client, pytest.mark.timeout(900)]


def test_a_deploy_by_digest_through_the_pond_and_what_is_recorded_of_it(world: World):
    done = world.deploy("1", "--set", "NOTE=x$y ü")
    release = done["release"]
    assert (release["state"], release["number"], release["hosts"]) == ("active", 1, ["web1"])
    image = release["images"]["web"]
    assert image.startswith(f"127.0.0.1:{world.pond.port}/hub/shop/app@sha256:")
    found = world.container()
    assert found["Config"]["Image"] == image
    assert {"NOTE=5$ x$y ü", f"DB_PASSWORD={PASSWORD}"} <= set(found["Config"]["Env"])
    assert world.version() == "1"
    (row,) = world.pond.get("/api/v1/releases?app=shop").json()
    assert (row["state"], row["sets"], row["progress"]) == ("active", {"NOTE": "********"}, {"web1": "done"})
    assert row["by"]
    shown = world.told("release", "show", "shop")
    assert shown["sets"] == {"NOTE": "x$y ü"}
    assert shown["document"]["services"]["web"]["environment"]["DB_PASSWORD"] == "********"
    assert shown["document"]["services"]["web"]["image"] == image
    again = world.deploy("1", "--set", "NOTE=x$y ü")
    assert again["release"]["number"] == 2
    assert world.container()["Id"] == found["Id"], "what is as it should be is left alone"
    planned = world.told("deploy", "shop", "--dry-run", "--set", "VERSION=2")
    assert [line.partition(" ")[0] for line in planned["changes"]] == ["web:"]
    assert PASSWORD not in "".join(world.said) + world.pond.log.read_text()
    assert b"millpond_deploys_total" in world.pond.get("/metrics").body
    assert b'outcome="active"' in world.pond.get("/metrics").body


def test_a_bad_tag_is_told_before_anything_is_changed(world: World):
    world.deploy("1")
    before = world.container()
    said = world.millpond("deploy", "shop", "--set", "VERSION=nope", code=1)
    assert "clear pull error BEFORE deploy" in said
    assert f"127.0.0.1:{world.registry.port}/shop/app:nope on web1" in said
    assert "manifest unknown" in said or "404" in said
    assert world.container()["State"]["StartedAt"] == before["State"]["StartedAt"]
    assert world.states() == {1: "active"}


def test_a_container_that_exits_is_told_with_its_last_words_and_rolled_back_with_the_registry_stopped(world: World):
    world.deploy("1")
    failed = world.deploy("exits", code=1)
    assert failed["release"]["state"] == "failed"
    assert "web1: web: exited with code 3" in failed["release"]["error"]
    assert "web1: web| boom ********" in failed["details"]
    assert failed["rollback"] == 1
    world.registry.stop()
    back = world.told("rollback", "shop")
    assert (back["release"]["restores"], back["release"]["state"]) == (1, "active")
    assert world.version() == "1"
    assert world.states() == {1: "superseded", 2: "failed", 3: "active"}
    assert PASSWORD not in "".join(world.said) + world.pond.log.read_text()


def test_an_unhealthy_one_is_told_with_what_its_check_said(world: World):
    world.deploy("1")
    said = world.deploy("sick", code=1)["release"]["error"]
    assert "web is unhealthy: no database" in said.replace("web: is", "web is")
    text = world.millpond("rollback", "shop")
    assert "shop 3 is active on web1, as release 1 was" in text
    assert world.version() == "1"


def test_an_image_that_is_gone_comes_from_the_pond_or_nothing_is_changed(world: World):
    first = world.deploy("1")["release"]["images"]["web"]
    world.deploy("2")
    world.registry.stop()
    assert world.engine.docker("image", "rm", first).ok
    world.told("rollback", "shop")
    assert world.version() == "1", "the pond still had it"
    world.told("rollback", "shop", "--to", "2")
    assert world.engine.docker("image", "rm", first).ok
    world.pond.stop()
    said = world.millpond("rollback", "shop", code=1)
    assert f"{first} is not on web1, and can't be pulled" in said
    assert "nothing was changed" in said
    assert world.version() == "2"


def test_the_disk_ladder_leaves_what_runs_and_what_may_be_gone_back_to(world: World):
    images = [world.deploy(version)["release"]["images"]["web"] for version in ("1", "2")]
    other = f"127.0.0.1:{world.registry.port}/shop/app:sick"
    assert world.engine.docker("pull", other).ok
    file = world.pond.folder / "millpond.toml"
    always = "[upkeep.disk]\nhigh_percent = 0.002\nlow_percent = 0.001\nimage_min_age_s = 0\nbuild_cache = false\n"
    file.write_text(file.read_text().replace("[upkeep.disk]\nenabled = false\n", always))
    world.millpond("reload")
    world.millpond("host", "disk", "web1", code=None)

    def there(image: str) -> bool:
        return world.engine.docker("image", "inspect", image).ok

    assert not there(other)
    assert [there(image) for image in images] == [True, True]


def test_without_a_daemon_it_is_the_same_as_long_as_the_images_are_there(world: World):
    world.deploy("1")
    world.pond.stop()
    done = world.deploy("1")
    assert (done["release"]["number"], done["ok"]) == (2, True)
    assert world.states() == {1: "superseded", 2: "active"}


def test_values_that_no_yaml_reader_should_take_for_something_else_arrive_as_they_are(world: World):
    odd = [
        "no",
        "1e3",
        "0x1F",
        "null",
        "~",
        "{a: b}",
        "'",
        '"',
        "a\tb",
        "€ 😀 \u2028 \x7f",
        "$HOME",
        "${HOME}",
        "$$",
        "#x",
        "- a",
        "=",
        "<<",
    ]
    environment = {f"V{number}": value.replace("$", "$$") for number, value in enumerate(odd)}
    text = yaml.safe_dump(environment, default_style='"', default_flow_style=True, width=10_000).strip()
    text = text.replace("{", "{{").replace("}", "}}")
    world.write("1", COMPOSE.replace('{{DB_PASSWORD: "${{DB_PASSWORD}}", NOTE: "5$$ ${{NOTE:-é}}"}}', text))
    world.told("deploy", "shop")
    found = dict(one.split("=", 1) for one in world.container()["Config"]["Env"])
    assert {name: found[name] for name in environment} == {f"V{number}": value for number, value in enumerate(odd)}


HOSTILE = (
    "$(touch pwned)",
    "`touch pwned`",
    "; touch pwned",
    "--privileged",
    "-v /:/x",
    "a\nb",
    "' || touch pwned '",
    '"',
)


def test_hostile_values_reach_the_container_and_no_shell_or_argv(world: World):
    names = "".join(f'H{number}: "${{{{H{number}}}}}", ' for number, _ in enumerate(HOSTILE))
    world.write("1", COMPOSE.replace("environment: {{", "environment: {{" + names))
    sets = [word for number, value in enumerate(HOSTILE) for word in ("--set", f"H{number}={value}")]
    world.told("deploy", "shop", *sets)
    assert {f"H{number}={value}" for number, value in enumerate(HOSTILE)} <= set(world.container()["Config"]["Env"])
    assert not list(world.folder.rglob("pwned"))
    assert not Path.home().joinpath("pwned").exists()


def test_compose_as_the_plug_in_of_docker_is_taken_first(world: World):
    plugins = world.parts.sshd.folder / ".docker/cli-plugins"
    plugins.mkdir(parents=True)
    (plugins / "docker-compose").symlink_to(compose())
    alone = world.folder / "alone"
    world.hook(f"touch {alone}")
    try:
        assert world.deploy("1")["ok"]
    finally:
        shutil.rmtree(plugins)
    assert world.version() == "1"
    assert not alone.exists(), "the program that stands alone brought it out"
    assert world.deploy("2")["ok"]
    assert alone.exists()


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--set", "NOTE"), "write NAME=VALUE"),
        (("--set", "=x"), "write NAME=VALUE"),
        (("--set", "A=1", "--set", "A=2"), "set twice"),
        (("--set", "a-b=1"), "can't be set"),
        (("--set", "$(id)=1"), "can't be set"),
        (("--set", "LD_PRELOAD=/x"), "can't be set"),
        (("--set", "PATH=/x"), "can't be set"),
        (("--set", "VERSION=--help"), "reference"),
        (("--set", "VERSION=$(id)"), "reference"),
        (("--set", "VERSION=1 --privileged"), "reference"),
        (("--commit", "a\nb"), "printable"),
    ],
)
def test_bad_words_are_refused_with_what_to_write(world: World, words: tuple[str, ...], said: str):
    assert said in world.millpond("deploy", "shop", *words, code=None)
    assert world.container() == {}
    assert world.states() == {}


def test_a_second_deploy_meanwhile_is_told_who_holds_the_app(world: World):
    world.hold()
    first = world.starting("deploy", "shop")
    try:
        world.reached()
        said = world.millpond("deploy", "shop", code=1)
        assert "app:shop is held by deploy of shop" in said
        assert world.states() == {1: "deploying"}
    finally:
        world.go_on()
        told, _ = first.communicate(timeout=300)
    assert first.returncode == 0, told
    assert world.states() == {1: "active"}


@pytest.fixture
def swarm(world: World) -> Iterator[World]:
    if not stack_docker():
        pytest.skip("no docker client here knows `docker stack config` (version 25 or later)")
    ran = world.engine.docker("swarm", "init", "--advertise-addr", "127.0.0.1")
    if not ran.ok:
        pytest.skip(f"no swarm here: {ran.output[-300:]}")
    file = world.pond.folder / "millpond.toml"
    file.write_text(file.read_text().replace('hosts = ["web1"]', 'hosts = ["web1"]\nkind = "swarm"'))
    world.millpond("reload")
    try:
        yield world
    finally:
        world.engine.docker("stack", "rm", "shop")
        world.engine.docker("swarm", "leave", "--force")


def test_a_stack_is_deployed_by_digest_told_when_it_fails_and_rolled_back(swarm: World):
    def deploy(version: str, code: int = 0) -> dict:
        swarm.write(version, STACK)
        return swarm.told("deploy", "shop", code=code)

    def service() -> dict:
        ran = swarm.engine.docker("service", "inspect", "shop_web")
        return json.loads(ran.output.partition("\n")[2])[0]["Spec"]["TaskTemplate"]["ContainerSpec"]

    def running() -> list[str]:
        ran = swarm.engine.docker("stack", "ps", "--no-trunc", "--format", "{{.Image}} {{.CurrentState}}", "shop")
        return [line.split()[0] for line in ran.output.split("\n")[1:] if " Running " in line]

    image = deploy("1")["release"]["images"]["web"]
    assert "@sha256:" in image
    assert service()["Image"] == image
    assert {"NOTE=5$", f"DB_PASSWORD={PASSWORD}"} <= set(service()["Env"])
    assert running() == [image, image]
    failed = deploy("exits", code=1)
    assert "web: " in failed["release"]["error"]
    assert "non-zero exit (3)" in failed["release"]["error"]
    swarm.registry.stop()
    back = swarm.told("rollback", "shop")
    assert back["release"]["images"]["web"] == image
    assert running() == [image, image]
    assert PASSWORD not in "".join(swarm.said) + swarm.pond.log.read_text()


def test_a_service_on_each_node_is_not_believed_before_its_update_has_begun(swarm: World):
    """Only a variable changes: what runs before the update has the right image, and has run for long."""
    everywhere = STACK.replace("replicas: 2, ", "mode: global, ")

    def told() -> Service:
        argv = orchestrators.inspect_services(Docker(), ["shop_web"])
        ran = swarm.engine.docker(*argv[1:])
        return orchestrators.read_services(ran.output.partition("\n")[2])[0]

    swarm.write("1", everywhere)
    assert swarm.told("deploy", "shop")["ok"]
    first = told()
    assert first.wanted is None
    assert first.same
    swarm.write("1", everywhere.replace('"5$$"', '"6$$"'))
    assert swarm.told("deploy", "shop")["ok"]
    runs = swarm.engine.docker("ps", "-q", "--filter", "label=com.docker.swarm.service.name=shop_web").output
    assert "NOTE=6$" in swarm.inspect(runs.split()[-1])[0]["Config"]["Env"]
    second = told()
    assert (second.version > first.version, second.same, second.update) == (True, False, "completed")
