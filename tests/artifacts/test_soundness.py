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


class Halves:
    """An inspector whose index names a body by the SHA-1 of what stands before the colon; no colon is a fault."""

    algorithms = frozenset({"first-half"})

    def __init__(self) -> None:
        self.body = b""

    def update(self, data: bytes | memoryview) -> None:
        self.body += data

    def found(self) -> Checksum | None:
        half, colon, _ = self.body.partition(b":")
        return Checksum("first-half", hashlib.sha1(half).hexdigest()) if colon else None

    def fault(self) -> str | None:
        return None if b":" in self.body else "it has no colon"


def half(text: bytes) -> Checksum:
    return Checksum("first-half", hashlib.sha1(text).hexdigest())


def inspected(body: bytes, *promised: list[Checksum]) -> Verifier:
    verifier = Verifier(*promised, inspector=Halves())
    for at in range(len(body)):
        verifier.update(body[at : at + 1])
    return verifier


def test_a_body_may_be_named_by_something_else_than_a_digest_of_the_whole():
    good = inspected(b"a:whatever", [half(b"a")])
    assert good.mismatch() is None
    assert good.identity() == f"first-half:{half(b'a').hex}"
    assert good.digest() == "sha256:" + hashlib.sha256(b"a:whatever").hexdigest()
    assert "first-half" in (inspected(b"a:whatever", [half(b"b")]).mismatch() or "")
    assert inspected(b"a:whatever", [half(b"b")], [half(b"a")]).mismatch() is None


def test_an_inspector_s_own_verdict_counts_whatever_is_promised():
    for promised in ([], [[half(b"a")]], [[Checksum("sha256", hashlib.sha256(b"a").hexdigest())]]):
        assert inspected(b"a", *promised).mismatch() == "it has no colon"


def test_a_digest_of_the_whole_is_stronger_than_what_an_inspector_finds():
    whole = Checksum("md5", hashlib.md5(b"a:b").hexdigest())
    assert inspected(b"a:b", [half(b"wrong"), whole]).mismatch() is None
    assert "md5" in (inspected(b"a:c", [half(b"a"), whole]).mismatch() or "")


def test_without_an_inspector_an_unknown_name_promises_nothing():
    verifier = Verifier([half(b"a")])
    verifier.update(b"b:c")
    assert verifier.mismatch() is None
    assert verifier.identity() == ""


def test_what_was_verified_by_a_weaker_digest_is_known_by_it():
    for body, promised, known in (
        (b"a", [Checksum("md5", hashlib.md5(b"a").hexdigest())], f"md5:{hashlib.md5(b'a').hexdigest()}"),
        (b"a", [Checksum("sha256", hashlib.sha256(b"a").hexdigest())], ""),
        (b"b", [Checksum("md5", hashlib.md5(b"a").hexdigest())], ""),
    ):
        verifier = Verifier(promised)
        verifier.update(body)
        assert verifier.identity() == known
