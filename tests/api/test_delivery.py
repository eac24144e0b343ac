"""Tasks, the embedded board and drift in the control API."""

from __future__ import annotations

import asyncio
import json
import subprocess
from typing import Any

import pytest
from tests.delivering import LOCAL, pushed

from millpond.delivery.model import Done, Phase, Retry, Spent
from millpond.delivery.runs.wrapper import LOG

OFF = "[delivery]\nlooks = false\nreconcile = false\nworker = false\n"


@pytest.fixture
async def pond(open_pond: Any) -> Any:
    return await open_pond(LOCAL + OFF)


async def post(pond: Any, path: str, value: Any = None, headers: dict[str, str] | None = None) -> Any:
    body = b"" if value is None else json.dumps(value).encode()
    more = pond.admin if headers is None else headers
    return await pond.client.ask("POST", path, {"content-type": "application/json", **more}, body)


async def begun(pond: Any) -> None:
    await pushed(pond.app)
    made = await post(pond, "/api/v1/board/shop", {"title": "Left shoes", "column": "To Analyse"})
    assert made.status == 201, made.body
    while await pond.app.delivering.engine.look(10):
        pass


CHANGES = [
    ("/api/v1/board/shop", {"title": "x"}),
    ("/api/v1/board/shop/1/move", {"column": "Done"}),
    ("/api/v1/board/shop/1/labels", {"add": ["x"]}),
    ("/api/v1/board/shop/1/comments", {"text": "x"}),
    ("/api/v1/projects/shop/statuses/" + "a" * 40, {"context": "ci", "state": "success"}),
    ("/api/v1/tasks/SH-1/cancel", None),
    ("/api/v1/tasks/SH-1/retry", None),
    ("/api/v1/tasks/SH-1/park", {"reason": "x"}),
    ("/api/v1/tasks/SH-1/release", None),
    ("/api/v1/tasks/SH-1/verdict", {"approved": True}),
    ("/api/v1/drift", None),
    ("/api/v1/reconcile", None),
]


@pytest.mark.parametrize(("path", "value"), CHANGES)
async def test_whatever_changes_something_takes_an_admin(pond: Any, path: str, value: Any):
    assert (await post(pond, path, value, {})).status == 401
    reader = (await pond.app.tokens.create("reader", ["read:*", "write:*"]))[1]
    assert (await post(pond, path, value, {"authorization": f"Bearer {reader}"})).status == 403
    assert (await post(pond, path, {"wrong": 1}, {})).status == 401, "who may comes before what is asked"


@pytest.mark.parametrize(
    "path", ["/queue", "/api/v1/tasks", "/api/v1/board/shop", "/api/v1/drift", "/api/v1/tasks/SH-1"]
)
async def test_reading_takes_a_reader(open_pond: Any, path: str):
    pond = await open_pond(LOCAL + OFF + '[access]\nanonymous = "none"\n')
    await begun(pond)
    assert (await pond.get(path)).status == 401
    assert (await pond.get(path, **pond.admin)).status == 200


@pytest.mark.parametrize("number", [10**30, 2**63])
async def test_a_number_that_no_database_takes_is_no_fault_of_ours(pond: Any, number: int):
    await begun(pond)
    for path in (
        *(f"tasks/SH-1/events?after={number}", f"tasks/SH-1/log?job={number}", f"tasks/{number}", f"tasks/SH-{number}"),
        *(f"board/shop?below={number}", f"board/shop/{number}"),
    ):
        assert (await pond.get(f"/api/v1/{path}")).status in {404, 422}, path
    assert (await post(pond, f"/api/v1/board/shop/{number}/move", {"column": "Done"})).status in {404, 422}
    assert (await pond.get(f"/api/v1/tasks/SH-1/events?after={2**63 - 1}")).json() == []


async def test_the_board_from_a_new_issue_to_a_comment(pond: Any):
    await begun(pond)
    listed = (await pond.get("/api/v1/board/shop")).json()
    assert [(one["key"], one["column"], one["author"]) for one in listed] == [("SH-1", "To Analyse", "admin")]
    assert (await post(pond, "/api/v1/board/shop/1/move", {"column": "done"})).json()["column"] == "Done"
    assert (await pond.get("/api/v1/board/shop?column=To%20Analyse")).json() == []
    await post(pond, "/api/v1/board/shop/1/labels", {"add": ["hotfix", "after:SH-9"]})
    labelled = await post(pond, "/api/v1/board/shop/1/labels", {"add": ["big"], "remove": ["HOTFIX"]})
    assert labelled.json()["labels"] == ["after:SH-9", "big"]
    assert (await post(pond, "/api/v1/board/shop/1/labels", {})).status == 400
    assert (await post(pond, "/api/v1/board/shop/1/comments", {"text": "hm"})).status == 200
    shown = (await pond.get("/api/v1/board/shop/1")).json()
    assert [(one["author"], one["text"]) for one in shown["comments"]] == [("admin", "hm")]
    names = [one["name"] for one in (await pond.get("/api/v1/board/shop/columns")).json()]
    assert names[0] == "Backlog"
    assert (await pond.get("/api/v1/board/nope")).status == 404
    assert (await pond.get("/api/v1/board/shop/99")).status == 404
    assert (await post(pond, "/api/v1/board/shop", {"title": ""})).status == 422


async def test_a_status_that_a_ci_reports_opens_the_gate_at_once(open_pond: Any):
    stage = '[[pipeline.stages]]\nname = "build"\nstep = "command"\nsettings = { argv = ["true"] }\n'
    pond = await open_pond(LOCAL + OFF + stage + 'gates = ["commit-status"]\n')
    await begun(pond)
    ledger, engine = pond.app.delivering.ledger, pond.app.delivering.engine
    project = pond.app.delivering.project("shop")
    (head,) = [one for one in await pond.app.delivering.forge.observe(project, "main", []) if one.kind == "head"]
    (job,) = await ledger.jobs.claim("w", 60, most=9)
    await ledger.jobs.finish(job, Done(head.sha))
    while await engine.look(10):
        pass
    place = f"/api/v1/projects/shop/statuses/{head.sha}"
    (task,) = await ledger.open_tasks("shop")
    assert task.phase is Phase.GATED
    bare = pond.app.data / "git/shop.git"
    subprocess.run(["git", "--git-dir", bare, "update-ref", f"refs/heads/{task.branch}", head.sha], check=True)
    assert (await post(pond, place, {"context": "ci", "state": "green"})).status == 400
    assert (await post(pond, place.replace(head.sha, "b" * 40), {"context": "ci", "state": "success"})).status == 400
    assert (await post(pond, place.replace("shop", "nope"), {"context": "ci", "state": "success"})).status == 404
    told = await post(pond, place, {"context": "ci", "state": "success", "url": "http://ci.test/1"})
    assert (told.status, told.json()["state"]) == (201, "success")
    while await engine.look(10):
        pass
    assert await ledger.open_tasks("shop") == []


async def test_a_task_is_held_and_let_go(pond: Any):
    await begun(pond)
    assert (await post(pond, "/api/v1/tasks/SH-1/park", {"reason": "x"})).status == 409, "it has a job"
    ledger = pond.app.delivering.ledger
    (job,) = await ledger.jobs.claim("w", 60, most=9)
    await ledger.jobs.finish(job, Retry(3600.0, "the network was away"))
    while await pond.app.delivering.engine.look(10):
        pass
    assert (await post(pond, "/api/v1/tasks/SH-1/park", {"reason": "x" * 501})).status == 422
    held = (await post(pond, "/api/v1/tasks/SH-1/park", {"reason": "until Monday"})).json()
    assert (held["phase"], held["reason"]) == ("parked", "until Monday (admin)")
    while await pond.app.delivering.engine.send(10):
        pass
    (told,) = (await pond.get("/api/v1/board/shop/1")).json()["comments"]
    assert told["text"] == "SH-1 is parked by admin: until Monday. To go on, run `millpond task release SH-1`."
    assert (await post(pond, "/api/v1/tasks/SH-1/release")).json()["phase"] == "ready"


async def test_a_task_is_listed_shown_and_taken_back(pond: Any):
    await begun(pond)
    (row,) = (await pond.get("/api/v1/tasks")).json()
    assert (row["key"], row["stage"], row["phase"]) == ("SH-1", "analysis", "working")
    for name in ("SH-1", str(row["id"])):
        shown = (await pond.get(f"/api/v1/tasks/{name}")).json()
        assert [job["state"] for job in shown["jobs"]] == ["queued"]
        assert "is queued" in shown["waits"]
    first, *rest = (await pond.get("/api/v1/tasks/SH-1/events")).json()
    again = (await pond.get(f"/api/v1/tasks/SH-1/events?after={first['id']}")).json()
    assert again == rest
    assert (await post(pond, "/api/v1/tasks/SH-1/cancel")).json()["cancelling"] == "admin"
    assert (await post(pond, "/api/v1/tasks/SH-1/release", {"task_usd": -1})).status == 422
    assert (await post(pond, "/api/v1/tasks/SH-1/verdict", {"approved": True})).status == 409
    assert (await pond.get("/api/v1/tasks/SH-9")).status == 404


async def test_what_a_job_may_cost_and_what_it_did(pond: Any):
    await begun(pond)
    ledger = pond.app.delivering.ledger
    (job,) = await ledger.jobs.claim("w", 60, most=9)
    (told,) = (await pond.get("/api/v1/tasks/SH-1")).json()["jobs"]
    assert (told["allowed_usd"], told["spent_usd"]) == (5.0, 0.0)
    await ledger.jobs.finish(job, Retry(3600.0, "the network was away", Spent(0.75, 3)))
    shown = (await pond.get("/api/v1/tasks/SH-1")).json()
    assert (shown["jobs"][0]["spent_usd"], shown["spent_usd"]) == (0.75, 0.75)


async def test_nothing_is_advised_where_a_push_makes_void_what_one_would_say(open_pond: Any):
    stage = '[[pipeline.stages]]\nname = "build"\nstep = "command"\nsettings = { argv = ["true"] }\n'
    pond = await open_pond(LOCAL + OFF + stage + 'gates = ["human-verdict"]\n')
    await begun(pond)
    ledger, engine = pond.app.delivering.ledger, pond.app.delivering.engine
    (job,) = await ledger.jobs.claim("w", 60, most=9)
    await ledger.jobs.finish(job, Done(""))
    while await engine.look(10):
        pass
    told = (await pond.get("/api/v1/tasks/SH-1")).json()
    assert "millpond task approve SH-1" in told["next"]
    (task,), bare = await ledger.open_tasks("shop"), pond.app.data / "git/shop.git"
    argv = ["git", "--git-dir", bare, "update-ref", f"refs/heads/{task.branch}", "refs/heads/main"]
    subprocess.run(argv, check=True)
    told = (await pond.get("/api/v1/tasks/SH-1")).json()
    assert ("somebody pushed" in told["waits"], told["next"]) == (True, "")


async def test_a_verdict_s_answer_says_which_commit_it_is_on_and_what_was_pushed_behind_it(open_pond: Any):
    stage = '[[pipeline.stages]]\nname = "build"\nstep = "command"\nsettings = { argv = ["true"] }\n'
    pond = await open_pond(LOCAL + OFF + stage + 'gates = ["human-verdict"]\n')
    await begun(pond)
    ledger, engine, bare = pond.app.delivering.ledger, pond.app.delivering.engine, pond.app.data / "git/shop.git"
    (task,) = await ledger.open_tasks("shop")
    git = ["git", "--git-dir", str(bare)]

    def push(text: str) -> str:
        who = ["-c", "user.name=eve", "-c", "user.email=eve@shop.example"]
        made = subprocess.run(
            [*git, *who, "commit-tree", "main^{tree}", "-p", "main", "-m", text], check=True, capture_output=True
        ).stdout.decode()
        subprocess.run([*git, "update-ref", f"refs/heads/{task.branch}", made.strip()], check=True)
        return made.strip()

    first = push("first")
    (job,) = await ledger.jobs.claim("w", 60, most=9)
    await ledger.jobs.finish(job, Done(first))
    while await engine.look(10):
        pass
    second = push("second")
    said = {"approved": True, "commit": first[:7].upper()}
    told = (await post(pond, "/api/v1/tasks/SH-1/verdict", said)).json()
    assert (told["sha"], told["newer"]) == (first, second)
    while await engine.look(10):
        pass
    assert (await ledger.open_tasks("shop"))[0].sha == second, "it is voided, and asked for again"
    assert (await post(pond, "/api/v1/tasks/SH-1/verdict", said)).status == 409
    assert (await post(pond, "/api/v1/tasks/SH-1/verdict", {"approved": True, "commit": "x"})).status == 422
    told = (await post(pond, "/api/v1/tasks/SH-1/verdict", {"approved": True})).json()
    assert (told["sha"], told["newer"]) == (second, None)


async def test_a_log_that_grows_is_followed_to_its_end(pond: Any):
    await begun(pond)
    (job,) = await pond.app.delivering.ledger.jobs.active()
    folder = pond.app.data / "runs" / f"job-{job.id}"
    folder.mkdir(parents=True)
    (folder / LOG).write_bytes("first\nzw\u00f6lf\n".encode()[:-3])  # torn within a character
    following = asyncio.create_task(pond.get("/api/v1/tasks/SH-1/log?follow=true"))
    await asyncio.sleep(0.5)
    assert not following.done()
    (folder / LOG).write_bytes("first\nzw\u00f6lf\n".encode())
    await post(pond, "/api/v1/tasks/SH-1/cancel")
    got = await asyncio.wait_for(following, 30)
    assert got.body.decode() == "first\nzw\u00f6lf\n"
    assert (await pond.get("/api/v1/tasks/SH-1/log")).body == got.body
    told = await pond.app.operations["task_log"](lambda *_: None, task="SH-1", offset=6)
    assert (told["text"], told["ended"]) == ("zw\u00f6lf\n", True)


async def test_a_task_without_a_log_has_an_empty_one(pond: Any):
    await begun(pond)
    got = await pond.get("/api/v1/tasks/SH-1/log")
    assert (got.status, got.body) == (200, b"")
    assert got.headers["content-type"] == "text/plain; charset=utf-8"
    assert (await pond.get("/api/v1/tasks/SH-1/log?job=77")).status == 404


async def test_drift_and_reconcile(pond: Any):
    await pushed(pond.app)
    await post(pond, "/api/v1/board/shop", {"title": "x", "column": "To Analyse"})
    found = (await pond.get("/api/v1/drift")).json()
    assert (found["ok"], found["drift"][0]["key"]) == (False, "SH-1")
    assert (await post(pond, "/api/v1/drift")).json()["mended"] is True
    assert (await post(pond, "/api/v1/reconcile?dry_run=true")).json()["dry_run"] is True


async def test_openapi_names_all_of_it(pond: Any):
    paths = (await pond.get("/api/v1/openapi.json")).json()["paths"]
    assert {
        "/queue", "/webhook/plane", "/webhook/gitea", "/api/v1/tasks/{task}/log", "/api/v1/board/{project}/{number}",
        "/api/v1/drift", "/api/v1/tasks/{task}/verdict",
    } <= set(paths)  # fmt: skip
