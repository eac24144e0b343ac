"""Real daemons with two workers: killed, stopped, reloaded."""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from tests.conftest import MakePond

from millpond.testing.pond import PondProcess
from millpond.testing.upstream import ThreadedUpstream

pytestmark = pytest.mark.fault
TIMEOUT_S = 60.0
BODY = bytes(range(256)) * 4096
HALF = len(BODY) // 2


def config(upstream: ThreadedUpstream, *names: str, drain_timeout_s: float = 60.0) -> str:
    text = f"[server]\ndrain_timeout_s = {drain_timeout_s}\n"
    for name in names:
        text += f'[repositories.{name}]\npackage = "generic"\nbase_url = "{upstream.url}"\n'
    return text


def eventually(look: Callable[[], bool], what: str) -> None:
    until = time.monotonic() + TIMEOUT_S
    while not look():
        assert time.monotonic() < until, what
        time.sleep(0.02)


def children(pid: int) -> set[int]:
    """Give the worker processes of a supervisor."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return set()
    return {int(word) for word in text.split()}


def alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@contextlib.contextmanager
def connected(pond: PondProcess) -> Iterator[http.client.HTTPConnection]:
    """Hold one connection: all its requests go to the same worker."""
    connection = http.client.HTTPConnection(pond.host, pond.port, timeout=60)
    try:
        yield connection
    finally:
        connection.close()


def asked(connection: http.client.HTTPConnection, path: str) -> bytes:
    connection.request("GET", path)
    return connection.getresponse().read()


def of_each_worker(pond: PondProcess, path: str) -> dict[bytes, bytes]:
    """Ask every worker the same; gives the answers by worker."""
    answers: dict[bytes, bytes] = {}
    until = time.monotonic() + TIMEOUT_S
    while len(answers) < pond.workers:
        assert time.monotonic() < until, f"only these workers answer: {list(answers)}"
        with connected(pond) as connection:
            worker = asked(connection, "/health").partition(b'"worker":')[2][:1]
            answers[worker] = asked(connection, path)
    return answers


@pytest.fixture
def pond(make_pond: MakePond, upstream: ThreadedUpstream) -> PondProcess:
    upstream.put("/file", BODY)
    made = make_pond(config(upstream, "files"), workers=2)
    eventually(lambda: len(children(made.pid)) == 2, "two workers")
    of_each_worker(made, "/health")
    return made


def test_a_killed_worker_is_started_again_and_the_other_one_serves_on(pond: PondProcess):
    before = children(pond.pid)
    killed = min(before)
    os.kill(killed, signal.SIGKILL)
    eventually(lambda: killed not in children(pond.pid), "it is gone")
    assert pond.get("/files/file").body == BODY
    eventually(lambda: len(children(pond.pid)) == 2, "another one takes its place")
    assert len(children(pond.pid) & before) == 1
    assert set(of_each_worker(pond, "/files/file").values()) == {BODY}


class Download(threading.Thread):
    """A client that reads a body to its end, or to where it breaks off."""

    def __init__(self, pond: PondProcess, path: str) -> None:
        super().__init__()
        self._pond, self._path = pond, path
        self.body = b""
        self.whole = False

    def run(self) -> None:
        with connected(self._pond) as connection:
            connection.request("GET", self._path)
            response = connection.getresponse()
            try:
                while piece := response.read1(65536):
                    self.body += piece
                self.whole = len(self.body) == int(response.headers["content-length"])
            except (OSError, http.client.HTTPException):
                self.whole = False


def refuses(pond: PondProcess) -> bool:
    """Whether nobody listens."""
    try:
        socket.create_connection((pond.host, pond.port), 2).close()
    except ConnectionRefusedError:
        return True
    return False


def stopping(pond: PondProcess) -> subprocess.Popen[bytes]:
    """Send SIGTERM, and give the process to wait for."""
    process = pond._process
    assert process is not None
    process.send_signal(signal.SIGTERM)
    return process


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_lets_a_running_download_end(make_pond: MakePond, upstream: ThreadedUpstream, workers: int):
    upstream.put("/file", BODY)
    pond = make_pond(config(upstream, "files"), workers=workers)
    hold = upstream.hold("/file", HALF)
    download = Download(pond, "/files/file")
    download.start()
    hold.wait_reached()
    eventually(lambda: len(download.body) > 0, "its first bytes")
    process = stopping(pond)
    eventually(lambda: refuses(pond), "no new connections")
    assert process.poll() is None
    assert not download.whole
    hold.release()
    download.join(TIMEOUT_S)
    assert download.whole
    assert download.body == BODY
    assert process.wait(TIMEOUT_S) == 0


@pytest.mark.parametrize("workers", [1, 2])
def test_sigterm_waits_no_longer_than_the_drain_time(make_pond: MakePond, upstream: ThreadedUpstream, workers: int):
    upstream.put("/file", BODY)
    pond = make_pond(config(upstream, "files", drain_timeout_s=1.0), workers=workers)
    hold = upstream.hold("/file", HALF)
    download = Download(pond, "/files/file")
    download.start()
    hold.wait_reached()
    eventually(lambda: len(download.body) > 0, "its first bytes")
    began = time.monotonic()
    assert stopping(pond).wait(TIMEOUT_S) == 0
    assert time.monotonic() - began > 0.9, "it did wait; and the hold would have kept it for ever"
    download.join(TIMEOUT_S)
    assert not download.whole
    assert len(download.body) < len(BODY)
    pond.kill()
    hold.release()
    pond.start()
    assert pond.get("/files/file").body == BODY


@pytest.mark.parametrize("how", ["SIGHUP", "millpond reload"])
def test_a_reload_brings_a_new_repository_to_every_worker(pond: PondProcess, upstream: ThreadedUpstream, how: str):
    assert {b"files"} == {name for body in of_each_worker(pond, "/").values() for name in names(body)}
    text = config(upstream, "files", "more")
    if how == "SIGHUP":
        pond.reload(text)
    else:
        (pond.folder / "millpond.toml").write_text(text)
        pond.command("reload")
    eventually(lambda: all(b"more" in names(body) for body in of_each_worker(pond, "/").values()), "all have it")
    assert set(of_each_worker(pond, "/more/file").values()) == {BODY}


def test_a_broken_file_is_refused_and_every_worker_keeps_what_it_had(pond: PondProcess, upstream: ThreadedUpstream):
    before = children(pond.pid)
    pond.reload(config(upstream, "files", "more").replace("package", "pakcage"))
    eventually(lambda: pond.log.read_text().count("not reloaded") == 1, "the supervisor says so, for all")
    assert all(names(body) == {b"files"} for body in of_each_worker(pond, "/").values())
    assert set(of_each_worker(pond, "/files/file").values()) == {BODY}
    refused = pond.command("reload", check=False)
    assert refused.returncode != 0
    assert "pakcage" in refused.stderr
    assert "Traceback" not in refused.stderr
    assert children(pond.pid) == before


def test_a_worker_that_dies_while_the_file_is_broken_comes_back_with_what_was_accepted(
    pond: PondProcess, upstream: ThreadedUpstream
):
    secret = 'username = "robot"\npassword = "canary-secret"\n'
    pond.reload(config(upstream, "files", "more") + secret)
    eventually(lambda: all(b"more" in names(body) for body in of_each_worker(pond, "/").values()), "all have it")
    pond.reload(config(upstream, "files").replace("package", "pakcage"))
    eventually(lambda: "not reloaded" in pond.log.read_text(), "it is refused")
    before = children(pond.pid)
    for killed in before:
        os.kill(killed, signal.SIGKILL)
    eventually(lambda: len(children(pond.pid) - before) == 2, "others take their places")
    assert all(names(body) == {b"files", b"more"} for body in of_each_worker(pond, "/").values())
    shown = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in (pond.pid, *children(pond.pid))]
    assert not any(b"canary-secret" in line for line in shown)
    assert not [path for path in pond.data.rglob("*") if path.is_file() and b"canary-secret" in path.read_bytes()]


def numbered(pond: PondProcess, number: int) -> int:
    """Give the process id of a worker by its number."""
    for pid in children(pond.pid):
        if Path(f"/proc/{pid}/comm").read_text() == f"millpond {number}\n":
            return pid
    raise AssertionError(f"no worker {number}")


def test_a_reload_is_over_when_the_last_worker_has_taken_it(pond: PondProcess, upstream: ThreadedUpstream):
    frozen = numbered(pond, 1)
    os.kill(frozen, signal.SIGSTOP)
    (pond.folder / "millpond.toml").write_text(config(upstream, "files", "more"))
    ended: list[int] = []
    command = threading.Thread(target=lambda: ended.append(pond.command("reload", check=False).returncode))
    command.start()
    try:
        eventually(lambda: '"repositories": ["files", "more"]' in pond.log.read_text(), "the other one has taken it")
        command.join(1)
        assert ended == [], "one has not taken it yet"
    finally:
        os.kill(frozen, signal.SIGCONT)
    command.join(TIMEOUT_S)
    assert ended == [0]
    assert all(b"more" in names(body) for body in of_each_worker(pond, "/").values())


def test_a_reload_that_a_worker_refuses_says_which_and_why_and_nothing_has_changed(
    make_pond: MakePond, upstream: ThreadedUpstream
):
    """Whether there is an index to adopt is found out by the workers only."""
    upstream.put("/file", BODY)
    pond = make_pond(config(upstream, "files"), workers=2, environ={"PIP_INDEX_URL": "file:///srv/wheels"})
    of_each_worker(pond, "/health")
    adopting = '[repositories.py]\npackage = "pypi"\nbase_url = "adopt"\n'
    (pond.folder / "millpond.toml").write_text(config(upstream, "files", "more") + adopting)
    refused = pond.command("reload", check=False)
    assert refused.returncode == 1
    for worker in ("worker 0: ", "worker 1: "):
        assert f'{worker}[repositories.py] base_url: "adopt"' in refused.stderr
    assert all(names(body) == {b"files"} for body in of_each_worker(pond, "/").values())


def names(body: bytes) -> set[bytes]:
    listed = body.partition(b'"remotes":[')[2].partition(b"]")[0]
    return {name.strip(b' "') for name in listed.split(b",") if name}


def test_workers_die_with_a_killed_supervisor_and_a_new_one_starts_at_once(pond: PondProcess):
    assert pond.get("/files/file").body == BODY
    orphans = children(pond.pid)
    assert len(orphans) == 2
    pond.kill()
    eventually(lambda: not any(alive(pid) for pid in orphans), "no worker outlives it")
    eventually(lambda: refuses(pond), "the port is free")  # a dying process may let go of it a moment later
    pond.start()  # the first try: a held port or lock would end it with its log
    assert pond.get("/files/file").headers["x-artifact-source"] == "cache"
    assert pond.stop() == 0


def test_a_stop_amid_the_start_leaves_nobody(make_pond: MakePond, upstream: ThreadedUpstream):
    """A worker whose start and the signal cross is told all the same, at whatever moment."""
    pond = make_pond(config(upstream, "files"), workers=4)
    assert pond.stop() == 0
    for early in (0, 1, 2, 3):
        process = pond.launch()
        eventually(lambda process=process, early=early: len(children(process.pid)) > early, "workers come")
        began = children(process.pid)
        process.send_signal(signal.SIGTERM)
        assert process.wait(TIMEOUT_S) == 0
        assert not any(alive(pid) for pid in began)
