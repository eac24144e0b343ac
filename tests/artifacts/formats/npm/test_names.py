"""Names by grammar, and what a version promises of its tarball."""

from __future__ import annotations

import pytest

from millpond.artifacts.formats.npm.names import (
    MAX_NAME,
    checksums,
    is_tarball,
    is_version,
    take_package,
    tarball_of,
    tarball_url,
    upstream_name,
)
from millpond.artifacts.model import Checksum

from .packuments import ONE, sri


@pytest.mark.parametrize(
    ("path", "package", "rest"),
    [
        ("left-pad", "left-pad", []),
        ("JSONStream/1.0.0", "JSONStream", ["1.0.0"]),
        ("@scope/thing", "@scope/thing", []),
        ("@scope/thing/-/thing-1.tgz", "@scope/thing", ["-", "thing-1.tgz"]),
        ("-", "-", []),
        ("a.b_c~d", "a.b_c~d", []),
    ],
)
def test_a_package_is_taken_from_a_path(path: str, package: str, rest: list[str]):
    assert take_package(path.split("/")) == (package, rest)


@pytest.mark.parametrize(
    "path", ["", ".", "..", ".hidden", "_private", "@scope", "@/x", "@scope/", "@sc ope/x", "a b", "a:b", "é",
             "node_modules", "favicon.ico", "a%2fb", "@a/.b", "a" * (MAX_NAME + 1)],
)  # fmt: skip
def test_what_is_no_package_is_none(path: str):
    assert take_package(path.split("/")) is None


@pytest.mark.parametrize("text", ["1.0.0", "1.0.0-rc.1", "1.0.0+build.5", "latest", "next-11", "v1"])
def test_versions_and_tags(text: str):
    assert is_version(text)


@pytest.mark.parametrize("text", ["", "^1.0.0", "1 || 2", "../x", "-rf", ".x", "a/b", "1" * 300, "1.0.0\n"])
def test_no_versions(text: str):
    assert not is_version(text)


@pytest.mark.parametrize("name", ["x.tgz", "left-pad-1.0.0.tgz", "--0.0.1.tgz", "x-1.0.0+b.tgz", "X.tar.gz"])
def test_tarballs(name: str):
    assert is_tarball(name)


@pytest.mark.parametrize("name", ["", "x", "x.zip", ".x.tgz", "a/b.tgz", "x.tgz\n", "x y.tgz", "x" * 600 + ".tgz"])
def test_no_tarballs(name: str):
    assert not is_tarball(name)


def test_a_tarball_is_called_after_the_package_without_its_scope():
    assert tarball_of("@scope/thing", "1.0.0") == "thing-1.0.0.tgz"
    assert tarball_of("thing", "../1") is None
    url = tarball_url("http://pond.example/npm", "@scope/thing", "thing-1.0.0+b.tgz")
    assert url == "http://pond.example/npm/@scope/thing/-/thing-1.0.0+b.tgz"


def test_upstream_is_asked_as_npm_asks():
    assert upstream_name("@scope/thing") == "@scope%2fthing"
    assert upstream_name("left-pad") == "left-pad"


def test_digests_are_read_as_hex_the_odd_ones_passed_over():
    found = checksums(f"{sri(ONE)}?x sha512-short md5-AAAA nonsense sha1-!!", "A" * 40)
    assert [one.algorithm for one in found] == ["sha512", "sha1"]
    assert found[1] == Checksum("sha1", "a" * 40)
    assert checksums(None, 5) == ()
    assert checksums(["x"], "zz") == ()
