"""What others wrote (titles, comments, last words) is shown as they wrote it, by every command, and does nothing."""

from __future__ import annotations

from typing import Any

import pytest
from typer.testing import CliRunner

from millpond.cli import board, deploy, flow, host, main, prepull, release, repo, session, task, token, upkeep
from millpond.errors import Conflict

BAD = "serve [/v2/] paths[one] [red]now[/red] :bug: \x1b]0;owned\x07\x9b2J"
SHOWN = "serve [/v2/] paths[one] [red]now[/red] :bug: \\u001b]0;owned\\u0007\\u009b2J"
ISSUE = {"key": "SH-1", "title": BAD, "column": BAD, "labels": [BAD], "author": BAD, "description": BAD}
TASK = {
    "key": "SH-1", "title": BAD, "stage": BAD, "phase": "gated", "reason": BAD, "branch": BAD, "sha": "1a2b3c4",
    "attempts": 1, "sets": BAD, "waits": BAD, "next": BAD, "since": 0.0, "spent_usd": 0.0,
    "gates": [{"gate": "tests-passed", "word": "failed", "reason": BAD}],
    "jobs": [{"id": 1, "stage": "build", "attempt": 1, "state": "failed", "reason": BAD}],
}  # fmt: skip
QUEUE = {
    "counts": {}, "max_concurrency": 2, "reaper": {"enabled": True, "last_error": BAD}, "recent": [TASK],
    "reconcile": {"enabled": True, "failed": {"shop": BAD}, "pipelines_refused": {"shop": BAD}},
}  # fmt: skip
HOST = {
    "name": "web1", "ssh": BAD, "labels": [BAD], "bytes_percent": None, "inodes_percent": None, "last_seen_ts": None,
    "last_error": BAD,
}  # fmt: skip
PLACE = {
    "name": BAD, "bytes_percent": 1.0, "inodes_percent": 1.0, "free_bytes": 1, "error": BAD, "note": BAD,
    "steps": [{"rung": "images", "what": BAD}],
}  # fmt: skip
RELEASE = {
    "app": "shop", "number": 3, "state": "failed", "kind": "deploy", "by": BAD, "sha": "", "restores": None,
    "error": BAD, "created_ts": 0.0, "began_ts": 0.0, "activated_ts": None, "ended_ts": None, "images": {"web": BAD},
    "sets": {"A": BAD}, "hosts": ["web1"], "progress": {"web1": BAD}, "details": [BAD], "document": {"a": BAD},
}  # fmt: skip
REPOSITORY = {
    "name": "up", "package": "generic", "type": "proxy", "entries": 1, "bytes": 1, "base_url": BAD, "found_in": BAD,
}  # fmt: skip
ENTRY = {"path": BAD, "variant": "", "status": 200, "size": 1, "age": "1 s", "state": "fresh"}
PULLED = {
    "desired": 1, "active": 0, "succeeded": 0, "failed": 1, "error": BAD,
    "failures": [{"image": BAD, "kind": "away", "text": BAD}],
}  # fmt: skip
USE = {"at": "now", "repository": "up", "path": BAD, "outcome": "hit", "count": 1, "token": BAD, "digest": ""}
SAYS = [
    (board, "board ls", [ISSUE]),
    (board, "board show SH-1", {**ISSUE, "comments": [{"at": 0.0, "author": BAD, "text": BAD}]}),
    (board, "board new x", ISSUE),
    (board, "board move SH-1 Done", ISSUE),
    (board, "board label SH-1 --add x", ISSUE),
    (board, "board comment SH-1 x", {"key": "SH-1", "verdict": BAD}),
    (task, "task ls", [TASK]),
    (task, "task show SH-1", TASK),
    (task, "task events SH-1", [{"at": 0.0, "what": "parked", "detail": {"by": BAD, "reason": BAD}}]),
    (flow, "queue", QUEUE),
    (flow, "reconcile", {"ok": True, "found": 1, "would": [{"project": "shop", "issue": BAD, "told": BAD}],
                         "failed": {"shop": BAD}}),
    (flow, "drift", {"ok": True, "drift": [{"key": "", "issue": BAD, "project": "shop", "between": "board",
                                            "told": BAD}], "failed": {"shop": BAD}}),
    (upkeep, "why SH-1", {"verdict": BAD, "next": BAD, "facts": {"title": BAD}}),
    (upkeep, "usage", [USE]),
    (upkeep, "fsck", {"ok": True, "problems": [BAD]}),
    (repo, "repo ls", {"repositories": [REPOSITORY], "skipped": [BAD]}),
    (repo, "repo show up", {"settings": {"base_url": BAD}, "upstream": {"reason": BAD}, "entries": [ENTRY]}),
    (host, "host ls", [HOST]),
    (host, "host check web1", {"ok": True, "checks": [{"ok": False, "what": "ssh", "told": BAD, "advice": BAD}]}),
    (host, "host prune web1", {"ok": True, "hosts": [{"host": "web1", "skipped": "", "error": BAD}]}),
    (host, "host disk", {"ok": True, "places": [PLACE]}),
    (release, "release ls", [RELEASE]),
    (release, "release show shop", RELEASE),
    (release, "release show shop --document", RELEASE),
    (deploy, "deploy shop", {"ok": True, "release": RELEASE, "rollback": None, "left_on": [BAD], "details": [BAD]}),
    (prepull, "prepull shop", {"ok": True, "dry_run": False, "hosts": {"web1": PULLED},
                               "images": [{"image": BAD, "pinned": BAD, "later": False}]}),
    (token, "token ls", [{"name": BAD, "scopes": [], "created": "now", "expires": "", "state": "good"}]),
]  # fmt: skip


@pytest.mark.parametrize(("module", "line", "found"), SAYS, ids=[line for _, line, _ in SAYS])
def test_it_is_shown_as_it_was_written(monkeypatch: pytest.MonkeyPatch, module: Any, line: str, found: Any):
    monkeypatch.setattr(module, "perform", lambda *_, **__: found)
    ran = CliRunner().invoke(main.app, line.split())
    assert ran.exception is None, ran.exception
    assert SHOWN in ran.output
    assert not set(ran.output) & {"\x1b", "\x07", "\x9b"}


def test_so_is_what_went_wrong(monkeypatch: pytest.MonkeyPatch):
    async def refused(*_: object) -> None:
        raise Conflict(BAD)

    monkeypatch.setattr(session, "_perform", refused)
    ran = CliRunner().invoke(main.app, ["board", "ls"])
    assert (ran.exit_code, ran.output) == (1, f"millpond: {SHOWN}\n")
