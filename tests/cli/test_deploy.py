"""What `millpond deploy`, `rollback` and `release` make of their words, and how they show what came of it."""

from __future__ import annotations

import json
from typing import Any

import pytest
from typer.testing import CliRunner

from millpond.cli import deploy as module
from millpond.cli import release as releases
from millpond.cli import session
from millpond.cli.main import app
from millpond.errors import MillpondError, NotFound

ROW = {
    "app": "shop", "number": 3, "state": "active", "kind": "compose", "checksum": "x", "hosts": ["web1", "web2"],
    "images": {"web": "pond/x@sha256:1"}, "by": "ann", "sha": "c0ffee0123456789", "sets": {"V": "1"},
    "restores": None,
    "created_ts": 0.0, "began_ts": 1.0, "activated_ts": 2.0, "ended_ts": 2.0, "error": "", "progress": {"web1": "done"},
}  # fmt: skip


class Told:
    """Stands for the daemon."""

    def __init__(self, answer: Any) -> None:
        self.answer, self.asked = answer, {}

    def __call__(
        self, operation: str, _config: object, _data: object, arguments: dict[str, Any], *_: object, **_json: bool
    ) -> Any:
        self.asked = {operation: arguments}
        return self.answer


def run(monkeypatch: pytest.MonkeyPatch, answer: Any, *words: str) -> tuple[int, str, dict[str, Any]]:
    told = Told(answer)
    for one in (module, releases):
        monkeypatch.setattr(one, "perform", told)
    done = CliRunner().invoke(app, words)
    return done.exit_code, done.output, told.asked


def result(**change: Any) -> dict[str, Any]:
    row = ROW | {key: value for key, value in change.items() if key in ROW}
    plain = {"ok": True, "release": row, "details": [], "rollback": 2, "left_on": []}
    return plain | {key: value for key, value in change.items() if key in plain}


def test_a_good_deploy(monkeypatch):
    words = ("deploy", "shop", "--set", "A=1", "--set", "B=x=y", "--commit", "abc", "--refresh")
    code, said, asked = run(monkeypatch, result(left_on=["old"]), *words)
    assert code == 0
    assert "shop 3 is active on web1, web2" in said
    assert "web  pond/x@sha256:1" in said
    assert "may still run on old" in said
    given = asked["deploy"]
    assert (given["name"], given["sets"], given["commit"]) == ("shop", {"A": "1", "B": "x=y"}, "abc")
    assert (given["refresh"], given["dry_run"], bool(given["by"])) == (True, False, True)


@pytest.mark.parametrize("words", [("deploy", "shop"), ("rollback", "shop"), ("prepull", "shop")])
def test_what_was_stopped_before_anything_was_changed_is_json_too(monkeypatch, words: tuple[str, ...]):
    async def stopped(*_: object) -> Any:
        raise MillpondError("shop: clear pull error BEFORE deploy")

    monkeypatch.setattr(session, "_perform", stopped)
    done = CliRunner().invoke(app, [*words, "--json"])
    assert (done.exit_code, json.loads(done.stdout)) == (
        1, {"ok": False, "error": "shop: clear pull error BEFORE deploy"},
    )  # fmt: skip
    assert CliRunner().invoke(app, words).stdout == ""


def test_a_bad_one_says_why_and_what_is_next(monkeypatch):
    failed = result(ok=False, state="failed", error="web1: web: exited with code 3", details=["web1: web| boom"])
    code, said, _ = run(monkeypatch, failed, "deploy", "shop")
    assert code == 1
    assert "shop 3 failed: web1: web: exited with code 3" in said
    assert "  web1: web| boom" in said
    assert "`millpond rollback shop` brings back release 2" in said
    code, said, _ = run(monkeypatch, failed | {"release": failed["release"] | {"began_ts": None}}, "deploy", "shop")
    assert "no host was changed" in said


def test_a_good_one_tells_what_is_noted_of_it_too(monkeypatch):
    code, said, _ = run(monkeypatch, result(details=["nothing was pre-pulled on node7"]), "deploy", "shop")
    assert (code, "  note: nothing was pre-pulled on node7" in said) == (0, True)


def test_calling_off(monkeypatch):
    code, said, asked = run(monkeypatch, {"app": "shop", "called_off": 1}, "call-off", "shop")
    assert (code, asked) == (0, {"call_off": {"name": "shop"}})
    assert "what was under way is broken off" in said
    code, said, _ = run(monkeypatch, {"app": "shop", "called_off": 1}, "call-off", "shop", "--json")
    assert json.loads(said)["called_off"] == 1


def test_a_rollback(monkeypatch):
    code, said, asked = run(monkeypatch, result(restores=1), "rollback", "shop", "--to", "1")
    assert (code, asked["rollback"]["to"]) == (0, 1)
    assert "shop 3 is active on web1, web2, as release 1 was" in said


def test_a_plan(monkeypatch):
    plan = {"ok": True, "dry_run": True, "app": "shop", "hosts": ["web1"], "running": 2, "changes": ["web: new, x"],
            "left_on": [], "restores": 1}  # fmt: skip
    code, said, asked = run(monkeypatch, plan, "rollback", "shop", "--dry-run")
    assert (code, asked["rollback"]["dry_run"]) == (0, True)
    assert "shop on web1: release 2 runs, 1 would be brought back; nothing was changed\n  web: new, x" in said
    nothing = plan | {"running": None, "changes": []}
    assert "what would be brought out is what runs" in run(monkeypatch, nothing, "deploy", "shop", "--dry-run")[1]


@pytest.mark.parametrize("words", [("--set", "A"), ("--set", "=1"), ("--set", "A=1", "--set", "A=2")])
def test_words_that_set_nothing_are_usage_errors(monkeypatch, words: tuple[str, ...]):
    code, _, asked = run(monkeypatch, result(), "deploy", "shop", *words)
    assert (code, asked) == (2, {})


def test_json_is_what_came(monkeypatch):
    for words in (("deploy", "shop"), ("rollback", "shop")):
        code, said, _ = run(monkeypatch, result(), *words, "--json")
        assert (code, json.loads(said)) == (0, result())
    assert json.loads(run(monkeypatch, [ROW], "release", "ls", "--json")[1]) == [ROW]


def test_releases_are_listed_and_shown(monkeypatch):
    rows = [ROW, ROW | {"number": 2, "state": "failed", "error": "no"}, ROW | {"number": 1, "restores": 7}]
    code, said, asked = run(monkeypatch, rows, "release", "ls", "shop", "--limit", "3")
    assert (code, asked["release_ls"]) == (0, {"name": "shop", "limit": 3})
    assert "c0ffee012345" in said
    assert "as 7" in said
    shown = ROW | {"details": ["web1: web| boom"], "document": {"services": {"web": {"é": 1}}}}
    code, said, asked = run(monkeypatch, shown, "release", "show", "shop", "3")
    assert asked["release_show"] == {"name": "shop", "number": 3}
    for line in ("images: web  pond/x@sha256:1", "set: V  1", "host: web1  done", "host: web2  untouched", "web| boom"):
        assert line in said
    said = run(monkeypatch, shown, "release", "show", "shop", "--document")[1]
    assert json.loads(said) == shown["document"]
    assert "é" in said


WITH_JSON = [("call-off", "shop"), ("release", "ls"), ("release", "show", "x"), ("host", "check", "x"), ("host", "ls")]


@pytest.mark.parametrize("words", [*WITH_JSON, ("deploy", "shop"), ("prepull", "shop"), ("host", "prune"), ("gc",)])
@pytest.mark.parametrize("fault", [NotFound("there is none"), OSError("the disk is gone")])
def test_a_fault_is_json_too(monkeypatch, words: tuple[str, ...], fault: Exception):
    async def faulty(*_: object) -> Any:
        raise fault

    monkeypatch.setattr(session, "_perform", faulty)
    done = CliRunner().invoke(app, [*words, "--json"])
    assert (done.exit_code, json.loads(done.stdout)) == (1, {"ok": False, "error": str(fault)})
