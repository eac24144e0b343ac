"""Docker Hub's images: from the engine's mirrors, else from the Hub, never from the pond itself."""

from __future__ import annotations

import json

import pytest

from millpond.adopt import Adopted, Pond, Skipped, adopt_docker
from millpond.adopt.docker import public_registry
from millpond.adopt.machine import run_tool

PUBLIC = "https://hub.example"
FILE = "etc/docker/daemon.json"


def tells(_argv):
    return f"{PUBLIC}/v1/\n"


@pytest.fixture
def engine(machine, tmp_path):
    """A machine with a docker in its PATH, and mirrors in its daemon.json."""

    def make(*mirrors, files=None, **more):
        tool = tmp_path / "bin/docker"
        tool.parent.mkdir(exist_ok=True)
        tool.write_text("")
        tool.chmod(0o755)
        there = {FILE: json.dumps({"registry-mirrors": mirrors})} if mirrors else {}
        environ = {"PATH": "$ROOT/bin"}
        return machine(files={**there, **(files or {})}, environ=environ, run=more.pop("run", tells), **more)

    return make


def test_the_first_mirror_is_taken(engine):
    found = adopt_docker(engine("https://mirror.example/", "https://second.example"))
    assert (found.repository, found.package, found.base_url) == ("dockerhub", "docker", "https://mirror.example/")
    assert FILE in found.found_in


def test_without_one_it_is_the_hub_itself(engine):
    found = adopt_docker(engine())
    assert isinstance(found, Adopted)
    assert found.base_url == PUBLIC


def test_where_there_is_no_container_client_nothing_is_adopted(machine):
    found = adopt_docker(machine(run=tells))
    assert isinstance(found, Skipped)
    assert "base_url" in found.reason


def test_a_library_that_does_not_tell_is_said_so(engine):
    for said in (None, "", "nonsense", "ftp://x/"):
        assert isinstance(adopt_docker(engine(run=lambda _argv, said=said: said)), Skipped)


@pytest.mark.parametrize("ours", ["http://127.0.0.1:8081", "http://localhost:8081/", "http://127.0.0.1:8080"])
def test_the_pond_does_not_adopt_itself(engine, ours):
    pond = Pond.at("127.0.0.1", 8080, mirror_port=8081)
    assert adopt_docker(engine(ours, pond=pond)).base_url == PUBLIC
    assert adopt_docker(engine(ours, "https://mirror.example", pond=pond)).base_url == "https://mirror.example"
    other = "http://127.0.0.1:5000"
    assert adopt_docker(engine(other, pond=pond)).base_url == other


def test_what_was_there_before_it_was_connected_is_taken(engine):
    before = json.dumps({"registry-mirrors": ["https://mirror.example"]})
    pond = Pond.at("127.0.0.1", 8080, written=["http://pond.lan:8081"])
    found = adopt_docker(engine("http://pond.lan:8081", pond=pond, earlier={FILE: before}))
    assert found.base_url == "https://mirror.example"
    assert adopt_docker(engine("http://pond.lan:8081", pond=pond, earlier={FILE: None})).base_url == PUBLIC


@pytest.mark.parametrize("text", ["{", "[]", '{"registry-mirrors": 3}', '{"registry-mirrors": [1, null]}', "", " "])
def test_a_file_that_says_nothing_is_passed_over(engine, text):
    assert adopt_docker(engine(files={FILE: text})).base_url == PUBLIC


def test_a_mirror_that_can_be_none_is_passed_over_and_told(engine):
    found = adopt_docker(engine("ftp://me:canary@x.example", "https://mirror.example"))
    assert found.base_url == "https://mirror.example"
    assert "canary" not in str(found.notes)
    assert "ftp://x.example" in found.notes[0]


def test_a_rootless_engines_own_file_comes_first(engine, tmp_path):
    mine = json.dumps({"registry-mirrors": ["https://mine.example"]})
    found = adopt_docker(engine("https://mirror.example", files={"home/.config/docker/daemon.json": mine}))
    assert found.base_url == "https://mine.example"


@pytest.mark.process
def test_the_library_really_tells():
    told = public_registry(run_tool)
    assert told is not None
    assert told.startswith("https://")
    assert told.endswith(".docker.io")
