"""What ``millpond prepull`` says."""

from __future__ import annotations

import pytest
from typer.testing import CliRunner

from millpond.cli import prepull
from millpond.cli.main import app

HOST = {"desired": 1, "active": 0, "succeeded": 1, "failed": 0, "failures": [], "error": None}
FAILURE = {"image": "web:[1]", "kind": "permanent", "text": "manifest unknown"}
IMAGE = {
    "image": "web:[1]",
    "platform": "",
    "pinned": "pond.lan/hub/web@sha256:00",
    "digest": "sha256:00",
    "later": False,
}


@pytest.fixture
def run(monkeypatch: pytest.MonkeyPatch):
    """Run the command; the operation answers with `hosts`."""

    def command(hosts: dict, *words: str, ok: bool = True, images: tuple = (IMAGE,)):
        asked: list[dict] = []

        def perform(operation, config, data, arguments, bar, *, json):
            asked.append({"operation": operation, **arguments})
            return {"app": "shop", "dry_run": "--dry-run" in words, "ok": ok, "images": images, "hosts": hosts}

        monkeypatch.setattr(prepull, "perform", perform)
        done = CliRunner().invoke(app, ["prepull", "shop", *words])
        return done.exit_code, done.output, asked[0]

    return command


def test_images_and_hosts_are_shown(run):
    code, said, asked = run({"web1": HOST})
    assert code == 0
    assert "pond.lan/hub/web@sha256:00" in said
    assert "SUCCEEDED" in said
    assert asked == {"operation": "prepull", "name": "shop", "dry_run": False, "refresh": False}
    assert "PRESENT" in run({"web1": HOST}, "--dry-run", "--refresh")[1]


def test_each_failure_is_a_clear_line_and_the_exit_code_1(run):
    hosts = {"web1": HOST | {"failed": 1, "failures": [FAILURE]}, "web2": HOST | {"error": "timeout: no connection"}}
    code, said, _ = run(hosts, ok=False)
    assert code == 1
    assert "clear pull error BEFORE deploy: image web:[1], host web1: permanent: manifest unknown" in said
    assert "clear pull error BEFORE deploy: host web2: timeout: no connection" in said
    assert run(hosts, "--json", ok=False)[0] == 1


def test_an_app_without_images_says_so(run):
    code, said, _ = run({"web1": HOST | {"desired": 0, "succeeded": 0}}, images=())
    assert (code, "nothing to pull" in said) == (0, True)


def test_what_only_a_pull_can_pin_is_shown_too(run):
    bare = IMAGE | {"image": "quay.example/x:1", "pinned": None, "digest": None, "later": True}
    assert "quay.example/x:1  is pinned when it is pulled" in run({"web1": HOST}, "--dry-run", images=(bare,))[1]
    assert "is pinned when" not in run({"web1": HOST}, "--dry-run", images=(bare | {"later": False},))[1]
