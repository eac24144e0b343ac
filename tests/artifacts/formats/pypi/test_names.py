"""The grammar of names."""

from __future__ import annotations

import pytest

from millpond.artifacts.formats.pypi.names import checksum, file_url, is_distribution, is_file, normalized
from millpond.artifacts.model import Checksum


@pytest.mark.parametrize(
    ("name", "normal"), [("Foo", "foo"), ("a.b__c-.d", "a-b-c-d"), ("zope.interface", "zope-interface"), ("7", "7")]
)
def test_a_project_has_one_spelling(name: str, normal: str):
    assert normalized(name) == normal
    assert normalized(normal) == normal


@pytest.mark.parametrize("name", ["", "-a", "a-", ".", "..", "a b", "a/b", "é", "a\n", "a" * 256, "http:"])
def test_what_is_no_project_has_none(name: str):
    assert normalized(name) is None


@pytest.mark.parametrize(
    "name",
    [
        "a-1.0-py3-none-any.whl",
        "a-1.0.tar.gz",
        "a-1!2.0+local.zip",
        "A_b-1.egg",
        "a-1.win32.exe",
        "a-1.tar.Z",
        "_a-1.zip",
    ],
)
def test_a_distribution_goes_by_its_suffix(name: str):
    assert is_distribution(name)
    assert is_file(name)
    assert is_file(name + ".metadata")
    assert is_file(name + ".asc")
    assert not is_distribution(name + ".metadata")


@pytest.mark.parametrize(
    "name",
    [
        "", ".whl", ".a.whl", "-a.whl", "a/b.whl", "a\\b.whl", "a b.whl", "ä.whl", "a.whl\n", "a.txt", "..whl",
        "a.whl.metadata.asc", "a.metadata", "a.whl.METADATA", "%2e.whl", "a" * 252 + ".whl", "a?b.whl", "a#b.whl",
        "a\x00.whl",
    ],
)  # fmt: skip
def test_what_is_no_file_is_refused(name: str):
    assert not is_file(name)


def test_a_file_name_is_escaped_in_its_url():
    assert file_url("http://p/pypi", "torch", "torch-1!2+cu1.whl") == "http://p/pypi/files/torch/torch-1%212%2Bcu1.whl"


def test_a_checksum_is_read_in_lower_case():
    assert checksum("SHA256", "ABcd") == Checksum("sha256", "abcd")


@pytest.mark.parametrize(
    "pair",
    [("sha256", "xyz"), ("sha256", "abc"), ("sha256", ""), ("", "ab"), (1, "ab"), ("a-b", "ab"), ("md5", None)],
)
def test_an_odd_checksum_promises_nothing(pair: tuple[object, object]):
    assert checksum(*pair) is None
