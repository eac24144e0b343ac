"""What is taken for the real thing."""

from __future__ import annotations

import hashlib

from millpond.artifacts.model import Body, Checksum, Reply
from millpond.artifacts.soundness import Verifier, strongest, unsound_end, unsound_head, unsound_start

ARCHIVE = Body(prefixes=(b"PK",))
PAGE = Body(types=("text/html", "application/json"), prefixes=(b"<", b"{"), html=True)


def head(kind: str, length: int | None = None) -> Reply:
    return Reply(200, {"content-type": kind}, "http://up/", length)


def test_a_portal_s_page_is_no_archive():
    assert unsound_head(ARCHIVE, head("text/html; charset=utf-8"), None)
    assert unsound_start(ARCHIVE, b"\n <!DOCTYPE html><html>", None)
    assert unsound_head(ARCHIVE, head("application/zip"), None) is None
    assert unsound_start(ARCHIVE, b"PK\x03\x04", None) is None


def test_an_index_may_be_html_but_not_an_image():
    assert unsound_head(PAGE, head("text/html"), None) is None
    assert unsound_head(PAGE, head("image/png"), None)


def test_a_body_larger_than_such_a_document_is_refused_by_its_length():
    assert unsound_head(Body(max_bytes=10), head("", 11), None)
    assert unsound_head(Body(max_bytes=10), head("", 10), None) is None


def test_a_cut_document_is_seen_at_its_end():
    body = Body(suffixes=(b"}",))
    assert unsound_end(body, b'{"a": 1') is not None
    assert unsound_end(body, b'{"a": 1}\n') is None


def test_the_strongest_known_checksum_is_verified():
    sums = [Checksum("md5", "a"), Checksum("sha256", "b"), Checksum("sha512", "c"), Checksum("whirlpool9", "d")]
    assert strongest(sums) == Checksum("sha512", "c")
    assert strongest([Checksum("whirlpool9", "d")]) is None


def test_a_verifier_names_the_blob_and_finds_the_difference():
    good = Verifier([Checksum("sha512", hashlib.sha512(b"ab").hexdigest())])
    good.update(b"a")
    good.update(b"b")
    assert good.mismatch() is None
    assert good.digest() == "sha256:" + hashlib.sha256(b"ab").hexdigest()
    bad = Verifier([Checksum("sha256", hashlib.sha256(b"x").hexdigest())])
    bad.update(b"y")
    assert "sha256" in (bad.mismatch() or "")
