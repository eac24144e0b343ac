"""500 ways to write a path: what is accepted survives the round trip, and nothing leaves its repository."""

from __future__ import annotations

import itertools
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.api.paths import MAX_PATH_BYTES, read_path, without_dots
from millpond.errors import BadRequest

DOTS = [
    ".",
    "..",
    "%2e",
    "%2E",
    "%2e%2e",
    ".%2e",
    "%2e.",
    "%252e%252e",
    "%25%32%65",
    "%c0%ae%c0%ae",
    "%e0%80%ae",
    "..%00",
]
SLASHES = ["/", "%2f", "%2F", "%5c", "\\", "%255c", "%252f", "%c0%af", "//", "/./"]
TARGETS = ["etc/passwd", "admin-token", "simple/", "%00"]
HOSTILE = [
    f"pypi{a}{dots}{b}{target}"
    for dots, a, b, target in itertools.product(DOTS, ["/", "/x/", "%2f"], SLASHES, TARGETS)
]  # fmt: skip


def test_there_are_more_than_500_of_them():
    assert len(set(HOSTILE)) > 500


@pytest.mark.parametrize("chunk", range(10))
def test_no_encoding_escapes(chunk: int):
    for path in HOSTILE[chunk::10]:
        with pytest.raises(BadRequest, match="the path"):
            read_path(path.encode())


@pytest.mark.parametrize(
    "path", ["pypi/simple/", "pypi", "a/b+c~d_e-f.tar.gz", "a/@scope/x", "a/ü", "a/b c", "a/100%25x"]
)
def test_honest_paths_are_read(path: str):
    raw = quote(path, safe="/@+~%") if "%" not in path else path
    assert read_path(raw.encode()) == path.replace("%25x", "%x")


@pytest.mark.parametrize("path", [b"a%", b"a%2", b"a%zz", b"\xff", b"a/%ff", b"a\x00", b"a/" + b"x" * MAX_PATH_BYTES])
def test_broken_paths_are_refused(path: bytes):
    with pytest.raises(BadRequest):
        read_path(path)


@given(st.binary(max_size=200))
def test_what_is_accepted_has_no_way_up_and_survives_the_round_trip(raw: bytes):
    try:
        path = read_path(raw)
    except BadRequest:
        return
    assert not {".", ".."} & set(path.split("/"))
    assert "\\" not in path
    assert "\x00" not in path
    assert read_path(quote(path).encode()) == path


def test_dots_are_left_out_where_a_format_s_clients_write_them():
    assert without_dots(b"/debian/./InRelease") == b"/debian/InRelease"
    assert without_dots(b"/debian/././a/./b") == b"/debian/a/b"
    for path in (b"/debian/../a", b"/debian/.a/b", b"/debian/a./b", b"/debian/%2e/a"):
        assert without_dots(path) == path
