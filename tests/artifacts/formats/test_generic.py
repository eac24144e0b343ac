"""Any tree of files: what its keys are, and what its bodies can't be."""

from __future__ import annotations

import pytest

from millpond.artifacts.formats.generic import Generic
from millpond.artifacts.model import Absent, Body, Reply, Target
from millpond.artifacts.soundness import unsound_head, unsound_start

GENERIC = Generic()
PORTAL = b"<!DOCTYPE html><html><body>Please log in</body></html>"


def body(path: str) -> Body:
    target = GENERIC.resolve(path, "", "")
    assert isinstance(target, Target)
    return GENERIC.expects(target).body


def test_a_path_is_mutable_and_percent_encoded_for_the_upstream():
    assert GENERIC.resolve("größe/a b+c.bin", "", "") == Target(
        "größe/a b+c.bin", "gr%C3%B6%C3%9Fe/a%20b+c.bin", mutable=True
    )


def test_a_query_is_part_of_the_key():
    plain, asked = GENERIC.resolve("get", "", ""), GENERIC.resolve("get", "v=1&x=%20", "")
    assert asked == Target("get?v=1&x=%20", "get?v=1&x=%20", mutable=True)
    assert plain != asked


def test_a_path_can_not_pretend_to_have_a_query():
    assert isinstance(GENERIC.resolve("get?v=1", "", ""), Absent)


@pytest.mark.parametrize("path", ["", "a//b", "../a", "a/..", "a/./b", "a\\b", "a\nb", "\ud800"])
def test_what_can_be_read_in_two_ways_is_refused(path: str):
    assert isinstance(GENERIC.resolve(path, "", ""), Absent)


def test_a_query_stays_one_line():
    found = GENERIC.resolve("a", "x y\r\nHost: other", "")
    assert isinstance(found, Target)
    assert found.upstream_path == "a?x%20y%0D%0AHost:%20other"


@pytest.mark.parametrize("path", ["a.tar.gz", "B.ZIP", "x/y.whl", "c.rpm", "d.sha256", "e.exe", "f.deb", "g.yaml"])
def test_a_portals_page_is_no_archive_and_no_text_file(path: str):
    assert unsound_start(body(path), PORTAL, None)
    assert unsound_head(body(path), Reply(200, {"content-type": "text/html"}, ""), None)


@pytest.mark.parametrize("path", ["a.html", "LICENSE", "dir/", "v1.2", "page.php"])
def test_a_page_can_be_a_page(path: str):
    assert unsound_start(body(path), PORTAL, None) is None


@pytest.mark.parametrize("start", [b'{"a"', b" [1]", b'"x"', b"-1", b"0", b"true", b"null"])
def test_json_starts_with_a_value(start: bytes):
    assert unsound_start(body("a/b.json"), start, None) is None


@pytest.mark.parametrize("start", [PORTAL, b"Not found", b"", b"<a>"])
def test_anything_else_is_no_json(start: bytes):
    assert unsound_start(body("a/b.json"), start, None)


def test_the_suffix_is_the_paths_and_not_the_querys():
    target = GENERIC.resolve("page", "file=a.zip", "")
    assert isinstance(target, Target)
    assert GENERIC.expects(target).body.html
