"""npm's file edited: the registry set, all else as it was; and back."""

from __future__ import annotations

import os

import pytest

from millpond import connect
from millpond.connect.npm import _with_registry
from millpond.errors import Conflict

POND = "http://127.0.0.1:8080"
URL = f"{POND}/npm/"
PUBLIC, PRIVATE = "https://public.example/", "https://corp.example/npm/"
LINE = f"registry={URL}\n"


@pytest.mark.parametrize(
    ("text", "edited"),
    [
        ("", LINE),
        ("# mine\nfund=false", f"# mine\nfund=false\n{LINE}"),
        ("registry=old\nfund=false\n", f"{LINE}fund=false\n"),
        ("registry = a\nregistry = b\n", f"registry = a\nregistry = {URL}\n"),
        ("@s:registry=x\n", f"@s:registry=x\n{LINE}"),
        ("a=1\r\n", f"a=1\r\nregistry={URL}\r\n"),
        ("a=1\n[s]\nregistry=x\n", f"a=1\n{LINE}[s]\nregistry=x\n"),
        (";registry=x\n", f";registry=x\n{LINE}"),
    ],
)
def test_the_registry_is_set_and_every_other_line_stays(text, edited):
    assert _with_registry(text, URL) == edited


@pytest.fixture
def home(tmp_path):
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


def write(tool, home, **options):
    return connect.write(tool, POND, {}, home, run=lambda _argv: PUBLIC, root=home.parent, repository="npm", **options)


@pytest.mark.parametrize("tool", ["npm", "pnpm"])
@pytest.mark.parametrize("before", [None, "fund=false\n", f"registry={PUBLIC}\n//public.example/:_authToken=x\n"])
def test_it_is_written_and_comes_back_byte_for_byte(tool, before, home):
    file = home / ".npmrc"
    if before is not None:
        file.write_text(before)
    assert write(tool, home).changed
    assert LINE in file.read_text()
    assert not write(tool, home).changed
    assert connect.undo(tool, {}, home).changed
    assert (file.read_text() if file.exists() else None) == before


def test_a_private_registry_is_replaced_only_by_a_pond_that_draws_from_it(home):
    (home / ".npmrc").write_text(f"registry={PRIVATE}\n")
    with pytest.raises(Conflict, match=r"corp\.example"):
        write("npm", home)
    assert write("npm", home, upstreams=[PRIVATE]).changed


def test_a_device_is_never_taken_for_a_file(home):
    """Some have no file by `npm_config_userconfig=/dev/null`: as root, replacing that harms the whole machine."""
    os.mkfifo(home / "pipe")
    (home / "link").symlink_to(home / "pipe")
    for named in ("pipe", "link"):
        with pytest.raises(Conflict, match="no file that can be edited"):
            connect.write("npm", POND, {"npm_config_userconfig": str(home / named)}, home, run=lambda _argv: PUBLIC)
    assert (home / "pipe").is_fifo()


def test_what_still_leads_past_the_pond_is_told(home):
    (home / ".npmrc").write_text("@corp:registry=https://corp.example/\n")
    assert [note for note in write("npm", home).notes if "@corp" in note]


def test_both_tools_share_a_file_and_the_second_has_nothing_to_do(home):
    write("npm", home)
    assert not write("pnpm", home).changed
    connect.undo("npm", {}, home)
    assert not (home / ".npmrc").exists()


def test_the_settings_are_printed(home):
    plan = connect.plan("pnpm", POND, {}, home, repository="npm")
    assert (plan.url, plan.text, plan.command) == (URL, LINE, f"pnpm add --registry {URL}")
