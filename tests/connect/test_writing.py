"""Tools pointed at the pond, and back."""

from __future__ import annotations

import pytest

from millpond import connect
from millpond.adopt import Pond, adopt_pypi
from millpond.connect.writing import this_machine
from millpond.errors import BadRequest, ConfigError, Conflict, NotFound

POND = "http://127.0.0.1:8080"
URL = f"{POND}/pypi/simple/"
PUBLIC, PRIVATE = "https://public.example/simple", "https://me:canary@corp.example/simple/"
FILES = {"pip": ".config/pip/pip.conf", "uv": ".config/uv/uv.toml"}
EMPTY = {"pip": f"[global]\nindex-url = {URL}\n", "uv": f'[[index]]\nurl = "{URL}"\ndefault = true\n'}
SET = {"pip": "[global]\n# c\nindex-url = {}\n\n", "uv": '# c\n[[index]]\ndefault = true\nurl = "{}"  # d\n\n[pip]\n'}


class Home:
    """A user's home below the test's folder, with all the connecting done in it."""

    def __init__(self, root):
        self.root, self.home, self.environ = root, root / "home", {}
        self.home.mkdir()

    def file(self, tool):
        return self.home / FILES[tool]

    def put(self, tool, text):
        self.file(tool).parent.mkdir(parents=True, exist_ok=True)
        self.file(tool).write_bytes(text.encode())

    def text(self, tool):
        return self.file(tool).read_bytes().decode()

    def write(self, tool, pond=POND, **options):
        return connect.write(tool, pond, self.environ, self.home, run=self.run, root=self.root, **options)

    def undo(self, tool):
        return connect.undo(tool, self.environ, self.home)

    def run(self, _argv):
        return PUBLIC + "\n"

    def records(self):
        return sorted(file.name for file in (self.home / ".local/state/millpond/connect").iterdir())


@pytest.fixture
def home(tmp_path):
    return Home(tmp_path)


both = pytest.mark.parametrize("tool", ["pip", "uv"])


@both
def test_a_tool_without_a_file_gets_one_and_loses_it_again(tool, home):
    assert home.write(tool).changed
    assert home.text(tool) == EMPTY[tool]
    assert home.undo(tool).changed
    assert not home.file(tool).exists()
    assert home.records() == []


@both
@pytest.mark.parametrize("url", [PUBLIC, PUBLIC + "/"])
def test_the_public_index_is_replaced_in_place_and_comes_back_byte_for_byte(tool, url, home):
    before = SET[tool].format(url)
    home.put(tool, before)
    home.write(tool)
    assert home.text(tool) == SET[tool].format(URL)
    home.undo(tool)
    assert home.text(tool) == before


@both
@pytest.mark.parametrize("end", ["\n", "\r\n", ""])
def test_what_else_is_in_the_file_stays_and_comes_back(tool, end, home):
    before = {"pip": "# c\n[list]\nformat = json", "uv": "# c\noffline = false\n[pip]\nstrict = true"}[tool]
    before = before.replace("\n", end or "\n") + end
    home.put(tool, before)
    home.write(tool)
    assert home.text(tool).startswith(before)
    assert URL in home.text(tool)
    home.undo(tool)
    assert home.text(tool) == before


@both
def test_a_private_index_is_never_replaced(tool, home):
    home.put(tool, SET[tool].format(PRIVATE))
    with pytest.raises(Conflict) as caught:
        home.write(tool)
    assert "corp.example" in str(caught.value)
    assert "canary" not in str(caught.value)
    assert home.text(tool) == SET[tool].format(PRIVATE)
    assert not (home.home / ".local").exists()


@both
@pytest.mark.parametrize("url", ["file:///srv/wheels", "/srv/wheels"])
def test_a_folder_is_a_private_index_too(tool, url, home):
    home.put(tool, SET[tool].format(url))
    with pytest.raises(Conflict, match="/srv/wheels"):
        home.write(tool)


@both
def test_a_private_index_that_the_pond_draws_from_is_replaced(tool, home):
    home.put(tool, SET[tool].format(PRIVATE))
    home.write(tool, upstreams=["https://corp.example/simple"])
    assert home.text(tool) == SET[tool].format(URL)
    home.undo(tool)
    assert home.text(tool) == SET[tool].format(PRIVATE)


def test_the_machines_private_index_is_not_hidden_by_the_users_file(home):
    (home.root / "etc").mkdir()
    (home.root / "etc/pip.conf").write_text(f"[global]\nindex-url = {PRIVATE}\n")
    with pytest.raises(Conflict, match=r"etc/pip\.conf \[global\] names the private index"):
        home.write("pip")
    assert not home.file("pip").exists()


def test_a_weaker_value_in_the_same_file_is_guarded_too(home):
    home.put("pip", f"[install]\nindex-url = {PUBLIC}\n[global]\nindex-url = {PRIVATE}\n")
    with pytest.raises(Conflict, match="corp"):
        home.write("pip")


def test_uvs_older_form_is_guarded_and_overridden_not_edited(home):
    home.put("uv", f'index-url = "{PRIVATE}"\n')
    with pytest.raises(Conflict, match="corp"):
        home.write("uv")
    home.put("uv", f'index-url = "{PUBLIC}"\n')
    home.write("uv")
    assert home.text("uv") == f'index-url = "{PUBLIC}"\n\n' + EMPTY["uv"]


def test_the_commands_own_section_is_written_where_it_would_win(home):
    home.put("pip", f"[install]\nindex-url = {PUBLIC}\n")
    home.write("pip")
    assert home.text("pip") == f"[install]\nindex-url = {URL}\n[global]\nindex-url = {URL}\n"


@both
def test_a_change_that_others_make_survives_undo(tool, home):
    before = SET[tool].format(PUBLIC)
    home.put(tool, before)
    home.write(tool)
    home.put(tool, "# new\n" + home.text(tool) + "# last\n")
    home.undo(tool)
    assert home.text(tool) == "# new\n" + before + "# last\n"


@both
def test_our_line_changed_by_others_is_left_to_them(tool, home):
    home.write(tool)
    changed = home.text(tool).replace(URL, URL + "x/")
    home.put(tool, changed)
    with pytest.raises(Conflict, match="have been changed since"):
        home.undo(tool)
    assert home.text(tool) == changed
    assert home.records() == [f"{tool}.json"]


@both
def test_our_lines_taken_out_by_hand_leave_nothing_to_undo(tool, home):
    home.write(tool)
    home.put(tool, "# mine\n")
    assert not home.undo(tool).changed
    assert (home.text(tool), home.records()) == ("# mine\n", [])


@both
def test_connecting_twice_changes_nothing(tool, home):
    home.put(tool, SET[tool].format(PUBLIC))
    assert home.write(tool).changed
    assert not home.write(tool).changed
    home.undo(tool)
    assert home.text(tool) == SET[tool].format(PUBLIC)


@both
def test_connecting_to_another_address_keeps_the_first_way_back(tool, home):
    home.put(tool, SET[tool].format(PUBLIC))
    home.write(tool)
    home.put(tool, home.text(tool) + "# later\n")
    home.write(tool, "http://localhost:9090", repository="python")
    assert home.text(tool) == SET[tool].format("http://localhost:9090/python/simple/") + "# later\n"
    home.undo(tool)
    assert home.text(tool) == SET[tool].format(PUBLIC) + "# later\n"


@both
def test_going_back_to_what_was_set_by_hand_needs_no_record(tool, home):
    home.put(tool, SET[tool].format(URL))
    home.write(tool, "http://127.0.0.1:9090", upstreams=[URL])
    assert home.write(tool).changed
    assert (home.text(tool), home.records()) == (SET[tool].format(URL), [])


@both
def test_nothing_to_undo_is_said(tool, home):
    with pytest.raises(NotFound, match="nothing to undo"):
        home.undo(tool)


@both
def test_the_adopting_pond_finds_what_the_tool_used_before(tool, home):
    home.put(tool, SET[tool].format(PRIVATE))
    home.write(tool, upstreams=["https://corp.example/simple/"])
    machine = this_machine({}, home.home, Pond.at("127.0.0.1", 8080), run=home.run, root=home.root)
    found = adopt_pypi(machine)
    assert (found.base_url, found.username, found.password) == ("https://corp.example/simple/", "me", "canary")


@both
def test_a_file_that_its_tool_refuses_is_not_touched(tool, home):
    home.put(tool, "[global\n")
    with pytest.raises(ConfigError, match="mend it"):
        home.write(tool)
    assert home.text(tool) == "[global\n"


def test_a_form_that_is_not_edited_is_left_with_the_lines_to_write(home):
    home.put("uv", f'index = [{{ url = "{PUBLIC}", default = true }}]\n')
    with pytest.raises(Conflict, match="by hand") as caught:
        home.write("uv")
    assert EMPTY["uv"] in str(caught.value)
    home.put("uv", f'x = """\n[[index]]\nurl = "a"\n"""\n[[index]]\nurl = "{PUBLIC}"\ndefault = true\n')
    with pytest.raises(Conflict, match="by hand"):
        home.write("uv")


def test_of_several_indexes_only_the_default_is_replaced(home):
    more = '[[index]]\nname = "more"\nurl = "https://more.example/simple"\n'
    home.put("uv", more + f'[[index]]\nurl = "{PUBLIC}"\ndefault = true\n' + more.replace("more", "most"))
    written = home.write("uv")
    assert home.text("uv") == more + f'[[index]]\nurl = "{URL}"\ndefault = true\n' + more.replace("more", "most")
    assert [note for note in written.notes if "more.example" in note]


@both
def test_a_link_is_followed_and_the_files_mode_stays(tool, home):
    real = home.root / "dotfiles"
    real.write_text(SET[tool].format(PUBLIC))
    real.chmod(0o640)
    home.file(tool).parent.mkdir(parents=True)
    home.file(tool).symlink_to(real)
    home.write(tool)
    assert home.file(tool).is_symlink()
    assert real.read_text() == SET[tool].format(URL)
    assert real.stat().st_mode & 0o777 == 0o640


@both
def test_the_record_is_private(tool, home):
    home.put(tool, SET[tool].format(PRIVATE))
    home.write(tool, upstreams=["https://corp.example/simple/"])
    record = home.home / f".local/state/millpond/connect/{tool}.json"
    assert record.stat().st_mode & 0o777 == 0o600


@both
def test_a_crash_between_record_and_file_leaves_a_way_back(tool, home, monkeypatch):
    home.put(tool, SET[tool].format(PUBLIC))
    home.write(tool)

    def crash(file, content):
        if content is not None and b":9090" in content:
            raise KeyboardInterrupt

    monkeypatch.setattr(
        "millpond.connect.writing._put",
        lambda file, content, put=connect.writing._put: crash(file, content) or put(file, content),
    )
    with pytest.raises(KeyboardInterrupt):
        home.write(tool, "http://127.0.0.1:9090")
    monkeypatch.undo()
    assert home.text(tool) == SET[tool].format(PUBLIC)
    home.undo(tool)
    assert (home.text(tool), home.records()) == (SET[tool].format(PUBLIC), [])


def test_a_damaged_record_is_named(home):
    home.write("pip")
    (home.home / ".local/state/millpond/connect/pip.json").write_text("{}")
    with pytest.raises(ConfigError, match=r"pip\.json: is damaged"):
        home.undo("pip")


def test_what_wins_over_the_file_is_told(home):
    home.environ = {"PIP_INDEX_URL": PRIVATE, "VIRTUAL_ENV": str(home.root / "venv"), "PIP_EXTRA_INDEX_URL": PRIVATE}
    (home.root / "venv").mkdir()
    (home.root / "venv/pip.conf").write_text(f"[global]\nindex-url = {PUBLIC}\n")
    notes = home.write("pip").notes
    assert notes[0] == "PIP_INDEX_URL is set to https://corp.example/simple/ and wins over the file; unset it"
    assert "venv/pip.conf [global] names https://public.example/simple and wins over" in notes[1]
    assert (
        notes[2] == "PIP_EXTRA_INDEX_URL: extra-index-url is still asked without the pond: https://corp.example/simple/"
    )


def test_a_file_that_the_tool_does_not_read_is_told(home):
    (home.root / "named.conf").write_text("")
    home.environ = {"PIP_CONFIG_FILE": str(home.root / "named.conf")}
    assert "does not read" in home.write("pip").notes[0]


def test_the_plan_says_all_ways_to_use_a_pond_on_this_machine(tmp_path):
    pip = connect.plan("pip", POND + "/", {}, tmp_path)
    assert pip.command == f"pip install --index-url {URL}"
    assert (pip.variables, pip.text) == ({"PIP_INDEX_URL": URL}, EMPTY["pip"])
    uv = connect.plan("uv", POND, {"XDG_CONFIG_HOME": "/c"}, tmp_path, repository="python")
    assert uv.url == f"{POND}/python/simple/"
    assert str(uv.file) == "/c/uv/uv.toml"


@pytest.mark.parametrize(
    ("pond", "host"),
    [
        ("http://pond.lan:8080", "pond.lan:8080"),
        ("http://10.0.0.1", "10.0.0.1"),
        ("http://[::1]:8080", None),
        ("http://localhost:8080", None),
        ("https://pond.lan", None),
    ],
)
def test_pip_is_told_to_trust_plain_http_over_a_network(pond, host, tmp_path):
    settings = connect.plan("pip", pond, {}, tmp_path)
    assert settings.variables.get("PIP_TRUSTED_HOST") == host
    assert ("trusted-host" in settings.text) == (host is not None)
    assert settings.command.endswith(f" --trusted-host {host}" if host else "/simple/")


def test_hosts_that_are_trusted_already_stay_trusted(home):
    (home.root / "etc").mkdir()
    (home.root / "etc/pip.conf").write_text("[install]\ntrusted-host = a\n  b\n")
    home.write("pip", "http://pond.lan:8080")
    assert home.text("pip") == (
        "[global]\nindex-url = http://pond.lan:8080/pypi/simple/\ntrusted-host = a b pond.lan:8080\n"
        "[install]\ntrusted-host = a b pond.lan:8080\n"
    )


@pytest.mark.parametrize("url", ["pond.lan:8080", "ftp://pond.lan", "http://a:b@pond.lan", "http://pond.lan/?x", ""])
def test_what_is_no_ponds_address_is_refused(url, tmp_path):
    with pytest.raises(BadRequest, match="not the pond's address"):
        connect.plan("pip", url, {}, tmp_path)


def test_an_unknown_tool_is_refused_with_the_known_ones(tmp_path):
    with pytest.raises(BadRequest, match="there are: pip, uv"):
        connect.plan("conda", POND, {}, tmp_path)
