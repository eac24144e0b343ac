"""`millpond serve` with nothing prepared: it adopts, tells how to use it, serves, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest
from tests.clients.programs import Room, tree
from tests.wheels import Wheel, publish

from millpond.testing.pond import free_port
from millpond.testing.upstream import ThreadedUpstream

pytestmark = pytest.mark.client
START_TIMEOUT_S = 60.0
COMPUTED_APART_BYTES = 64 * 1024
TOKEN = re.compile(r"\bmp_[A-Za-z0-9_-]{20,}")
CLIENTS = ("PIP_", "UV_")


class Served:
    """One run of the command, in a session of its own, so that whatever it left can be found."""

    def __init__(self, folder: Path, port: int, environ: Mapping[str, str], *more: str) -> None:
        self.folder, self.port = folder, port
        self.url = f"http://127.0.0.1:{port}"
        argv = [sys.executable, "-m", "millpond", "serve", "--port", str(port), *more]
        self._out, self._err = (folder.parent / f"{port}.{name}" for name in ("out", "err"))
        with self._out.open("wb") as out, self._err.open("wb") as err:
            self._process = subprocess.Popen(
                argv, cwd=folder, env=dict(environ), stdout=out, stderr=err, start_new_session=True
            )
        self.group = self._process.pid

    def told(self) -> str:
        """Give what it printed, once it has said all of it."""
        until = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < until and self._process.poll() is None:
            text = self._out.read_text()
            if "Ctrl-C" in text:
                return text
            time.sleep(0.02)
        raise AssertionError(f"it did not start:\n{self._out.read_text()}{self._err.read_text()}")

    def stop(self, number: int = signal.SIGTERM) -> int:
        self._process.send_signal(number)
        return self._process.wait(30)

    def end(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.group, signal.SIGKILL)
        self._process.wait(30)

    def left(self) -> list[int]:
        """Give the processes that are still there and are of its session, or else at home in its folder."""
        return [int(process.name) for process in Path("/proc").glob("[0-9]*") if self._has(process)]

    def _has(self, process: Path) -> bool:
        try:
            after_name = (process / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            return False
        if after_name[0] in "ZX":
            return False
        if int(after_name[3]) == self.group:  # proc_pid_stat(5): state, parent, group, session
            return True
        try:
            return (process / "cwd").readlink().is_relative_to(self.folder)
        except OSError:
            return False


Serve = Callable[..., Served]


@pytest.fixture
def serve(tmp_path: Path) -> Iterator[Serve]:
    """Start it in an empty folder (or one that was used before), with an empty home."""
    made: list[Served] = []

    def start(environ: Mapping[str, str], *more: str, folder: str = "empty", port: int = 0) -> Served:
        where, home = tmp_path / folder, tmp_path / "home"
        where.mkdir(exist_ok=True)
        home.mkdir(exist_ok=True)
        made.append(Served(where, port or free_port(), {**environ, "HOME": str(home)}, *more))
        return made[-1]

    yield start
    for one in made:
        one.end()


@pytest.fixture
def machine(upstream: ThreadedUpstream) -> Mapping[str, str]:
    """A machine whose clients use the fake index."""
    publish(upstream, upstream, Wheel("alpha", "1.0", payload=b"alpha" * 100), as_json=True)
    ours = {name: value for name, value in os.environ.items() if not name.startswith(CLIENTS)}
    return ours | {"PIP_INDEX_URL": f"{upstream.url}/simple", "PIP_CONFIG_FILE": os.devnull}


def printed(told: str, command: str) -> list[str]:
    """Give the words of a printed command, as a person would take them over."""
    line = next(line for line in told.splitlines() if line.strip().startswith(command))
    return shlex.split(line)


def asks_upstream(upstream: ThreadedUpstream) -> int:
    return len(upstream.requests)


def test_it_adopts_what_the_machines_clients_use_and_prints_commands_that_work(
    serve: Serve, machine: Mapping[str, str], upstream: ThreadedUpstream, python: Path, outside: Room, tmp_path: Path
):
    told = serve(machine).told()
    assert f"from {upstream.url}/simple" in told
    assert "PIP_INDEX_URL" in told
    words = printed(told, "pip install")
    options = ["--isolated", "--no-cache-dir", "--disable-pip-version-check", "--target", str(tmp_path / "t")]
    ran = outside.run([str(python), "-m", *(word.replace("PACKAGE", "alpha") for word in words), *options])
    assert ran.files(tmp_path / "t")["alpha/payload.bin"] == b"alpha" * 100
    before = asks_upstream(upstream)
    uv = [word.replace("PACKAGE", "alpha") for word in printed(told, "uv pip install")]
    found = Path(sys.executable).parent / "uv"
    if not found.exists():
        pytest.skip("uv is not installed beside this Python")
    options = ["--no-cache", "--no-config", "--python", str(python), "--target", str(tmp_path / "u")]
    ran = outside.run([str(found), *uv[1:], *options])
    assert ran.files(tmp_path / "u")["alpha/payload.bin"] == b"alpha" * 100
    assert asks_upstream(upstream) == before, "uv was served from the cache"


def test_a_second_start_does_not_look_again(serve: Serve, machine: Mapping[str, str], upstream: ThreadedUpstream):
    first = serve(machine)
    first.told()
    kept = (first.folder / "millpond-data/adopted.json").read_bytes()
    adopted = {one["package"]: one for one in json.loads(kept)["adopted"]}
    assert adopted["pypi"]["base_url"] == f"{upstream.url}/simple"
    assert first.stop() == 0
    told = serve({**machine, "PIP_INDEX_URL": "http://127.0.0.1:9/other"}, port=first.port).told()
    assert f"from {upstream.url}/simple" in told
    assert (first.folder / "millpond-data/adopted.json").read_bytes() == kept


def test_the_first_start_prints_the_admin_token_once(serve: Serve, machine: Mapping[str, str]):
    first = serve(machine)
    tokens = TOKEN.findall(first.told())
    file = first.folder / "millpond-data/admin-token"
    assert tokens == [file.read_text().strip()]
    assert file.stat().st_mode & 0o777 == 0o600
    assert first.stop() == 0
    second = serve(machine, port=first.port)
    assert not TOKEN.search(second.told())
    assert file.read_text().strip() == tokens[0]


@pytest.mark.parametrize("workers", ["1", "2"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_nothing_stays_behind(
    serve: Serve, machine: Mapping[str, str], upstream: ThreadedUpstream, number: signal.Signals, workers: str
):
    publish(upstream, upstream, *(Wheel("large", f"1.{n}") for n in range(400)))
    one = serve(machine, "--workers", workers)
    one.told()
    data = one.folder / "millpond-data"
    assert (data / "control.sock").exists()
    page, _ = got(f"{one.url}/pypi/simple/large/")
    assert len(page) > COMPUTED_APART_BYTES
    assert len(one.left()) > 1, "itself, and who rewrote that page"
    assert one.stop(number) == 0
    eventually_gone(one)
    assert not (data / "control.sock").exists()
    assert not [path for path in (data / "spool").rglob("*") if path.is_file() and path.stat().st_size]
    assert set(tree(one.folder)) == {f"millpond-data/{name}" for name in tree(data)}, "only the data directory"
    assert tree(one.folder.parent / "home") == {}
    with socket.socket() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # closed connections may linger, listeners may not
        sock.bind(("127.0.0.1", one.port))


def eventually_gone(one: Served) -> None:
    until = time.monotonic() + 5.0  # a child is told by the kernel, a moment later
    while one.left():
        assert time.monotonic() < until, one.left()
        time.sleep(0.02)


@pytest.mark.live
def test_with_no_configuration_at_all_it_caches_what_this_machine_uses(serve: Serve):
    one = serve(os.environ)
    told = one.told()
    page, first = got(f"{one.url}/pypi/simple/six/")
    assert (one.folder / "millpond-data/adopted.json").exists(), told
    if first.startswith(("502", "503")):
        pytest.skip(f"the adopted index does not answer: {first}")
    assert b"/pypi/files/six/six-" in page
    again, second = got(f"{one.url}/pypi/simple/six/")
    assert again == page
    assert second.startswith("millpond; hit")


def got(url: str) -> tuple[bytes, str]:
    """Give a page and what the cache says of it; of a refusal, its status in words."""
    try:
        with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=30) as answer:
            return answer.read(), answer.headers["cache-status"]
    except urllib.error.HTTPError as error:
        with error:
            return b"", f"{error.code} {error.read().decode()}"


def test_many_workers_tell_it_once(serve: Serve, machine: Mapping[str, str]):
    one = serve(machine, "--workers", "3")
    one.told()
    until = time.monotonic() + START_TIMEOUT_S
    while not TOKEN.search(one._out.read_text()):
        assert time.monotonic() < until
        time.sleep(0.02)
    assert one.stop() == 0
    told = one._out.read_text()
    assert told.count("Ctrl-C") == 1
    assert len(TOKEN.findall(told)) == 1


def test_a_taken_port_and_a_used_data_directory_are_named(serve: Serve, machine: Mapping[str, str]):
    first = serve(machine)
    first.told()
    for port, folder, words in (
        (first.port, "other", (str(first.port), "--port")),
        (0, "empty", ("millpond-data", "--data")),
    ):
        second = serve(machine, folder=folder, port=port)
        assert second._process.wait(20) in {1, 2}
        said = second._err.read_text()
        assert all(word in said for word in words), said
        assert "Traceback" not in said
