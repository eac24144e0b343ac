"""Which registry this machine's npm uses, and with which credentials."""

from __future__ import annotations

import shutil
from base64 import b64encode

import pytest

from millpond.adopt import Adopted, Machine, Pond, Skipped, adopt_npm, public_registry, run_tool
from millpond.adopt import npmrc as files
from millpond.adopt.machine import unfit

PUBLIC = "https://public.example/simple/"
POND = "http://127.0.0.1:8080/npm/"
A, B = "https://a.example/npm/", "https://b.example/"
USER = "home/.npmrc"


def packed(text):
    return b64encode(text.encode()).decode()


def test_a_machine_that_names_no_registry_uses_npms_own(machine):
    found = adopt_npm(machine())
    assert (found.repository, found.package, found.base_url, found.username, found.password) == (
        "npm", "npm", PUBLIC, "", "",
    )  # fmt: skip


def test_without_npm_nothing_is_adopted(machine):
    assert isinstance(adopt_npm(machine(run=lambda _argv: None)), Skipped)
    assert isinstance(adopt_npm(machine(run=lambda _argv: "undefined")), Skipped)


@pytest.mark.process
@pytest.mark.skipif(shutil.which("npm") is None, reason="npm is not installed")
def test_npm_does_tell_its_default_and_leaves_nothing_behind(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("npm_config_registry", "http://127.0.0.1:9/set")
    url = public_registry(run_tool)
    assert url is not None
    assert unfit(url) is None
    assert "127.0.0.1" not in url
    assert list(tmp_path.iterdir()) == []


# From the strongest to the weakest: each is tried together with all that are weaker.
PLACES = [
    ("npm_config_registry", None, {"npm_config_registry": "{}"}),
    ("project/.npmrc", ("project/.npmrc", "registry = {}\n"), {}),
    (USER, (USER, "; mine\nregistry={}\n"), {}),
    ("opt/etc/npmrc", ("opt/etc/npmrc", "registry={}"), {"npm_config_prefix": "$ROOT/opt"}),
]


@pytest.mark.parametrize("strongest", range(len(PLACES)))
def test_the_strongest_place_wins(strongest, machine, tmp_path):
    written, environ = {}, {}
    for number, (_, file, variables) in reversed(list(enumerate(PLACES))[strongest:]):
        url = f"https://n{number}.example/npm/"
        if file:
            written[file[0]] = file[1].format(url)
        environ |= {key: value.format(url) for key, value in variables.items()}
    made = machine(written, environ)
    (tmp_path / "project/src").mkdir(parents=True, exist_ok=True)
    (tmp_path / "project/package.json").write_text("{}")
    here = Machine(made.environ, made.home, made.run, made.root, made.pond, cwd=tmp_path / "project/src")
    found = adopt_npm(here)
    assert isinstance(found, Adopted)
    assert found.base_url == f"https://n{strongest}.example/npm/"
    assert found.found_in.endswith(PLACES[strongest][0])


def test_variables_in_capitals_and_files_that_variables_name(machine):
    assert adopt_npm(machine(environ={"NPM_CONFIG_REGISTRY": A})).base_url == A
    assert adopt_npm(machine({"x.rc": f"registry={B}"}, {"NPM_CONFIG_USERCONFIG": "$ROOT/x.rc"})).base_url == B
    assert adopt_npm(machine({"g.rc": f"registry={A}"}, {"npm_config_globalconfig": "$ROOT/g.rc"})).base_url == A


CREDENTIALS = {
    "token": ("//a.example/npm/:_authToken=s3cret", ("", "s3cret")),
    "token above": ("//a.example/:_authToken=s3cret", ("", "s3cret")),
    "token without the slash": ("//a.example/npm:_authToken=s3cret", ("", "s3cret")),
    "pair": (f"//a.example/npm/:_auth={packed('me:pw:x')}", ("me", "pw:x")),
    "name and password": (f"//a.example/:username=me\n//a.example/:_password={packed('pw')}", ("me", "pw")),
    "a variable": ("//a.example/:_authToken=${NPM_TOKEN}", ("", "from-env")),
    "quoted": ('"//a.example/:_authToken" = "s3cret"', ("", "s3cret")),
    "the nearer one": ("//a.example/npm/:_authToken=near\n//a.example/:_authToken=far", ("", "near")),
    "another host's": ("//b.example/:_authToken=s3cret", ("", "")),
    "another path's": ("//a.example/other/:_authToken=s3cret", ("", "")),
    "another port's": ("//a.example:8443/:_authToken=s3cret", ("", "")),
    "nobody's": ("_authToken=s3cret", ("", "")),
    "broken": ("//a.example/:_auth=%%%", ("", "")),
}


@pytest.mark.parametrize("case", CREDENTIALS)
def test_credentials_are_those_of_the_registry(case, machine):
    lines, expected = CREDENTIALS[case]
    found = adopt_npm(machine({USER: f"registry={A}\n{lines}\n"}, {"NPM_TOKEN": "from-env"}))
    assert (found.username, found.password) == expected
    assert "s3cret" not in f"{found}{found.base_url}{found.notes}{found.found_in}"


def test_credentials_in_the_environment_or_in_the_url(machine):
    environ = {"npm_config_registry": A, "npm_config_//a.example/npm/:_authToken": "s3cret"}
    assert adopt_npm(machine(environ=environ)).password == "s3cret"
    found = adopt_npm(machine({USER: "registry=https://me:pw@a.example/npm/"}))
    assert (found.base_url, found.username, found.password) == (A, "me", "pw")


def test_a_stronger_files_credentials_hide_a_weaker_ones(machine):
    weak, strong = "//a.example/npm/:_authToken=weak", "//a.example/npm/:_authToken=strong"
    written = {"g.rc": f"registry={A}\n{weak}", USER: strong}
    assert adopt_npm(machine(written, {"npm_config_globalconfig": "$ROOT/g.rc"})).password == "strong"


def test_scopes_with_registries_of_their_own_are_told_of(machine):
    found = adopt_npm(machine({USER: f"@corp:registry=https://me:pw@corp.example/?x\n@ours:registry={POND}\n"}))
    assert found.base_url == PUBLIC
    (note,) = found.notes
    assert "@corp" in note
    assert "https://corp.example/" in note
    assert "pw" not in note


def test_the_pond_does_not_adopt_itself(machine):
    assert adopt_npm(machine({USER: f"registry={POND}"})).base_url == PUBLIC
    assert adopt_npm(machine({USER: f"registry={POND}"}, earlier={USER: f"registry={A}"})).base_url == A
    assert adopt_npm(machine(environ={"npm_config_registry": POND})).base_url == PUBLIC
    public = Pond.at("0.0.0.0", 8080, public_url="https://pond.lan")
    assert adopt_npm(machine({USER: "registry=https://pond.lan/npm/"}, pond=public)).base_url == PUBLIC


@pytest.mark.parametrize("url", ["file:///x", "registry.example", "ftp://a.example/", "https://a.example/?q=1"])
def test_what_is_no_registry_is_passed_over_and_reported(url, machine):
    found = adopt_npm(machine({USER: f"registry={url}"}))
    assert isinstance(found, Skipped)
    assert ".npmrc" in found.reason


def test_a_file_that_is_no_text_is_reported(machine, tmp_path):
    made = machine({USER: ""})
    (tmp_path / USER).write_bytes(b"\xff\xfe")
    assert "UTF-8" in adopt_npm(made).reason


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("a=1\n#b=2\n;c=3\n", {"a": "1"}),
        (" a = 1 ; more\n", {"a": "1"}),
        ("a='x;y'\n", {"a": "x;y"}),
        ("a=1\na=2", {"a": "2"}),
        ("[section]\na=1", {}),
        ("a=${X}-${NONE}-${NONE?}-\\${X}", {"a": "x-${NONE}--${X}"}),
        ("flag\n=x\n", {}),
    ],
)
def test_a_file_is_read_as_npm_reads_it(text, values):
    assert files.parse(text, {"X": "x"}) == values
