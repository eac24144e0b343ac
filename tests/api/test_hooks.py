"""Webhooks on the wire: verified before anything else, bounded, and on the disk before they are answered."""

from __future__ import annotations

import hashlib
import hmac
import json
from typing import Any

import pytest
from tests.delivering import FAKED, PROJECT, REPOSITORY, SECRET, SHOP, Outer

from millpond.app.hooking import nudge
from millpond.delivery.model import Hint

OFF = "[delivery]\nlooks = false\nreconcile = false\nworker = false\n"


@pytest.fixture
def outer() -> Outer:
    return Outer()


@pytest.fixture
async def pond(open_pond: Any, outer: Outer) -> Any:
    return await open_pond(FAKED + OFF, counterparts=outer)


def signed(body: bytes, secret: str = SECRET) -> dict[str, str]:
    return {"x-signature": hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()}


def told(**hint: str) -> bytes:
    return json.dumps({"project": "p1", "issue": "i1", **hint}).encode()


async def post(pond: Any, body: bytes, headers: dict[str, str], sender: str = "plane") -> Any:
    return await pond.client.ask("POST", f"/webhook/{sender}", headers, body)


async def nudged(pond: Any) -> list[tuple[str, str, bool]]:
    return [(one.project, one.issue, one.urgent) for one in await pond.app.delivering.ledger.nudges.all()]


async def test_a_genuine_one_is_a_nudge_before_it_is_answered(pond: Any):
    got = await post(pond, told(), signed(told()))
    assert (got.status, got.json()) == (202, {"nudged": 1})
    assert await nudged(pond) == [("shop", "i1", True)]
    assert pond.app.metrics.values()['millpond_delivery_nudges_total{source="webhook"}'] == 1
    assert pond.app.metrics.values()['millpond_delivery_webhooks_total{sender="plane",status="202"}'] == 1


async def test_a_push_has_the_tasks_of_its_branch_looked_at_and_one_to_the_base_all(pond: Any, outer: Outer):
    of = pond.app.delivering
    for issue in ("i1", "i2"):
        outer.tracker.put(PROJECT, issue, state="to-analyse")
        await of.ledger.nudges.add("shop", issue, urgent=True)
        while await of.engine.look(10):
            pass
    branches = {task.issue: task.branch for task in await of.ledger.open_tasks("shop")}
    for branch, told in ((branches["i1"], ["i1"]), ("feature/another", []), ("main", ["i1", "i2"])):
        assert await nudge(pond.app, Hint(repo="Team/Shop", branch=branch)) == len(told)
        assert sorted(issue for _, issue, urgent in await nudged(pond) if urgent) == told
        while await of.engine.look(10):
            pass


async def test_the_same_one_five_times_is_one_nudge(pond: Any):
    for _ in range(5):
        assert (await post(pond, told(), signed(told()))).status == 202
    assert len(await nudged(pond)) == 1


@pytest.mark.parametrize(
    "headers",
    [
        *({}, {"x-signature": ""}, {"x-signature": "00" * 32}, signed(told(), "another"), signed(told(issue="i2"))),
        {"content-length": "ten"},
    ],
)
async def test_no_or_a_wrong_signature_is_401_and_nothing_happens(pond: Any, headers: dict[str, str]):
    got = await post(pond, told(), headers)
    assert (got.status, got.headers["content-type"]) == (401, "application/problem+json")
    assert await nudged(pond) == []


async def test_without_a_secret_every_one_is_401(open_pond: Any, outer: Outer):
    bare = FAKED.replace(f'webhook_secret = "{SECRET}"\n', "")
    outer.tracker.secret = b""
    for config, folder in ((bare, "a"), (REPOSITORY + SHOP, "b"), (REPOSITORY, "c")):
        pond = await open_pond(config + OFF, folder=folder, counterparts=outer)
        for sender in ("plane", "gitea"):
            assert (await post(pond, told(), signed(told(), ""), sender)).status == 401
            assert (await post(pond, b"x" * (2 << 20), {}, sender)).status == 401


async def test_one_of_a_forge_that_is_not_configured_is_401(pond: Any):
    assert (await post(pond, told(), signed(told()), "gitea")).status == 401


async def test_an_oversize_one_is_413_whatever_it_says_of_its_length(pond: Any):
    body = b"x" * ((1 << 20) + 1)
    assert (await post(pond, body, signed(body))).status == 413
    assert (await post(pond, body, {**signed(body), "content-length": "10"})).status == 413
    for length in (str(2 << 20), "9" * 5000):
        assert (await post(pond, told(), {**signed(told()), "content-length": length})).status == 413
    assert await nudged(pond) == []


async def test_what_is_signed_and_unreadable_is_400(pond: Any):
    assert (await post(pond, b"{", signed(b"{"))).status == 400


async def test_one_of_another_project_is_taken_and_nudges_nothing(pond: Any):
    body = told(project="somebody-else")
    got = await post(pond, body, signed(body))
    assert (got.status, got.json()["nudged"]) == (202, 0)


async def test_one_about_a_whole_project_nudges_its_open_tasks(pond: Any, outer: Outer):
    of = pond.app.delivering
    for name in ("i1", "i2"):
        outer.tracker.put(PROJECT, name, state="to-analyse")
        await of.ledger.nudges.add("shop", name, urgent=True)
    while await of.engine.look(10):
        pass
    assert await nudged(pond) == []
    body = told(issue="")
    assert (await post(pond, body, signed(body))).json() == {"nudged": 2}


async def test_a_large_one_is_read_too(pond: Any):
    body = told(more="x" * 200_000)
    assert (await post(pond, body, signed(body))).status == 202


async def test_switched_off_they_are_told_to_come_again(open_pond: Any, outer: Outer):
    pond = await open_pond(FAKED + OFF + "webhooks = false\n", counterparts=outer)
    assert (await post(pond, told(), signed(told()))).status == 503
    assert (await post(pond, told(), {})).status == 401, "nobody else is told"


@pytest.mark.parametrize("body", [b"\xff", b"&".join(b"a=1" for _ in range(20)), b"payload=%ff", b""])
async def test_a_form_that_cannot_be_read_is_401(open_pond: Any, body: bytes):
    forge = f'[forge]\nkind = "gitea"\nurl = "http://git.example"\ntoken = "t"\nwebhook_secret = "{SECRET}"\n'
    pond = await open_pond(REPOSITORY + forge + SHOP + OFF)
    headers = {"content-type": "application/x-www-form-urlencoded"}
    assert (await post(pond, body, headers, "gitea")).status == 401


async def test_the_secret_is_told_nowhere(pond: Any):
    for target in ("/config", "/queue", "/metrics"):
        assert SECRET.encode() not in (await pond.get(target)).body
