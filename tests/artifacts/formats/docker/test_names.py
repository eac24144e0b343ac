"""Names, tags and digests by the OCI grammar."""

from __future__ import annotations

import pytest

from millpond.artifacts.formats.docker.names import Place, Unreadable, read

DIGEST = "sha256:" + "0a" * 32


@pytest.mark.parametrize(
    "name", ["a", "library/nginx", "a/b/c/d/e", "a.b/c_d/e__f/g-h/i---j", "manifests/manifests/tags", "0/1", "a" * 255]
)
@pytest.mark.parametrize("rest", ["manifests/latest", f"manifests/{DIGEST}", f"blobs/{DIGEST}", f"referrers/{DIGEST}"])
def test_what_the_grammar_allows_is_read(name, rest):
    found = read(f"{name}/{rest}")
    assert isinstance(found, Place)
    assert (found.name, found.path) == (name, f"{name}/{rest}")
    assert found.digest == (DIGEST in rest)


@pytest.mark.parametrize(
    "name", ["A", "a/B", "-a", "a-", "a..b", "a.-b", "a___b", "a//b", "/a", "a/", "a b", "a\n", "é", "a" * 256, "a:1"]
)
def test_other_names_are_refused_by_their_code(name):
    assert read(f"{name}/manifests/latest") == read(f"{name}/tags/list")
    assert read(f"{name}/tags/list").code == "NAME_INVALID"


@pytest.mark.parametrize("tag", ["latest", "1.0", "_", "A-b_c.D", "v" * 128, "0", "manifests", "sha256"])
def test_tags(tag):
    assert read(f"a/manifests/{tag}") == Place("a", "manifests", tag)


@pytest.mark.parametrize("tag", [".a", "-a", "a+b", "v" * 129, "ä", "a b", "a\n"])
def test_what_is_no_tag(tag):
    found = read(f"a/manifests/{tag}")
    assert isinstance(found, Unreadable)
    assert found.code == "MANIFEST_INVALID"


@pytest.mark.parametrize(
    "reference", ["sha256:", "sha256:0A" + "0a" * 31, DIGEST + "0", DIGEST[:-1], "md5:" + "0a" * 16, "x", "a:b:c", ":"]
)
def test_what_is_no_digest_that_can_be_checked(reference):
    assert read(f"a/blobs/{reference}").code == "DIGEST_INVALID"


def test_sha512_is_refused_and_says_why():
    found = read("a/manifests/sha512:" + "0a" * 64)
    assert found.code == "UNSUPPORTED"
    assert "sha256" in found.reason


@pytest.mark.parametrize("path", ["", "a", "a/b", "_catalog", "a/tags/other", "a/blobs/uploads/", "a/things/x"])
def test_what_a_registry_does_not_have(path):
    assert isinstance(read(path), Unreadable)


def test_a_namespace_stands_before_single_names_only():
    assert read("nginx/tags/list", "library").name == "library/nginx"
    assert read("own/nginx/tags/list", "library").name == "own/nginx"
