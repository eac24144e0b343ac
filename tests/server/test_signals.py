"""Signals at bad moments: a reload before there is anything to reload, a second stop, a transfer that outlasts both."""

from __future__ import annotations

import contextlib
import os
import resource
import signal
import socket
import time
from pathlib import Path

import pytest

from millpond.testing.behaviours import Slow
from millpond.testing.pond import PondProcess

pytestmark = pytest.mark.fault
CONFIG = """
[server]
drain_timeout_s = DRAIN
[repositories.files]
package = "generic"
base_url = "URL"
"""
TIMEOUT_S = 60.0


def configured(upstream, drain_s):
    return CONFIG.replace("URL", upstream.url).replace("DRAIN", str(drain_s))


@pytest.mark.parametrize("workers", [1, 2])
def test_a_reload_that_comes_while_it_starts_does_not_end_it(tmp_path, upstream, workers):
    pond = PondProcess(tmp_path / "pond", configured(upstream, 1), workers=workers)
    process = pond.launch()
    until = time.monotonic() + TIMEOUT_S
    try:
        while not (pond.data / "lock").exists():
            assert time.monotonic() < until
            time.sleep(0.002)
        os.kill(process.pid, signal.SIGHUP)
        while "reloaded" not in pond.log.read_text():
            assert process.poll() is None, pond.log.read_text()
            assert time.monotonic() < until, pond.log.read_text()
            time.sleep(0.05)
        assert "a worker died" not in pond.log.read_text()
    finally:
        pond.kill()


def processor_s(pids):
    """Give the processor time that processes have taken so far."""
    words = [Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in pids]
    return sum(int(each[11]) + int(each[12]) for each in words) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("workers", [1, 2])
def test_a_stop_of_an_idle_pond_is_a_small_part_of_the_work_of_its_start(make_pond, upstream, workers):
    """In processor time, which a busy machine does not stretch as it does seconds; for each process that is stopped.

    With nothing frozen (`server.daemon.leave`) it was .44 s for one and .37 s for two workers, of 1.1 s.
    """
    pond = make_pond(configured(upstream, 30), workers=workers)
    with contextlib.ExitStack() as connections:
        for _ in range(8 * workers):  # idle ones, of every worker
            connections.enter_context(socket.create_connection((pond.host, pond.port)))
        pids = [pond.pid, *map(int, Path(f"/proc/{pond.pid}/task/{pond.pid}/children").read_text().split())]
        assert len(pids) == 1 if workers == 1 else 3
        ended = resource.getrusage(resource.RUSAGE_CHILDREN)
        started_s = processor_s(pids)
        assert pond.stop() == 0
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    stopping_s = usage.ru_utime - ended.ru_utime + usage.ru_stime - ended.ru_stime - started_s
    assert stopping_s < len(pids) * started_s / 16, (stopping_s, started_s)


@pytest.fixture
def transfer(make_pond, upstream):
    """Start a pond with a transfer under way that takes for ever; gives the pond's maker."""
    upstream.put("/large.bin", bytes(4 << 20))
    upstream.always("/large.bin", Slow(bytes_per_s=100_000))
    with contextlib.ExitStack() as clients:

        def make(drain_s):
            pond = make_pond(configured(upstream, drain_s))
            client = clients.enter_context(socket.create_connection((pond.host, pond.port)))
            client.sendall(b"GET /files/large.bin HTTP/1.1\r\nHost: pond.test\r\n\r\n")
            assert b" 200 " in client.recv(1000)
            return pond

        yield make


def test_a_transfer_that_does_not_end_holds_a_stop_up_for_the_drain_time_once(transfer):
    pond = transfer(15)
    began = time.monotonic()
    assert pond.stop() == 0
    assert 14.5 < time.monotonic() - began < 30


def test_a_second_stop_does_not_wait_for_transfers(transfer):
    pond = transfer(60)
    os.kill(pond.pid, signal.SIGTERM)
    time.sleep(0.5)
    began = time.monotonic()
    assert pond.stop() == 0
    assert time.monotonic() - began < 40
