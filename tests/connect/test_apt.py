"""apt pointed at the pond, and back: only addresses change, and only those of archives that the pond draws from."""

from __future__ import annotations

import pytest

from millpond.adopt import Machine, Pond, run_tool
from millpond.connect import apt, this_machine
from millpond.errors import BadRequest, Conflict, NotFound

LIST = "deb [signed-by=/k.gpg] http://a.example/debian stable main # mine\ndeb http://other.example/x ./\n"
STANZAS = "Types: deb\nURIs: http://a.example/debian/ http://b.example/sec\nSuites: stable\nSigned-By: /k.gpg\n"
ARCHIVES = {"http://a.example/debian": "debian", "http://b.example/sec/": "sec"}
URL = "http://pond.example:8080"


@pytest.fixture
def etc(tmp_path):
    folder = tmp_path / "etc/apt/sources.list.d"
    folder.mkdir(parents=True)
    (folder.parent / "sources.list").write_text(LIST)
    (folder / "debian.sources").write_text(STANZAS)
    return folder.parent


@pytest.fixture
def machine(tmp_path):
    return Machine({}, tmp_path, run_tool, tmp_path)


@pytest.fixture
def records(tmp_path):
    return tmp_path / ".local/state/millpond/connect"


def test_printing_changes_nothing(machine, etc):
    changes, notes = apt.plan(machine, URL, ARCHIVES)
    assert [change.file.name for change in changes] == ["sources.list", "debian.sources"]
    assert changes[0].after == LIST.replace("http://a.example/debian", f"{URL}/debian/")
    assert any("other.example" in note for note in notes)
    assert (etc / "sources.list").read_text() == LIST


def test_written_and_taken_back(machine, etc, records):
    files, _ = apt.write(machine, URL, ARCHIVES, records)
    assert len(files) == 2
    assert (etc / "sources.list.d/debian.sources").read_text() == STANZAS.replace(
        "http://a.example/debian/ http://b.example/sec", f"{URL}/debian/ {URL}/sec/"
    )
    assert apt.undo(records) == sorted(files, key=lambda file: file.name)
    assert (etc / "sources.list").read_text() == LIST
    assert (etc / "sources.list.d/debian.sources").read_text() == STANZAS
    with pytest.raises(NotFound, match="nothing to undo"):
        apt.undo(records)


def test_once_written_there_is_nothing_more_to_do(machine, etc, records):
    apt.write(machine, URL, ARCHIVES, records)
    pond = Pond.at("pond.example", 8080)
    again = this_machine({}, machine.home, pond, root=machine.root)
    assert apt.write(again, URL, ARCHIVES, records)[0] == []
    assert [("other.example" in note) for note in apt.plan(again, URL, ARCHIVES)[1]] == [True]


def test_what_was_added_since_stays_when_it_is_taken_back(machine, etc, records):
    apt.write(machine, URL, ARCHIVES, records)
    file = etc / "sources.list"
    file.write_text("# new\n" + file.read_text() + "deb http://more.example/y ./\n")
    apt.undo(records)
    assert file.read_text() == "# new\n" + LIST + "deb http://more.example/y ./\n"


def test_lines_of_ours_that_were_changed_are_left_to_their_owner(machine, etc, records):
    apt.write(machine, URL, ARCHIVES, records)
    file = etc / "sources.list"
    file.write_text(file.read_text().replace("stable main", "testing main"))
    with pytest.raises(Conflict, match="by hand"):
        apt.undo(records)
    assert (etc / "sources.list.d/debian.sources").read_text() != STANZAS, "all of it or nothing"


def test_the_mode_of_a_list_stays_and_a_link_is_followed(machine, etc, records, tmp_path):
    real = tmp_path / "real.list"
    real.write_text(LIST)
    real.chmod(0o640)
    (etc / "sources.list").unlink()
    (etc / "sources.list").symlink_to(real)
    apt.write(machine, URL, ARCHIVES, records)
    assert (etc / "sources.list").is_symlink()
    assert (real.stat().st_mode & 0o777, URL in real.read_text()) == (0o640, True)


def test_adoption_knows_what_was_there_before(machine, etc, records):
    apt.write(machine, URL, ARCHIVES, records)
    from millpond.adopt import adopt_apt

    known = this_machine({}, machine.home, Pond.at("127.0.0.1", 9999), root=machine.root)
    found = {one.base_url for one in adopt_apt(known)}
    assert found == {"http://a.example/debian", "http://b.example/sec", "http://other.example/x"}


def notes_of_proxies(machine):
    return [note for note in apt.plan(machine, URL, ARCHIVES)[1] if "the proxy " in note]


@pytest.mark.parametrize(
    "setting",
    [
        'Acquire::http::Proxy "http://you:canary@p.example:3128";',
        'Acquire { http { Proxy "http://p.example:3128"; }; };',
    ],
)
def test_a_proxy_that_would_be_asked_for_the_pond_is_told_of_until_the_pond_is_exempt(machine, etc, setting):
    assert notes_of_proxies(machine) == []
    folder = etc / "apt.conf.d"
    folder.mkdir()
    (folder / "proxy").write_text(setting)
    [note] = notes_of_proxies(machine)
    assert "http://p.example:3128" in note
    assert 'Acquire::http::Proxy::pond.example "DIRECT";' in note
    assert "canary" not in note
    (folder / "zz").write_text('Acquire::http::Proxy::pond.example "DIRECT";\n')
    assert notes_of_proxies(machine) == []


def test_a_proxy_of_the_environment_is_told_of_too(tmp_path, etc):
    environ = {"http_proxy": "http://p.example:3128", "https_proxy": "http://s.example"}
    [note] = notes_of_proxies(Machine(environ, tmp_path, run_tool, tmp_path))
    assert "p.example" in note
    assert notes_of_proxies(Machine(environ | {"no_proxy": ".example"}, tmp_path, run_tool, tmp_path)) == []


@pytest.mark.parametrize("url", ["pond.example", "http://user:x@pond.example", "ftp://pond.example"])
def test_an_address_that_is_none_is_refused(machine, etc, url):
    with pytest.raises(BadRequest, match="address"):
        apt.plan(machine, url, ARCHIVES)
