"""A package is the one that an index names, and its data what it says itself, or it is told."""

from __future__ import annotations

import gzip

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apks import Apk, segment

from millpond.artifacts.formats.alpine import package
from millpond.artifacts.formats.alpine.index import ALGORITHM
from millpond.artifacts.formats.alpine.package import PackageInspector
from millpond.artifacts.model import Checksum
from millpond.artifacts.soundness import Verifier

HELLO = Apk(payload=b"payload" * 500)
OLD = Apk(payload=b"payload" * 500, has_datahash=False)


def looked_into(body: bytes, size: int = 1 << 20) -> PackageInspector:
    made = PackageInspector()
    for at in range(0, len(body), size):
        made.update(memoryview(body)[at : at + size])
    return made


@pytest.mark.parametrize("size", [1, 2, 3, 100, 1 << 20])
@pytest.mark.parametrize("one", [HELLO, OLD], ids=["with datahash", "without"])
def test_a_package_s_name_in_the_index_is_found_in_any_pieces(one, size):
    for body in (one.body(), one.control + one.data, segment({".SIGN.RSA256.k": b"s"}) + one.body()):
        found = looked_into(body, size)
        assert found.fault() is None
        assert found.found() == Checksum(ALGORITHM, one.identity.hex())


def test_two_packages_with_the_same_data_are_told_apart_and_one_signed_anew_is_not():
    other = Apk(version="1.0-r1", payload=HELLO.payload)
    assert looked_into(other.body()).found() != looked_into(HELLO.body()).found()
    assert looked_into(HELLO.body(lambda _: b"x" * 512)).found() == looked_into(HELLO.body()).found()


@given(st.data())
def test_any_changed_bit_of_what_is_signed_is_noticed(data):
    for one in (HELLO, OLD):
        signature = len(one.body()) - len(one.control) - len(one.data)
        at = data.draw(st.integers(signature, len(one.body()) - 1))
        body = bytearray(one.body())
        body[at] ^= 1 << data.draw(st.integers(0, 7))
        verifier = Verifier([Checksum(ALGORITHM, one.identity.hex())], inspector=PackageInspector())
        verifier.update(bytes(body))
        assert verifier.mismatch() is not None


@given(st.data())
def test_a_package_that_is_cut_is_noticed_without_any_index(data):
    at = data.draw(st.integers(0, len(HELLO.body()) - 1))
    assert looked_into(HELLO.body()[:at]).fault() is not None


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "ends before its control segment"),
        (b"\x1f\x8b", "ends before its control segment"),
        (b"<html>please log in</html>", "can't be decompressed"),
        (gzip.compress(b"no archive" * 200), "no tar archive"),
        (segment({".SIGN.RSA.k": b"s"}), "ends before its control segment"),
        (HELLO.control, "the sha256 of its data"),
        (HELLO.body() + b"\0", "the sha256 of its data"),
    ],
    ids=["nothing", "a beginning", "a page", "no archive", "a signature", "no data", "more behind it"],
)
def test_what_is_no_package_says_why(body, why):
    found = looked_into(body)
    assert why in (found.fault() or "")
    if "sha256" not in why:
        assert found.found() is None


def test_a_control_segment_that_never_ends_is_given_up():
    for body in (segment({".PKGINFO": bytes(64 << 20)}), segment({".PKGINFO": bytes(package.MAX_PLAIN_BYTES + 1)})):
        found = looked_into(body, 65536)
        assert "larger than any could be" in (found.fault() or "")
        assert len(found._info) <= package.MAX_PLAIN_BYTES


def test_one_of_version_3_passes_and_is_no_package_of_a_version_2_index():
    body = b"ADBd" + bytes(5000)
    for size in (1, 2, 4000):
        assert looked_into(body, size).fault() is None
        assert looked_into(body, size).found() is None
    verifier = Verifier([Checksum(ALGORITHM, HELLO.identity.hex())], inspector=PackageInspector())
    verifier.update(body)
    assert "not to be told" in (verifier.mismatch() or "")
    assert verifier.identity() == ""
