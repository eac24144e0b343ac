"""`millpond board`, `task`, `queue`, `reconcile`, `drift`, `why ISSUE`, beside a running daemon and without one."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.delivering import first_commit
from typer.testing import CliRunner

from millpond.cli.main import app
from millpond.testing.pond import PondProcess

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]
CONFIG = """
[repositories.local]
package = "generic"
type = "local"
[delivery]
worker = false
[projects.shop]
prefix = "SH"
"""


@pytest.fixture
def pond(make_pond: Callable[..., PondProcess]) -> PondProcess:
    pond = make_pond(CONFIG)
    first_commit(pond.data / "git/shop.git")
    return pond


def said(pond: PondProcess, *words: str, code: int = 0) -> Any:
    done = pond.command(*words, "--json", check=False)
    assert done.returncode == code, done.stderr + done.stdout
    return json.loads(done.stdout)


def waited(pond: PondProcess, phase: str) -> dict[str, Any]:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        rows = said(pond, "task", "ls", "--all")
        if rows and rows[0]["phase"] == phase:
            return dict(rows[0])
        time.sleep(0.05)
    raise AssertionError(f"no task is {phase}")


def test_an_issue_is_made_begun_shown_and_taken_back(pond: PondProcess):
    made = pond.command("board", "new", "Sell left shoes", "--label", "x", "--description", "Both sizes")
    assert made.stdout == "SH-1 stands at Backlog\n"
    assert "does not stand at To Analyse" in said(pond, "why", "SH-1")["verdict"]
    assert "Sell left shoes" in pond.command("board", "ls", "--column", "backlog").stdout
    assert pond.command("board", "ls").stderr == ""
    assert "the newest 1 are shown: --limit shows more" in pond.command("board", "ls", "--limit", "1").stderr
    assert pond.command("board", "move", "1", "To Analyse").stdout == "SH-1 stands at To Analyse\n"
    assert waited(pond, "working")["key"] == "SH-1"
    assert "analysis" in pond.command("task", "ls").stdout
    shown = pond.command("task", "show", "SH-1").stdout
    assert "is queued" in shown
    assert "feature/SH-1-sell-left-shoes" in shown
    why = pond.command("why", "SH-1").stdout
    assert "is queued" in why
    assert "next: `millpond task log SH-1 --follow` shows what it does\n" in why
    assert re.search(r"^since +20\d\d-\d\d-\d\d \d\d:\d\d:\d\d \(\d+ s ago\)$", why, re.MULTILINE)
    assert re.search(r"^switched off +worker$", why, re.MULTILINE)
    log = pond.command("task", "log", "SH-1")
    assert (log.stdout, log.stderr) == ("", "SH-1 has no log yet: `millpond why SH-1` says what it waits for\n")
    assert pond.command("board", "comment", "SH-1", "looks good").stdout == "SH-1: noted\n"
    board = pond.command("board", "show", "SH-1").stdout
    assert "looks good" in board
    assert "Both sizes" in board
    assert pond.command("task", "log", "SH-1").stdout == ""
    queue = pond.command("queue").stdout
    assert "tasks: 1 working" in queue
    assert "off  worker" in queue
    assert said(pond, "reconcile", "--dry-run")["ok"] is True
    assert pond.command("reconcile").returncode == 0
    assert pond.command("task", "cancel", "SH-1").stdout == "SH-1 is being cancelled\n"
    waited(pond, "cancelled")
    events = said(pond, "task", "events", "SH-1")
    assert all(re.fullmatch(r"[a-z]+(-[a-z]+)*", one["what"]) for one in events)
    by = {one["what"]: one["detail"]["by"] for one in events if "by" in one["detail"]}
    assert set(by) == {"created", "cancel-ordered", "cancelled"}
    assert len(set(by.values())) == 1
    shown = pond.command("board", "show", "SH-1").stdout
    assert f"SH-1 was cancelled by {by['created']}." in shown
    assert pond.command("board", "comment", "SH-1", "/approve").returncode == 0
    answered(pond, "SH-1", "counts for nothing, since it was cancelled.")
    assert pond.command("task", "events", "SH-1").stdout.splitlines()[0].split() == ["WHEN", "WHAT", "WHO"]
    assert said(pond, "drift")["drift"] == []
    assert pond.command("drift").stdout == "no difference\n"


def answered(pond: PondProcess, key: str, text: str) -> None:
    until = time.monotonic() + 60
    while text not in pond.command("board", "show", key).stdout:
        assert time.monotonic() < until, f"{text!r} is not on the issue"
        time.sleep(0.05)


def test_without_a_daemon_the_board_is_there_and_what_differs_is_told(pond: PondProcess):
    pond.stop()
    assert said(pond, "board", "new", "x", "--column", "To Analyse")["key"] == "SH-1"
    assert "no daemon runs on" in pond.command("why", "SH-1").stderr
    found = said(pond, "drift", code=1)
    assert "a task will begin at" in found["drift"][0]["told"]
    assert "--mend has them looked at now" in pond.command("drift", check=False).stdout
    pond.start()
    waited(pond, "working")
    assert pond.command("why", "SH-1").stderr == ""
    assert f"project shop: push to {pond.data / 'git/shop.git'} (main); issues SH-1, ..." in pond.log.read_text()


def test_what_any_worker_is_told_the_first_one_acts_upon(make_pond: Callable[..., PondProcess]):
    pond = make_pond(CONFIG, workers=3)
    first_commit(pond.data / "git/shop.git")
    headers = {"authorization": f"Bearer {pond.admin_token}", "content-type": "application/json"}
    for number in range(12):  # each on a connection of its own, so that every worker gets some
        body = json.dumps({"title": f"issue {number}", "column": "To Analyse"}).encode()
        assert pond.get("/api/v1/board/shop", headers, "POST", body).status == 201
    until = time.monotonic() + 60
    rows = said(pond, "task", "ls")
    while [row["phase"] for row in rows] != ["working"] * 12:  # a task is made first, and its job queued then
        assert time.monotonic() < until, rows
        time.sleep(0.05)
        rows = said(pond, "task", "ls")
    assert sorted(row["key"] for row in rows) == sorted(f"SH-{number}" for number in range(1, 13))
    for _ in range(6):
        page = pond.get("/queue").json()
        assert page["reconcile"]["enabled"] is True
        assert page["counts"]["tasks"]["working"] == 12


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (("board", "show", "SH-9"), "the board of shop has no issue 9: `millpond board ls`"),
        (("board", "move", "SH-9", "Nowhere"), 'there is no column "Nowhere"; there are Backlog, To Analyse'),
        (("board", "new", "x", "--project", "till"), "there is no project 'till'; known: shop"),
        (("board", "show", "XX-9"), "no project has the prefix XX"),
        (("task", "show", "SH-9"), "there is no task 'SH-9': `millpond why SH-9` says why"),
        (("why", "SH-9"), "the board of shop has no issue 9"),
        (("why", "ZZ-9"), "no project has the prefix ZZ; there are: SH (shop)"),
        (("usage", "--task", "SH-9"), "there is no task 'SH-9': `millpond why SH-9` says why"),
    ],
)
def test_mistakes_are_told_with_the_next_step(pond: PondProcess, words: tuple[str, ...], told: str):
    done = pond.command(*words, check=False)
    assert (done.returncode, told in done.stderr) == (1, True), done.stderr
    assert told in said(pond, *words, code=1)["error"]


@pytest.mark.parametrize(
    "words",
    [("board", "ls"), ("board", "show", "SH-1"), ("task", "ls"), ("task", "events", "SH-1"), ("queue",), ("drift",),
     ("reconcile",), ("why", "SH-1"), ("usage",)],
)  # fmt: skip
def test_without_a_pond_the_error_is_json_too(tmp_path: Path, words: tuple[str, ...]):
    done = CliRunner().invoke(app, [*words, "--data", str(tmp_path), "--json"])
    assert done.exit_code == 2
    told = json.loads(done.stdout)
    assert (told["ok"], "there is no pond in" in told["error"]) == (False, True)
    assert len(told["mistakes"]) == 1
