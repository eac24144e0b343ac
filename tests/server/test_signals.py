"""Signals at bad moments: a reload before there is anything to reload, a second stop, a transfer that outlasts both."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time

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
TIMEOUT_S = 30.0


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
    pond = transfer(8)
    began = time.monotonic()
    assert pond.stop() == 0
    assert 7.5 < time.monotonic() - began < 40


def test_a_second_stop_does_not_wait_for_transfers(transfer):
    pond = transfer(60)
    os.kill(pond.pid, signal.SIGTERM)
    time.sleep(0.5)
    began = time.monotonic()
    assert pond.stop() == 0
    assert time.monotonic() - began < 40
