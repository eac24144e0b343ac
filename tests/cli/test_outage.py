"""What a person sees of an outage: the log, `why`, and pages that stand in for one another."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.wheels import Wheel, publish

from millpond.testing.pond import PondProcess
from millpond.testing.upstream import ThreadedUpstream

pytestmark = pytest.mark.process

JSON_FIRST = {"Accept": "application/vnd.pypi.simple.v1+json, text/html;q=0.01"}


def test_an_outage_is_told_once_and_a_stored_page_stands_in_for_its_other_form(
    make_pond: Callable[..., PondProcess], upstream: ThreadedUpstream
):
    publish(upstream, upstream, Wheel("demo", "1.0"))
    pond = make_pond(f'[repositories.pypi]\npackage = "pypi"\nbase_url = "{upstream.url}/simple"\nmutable_ttl_s = 0\n')
    assert pond.get("/pypi/simple/demo/", JSON_FIRST).status == 200
    upstream.cut_now()
    for _ in range(2):
        got = pond.get("/pypi/simple/demo/", {"Accept": "text/html"})
        assert got.status == 200
        assert b"demo-1.0" in got.body
        assert "connection refused" in got.headers["cache-status"]
    why = json.loads(pond.command("why", "pypi/simple/demo/", "--json").stdout)
    assert why["facts"]["variant"] == "json"
    assert why["facts"]["upstream"].startswith("failing")
    upstream.restore_now()
    assert pond.get("/pypi/simple/demo/", {"Accept": "text/html"}).status == 200
    log = pond.log.read_text()
    assert log.count("the upstream fails") == 1
    assert log.count("the upstream answers again") == 1


@pytest.mark.parametrize("command", ["usage", "repo ls", "token create x --scope admin", "fsck --repair", "reload"])
def test_commands_make_no_pond(command: str, tmp_path: Path):
    argv = [sys.executable, "-m", "millpond", *command.split(), "--data", str(tmp_path / "nothing")]
    told = subprocess.run(argv, capture_output=True, text=True, cwd=tmp_path, check=False, timeout=60)
    assert told.returncode == 2
    assert told.stderr.startswith(
        f"there is no pond in {tmp_path / 'nothing'}; start one: `millpond serve`, or give --data"
    )
    assert list(tmp_path.iterdir()) == []
