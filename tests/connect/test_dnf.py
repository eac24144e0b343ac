"""dnf pointed at the pond, and back: only addresses change, and only those of repositories that the pond draws from."""

from __future__ import annotations

import pytest

from millpond.adopt import Machine, Pond, adopt_rpm
from millpond.connect import dnf, this_machine
from millpond.errors import BadRequest, Conflict, NotFound

FIRST = """# mine
[base]
name=Base
baseurl=http://a.example/$releasever/os/
        http://b.example/$releasever/os/
mirrorlist=https://l.example/list
gpgkey=file:///etc/pki/key

[other]
baseurl=http://other.example/x
"""
SECOND = "[fedora]\nmetalink=https://l.example/metalink?repo=f-$releasever\nenabled=1\n[epel]\nmirrorlist=https://l.example/epel\n"
REPOSITORIES = {
    "http://a.example/9/os": "base",
    "metalink+https://l.example/metalink?repo=f-9": "fedora",
    "mirrorlist+https://l.example/epel": "epel",
}
URL = "http://pond.example:8080"
TOOLS = {"uname": "x86_64\n", "rpm": "9\n"}


def run(argv):
    return TOOLS.get(argv[0])


@pytest.fixture
def repos(tmp_path):
    folder = tmp_path / "etc/yum.repos.d"
    folder.mkdir(parents=True)
    (folder / "first.repo").write_text(FIRST)
    (folder / "second.repo").write_text(SECOND)
    return folder


@pytest.fixture
def machine(tmp_path):
    return Machine({}, tmp_path, run, tmp_path)


@pytest.fixture
def records(tmp_path):
    return tmp_path / ".local/state/millpond/connect"


def test_printing_changes_nothing(machine, repos):
    changes, notes = dnf.plan(machine, URL, REPOSITORIES)
    assert [change.file.name for change in changes] == ["first.repo", "second.repo"]
    assert changes[0].after == FIRST.replace(
        "http://a.example/$releasever/os/\n        http://b.example/$releasever/os/", f"{URL}/base/"
    ).replace("mirrorlist=", "#mirrorlist=")
    assert changes[1].after == SECOND.replace(
        "https://l.example/metalink?repo=f-$releasever", f"{URL}/fedora/metalink"
    ).replace("https://l.example/epel", f"{URL}/epel/mirrorlist")
    assert len(notes) == 1
    assert "other.example" in notes[0]
    assert (repos / "first.repo").read_text() == FIRST


def test_written_and_taken_back(machine, repos, records):
    files, _ = dnf.write(machine, URL, REPOSITORIES, records)
    assert len(files) == 2
    assert f"{URL}/fedora/metalink" in (repos / "second.repo").read_text()
    assert dnf.undo(records) == files
    assert ((repos / "first.repo").read_text(), (repos / "second.repo").read_text()) == (FIRST, SECOND)
    with pytest.raises(NotFound, match="nothing to undo"):
        dnf.undo(records)


def test_once_written_there_is_nothing_more_to_do(machine, repos, records):
    dnf.write(machine, URL, REPOSITORIES, records)
    again = this_machine({}, machine.home, Pond.at("pond.example", 8080), run=run, root=machine.root)
    files, notes = dnf.write(again, URL, REPOSITORIES, records)
    assert (files, len(notes)) == ([], 1)


def test_what_was_changed_since_stays_when_it_is_taken_back(machine, repos, records):
    dnf.write(machine, URL, REPOSITORIES, records)
    file = repos / "first.repo"
    file.write_text(file.read_text().replace("http://other.example/x", "http://more.example/y"))
    dnf.undo(records)
    assert file.read_text() == FIRST.replace("http://other.example/x", "http://more.example/y")


def test_lines_of_ours_that_were_changed_are_left_to_their_owner(machine, repos, records):
    dnf.write(machine, URL, REPOSITORIES, records)
    file = repos / "first.repo"
    file.write_text(file.read_text().replace(f"{URL}/base/", f"{URL}/base/9/"))
    with pytest.raises(Conflict, match="by hand"):
        dnf.undo(records)
    assert (repos / "second.repo").read_text() != SECOND, "all of it or nothing"
    with pytest.raises(Conflict, match="--undo"):
        dnf.write(machine, URL, {"http://other.example/x": "other"}, records)


def test_adoption_knows_what_was_there_before(machine, repos, records):
    dnf.write(machine, URL, REPOSITORIES, records)
    known = this_machine({}, machine.home, Pond.at("127.0.0.1", 9999, public_url=URL), run=run, root=machine.root)
    found = {one.base_url for one in adopt_rpm(known)}
    assert found == {*REPOSITORIES, "http://other.example/x"}


def test_credentials_and_proxy_of_an_upstream_are_not_for_the_pond(machine, repos, records):
    text = (
        "[base]\nusername=you\nbaseurl=http://a.example/9/os/\npassword=canary,\n  with words\nproxy=http://p.example\n"
        "[fedora]\nproxy=_none_\nmetalink=https://l.example/metalink?repo=f-9\n[other]\npassword=kept\n"
        "baseurl=http://other.example/x\n"
    )
    (repos / "second.repo").write_text(text)
    dnf.write(machine, URL, REPOSITORIES, records)
    assert (repos / "second.repo").read_text() == (
        f"[base]\n#username=you\nbaseurl={URL}/base/\n#password=canary,\n#  with words\n#proxy=http://p.example\n"
        f"[fedora]\nproxy=_none_\nmetalink={URL}/fedora/metalink\n[other]\npassword=kept\n"
        "baseurl=http://other.example/x\n"
    )
    known = this_machine({}, machine.home, Pond.at("127.0.0.1", 9999, public_url=URL), run=run, root=machine.root)
    logins = {one.base_url: (one.username, one.password) for one in adopt_rpm(known)}
    assert logins["http://a.example/9/os"] == ("you", "canary, with words"), "adoption still knows them"
    dnf.undo(records)
    assert (repos / "second.repo").read_text() == text


@pytest.mark.parametrize("url", ["pond.example", "http://user:x@pond.example", "ftp://pond.example"])
def test_an_address_that_is_none_is_refused(machine, repos, url):
    with pytest.raises(BadRequest, match="address"):
        dnf.plan(machine, url, REPOSITORIES)
