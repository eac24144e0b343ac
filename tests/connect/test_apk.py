"""apk pointed at the pond, and back: only addresses change, and only those of mirrors that the pond draws from."""

from __future__ import annotations

import pytest

from millpond.adopt import Machine, Pond, adopt_apk, run_tool
from millpond.connect import apk, this_machine
from millpond.errors import BadRequest, Conflict, NotFound

LIST = (
    "# mine\nhttp://a.example/alpine/v3.20/main\n@edge http://a.example/alpine/edge/testing/\n/media/apks\n"
    "http://other.example/x\n"
)
MIRRORS = {"http://a.example/alpine/": "alpine", "http://b.example/own": "own"}
URL = "http://pond.example:8080"


@pytest.fixture
def etc(tmp_path):
    folder = tmp_path / "etc/apk/repositories.d"
    folder.mkdir(parents=True)
    (folder.parent / "repositories").write_text(LIST)
    (folder / "own.list").write_text("v2 http://b.example/own main\n")
    return folder.parent


@pytest.fixture
def machine(tmp_path):
    return Machine({}, tmp_path, run_tool, tmp_path)


@pytest.fixture
def records(tmp_path):
    return tmp_path / ".local/state/millpond/connect"


def pointed(text: str) -> str:
    return text.replace("http://a.example/alpine/edge/testing/", f"{URL}/alpine/edge/testing").replace(
        "http://a.example", URL
    )


def test_printing_changes_nothing(machine, etc):
    changes, notes = apk.plan(machine, URL, MIRRORS)
    assert [change.after for change in changes] == [pointed(LIST), f"v2 {URL}/own main\n"]
    assert [note for note in notes if "other.example" in note] == notes
    assert (etc / "repositories").read_text() == LIST


def test_written_and_taken_back(machine, etc, records):
    files, _ = apk.write(machine, URL, MIRRORS, records)
    assert len(files) == 2
    assert (etc / "repositories").read_text() == pointed(LIST)
    assert sorted(apk.undo(records)) == sorted(files)
    assert (etc / "repositories").read_text() == LIST
    with pytest.raises(NotFound, match="nothing to undo"):
        apk.undo(records)


def test_once_written_there_is_nothing_more_to_do_and_nothing_of_it_is_adopted(machine, etc, records):
    apk.write(machine, URL, MIRRORS, records)
    again = this_machine({}, machine.home, Pond.at("127.0.0.1", 9999), root=machine.root)
    assert apk.write(again, URL, MIRRORS, records)[0] == []
    found = {one.base_url for one in adopt_apk(again)}
    assert "http://a.example/alpine" in found
    assert not any(URL in base for base in found)


def test_what_was_added_since_stays_when_it_is_taken_back(machine, etc, records):
    apk.write(machine, URL, MIRRORS, records)
    file = etc / "repositories"
    file.write_text("# new\n" + file.read_text() + "http://more.example/y\n")
    apk.undo(records)
    assert file.read_text() == "# new\n" + LIST + "http://more.example/y\n"


def test_lines_of_ours_that_were_changed_are_left_to_their_owner(machine, etc, records):
    apk.write(machine, URL, MIRRORS, records)
    file = etc / "repositories"
    file.write_text(file.read_text().replace("v3.20", "v3.21"))
    with pytest.raises(Conflict, match="by hand"):
        apk.undo(records)


def test_the_nearest_repository_is_the_one(machine, etc):
    mirrors = MIRRORS | {"http://a.example/alpine/edge": "edge"}
    [change, _] = apk.plan(machine, URL, mirrors)[0]
    assert f"{URL}/alpine/v3.20/main\n" in change.after
    assert f"{URL}/edge/testing\n" in change.after


def test_a_distribution_s_own_list_is_left_alone_and_named(machine, etc, tmp_path):
    folder = tmp_path / "lib/apk/repositories.d"
    folder.mkdir(parents=True)
    (folder / "alpine.list").write_text("http://a.example/alpine/v3.20/main\n")
    changes, notes = apk.plan(machine, URL, MIRRORS)
    assert all(change.file.parent != folder for change in changes)
    assert any("distribution" in note for note in notes)


@pytest.mark.parametrize(
    ("environ", "told"),
    [
        ({"http_proxy": "http://me:canary@p.example"}, True),
        ({"HTTP_PROXY": "http://p.example"}, True),
        ({"http_proxy": "http://p.example", "no_proxy": "localhost,pond.example"}, False),
        ({"http_proxy": "http://p.example", "no_proxy": "localhost, .Example"}, False),
        ({"http_proxy": "http://p.example", "NO_PROXY": "*"}, False),
        ({"http_proxy": "http://p.example", "no_proxy": "ond.example"}, True),
        ({"https_proxy": "http://p.example"}, False),
        ({}, False),
    ],
)
def test_a_proxy_that_would_be_asked_for_the_pond_is_told_of(tmp_path, etc, environ, told):
    notes = [
        note
        for note in apk.plan(Machine(environ, tmp_path, run_tool, tmp_path), URL, MIRRORS)[1]
        if "the proxy " in note
    ]
    assert [("http://p.example" in note, "put pond.example into no_proxy" in note) for note in notes] == [
        (True, True)
    ] * told
    assert "canary" not in str(notes)


@pytest.mark.parametrize("url", ["pond.example", "http://user:x@pond.example", "ftp://pond.example"])
def test_an_address_that_is_none_is_refused(machine, etc, url):
    with pytest.raises(BadRequest, match="address"):
        apk.plan(machine, url, MIRRORS)
