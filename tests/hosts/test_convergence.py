"""Whether what runs is what was wanted, from one look after another."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from millpond.hosts.convergence import Looks, StackLooks, Wanted, wanted_of
from millpond.hosts.orchestrators import Container, Service, Task

NEW, OLD = "pond/app@sha256:" + "b" * 64, "pond/app@sha256:" + "a" * 64
WEB = Container("1" * 64, "shop-web-1", "web", NEW, "running", started_at="t1")


def looks(**wanted: Wanted) -> Looks:
    return Looks(wanted or {"web": Wanted(NEW)}, steady_s=5.0)


def told(found) -> str:
    return "; ".join(map(str, found))


def test_without_a_health_check_it_has_to_run_for_a_while():
    made = looks()
    assert "not for long" in told(made.judge([WEB], 100.0).waiting)
    assert "not for long" in told(made.judge([WEB], 104.9).waiting)
    assert made.judge([WEB], 105.0).there
    again = replace(WEB, started_at="t2", restarts=1)
    assert "not for long" in told(made.judge([again], 106.0).waiting), "after a restart it begins anew"
    assert made.judge([again], 111.0).there


@pytest.mark.parametrize(
    ("change", "failed", "waiting"),
    [
        ({"health": "healthy"}, "", ""),
        ({"health": "starting"}, "", "health check has not passed yet"),
        ({"health": "unhealthy", "health_said": "no db\n"}, "is unhealthy: no db", ""),
        ({"health": "unhealthy"}, "its health check fails and says nothing", ""),
        ({"status": "exited", "exit_code": 3, "policy": "no"}, "exited with code 3", ""),
        ({"status": "exited", "exit_code": 137, "out_of_memory": True}, "exited with code 137, out of memory", ""),
        ({"status": "exited", "exit_code": 0, "policy": "no"}, "", ""),
        ({"status": "exited", "exit_code": 0, "policy": "on-failure"}, "", ""),
        ({"status": "exited", "exit_code": 0, "policy": "always"}, "", "is stopped"),
        ({"status": "created", "error": "no such file"}, "could not be started: no such file", ""),
        ({"status": "created"}, "", "is created"),
        ({"status": "dead", "exit_code": 1}, "exited with code 1", ""),
        ({"status": "paused"}, "", "is paused"),
        ({"status": "restarting", "exit_code": 1}, "", "restarts: exited with code 1"),
        ({"image": OLD, "health": "healthy"}, "", "0 of 1 containers are there (another image runs)"),
        ({"service": "other"}, "", "0 of 1 containers are there"),
    ],
)
def test_what_a_container_s_state_says(change: dict, failed: str, waiting: str):
    verdict = looks().judge([replace(WEB, **change)], 1.0)
    assert (failed in told(verdict.failed), bool(failed)) == (True, bool(verdict.failed))
    assert (waiting in told(verdict.waiting), bool(waiting)) == (True, bool(verdict.waiting))


def test_one_that_restarts_again_and_again_is_not_waited_for():
    made = looks()
    for restarts in range(3):
        assert not made.judge([replace(WEB, status="restarting", exit_code=7, restarts=5 + restarts)], restarts).failed
    failed = made.judge([replace(WEB, exit_code=7, restarts=8, started_at="t9")], 4.0).failed
    assert "restarts again and again: exited with code 7" in told(failed)
    assert failed[0].who == WEB.id


def test_all_of_a_service_s_containers_are_wanted_and_none_of_one_that_is_scaled_to_none():
    made = looks(web=Wanted(NEW, 2), job=Wanted(NEW, 0))
    assert "1 of 2" in told(made.judge([replace(WEB, health="healthy")], 1.0).waiting)
    both = [replace(WEB, health="healthy"), replace(WEB, id="2" * 64, health="healthy")]
    assert made.judge(both, 2.0).there


def test_how_many_are_wanted_stands_in_the_document():
    services = {
        "one": {"image": NEW}, "two": {"image": NEW, "deploy": {"replicas": 2}}, "three": {"image": NEW, "scale": 3},
        "none": {"image": NEW, "scale": 0}, "odd": {"image": NEW, "scale": "x", "deploy": None},
    }  # fmt: skip
    found = wanted_of(json.dumps({"services": services}))
    assert {name: one.count for name, one in found.items()} == {"one": 1, "two": 2, "three": 3, "none": 0, "odd": 1}


SERVICE = Service("s1", "shop_web", NEW, 2)
TASK = Task("t1", "shop_web", NEW, "node1", "running", "running", "")


def stack() -> StackLooks:
    return StackLooks("shop", {"web": NEW}, steady_s=5.0)


def test_a_stack_is_there_when_all_tasks_run_for_a_while_and_the_update_is_over():
    made, tasks = stack(), [TASK, replace(TASK, id="t2")]
    assert "does not have it yet" in told(made.judge([], [], 0.0).waiting)
    assert "another image" in told(made.judge([replace(SERVICE, image=OLD)], [], 1.0).waiting)
    assert "0 of 2 tasks are running" in told(made.judge([SERVICE], tasks, 2.0).waiting)
    assert made.judge([SERVICE], tasks, 7.0).there
    assert not made.judge([replace(SERVICE, update="updating")], tasks, 8.0).there
    assert made.judge([replace(SERVICE, update="completed")], tasks, 9.0).there
    old = [TASK, replace(TASK, id="t2", image=OLD)]
    assert "1 of 2" in told(made.judge([SERVICE], old, 20.0).waiting)


def test_a_service_on_each_node_and_a_job():
    everywhere = stack()
    service = replace(SERVICE, wanted=None)
    assert "no node has a task of it" in told(everywhere.judge([service], [], 0.0).waiting)
    assert "0 of 2 tasks" in told(everywhere.judge([service], [], 0.0, nodes=2).waiting)
    somewhere = replace(service, constrained=True)
    assert "do its constraints fit any?" in told(everywhere.judge([somewhere], [], 0.0, nodes=2).waiting)
    tasks = [TASK, replace(TASK, id="t2", state="preparing")]
    everywhere.judge([service], tasks, 0.0)
    assert "1 of 2" in told(everywhere.judge([service], tasks, 9.0).waiting)
    assert "1 of 3" in told(everywhere.judge([service], [TASK], 10.0, nodes=3).waiting)
    assert everywhere.judge([somewhere], [TASK], 10.0, nodes=3).there
    job = replace(SERVICE, wanted=1, job=True)
    assert not stack().judge([job], [TASK], 9.0).there
    assert stack().judge([job], [replace(TASK, desired="complete", state="complete")], 9.0).there


def test_tasks_of_the_same_image_that_ran_before_are_not_believed_at_once():
    """Only a variable changed: the old tasks run as they did, and the update has not begun yet."""
    made, tasks = stack(), [TASK, replace(TASK, id="t2")]
    made.before(tasks)
    assert "0 of 2" in told(made.judge([SERVICE], tasks, 60.0).waiting)
    assert "0 of 2" in told(made.judge([replace(SERVICE, update="updating")], tasks, 61.0).waiting)
    new = [replace(TASK, id="t3"), replace(TASK, id="t4")]
    assert "0 of 2" in told(made.judge([replace(SERVICE, update="completed")], new, 66.0).waiting)
    assert made.judge([replace(SERVICE, update="completed")], new, 71.0).there


def test_what_a_swarm_gave_up_is_told_with_the_task_s_own_error():
    failed = replace(TASK, id="t3", desired="shutdown", state="failed", error="task: non-zero exit (3)")
    stuck = stack().judge([replace(SERVICE, update="paused", message="update paused due to failure")], [TASK], 1.0)
    assert told(stuck.failed) == "web: its update is paused: update paused due to failure"
    made = stack()
    made.before([TASK])
    back = made.judge([replace(SERVICE, image=OLD, update="rollback_completed")], [failed], 1.0)
    assert told(back.failed) == "web: its update is rollback completed: task: non-zero exit (3) (on node1)"


def test_tasks_that_fail_again_and_again_are_not_waited_for_but_those_of_before_don_t_count():
    def failing(count: int) -> list[Task]:
        return [
            replace(TASK, id=f"f{n}", desired="shutdown", state="rejected", error="No such image") for n in range(count)
        ]

    made = stack()
    made.before(failing(3))
    assert "No such image" not in told(made.judge([SERVICE], failing(3), 1.0).waiting)
    assert "No such image" in told(made.judge([SERVICE], failing(5), 2.0).waiting)
    assert told(made.judge([SERVICE], failing(6), 3.0).failed).startswith("web: fails again and again: No such image")


def test_an_update_that_should_begin_is_waited_for_before_old_tasks_are_believed():
    """A service on each node: its one old task is as steady as ever, and only its version tells of the change."""
    service = replace(SERVICE, wanted=None, version=7)
    made = stack()
    made.before([TASK], [service])
    changed = replace(service, version=8, same=False)
    made.judge([changed], [TASK], 0.0, nodes=1)
    assert "0 of 1" in told(made.judge([changed], [TASK], 6.0, nodes=1).waiting)
    new = [replace(TASK, id="t2")]
    made.judge([replace(changed, version=10, update="completed")], new, 7.0, nodes=1)
    assert made.judge([replace(changed, version=10, update="completed")], new, 12.0, nodes=1).there


@pytest.mark.parametrize("same", [True, False])
def test_where_none_begins_what_runs_is_believed_in_the_end(same: bool):
    made = stack()
    made.before([TASK], [replace(SERVICE, wanted=1, version=7)])
    changed = replace(SERVICE, wanted=1, version=8, same=same)
    made.judge([changed], [TASK], 0.0)
    assert made.judge([changed], [TASK], 5.0).there is same
    assert made.judge([changed], [TASK], 30.0).there
