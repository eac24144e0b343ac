"""Of several workers one asks tracker and forge, whichever of them is asked: a rate budget is a process's own."""

from __future__ import annotations

import asyncio
import http.client
import json
import time
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import MakePond
from tests.delivering import first_commit

from millpond.errors import Busy
from millpond.server import worker
from millpond.server.control import ControlServer
from millpond.server.worker import by_the_first
from millpond.testing.planeserver import KEY, WORKSPACE, PlaneServer
from millpond.testing.pond import PondProcess

TIMEOUT_S = 60.0
COLUMNS = [("Backlog", "backlog"), ("To Analyse", "started"), ("Analysis", "started"), ("Done", "completed")]
CONFIG = """
[tracker]
kind = "plane"
url = "{url}"
workspace = "{workspace}"
token = "{key}"
[delivery]
worker = false
poll_interval_s = 3600
reconcile_grace_s = 0
[projects.shop]
prefix = "SH"
tracker_project = "p1"
"""


def second(pond: PondProcess) -> http.client.HTTPConnection:
    """Connect to the worker that runs no loops."""
    until = time.monotonic() + TIMEOUT_S
    while time.monotonic() < until:
        connection = http.client.HTTPConnection(pond.host, pond.port, timeout=TIMEOUT_S)
        if ask(connection, pond, "GET", "/health")["worker"] == 1:
            return connection
        connection.close()
    raise AssertionError("the second worker does not answer")


def ask(connection: http.client.HTTPConnection, pond: PondProcess, method: str, path: str) -> Any:
    connection.request(method, path, headers={"authorization": f"Bearer {pond.admin_token}"})
    reply = connection.getresponse()
    body = reply.read()
    assert reply.status == 200, body
    return json.loads(body)


def drawn(pond: PondProcess) -> int:
    """Give the requests that the first worker's budget has let through."""
    budget = json.loads(pond.command("queue", "--json").stdout)["reconcile"]["budget"]
    return int(sum(count for name, count in budget.items() if name.startswith("drawn_")))


def settled(pond: PondProcess, plane: PlaneServer) -> int:
    """Wait until all that the tracker was asked stands in the first worker's budget; gives how much."""
    until = time.monotonic() + TIMEOUT_S
    while (count := drawn(pond)) != len(plane.requests):
        assert time.monotonic() < until, (count, plane.requests)
        time.sleep(0.05)
    return count


def asking(pond: PondProcess, plane: PlaneServer) -> None:
    connection = second(pond)
    try:
        until = time.monotonic() + TIMEOUT_S
        while not ask(connection, pond, "GET", "/api/v1/tasks"):
            assert time.monotonic() < until, "no task was made"
            time.sleep(0.05)
        for method, path in (
            ("GET", "/api/v1/tasks/SH-1"),
            ("GET", "/api/v1/why?ref=SH-1"),
            ("GET", "/api/v1/drift"),
            ("POST", "/api/v1/reconcile?dry_run=true"),
        ):
            before = settled(pond, plane)
            told = ask(connection, pond, method, path)
            assert "can't" not in json.dumps(told), told
            assert settled(pond, plane) > before, f"{path} asked nothing"
    finally:
        connection.close()


@pytest.mark.fault
async def test_tracker_and_forge_are_asked_by_the_first_worker_alone(make_pond: MakePond):
    async with PlaneServer() as plane:
        plane.now = time.time()  # for what has stood there long, a base branch is looked for but seldom
        states = plane.project("p1", COLUMNS)
        plane.add("p1", "Say hello", states["To Analyse"])
        config = CONFIG.format(url=plane.url, workspace=WORKSPACE, key=KEY)
        pond = await asyncio.to_thread(make_pond, config, workers=2)
        await asyncio.to_thread(first_commit, pond.data / "git/shop.git")
        await asyncio.to_thread(asking, pond, plane)


async def test_while_there_is_no_first_worker_one_is_told_to_come_again(tmp_path: Path):
    with pytest.raises(Busy, match="being started"):
        await by_the_first(tmp_path / "control.sock", "drift", lambda *_: None)


async def test_a_first_worker_that_does_not_answer_is_not_waited_for_for_ever(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    asked = asyncio.Event()

    async def hang(progress: Any) -> None:
        asked.set()
        await asyncio.sleep(3600)

    server = ControlServer(tmp_path / "control.sock", {"drift": hang})
    await server.start()
    monkeypatch.setattr(worker, "ASKED_S", 0.2)
    with pytest.raises(Busy, match="without an answer"):
        await by_the_first(tmp_path / "control.sock", "drift", lambda *_: None)
    assert asked.is_set()
    await server.close()
