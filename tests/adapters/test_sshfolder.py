"""The folder of ssh's sockets: private, and short."""

from __future__ import annotations

import os
import socket
from pathlib import Path

import pytest

from millpond.adapters.ssh import MAX_SOCKET_PATH, Connections
from millpond.adapters.sshfolder import socket_folder
from millpond.hosts.address import Address
from millpond.hosts.model import HostOptions


def test_it_is_private_even_where_it_was_there_and_old_sockets_are_gone(tmp_path: Path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("d/ssh/0")
    folder.mkdir(parents=True, mode=0o755)
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(folder / "old"))
    (folder / "file").write_text("not ours")
    made = socket_folder(Path("d"), 0)
    if len(str(tmp_path)) < 50:
        assert made == tmp_path / "d/ssh/0"
        assert [path.name for path in made.iterdir()] == ["file"]
    assert made.stat().st_mode & 0o777 == 0o700


def test_a_long_data_directory_gets_a_short_one(tmp_path: Path):
    made = socket_folder(tmp_path / ("x" * 100), 3)
    options = HostOptions("h" * 64, Address("web1", "u"))
    assert len(os.fsencode(Connections(made).socket(options))) <= MAX_SOCKET_PATH
    assert made.stat().st_mode & 0o777 == 0o700
    assert socket_folder(tmp_path / ("x" * 100), 3) == made, "a killed one is found again"
    assert socket_folder(tmp_path / ("x" * 100), 4) != made
    socket_folder(tmp_path / ("x" * 100), 4).rmdir()
    made.rmdir()


@pytest.mark.parametrize("trap", ["open to others", "a link", "a file"])
def test_one_that_is_not_ours_alone_is_not_used(tmp_path: Path, trap: str):
    place = tmp_path / ("x" * 100)
    made = socket_folder(place, 3)
    made.rmdir()
    if trap == "a link":
        (tmp_path / "elsewhere").mkdir(mode=0o700)
        made.symlink_to(tmp_path / "elsewhere")
    elif trap == "a file":
        made.write_text("")
    else:
        made.mkdir()
        made.chmod(0o777)
    other = socket_folder(place, 3)
    assert other != made
    other.rmdir()
    made.rmdir() if trap == "open to others" else made.unlink()


def test_hosts_have_sockets_of_their_own_and_other_credentials_another_one(tmp_path: Path):
    connections = Connections(tmp_path)
    options = [
        HostOptions("a", Address("h")),
        HostOptions("b", Address("h")),
        HostOptions("a", Address("h", "u")),
        HostOptions("a", Address("h"), identity_file="/k"),
        HostOptions("a", Address("h"), known_hosts="/k"),
    ]
    assert len({connections.socket(one) for one in options}) == len(options)
