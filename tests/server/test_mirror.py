"""The listener for registry mirrors beside the pond's own, in real daemons: workers, reload, stop."""

from __future__ import annotations

import http.client
import os
import signal
import socket
import threading
import time
from pathlib import Path

import pytest
from tests.conftest import MakePond
from tests.images import image

from millpond.testing.pond import PondProcess, free_port
from millpond.testing.upstream import ThreadedUpstream

pytestmark = pytest.mark.process
ONE = image("one", (400_000,))
MIRRORED, OWN = "/v2/library/demo/manifests/latest", "/v2/NAME/library/demo/manifests/latest"
CONFIG = """
[server]
mirror_listen = "127.0.0.1:{port}"
drain_timeout_s = 20
[repositories.{name}]
package = "docker"
base_url = "{url}"
mirror_of = "docker.io"
"""


def ask(port: int, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path)
        answered = connection.getresponse()
        return answered.status, answered.read()
    finally:
        connection.close()


@pytest.fixture(params=[1, 2], ids=["one worker", "two workers"])
def pond(request, make_pond: MakePond, upstream: ThreadedUpstream) -> tuple[PondProcess, int]:
    ONE.offer(upstream, "library/demo")
    port = free_port()
    return make_pond(CONFIG.format(port=port, name="hub", url=upstream.url), workers=request.param, fresh=False), port


def test_both_serve_one_repository_by_their_own_names(pond):
    made, port = pond
    for _ in range(6):
        assert ask(port, MIRRORED) == (200, ONE.index)
        assert ask(made.port, OWN.replace("NAME", "hub")) == (200, ONE.index)
        assert ask(made.port, MIRRORED)[0] == 404
        assert ask(port, "/v2/") == (200, b"{}")


def test_a_reload_changes_what_it_is_bound_to(pond, upstream):
    made, port = pond
    assert ask(port, MIRRORED) == (200, ONE.index)
    (made.folder / "millpond.toml").write_text(CONFIG.format(port=port, name="other", url=upstream.url))
    made.command("reload")
    for _ in range(6):
        assert ask(port, MIRRORED) == (200, ONE.index)
        assert ask(made.port, OWN.replace("NAME", "other")) == (200, ONE.index)
        assert ask(made.port, OWN.replace("NAME", "hub"))[0] == 404


def test_a_stop_lets_what_runs_on_it_end(pond, upstream):
    made, port = pond
    digest = ONE.layers[0]
    hold = upstream.hold(f"/v2/library/demo/blobs/{digest}", after_bytes=100_000)
    got: list[tuple[int, bytes]] = []
    thread = threading.Thread(target=lambda: got.append(ask(port, f"/v2/library/demo/blobs/{digest}")))
    thread.start()
    hold.wait_reached(30)
    stopping = threading.Thread(target=made.stop)
    stopping.start()
    until = time.monotonic() + 30
    while time.monotonic() < until:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)):
                break
        time.sleep(0.05)
    hold.release()
    thread.join(30)
    stopping.join(30)
    assert got == [(200, ONE.blobs[digest])]


def test_an_address_that_is_taken_is_said_to_be(make_pond, tmp_path):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        made = PondProcess(tmp_path / "p", CONFIG.format(port=port, name="hub", url="http://127.0.0.1:9"))
        assert made.launch().wait(30) == 2
        assert "mirror_listen" in made.log.read_text()
        made.kill()


def test_killed_workers_come_back_on_both(make_pond, upstream):
    ONE.offer(upstream, "library/demo")
    port = free_port()
    made = make_pond(CONFIG.format(port=port, name="hub", url=upstream.url), workers=2)
    for child in Path(f"/proc/{made.pid}/task/{made.pid}/children").read_text().split():
        os.kill(int(child), signal.SIGKILL)
    until = time.monotonic() + 30
    while time.monotonic() < until:
        try:
            if ask(port, MIRRORED) == (200, ONE.index):
                break
        except OSError:
            time.sleep(0.05)
    assert ask(port, MIRRORED) == (200, ONE.index)


def test_connect_prints_settings_for_engines(pond):
    made, port = pond
    told = made.command("connect", "docker").stdout
    assert f"http://127.0.0.1:{port}" in told
    assert "registry-mirrors" in told
    assert "hosts.toml" in made.command("connect", "containerd").stdout
    assert "/hub" in made.command("connect", "podman").stdout
    assert made.command("connect", "lxc", check=False).returncode == 2


def test_check_and_show_know_registries(pond, upstream):
    made, _ = pond
    upstream.put("/v2/", b"{}")
    told = made.command("check").stdout
    assert "ok    hub" in told
    headers = {"ratelimit-limit": "100;w=3600", "ratelimit-remaining": "42;w=3600"}
    upstream.put("/v2/library/x/manifests/latest", ONE.index, headers=headers)
    if made.workers == 1:
        ask(made.port, "/v2/hub/library/x/manifests/latest")
        assert "42" in made.command("repo", "show", "hub").stdout
        assert "42 of 100" in made.command("why", f"{made.url}/v2/hub/library/x/manifests/latest").stdout
