"""Command lines of compose and of a swarm as values, and what they answer."""

from __future__ import annotations

import json

import pytest

from millpond.hosts import orchestrators as orch
from millpond.hosts.commands import Docker, Unreadable
from millpond.hosts.model import Completed

DOCKER, OTHER = Docker(), Docker("unix:///run/user/1000/docker.sock")
ID = "1" * 64
REFERENCE = "pond.lan:8080/hub/library/nginx@sha256:" + "a" * 64


def test_compose_gets_the_document_and_nothing_of_the_host():
    argv = orch.Compose(("docker", "compose"), "shop").up()
    assert argv == (
        "docker", "compose", "--ansi", "never", "--project-directory", "/", "--env-file", "/dev/null", "-p", "shop",
        "-f", "-", "up", "-d", "--no-build", "--remove-orphans",
    )  # fmt: skip
    assert not {"-y", "--yes", "--build", "--force-recreate", "-V"} & set(argv), "no volume is ever made anew"


def test_an_engine_of_its_own_is_asked_by_both_forms():
    assert orch.compose_programs(OTHER) == (
        ("docker", "-H", OTHER.socket, "compose"), ("docker-compose", "-H", OTHER.socket),
    )  # fmt: skip
    assert orch.compose_programs(DOCKER) == (("docker", "compose"), ("docker-compose",))
    assert orch.stack_up(OTHER, "shop")[:3] == ("docker", "-H", OTHER.socket)


def test_a_stack_is_deployed_without_asking_a_registry():
    assert orch.stack_up(DOCKER, "shop") == (
        "docker", "stack", "deploy", "-c", "-", "--resolve-image", "never", "--prune", "--with-registry-auth", "shop",
    )  # fmt: skip


@pytest.mark.parametrize("name", ["", "--help", "-f", "a b", "a;b", "a\nb", "$(id)", "é", "a" * 200, "../x", "a/b"])
def test_no_name_is_ever_an_option(name: str):
    for build in (orch.stack_up, orch.containers_of, orch.services_of, orch.tasks_of, orch.task_logs):
        with pytest.raises(ValueError, match="is no name"):
            build(DOCKER, name)
    with pytest.raises(ValueError, match="is no name"):
        orch.Compose(("docker", "compose"), name).up()


@pytest.mark.parametrize("reference", ["", "--help", "-x", "a b", "a;b", "x@sha256:1", "X Y/x", "$(id)", "a\nb"])
def test_no_reference_is_ever_an_option(reference: str):
    with pytest.raises(ValueError, match=r"reference|digest|id"):
        orch.present(DOCKER, reference)


def test_images_are_asked_for_by_content():
    assert orch.present(DOCKER, REFERENCE)[-2:] == ("--", REFERENCE)
    assert orch.present(DOCKER, "sha256:" + "a" * 64)[-1] == "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("said", "good"),
    [("2.40.3\n", True), ("v2.1", True), ("5.0.0", True), ("1.29.2", False), ("", False), ("x", False)],
)
def test_which_compose_is_new_enough(said: str, good: bool):
    assert orch.reads_documents(said) is good


def container(**change: object) -> str:
    found: dict[str, object] = {
        "id": ID, "name": "/shop-web-1", "image": REFERENCE, "restarts": 2, "policy": "always",
        "labels": {orch.PROJECT: "shop", orch.SERVICE: "web", orch.ONE_OFF: "False"},
        "state": {"Status": "running", "ExitCode": 0, "Error": "", "OOMKilled": False, "StartedAt": "t",
                  "Health": {"Status": "unhealthy", "Log": [{"Output": "a"}, {"Output": "b\n"}]}},
    }  # fmt: skip
    return json.dumps(found | change)


def test_containers_are_read_without_those_of_run():
    one_off = container(labels={orch.SERVICE: "web", orch.ONE_OFF: "True"})
    (found,) = orch.read_containers(f"{container()}\n{one_off}\n\n")
    assert (found.service, found.name, found.restarts, found.policy) == ("web", "shop-web-1", 2, "always")
    assert (found.health, found.health_said) == ("unhealthy", "b\n")
    (plain,) = orch.read_containers(container(state={"Status": "exited", "ExitCode": 3}, labels=None))
    assert (plain.status, plain.exit_code, plain.health, plain.service) == ("exited", 3, "", "")


def test_services_and_tasks_are_read():
    line = {"id": "s1", "name": "shop_web", "image": REFERENCE, "update": None}
    (found,) = orch.read_services(json.dumps(line | {"mode": {"Replicated": {"Replicas": 2}}}))
    assert (found.wanted, found.job, found.update) == (2, False, "")
    (found,) = orch.read_services(
        json.dumps(line | {"mode": {"Global": {}}, "update": {"State": "paused", "Message": "m"}})
    )
    assert (found.wanted, found.update, found.message) == (None, "paused", "m")
    placed = [{"Constraints": ["node.role==manager"]}, {"Platforms": [{"OS": "linux"}]}, {"Constraints": []}, {}, None]
    read = [orch.read_services(json.dumps(line | {"mode": {"Global": {}}, "placement": one})) for one in placed]
    assert [one.constrained for (one,) in read] == [True, True, False, False, False]
    (found,) = orch.read_services(
        json.dumps(line | {"mode": {"ReplicatedJob": {"MaxConcurrent": 1, "TotalCompletions": 3}}})
    )
    assert (found.wanted, found.job) == (3, True)
    task = {"ID": "t", "Name": "shop_web.1", "Image": REFERENCE, "Node": "n", "DesiredState": "Running",
            "CurrentState": "Running 3 seconds ago", "Error": ""}  # fmt: skip
    (plain,) = orch.read_tasks(json.dumps(task))
    assert (plain.service, plain.desired, plain.state) == ("shop_web", "running", "running")
    (old,) = orch.read_tasks(json.dumps(task | {"Name": " \\_ shop_web.1", "CurrentState": "Rejected 1 second ago"}))
    assert (old.service, old.state) == ("shop_web", "rejected")


def test_nodes_that_take_tasks_are_known():
    row = {"ID": "n1", "Hostname": "a\x1b[1m", "Status": "Ready", "Availability": "Active", "ManagerStatus": "Leader"}
    changes = [{}, {"Status": "Down"}, {"Availability": "Drain"}, {"Availability": "Pause"}]
    found = orch.read_nodes("\n".join(json.dumps(row | change) for change in changes))
    assert [one.usable for one in found] == [True, False, False, False]
    assert (found[0].id, found[0].name) == ("n1", "a [1m")
    assert orch.nodes_of(DOCKER)[-4:] == ("node", "ls", "--format", "{{json .}}")


@pytest.mark.parametrize(
    "text", ["{", "[]", "null", "1", '{"id": 1}', "{}", '{"id":"--help","labels":{},"state":{}}', "[" * 5000]
)
def test_what_no_engine_says_is_unreadable(text: str):
    for read in (orch.read_containers, orch.read_services, orch.read_tasks, orch.read_nodes):
        with pytest.raises(Unreadable):
            read(text)


@pytest.mark.parametrize("text", ["--help", "a b", "A", "a" * 80])
def test_no_id_is_ever_an_option(text: str):
    with pytest.raises(Unreadable):
        orch.read_service_ids(text)


def test_why_compose_failed_is_what_it_says_beside_its_progress():
    err = (
        " Container shop-db-1  Recreate\n Container shop-db-1  Created\n"
        " Container shop-web-1  Error response from daemon: No such image: x\n"
        "Error response from daemon: No such image: x\n"
    )
    assert orch.failure(Completed(1, "", err)).endswith("Error response from daemon: No such image: x")
    assert "Recreate" not in orch.failure(Completed(1, "", err))
    assert orch.failure(Completed(3)) == "rc=3, and it said nothing"
