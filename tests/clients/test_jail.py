"""The other tests mean nothing unless the pond is the clients' only way out."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from tests import jail as jails
from tests.clients.conftest import MakeMill
from tests.clients.programs import Client, Room
from tests.wheels import Wheel

from millpond.testing.upstream import ThreadedUpstream

pytestmark = pytest.mark.client
DOCUMENTATION_HOST = "192.0.2.1"  # RFC 5737: an address of the outside that is nobody's


def connects(room: Room, host: str, port: int) -> bool:
    program = f"import socket; socket.create_connection(({host!r}, {port}), 3).close()"
    return room.run([sys.executable, "-c", program]).ok


@pytest.mark.parametrize("index", ["json"], indirect=True)
def test_the_pond_is_reached_and_nothing_else(room: Room, outside: Room, mill: MakeMill, upstream: ThreadedUpstream):
    pond = mill().pond
    assert connects(room, pond.host, pond.port)
    assert connects(outside, "127.0.0.1", upstream.port)
    assert not connects(room, "127.0.0.1", upstream.port)
    assert not connects(room, pond.host, upstream.port)
    assert not connects(room, DOCUMENTATION_HOST, 443)


def test_nothing_leads_out_of_the_jail(jail: jails.Jail, room: Room):
    routes = room.run([jails._ip_path(), "-j", "route", "show"])
    assert routes.ok
    assert "default" not in routes.output
    assert routes.output.count('"dst"') == 1


@pytest.mark.parametrize("index", ["json"], indirect=True)
def test_a_client_in_the_jail_can_not_use_the_upstream(
    client: Client, room: Room, outside: Room, mill: MakeMill, tmp_path: Path
):
    index = mill().index
    index.add(Wheel("alpha", "1.0"))
    assert not client.install(room, index.url, tmp_path / "inside", "alpha").ok
    assert not index.asked("alpha")
    assert client.install(outside, index.url, tmp_path / "direct", "alpha").ok


def test_what_a_killed_run_left_is_swept(jail: jails.Jail):
    with subprocess.Popen([sys.executable, "-c", "pass"]) as gone:
        gone.wait()
    name = f"{jails.PREFIX}{gone.pid}"
    jails._ip("netns", "add", name)
    jails._ip("link", "add", name, "type", "veth", "peer", "name", "inner", "netns", name)
    jails.sweep()
    assert name not in jails._ip("netns", "list").split()
    assert name not in jails._ip("-br", "link")
    assert jail.name in jails._ip("netns", "list").split()
