"""Container engines pointed at the pond, and back."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from millpond.connect import containers
from millpond.connect.containers import NAMES, Address, plan, undo, write
from millpond.errors import BadRequest, ConfigError, Conflict, NotFound

LOCAL = Address("http://127.0.0.1:8080", "http://127.0.0.1:8081", "dockerhub")
LAN = Address("http://pond.lan:8080", "http://pond.lan:8081", "dockerhub")
SECURE = Address("https://pond.example", "https://mirror.example", "dockerhub")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "root"


@pytest.fixture
def records(tmp_path: Path) -> Path:
    return tmp_path / "state"


def daemon(root: Path) -> Path:
    return root / "etc/docker/daemon.json"


def put(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize("tool", NAMES)
@pytest.mark.parametrize("address", [LOCAL, LAN, SECURE])
def test_what_is_printed_is_what_is_written(tool, address, root, records):
    wanted = plan(tool, address, root)
    file, changed = write(tool, address, records, root)
    assert changed
    assert (file, file.read_text()) == (wanted.file, wanted.text)
    assert write(tool, address, records, root) == (file, False)
    assert undo(tool, records) == file
    assert not file.exists()
    with pytest.raises(NotFound):
        undo(tool, records)


def test_the_files_are_what_the_engines_read():
    podman = tomllib.loads(plan("podman", LAN).text)["registry"][0]
    assert podman["location"] == "docker.io"
    assert podman["mirror"] == [{"location": "pond.lan:8080/dockerhub", "insecure": True}]
    assert "insecure" not in tomllib.loads(plan("podman", SECURE).text)["registry"][0]["mirror"][0]
    host = tomllib.loads(plan("containerd", LAN).text)["host"]
    assert host == {"http://pond.lan:8080": {"capabilities": ["pull", "resolve"]}}


def test_a_mirror_by_plain_http_is_called_insecure_where_it_has_to_be():
    assert json.loads(plan("docker", LOCAL).text) == {"registry-mirrors": [LOCAL.mirror]}
    told = json.loads(plan("docker", LAN).text)
    assert told == {"registry-mirrors": [LAN.mirror], "insecure-registries": ["pond.lan:8081"]}
    assert json.loads(plan("docker", SECURE).text) == {"registry-mirrors": [SECURE.mirror]}


def test_an_engine_needs_the_listener_for_mirrors():
    with pytest.raises(BadRequest, match="mirror_listen"):
        plan("docker", Address("http://127.0.0.1:8080", "", "dockerhub"))


@pytest.mark.parametrize("url", ["", "x", "ftp://x", "http://"])
def test_an_address_that_is_none(url):
    if url:
        with pytest.raises(BadRequest):
            plan("podman", Address(url, "", "dockerhub"))
    with pytest.raises(BadRequest):
        plan("lxc", LOCAL)


def test_the_rest_of_daemon_json_stays_and_comes_back_byte_for_byte(root, records):
    text = '{"debug":true,\n "registry-mirrors": ["https://other.example"]}'
    put(daemon(root), text)
    daemon(root).chmod(0o600)
    write("docker", LAN, records, root)
    table = json.loads(daemon(root).read_text())
    assert table["debug"] is True
    assert table["registry-mirrors"] == [LAN.mirror, "https://other.example"]
    assert daemon(root).stat().st_mode & 0o777 == 0o600
    undo("docker", records)
    assert daemon(root).read_text() == text


def test_what_was_changed_since_keeps_its_change(root, records):
    put(daemon(root), '{"registry-mirrors": ["https://other.example"]}')
    write("docker", LAN, records, root)
    table = json.loads(daemon(root).read_text())
    put(daemon(root), json.dumps({**table, "debug": True}))
    with pytest.raises(Conflict):
        write("docker", LAN, records, root)
    undo("docker", records)
    assert json.loads(daemon(root).read_text()) == {"registry-mirrors": ["https://other.example"], "debug": True}


def test_another_address_takes_the_place_of_the_first(root, records):
    put(daemon(root), "{}")
    write("docker", LOCAL, records, root)
    write("docker", LAN, records, root)
    assert json.loads(daemon(root).read_text())["registry-mirrors"] == [LAN.mirror]
    undo("docker", records)
    assert daemon(root).read_text() == "{}"


def test_a_daemon_json_put_back_by_hand_is_neither_a_conflict_nor_written_anew(root, records):
    text = '{"debug":true,\n "registry-mirrors": ["https://other.example"]}'
    put(daemon(root), text)
    write("docker", LOCAL, records, root)
    put(daemon(root), text)
    undo("docker", records)
    assert daemon(root).read_text() == text
    write("docker", LOCAL, records, root)
    put(daemon(root), text)
    assert write("docker", LAN, records, root)[1]
    assert LAN.mirror in daemon(root).read_text()
    undo("docker", records)
    assert daemon(root).read_text() == text


def test_death_while_another_address_takes_the_place_of_the_first_leaves_the_way_back(root, records, monkeypatch):
    put(daemon(root), "{}")
    write("docker", LOCAL, records, root)
    replace_file = containers.replace_file

    def dies(file: Path, content: bytes, mode: int) -> None:
        if LAN.mirror.encode() in content:
            raise OSError
        replace_file(file, content, mode)

    monkeypatch.setattr(containers, "replace_file", dies)
    with pytest.raises(OSError):  # noqa: PT011 - any
        write("docker", LAN, records, root)
    undo("docker", records)
    assert daemon(root).read_text() == "{}"


def test_a_daemon_json_behind_a_link_stays_behind_it(root, records, tmp_path):
    real = tmp_path / "real.json"
    real.write_text("{}")
    daemon(root).parent.mkdir(parents=True)
    daemon(root).symlink_to(real)
    write("docker", LOCAL, records, root)
    assert daemon(root).is_symlink()
    assert LOCAL.mirror in real.read_text()
    undo("docker", records)
    assert daemon(root).is_symlink()
    assert real.read_text() == "{}"


@pytest.mark.parametrize("text", ["{", "[]", '{"registry-mirrors": "x"}'])
def test_a_daemon_json_that_no_engine_reads_is_left_alone(root, records, text):
    put(daemon(root), text)
    with pytest.raises(ConfigError):
        write("docker", LOCAL, records, root)
    assert daemon(root).read_text() == text


@pytest.mark.parametrize("tool", ["containerd", "podman"])
def test_somebody_elses_file_is_left_alone(root, records, tool):
    put(plan(tool, LOCAL, root).file, "# mine\n")
    with pytest.raises(Conflict, match="by hand"):
        write(tool, LOCAL, records, root)
    assert plan(tool, LOCAL, root).file.read_text() == "# mine\n"


@pytest.mark.parametrize("tool", ["containerd", "podman"])
def test_our_file_that_was_changed_is_its_owners(root, records, tool):
    file, _ = write(tool, LOCAL, records, root)
    file.write_text("# changed\n")
    with pytest.raises(Conflict):
        undo(tool, records)


def test_the_record_comes_first(root, records, monkeypatch):
    """Nothing is changed before what was there is saved."""

    def fails(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(containers.saved, "save", fails)
    put(daemon(root), "{}")
    with pytest.raises(OSError):  # noqa: PT011 - any
        write("docker", LOCAL, records, root)
    assert daemon(root).read_text() == "{}"
