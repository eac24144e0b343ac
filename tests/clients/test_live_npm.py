"""The registry that this machine's own npm uses, through an adopted pond: one tiny package, with and without the world.

No address is written here: the pond adopts it.
"""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from tests.clients.node import Npm, make_project
from tests.clients.programs import Room, tree
from tests.conftest import MakePond
from tests.jail import Jail
from tests.registries import NPM_ACCEPT

from millpond.testing.pond import PondProcess, free_port

pytestmark = [pytest.mark.live, pytest.mark.client]
CONFIG = "[access]\nallow_open_network = true\n"
WANTED = {"isarray": "2.0.5"}


@pytest.fixture
def live(make_pond: MakePond, jail: Jail, npm: Npm) -> PondProcess:
    """Adopt; skip with the reason where there is nothing to adopt, or it does not answer."""
    ours = {name: value for name, value in os.environ.items() if name not in {"HOME", "PYTHONPATH"}}
    pond = make_pond(CONFIG, host=jail.address, environ=ours)
    probe = pond.get("/npm/isarray", {"accept": NPM_ACCEPT})
    if probe.status != 200:
        pytest.skip(f"the adopted registry does not answer: {probe.status} {probe.body.decode()}")
    return pond


def test_it_installs_audits_and_installs_again_with_the_world_gone(
    live: PondProcess, npm: Npm, room: Room, jail: Jail, tmp_path: Path
):
    first, offline = (make_project(tmp_path / name, WANTED) for name in ("first", "offline"))
    ran = npm.install(room, f"{live.url}/npm/", first)
    assert ran.ok, ran.output
    installed = tree(first / "node_modules/isarray")
    assert "index.js" in installed
    packument = json.loads(live.get("/npm/isarray", {"accept": NPM_ACCEPT}).body)
    lock = json.loads((first / npm.lock).read_text())["packages"]["node_modules/isarray"]
    assert lock["integrity"] == packument["versions"]["2.0.5"]["dist"]["integrity"]
    assert lock["resolved"] == f"{live.url}/npm/isarray/-/isarray-2.0.5.tgz"
    assert live.stop() == 0
    nowhere = f"http://127.0.0.1:{free_port()}"
    proxies = dict.fromkeys(("HTTP_PROXY", "HTTPS_PROXY", "http_proxy", "https_proxy"), nowhere)
    cut_off = PondProcess(live.folder, CONFIG, host=jail.address, port=live.port, environ={**proxies, "NO_PROXY": ""})
    with cut_off as pond:
        assert pond.get("/npm/left-pad", {"accept": NPM_ACCEPT}).status in {502, 503}
        (offline / npm.lock).write_bytes((first / npm.lock).read_bytes())
        again = npm.frozen(room, f"{pond.url}/npm/", offline)
        assert again.ok, again.output
        assert tree(offline / "node_modules/isarray") == installed
