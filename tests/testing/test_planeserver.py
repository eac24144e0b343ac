"""The fake Plane answers as the recorded one did: each exchange is sent again, and statuses and shapes compared."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from millpond.testing.planeserver import KEY, Fails, PlaneServer

RECORDED = Path(__file__).parent.parent / "recorded" / "plane"
PROJECT = "558f5588-a276-4507-b8e6-750cd8a49596"
ITEM = "8f93ac23-e2d7-4082-a04b-6c0e7f01429f"
APPROVED = "bc00a276-740f-4ab3-ba48-4034fc3c5b40"
COLUMNS = [("Backlog", "backlog"), ("In Progress", "started"), ("Approved", "started"), ("Rejected", "started")]


def shape(value: Any) -> Any:
    """Keys and kinds; of a list its first item. What is null in one may be anything in the other."""
    if isinstance(value, dict):
        return {key: shape(one) for key, one in value.items()}
    if isinstance(value, list):
        return [shape(value[0])] if value else []
    return None if value is None else type(value).__name__.replace("int", "number").replace("float", "number")


def alike(one: Any, other: Any) -> bool:
    if one is None or other is None or one == [] or other == []:
        return True
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(alike(one[key], other[key]) for key in one)
    if isinstance(one, list) and isinstance(other, list):
        return alike(one[0], other[0])
    return bool(one == other)


def standing(server: PlaneServer) -> None:
    """Bring the server to where the recording began, and after it, so that each exchange stands for itself."""
    columns = server.project(PROJECT, [*COLUMNS, ("Done", "completed")])
    next(one for one in server.projects[PROJECT]["states"] if one["name"] == "Approved")["id"] = APPROVED
    for number in range(6):
        server.add(PROJECT, f"Issue {number}", columns["Backlog"])
    server.projects[PROJECT]["items"][-1]["id"] = ITEM


@pytest.mark.parametrize("path", sorted(RECORDED.glob("[0-9]*.json")), ids=lambda path: path.stem)
async def test_a_recorded_exchange_goes_the_same_way(path: Path):
    exchange = json.loads(path.read_text())
    request, expected = exchange["request"], exchange["response"]
    key = {"16-no-key": {}, "17-bad-key": {"X-Api-Key": "x"}}.get(path.stem, {"X-Api-Key": KEY})
    async with PlaneServer() as server, aiohttp.ClientSession(headers=key) as session:
        standing(server)
        if path.stem == "19-too-many":
            server.limit_per_minute = 0
        url = server.url + request["path"].replace("{project}", PROJECT)
        for _ in range(2 if path.stem == "14-comment-again" else 1):
            async with session.request(request["method"], url, json=request["body"]) as reply:
                raw = await reply.read()
        assert reply.status == expected["status"]
        answered = json.loads(raw) if raw else ""
        assert alike(shape(answered), shape(expected["body"])), f"{shape(answered)}\n{shape(expected['body'])}"
        for name in ("Retry-After", "X-RateLimit-Remaining"):
            assert (name in reply.headers) == (name in expected["headers"])


@pytest.mark.parametrize("path", sorted(RECORDED.glob("webhook-*.json")), ids=lambda path: path.stem)
async def test_webhooks_have_the_recorded_shape(path: Path):
    recorded = json.loads(path.read_text())
    async with PlaneServer(hook_secret=recorded["secret"], field_name="state") as server:
        standing(server)
        if "comment" in path.stem:
            server.say(PROJECT, ITEM, "started")
        if "updated" in path.stem:
            server.place(PROJECT, ITEM, APPROVED)
        sent = server.sent[-1]
    assert sent.headers.keys() == recorded["headers"].keys()
    told, expected = json.loads(sent.body), json.loads(recorded["raw_body"])
    assert told.keys() == expected.keys()
    assert told["activity"].keys() <= expected["activity"].keys()
    assert (told["event"], told["action"], told["activity"]["field"]) == (
        expected["event"],
        expected["action"],
        expected["activity"]["field"],
    )


async def test_a_receiver_that_is_away_gets_a_new_delivery_id_each_time_and_any_answer_counts():
    from aiohttp import web

    got: list[str] = []

    async def receive(request: web.Request) -> web.Response:
        got.append(request.headers["X-Plane-Delivery"])
        if len(got) < 3 and request.transport is not None:
            request.transport.abort()
        return web.Response(status=503)

    app = web.Application()
    app.router.add_post("/", receive)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    async with PlaneServer(hook_url=f"http://127.0.0.1:{runner.addresses[0][1]}/") as server:
        columns = server.project(PROJECT, COLUMNS)
        server.add(PROJECT, "x", columns["Backlog"])
        await server.delivered()
        assert len(got) == len(set(got)) == 3
        assert server.failed_deliveries == 0
    await runner.cleanup()


async def test_faults_are_used_up():
    async with PlaneServer() as server, aiohttp.ClientSession(headers={"X-Api-Key": KEY}) as session:
        server.project(PROJECT, COLUMNS)
        url = f"{server.url}/api/v1/workspaces/test-ws/projects/{PROJECT}/states/"
        server.fail(Fails.ERROR, 2)
        statuses = []
        for _ in range(3):
            async with session.get(url) as reply:
                statuses.append(reply.status)
        assert statuses == [500, 500, 200]
