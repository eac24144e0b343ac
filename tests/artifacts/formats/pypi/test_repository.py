"""The paths of an index, and what is known of each."""

from __future__ import annotations

import json

import pytest

from millpond.artifacts.formats.pypi import PyPI, repository
from millpond.artifacts.model import Absent, Body, Links, Moved, Reply, Target
from millpond.artifacts.soundness import unsound_head, unsound_start

from .pages import HTML, JSON, JSON_TYPE, META, ROOT_HTML, ROOT_SOURCE, SDIST, SOURCE, WHEEL

PYPI = PyPI()
PIP = f"{JSON_TYPE}, application/vnd.pypi.simple.v1+html; q=0.1, text/html; q=0.01"


def target(path: str, accept: str = "") -> Target:
    found = PYPI.resolve(path, "", accept)
    assert isinstance(found, Target), path
    return found


def body(path: str, accept: str = "") -> Body:
    return PYPI.expects(target(path, accept)).body


def test_a_projects_page_is_asked_below_the_index():
    page = target("simple/foo-bar/", PIP)
    assert (page.path, page.upstream_path, page.variant) == ("simple/foo-bar/", "foo-bar/", "json")
    assert (page.mutable, page.rewritten) == (True, True)
    assert page.accept.startswith(JSON_TYPE)


def test_the_root_is_the_index_itself():
    assert (target("simple/").path, target("simple/").upstream_path) == ("simple/", "")


def test_each_variant_is_one_of_its_own():
    assert {target("simple/x/").variant, target("simple/x/", PIP).variant} == {"html", "json"}


@pytest.mark.parametrize(
    ("path", "moved"),
    [
        ("simple", "simple/"),
        ("simple/foo", "simple/foo/"),
        ("simple/Foo_Bar", "simple/foo-bar/"),
        ("simple/foo.bar/", "simple/foo-bar/"),
        (f"files/Foo_Bar/{SDIST}", f"files/foo-bar/{SDIST}"),
    ],
)
def test_another_spelling_is_moved(path: str, moved: str):
    assert PYPI.resolve(path, "", "") == Moved(moved)


@pytest.mark.parametrize(
    "path",
    ["", "simple//", "simple/foo/index.html", "simple/-/", "files/", "files/foo", "files/foo/", "files/foo/x.txt",
     "files/foo/a/b.whl", "files/-/x.whl", "pypi/foo/json", "foo", "SIMPLE/foo/"],
)  # fmt: skip
def test_everything_else_is_absent_and_says_why(path: str):
    found = PYPI.resolve(path, "", "")
    assert isinstance(found, Absent)
    assert found.reason


def test_a_file_is_immutable_and_known_by_its_page():
    file = target(f"files/foo-bar/{WHEEL}")
    expectation = PYPI.expects(file)
    assert (file.mutable, file.upstream_path, file.rewritten) == (False, "", False)
    assert expectation.index == target("simple/foo-bar/", PIP)
    assert expectation.member == WHEEL


@pytest.mark.parametrize(
    ("name", "start", "sound"),
    [
        ("x.whl", b"PK\x03\x04", True),
        ("x.whl", b"\x1f\x8b", False),
        ("x.egg", b"#!/bin/sh", True),
        ("x.tar.gz", b"\x1f\x8b\x08", True),
        ("x.tar.gz", b"PK", False),
        ("x.tar.bz2", b"BZh9", True),
        ("x.tar", b"anything", True),
        ("x.tar", b"<!DOCTYPE html>", False),
        ("x.whl.metadata", b"Metadata-Version: 2.1", True),
        ("x.whl.metadata", b"<html>", False),
        ("x.whl.asc", b"-----BEGIN PGP SIGNATURE-----", True),
        ("x.whl.asc", b"no", False),
    ],
)
def test_a_file_begins_as_its_kind_does(name: str, start: bytes, sound: bool):
    assert (unsound_start(body(f"files/foo/{name}"), start, None) is None) == sound


@pytest.mark.parametrize(
    ("accept", "kind", "start", "sound"),
    [
        ("text/html", "text/html; charset=utf-8", HTML, True),
        ("text/html", "application/vnd.pypi.simple.v1+html", HTML, True),
        ("text/html", JSON_TYPE, JSON, False),
        (PIP, JSON_TYPE, JSON, True),
        (PIP, "text/html", HTML, True),
        (PIP, "text/plain", JSON, False),
        (PIP, JSON_TYPE, b"[]", False),
        (PIP, "text/html", b"log in", False),
    ],
)
def test_a_page_is_json_where_it_was_asked_for_or_html(accept: str, kind: str, start: bytes, sound: bool):
    page = body("simple/foo-bar/", accept)
    reply = Reply(200, {"content-type": kind}, SOURCE)
    assert (unsound_head(page, reply, None) is None and unsound_start(page, start[:512], None) is None) == sound


def test_pages_and_metadata_have_limits():
    assert body("simple/").max_bytes == 256 << 20
    assert body("simple/foo/").max_bytes == 64 << 20
    assert body("files/foo/x.whl.metadata").max_bytes == 16 << 20


def test_the_type_that_came_decides_how_it_is_read():
    page, links = target("simple/foo-bar/", PIP), Links("http://p", SOURCE)
    for kind, document in (("text/html", HTML), (JSON_TYPE, JSON)):
        rewriter = PYPI.rewriter(page, kind, links)
        assert f"http://p/files/foo-bar/{WHEEL}".encode() in rewriter.feed(document) + rewriter.close()
        assert WHEEL in [member.name for member in PYPI.members(page, kind, SOURCE, [document])]


def test_a_file_brings_its_metadata_with_its_own_checksum():
    by_name = {member.name: member for member in PYPI.members(target("simple/foo-bar/"), JSON_TYPE, SOURCE, [JSON])}
    assert list(by_name) == [WHEEL, f"{WHEEL}.metadata", SDIST, f"{SDIST}.asc"]
    metadata = by_name[f"{WHEEL}.metadata"]
    assert metadata.url == f"https://files.example/packages/ab/{WHEEL}.metadata"
    assert [checksum.hex for checksum in metadata.checksums] == [META]


def test_the_root_index_lists_no_files():
    assert list(PYPI.members(target("simple/"), "text/html", ROOT_SOURCE, [ROOT_HTML])) == []


def test_a_page_has_a_limit_of_files(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(repository, "MAX_MEMBERS", 3)
    names = [f"x-{number}.zip" for number in range(4)]
    document = json.dumps({"files": [{"filename": name, "url": name} for name in names]}).encode()
    with pytest.raises(ValueError, match="more than 3 files"):
        list(PYPI.members(target("simple/x/"), JSON_TYPE, SOURCE, [document]))
