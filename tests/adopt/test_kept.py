"""What was adopted stays adopted."""

from __future__ import annotations

import pytest

from millpond.adopt import Adopted, Skipped, load_or_adopt
from millpond.errors import ConfigError

A, B = "https://a.example/simple/", "https://b.example/simple/"


def test_what_was_adopted_is_kept_whatever_the_client_says_later(machine, tmp_path):
    data = tmp_path / "data"
    first = load_or_adopt(data, machine(environ={"PIP_INDEX_URL": "https://me:pw@a.example/simple/"}), ["pypi"])
    again = load_or_adopt(data, machine(environ={"PIP_INDEX_URL": B}), ["pypi"])
    assert first == again
    assert [(one.base_url, one.username, one.password) for one in again] == [(A, "me", "pw")]


def test_it_is_renewed_when_asked(machine, tmp_path):
    load_or_adopt(tmp_path, machine(environ={"PIP_INDEX_URL": A}), ["pypi"])
    load_or_adopt(tmp_path, machine(environ={"PIP_INDEX_URL": B}), ["pypi"], renew=True)
    assert [one.base_url for one in load_or_adopt(tmp_path, machine(), ["pypi"])] == [B]


def test_a_renewal_that_finds_nothing_keeps_what_there_is_and_says_why(machine, tmp_path):
    load_or_adopt(tmp_path, machine(environ={"PIP_INDEX_URL": A}), ["pypi"])
    found = load_or_adopt(tmp_path, machine(environ={"PIP_INDEX_URL": "file:///x"}), ["pypi"], renew=True)
    assert [type(one) for one in found] == [Adopted, Skipped]
    assert load_or_adopt(tmp_path, machine(), ["pypi"]) == found[:1]


def test_what_was_not_found_is_looked_for_again(machine, tmp_path):
    assert isinstance(load_or_adopt(tmp_path, machine(run=lambda _argv: None), ["pypi"])[0], Skipped)
    assert not (tmp_path / "adopted.json").exists()
    assert isinstance(load_or_adopt(tmp_path, machine(), ["pypi"])[0], Adopted)


def test_packages_that_no_client_has_are_not_looked_for(machine, tmp_path):
    def run(argv):
        raise AssertionError

    assert load_or_adopt(tmp_path, machine(run=run), ["generic"]) == ()


def test_upstreams_of_packages_that_are_not_asked_for_now_stay_kept(machine, tmp_path):
    load_or_adopt(tmp_path, machine(environ={"PIP_INDEX_URL": A}), ["pypi"])
    before = (tmp_path / "adopted.json").read_bytes()
    assert load_or_adopt(tmp_path, machine(), []) == ()
    assert (tmp_path / "adopted.json").read_bytes() == before


def test_the_file_is_private(machine, tmp_path):
    load_or_adopt(tmp_path / "new/data", machine(), ["pypi"])
    assert (tmp_path / "new/data/adopted.json").stat().st_mode & 0o777 == 0o600
    assert [file.name for file in (tmp_path / "new/data").iterdir()] == ["adopted.json"]


@pytest.mark.parametrize(
    "content", [b"", b"{", b"[]", b'{"version": 2, "adopted": []}', b'{"version": 1, "adopted": [{}]}']
)
def test_a_damaged_file_is_never_silently_replaced(content, machine, tmp_path):
    (tmp_path / "adopted.json").write_bytes(content)
    with pytest.raises(ConfigError, match=r"adopted\.json: cannot be read"):
        load_or_adopt(tmp_path, machine(), ["pypi"])
    assert (tmp_path / "adopted.json").read_bytes() == content
