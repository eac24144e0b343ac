"""Which index this machine's Python clients use."""

from __future__ import annotations

import pytest

from millpond.adopt import Adopted, Skipped, adopt_pypi, public_index, run_tool
from millpond.adopt.machine import unfit

PUBLIC = "https://public.example/simple/"
POND = "http://127.0.0.1:8080/pypi/simple/"
A, B, C = (f"https://{name}.example/simple/" for name in "abc")
PIP, UV, ETC = "home/.config/pip/pip.conf", "home/.config/uv/uv.toml", "etc/pip.conf"


def index(section, url):
    return f"[{section}]\nindex-url = {url}\n"


def default(url):
    return f'[[index]]\nurl = "{url}"\ndefault = true\n'


def test_a_machine_that_names_no_index_uses_the_public_one(machine):
    found = adopt_pypi(machine())
    assert (found.repository, found.package, found.base_url) == ("pypi", "pypi", PUBLIC)


@pytest.mark.process
def test_the_library_does_publish_a_public_index():
    url = public_index(run_tool)
    assert url is not None
    assert unfit(url) is None


@pytest.mark.parametrize("said", [None, "", "nonsense", "file:///x"])
def test_a_library_that_says_nothing_useful_is_reported(said, machine):
    assert isinstance(adopt_pypi(machine(run=lambda _argv: said)), Skipped)


# From the strongest to the weakest: each is tried together with all that are weaker.
PLACES = [
    ("PIP_INDEX_URL", None, {"PIP_INDEX_URL": "{}"}),
    ("UV_DEFAULT_INDEX", None, {"UV_DEFAULT_INDEX": "corp={}"}),
    ("UV_INDEX_URL", None, {"UV_INDEX_URL": "{}"}),
    ("venv/pip.conf [install]", ("venv/pip.conf", "[install]\nindex-url = {}"), {"VIRTUAL_ENV": "$ROOT/venv"}),
    (f"{PIP} [install]", (PIP, "[install]\nindex-url: {}\n"), {}),
    (f"{ETC} [install]", (ETC, "[install]\nINDEX_URL = {}\n"), {}),
    ("x/pip.conf [global]", ("x/pip.conf", "[global]\nindex-url =\n  {}"), {"VIRTUAL_ENV": "$ROOT/x"}),
    ("home/.pip/pip.conf [global]", ("home/.pip/pip.conf", "[global]\n--index-url = {}"), {}),
    ("etc/xdg/pip/pip.conf [global]", ("etc/xdg/pip/pip.conf", "# c\n[global]\nindex-url = {}"), {}),
    ("named.conf [global]", ("named.conf", "[global]\nindex-url = {}"), {"PIP_CONFIG_FILE": "$ROOT/named.conf"}),
    (f"{UV} [index]", (UV, '[[index]]\nurl = "https://more.example"\n[[index]]\nurl = "{}"\ndefault = true'), {}),
    ("etc/uv/uv.toml", ("etc/uv/uv.toml", 'index-url = "{}"'), {}),
]


@pytest.mark.parametrize("strongest", range(len(PLACES)))
def test_the_strongest_place_wins(strongest, machine):
    files, environ = {}, {}
    for number, (_, file, variables) in reversed(list(enumerate(PLACES))[strongest:]):
        url = f"https://me:pw@n{number}.example/simple/"
        if variables.get("PIP_CONFIG_FILE") and strongest < number:
            continue  # while that file exists, pip reads no user's file
        if file:
            files[file[0]] = file[1].format(url)
        environ |= {key: value.format(url) for key, value in variables.items()}
    found = adopt_pypi(machine(files, environ))
    assert isinstance(found, Adopted)
    assert found.base_url == f"https://n{strongest}.example/simple/"
    assert found.found_in.endswith(PLACES[strongest][0])
    assert (found.username, found.password) == ("me", "pw")


def test_pip_reads_no_users_file_while_another_one_is_named(machine):
    environ = {"PIP_CONFIG_FILE": "$ROOT/named.conf"}
    assert adopt_pypi(machine({PIP: index("global", A)}, environ)).base_url == A
    files = {PIP: index("global", A), "named.conf": index("global", B)}
    assert adopt_pypi(machine(files, environ)).base_url == B
    assert adopt_pypi(machine(files, {"PIP_CONFIG_FILE": "/dev/null"})).base_url == PUBLIC


def test_the_machines_file_beats_the_file_that_is_named(machine):
    files = {ETC: index("global", A), "named.conf": index("global", B)}
    assert adopt_pypi(machine(files, {"PIP_CONFIG_FILE": "$ROOT/named.conf"})).base_url == A


def test_uv_can_be_told_to_read_another_file_or_none(machine):
    files = {UV: default(A), "named.toml": default(B)}
    assert adopt_pypi(machine(files, {"UV_CONFIG_FILE": "$ROOT/named.toml"})).base_url == B
    assert adopt_pypi(machine(files, {"UV_NO_CONFIG": "1"})).base_url == PUBLIC


def test_uvs_machine_default_beats_the_users_older_form(machine):
    files = {UV: f'index-url = "{A}"', "etc/xdg/uv/uv.toml": default(B), "etc/uv/uv.toml": default(C)}
    assert adopt_pypi(machine(files)).base_url == B


def test_credentials_of_a_named_index_come_from_the_environment(machine):
    text = f'[[index]]\nname = "my-corp"\nurl = "{A}"\ndefault = true\n'
    environ = {"UV_INDEX_MY_CORP_USERNAME": "me", "UV_INDEX_MY_CORP_PASSWORD": "pw"}
    found = adopt_pypi(machine({UV: text}, environ))
    assert (found.username, found.password) == ("me", "pw")


def test_a_folder_is_passed_over_and_reported(machine):
    found = adopt_pypi(machine({ETC: index("global", A)}, {"PIP_INDEX_URL": "file:///srv/wheels"}))
    assert found.base_url == A
    assert found.notes == ("PIP_INDEX_URL: file:///srv/wheels is a folder of this machine, which needs no cache",)


def test_a_machine_that_has_only_a_folder_is_not_given_the_public_index(machine):
    found = adopt_pypi(machine(environ={"PIP_INDEX_URL": "file:///srv/wheels"}))
    assert isinstance(found, Skipped)
    assert "is a folder of this machine" in found.reason


@pytest.mark.parametrize(("file", "text"), [(PIP, "index-url = x"), (ETC, "[a\n"), (UV, "index = ["), (UV, "\0")])
def test_a_file_that_its_client_refuses_is_reported_and_not_passed_over(file, text, machine):
    found = adopt_pypi(machine({file: text}))
    assert isinstance(found, Skipped)
    assert file in found.reason
    assert "mend it" in found.reason


def test_no_report_repeats_a_secret(machine):
    files = {PIP: "[global]\nindex-url = https://a:canary@h.example/?k=canary\nindex-url = canary\n"}
    assert "canary" not in repr(adopt_pypi(machine(files)))
    assert "canary" not in repr(adopt_pypi(machine(environ={"PIP_INDEX_URL": "https://a:canary@h.example/?k=canary"})))
    assert "canary" not in repr(adopt_pypi(machine(environ={"PIP_INDEX_URL": "https://a:canary@h.example/"})))


def test_the_pond_never_adopts_itself(machine):
    files = {PIP: index("install", POND), UV: default(POND)}
    environ = {"PIP_INDEX_URL": POND, "UV_DEFAULT_INDEX": POND.replace("127.0.0.1", "localhost")}
    assert adopt_pypi(machine(files, environ)).base_url == PUBLIC


def test_behind_its_own_url_the_pond_finds_what_was_there_before(machine):
    files, earlier = {PIP: index("global", POND)}, {PIP: index("global", "https://me:pw@a.example/simple/")}
    found = adopt_pypi(machine(files, earlier=earlier))
    assert (found.base_url, found.username, found.password) == (A, "me", "pw")
    assert found.found_in.endswith("before it was connected to this pond")


def test_a_file_that_named_no_index_before_leaves_it_to_the_weaker_ones(machine):
    files = {PIP: index("global", POND), ETC: index("global", B)}
    assert adopt_pypi(machine(files, earlier={PIP: None})).base_url == B
    assert adopt_pypi(machine(files, earlier={PIP: "[global]\ntimeout = 3\n"})).base_url == B


def test_behind_its_own_url_in_uvs_file_too(machine):
    text = f'[[index]]\nname = "corp"\nurl = "{A}"\ndefault = true\n'
    environ = {"UV_INDEX_CORP_PASSWORD": "pw"}
    found = adopt_pypi(machine({UV: default(POND)}, environ, earlier={UV: text}))
    assert (found.base_url, found.password) == (A, "pw")
