"""Packuments rewritten, read, and taken apart."""

from __future__ import annotations

import json
from hashlib import sha512

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.artifacts.formats.npm import packument
from millpond.artifacts.formats.npm.packument import Rewriter, TagsReader, VersionReader, listed
from millpond.artifacts.model import Checksum, Links

from .packuments import ABBREVIATED, FULL, ONE, SOURCE, TAGS, UNPUBLISHED, VERSIONS, sri

LINKS = Links("http://pond.example:8080/npm", SOURCE)
NAME = "@scope/thing"
TARBALLS = f"{LINKS.mount}/@scope/thing/-"


def through(transducer, *chunks: bytes) -> bytes:
    return b"".join([*(transducer.feed(chunk) for chunk in chunks), transducer.close()])


def rewritten(body: bytes) -> dict[str, object]:
    return json.loads(through(Rewriter(NAME, LINKS), body))


def members(body: bytes, package: str = NAME):
    return {member.name: member for member in listed(package, SOURCE, [body])}


@pytest.mark.parametrize("body", [FULL, ABBREVIATED])
def test_only_links_are_changed(body: bytes):
    before, after = json.loads(body), rewritten(body)
    assert {key: value for key, value in after.items() if key != "versions"} == {
        key: value for key, value in before.items() if key != "versions"
    }
    one = after["versions"]["1.0.0"]
    assert one["dist"]["tarball"] == f"{TARBALLS}/thing-1.0.0.tgz"
    attestations = f"{LINKS.mount}/-/npm/v1/attestations/@scope/thing@1.0.0"
    assert one["dist"]["attestations"] == {"url": attestations, "provenance": {}}
    was = VERSIONS["1.0.0"]
    assert {**one, "dist": None} == {**was, "dist": None}
    kept = one["dist"].keys() - {"tarball", "attestations"}
    assert {key: one["dist"][key] for key in kept} == {key: was["dist"][key] for key in kept}


def test_whatever_a_tarballs_link_was_it_leads_here():
    versions = rewritten(FULL)["versions"]
    assert list(versions) == ["1.0.0", "2.0.0-rc.1", "3.0.0", "4.0.0"]
    assert versions["2.0.0-rc.1"]["dist"]["tarball"] == f"{TARBALLS}/thing-2.0.0-rc.1.tgz"
    assert versions["3.0.0"]["dist"]["tarball"] == f"{TARBALLS}/thing-3.0.0.tgz"
    assert "dist" not in versions["4.0.0"]


def test_an_unpublished_package_is_a_packument_too():
    assert rewritten(UNPUBLISHED) == json.loads(UNPUBLISHED)
    assert members(UNPUBLISHED) == {}


@pytest.mark.parametrize(
    "body",
    [b"{}", b'{"error":"not_found"}', b'{"name":"@scope/thing"}', b'{"name":"other","versions":{}}', b'{"versions":[]}',
     b'{"name":5,"versions":{}}', b'{"time":{},"name":"@scope/thing"}', b"<html>", b"", FULL[:-1], FULL[:100], b"[1]"],
)  # fmt: skip
def test_what_is_no_packument_of_that_name_is_refused(body: bytes):
    for transducer in (Rewriter(NAME, LINKS), VersionReader(NAME, "latest", LINKS), TagsReader(NAME)):
        with pytest.raises(ValueError):  # noqa: PT011 - the texts differ, the kind does not
            through(transducer, body)
    with pytest.raises(ValueError):  # noqa: PT011 - likewise
        members(body)


def test_a_name_in_another_case_is_the_same_package():
    body = json.dumps({"name": "jsonstream", "versions": {}}).encode()
    assert json.loads(through(Rewriter("JSONStream", LINKS), body))["versions"] == {}


def test_a_versions_manifest_has_a_limit(monkeypatch):
    monkeypatch.setattr(packument, "MAX_MANIFEST", 2000)
    assert rewritten(json.dumps({"versions": {"1.0.0": {"x": "a" * 1900}}}).encode())
    with pytest.raises(ValueError, match="more than 2000"):
        rewritten(json.dumps({"versions": {"1.0.0": {"x": "a" * 2100}}}).encode())


def test_members_have_urls_digests_and_in_the_full_form_dates():
    found = members(FULL)
    one = found["thing-1.0.0.tgz"]
    assert one.url == "https://registry.example/@scope/thing/-/thing-1.0.0.tgz"
    assert [check.algorithm for check in one.checksums] == ["sha512", "sha1"]
    assert one.published_at == pytest.approx(1577934245.678)
    assert members(ABBREVIATED)["thing-1.0.0.tgz"].published_at is None
    two = found["thing-2.0.0-rc.1.tgz"]
    assert two.url == "https://tarballs.example/get/odd-name.tgz?sig=1"
    assert two.published_at is None, "an unreadable date is none"
    assert found["odd-name.tgz"].url == two.url, "the upstream's own name for it leads there too"
    assert set(found) == {"thing-1.0.0.tgz", "thing-2.0.0-rc.1.tgz", "odd-name.tgz"}


def test_a_name_that_another_version_has_leads_to_that_one():
    links = {"1.0.0": "https://a.example/x-2.0.0.tgz", "2.0.0": "https://a.example/two.tgz", "3.0.0": "../x-1.0.0.tgz"}
    versions = {version: {"dist": {"tarball": link}} for version, link in links.items()}
    found = members(json.dumps({"versions": versions}).encode(), "x")
    assert {name: one.url for name, one in found.items()} == {
        "x-1.0.0.tgz": links["1.0.0"],
        "x-2.0.0.tgz": links["2.0.0"],
        "x-3.0.0.tgz": "https://registry.example/x-1.0.0.tgz",
        "two.tgz": links["2.0.0"],
    }


def test_there_is_a_limit_of_versions(monkeypatch):
    monkeypatch.setattr(packument, "MAX_VERSIONS", 1)
    with pytest.raises(ValueError, match="more than 1 versions"):
        members(FULL)


@pytest.mark.parametrize(
    ("wanted", "version"),
    [("1.0.0", "1.0.0"), ("latest", "1.0.0"), ("next", "2.0.0-rc.1"), ("3.0.0", "3.0.0")],
)
@pytest.mark.parametrize("tags_last", [False, True])
def test_one_version_is_what_the_packument_has_of_it(wanted: str, version: str, tags_last: bool):
    document = json.loads(FULL)
    if tags_last:
        document["dist-tags"] = document.pop("dist-tags")
    body = json.dumps(document).encode()
    got = json.loads(through(VersionReader(NAME, wanted, LINKS), body))
    assert got == rewritten(FULL)["versions"][version]


@pytest.mark.parametrize("wanted", ["9.9.9", "gone", "dist-tags", "../up", "5.0.0"])
def test_a_version_that_is_not_there_is_nothing(wanted: str):
    assert through(VersionReader(NAME, wanted, LINKS), FULL) == b""


def test_what_is_held_while_the_tags_are_not_known_has_a_limit(monkeypatch):
    monkeypatch.setattr(packument, "MAX_HELD", 500)
    versions = {f"1.0.{number}": {"x": "y" * 100} for number in range(10)}
    late = {"versions": versions, "dist-tags": {"latest": "1.0.1"}}
    with pytest.raises(ValueError, match="after more than 500"):
        through(VersionReader("x", "latest", LINKS), json.dumps(late).encode())
    soon = {"dist-tags": {"latest": "1.0.1"}, "versions": versions}
    assert through(VersionReader("x", "latest", LINKS), json.dumps(soon).encode())


def test_the_tags_alone():
    assert json.loads(through(TagsReader(NAME), FULL)) == TAGS
    assert through(TagsReader(NAME), b'{"versions":{}}') == b"{}"


def test_a_digest_is_the_tarballs():
    found = members(FULL)["thing-1.0.0.tgz"]
    assert found.checksums[0] == Checksum("sha512", sha512(ONE).hexdigest())
    assert sri(ONE) in FULL.decode()


VERSION = st.from_regex(r"[0-9]\.[0-9]\.[0-9](-[a-z]{1,3})?", fullmatch=True)
MANIFEST = st.dictionaries(st.text(max_size=4), st.none() | st.integers() | st.text(max_size=4), max_size=3)


@pytest.mark.heavy
@settings(deadline=None)  # the machine may do other things
@given(st.dictionaries(VERSION, MANIFEST, max_size=5), st.integers(1, 40), st.booleans(), st.booleans())
def test_any_packument_keeps_all_but_its_links(
    versions: dict[str, dict[str, object]], size: int, ascii_only: bool, first: bool
):
    versions = {
        key: {**value, "dist": {"tarball": f"https://registry.example/{key}.tgz"}} for key, value in versions.items()
    }
    rest = {"name": "x", "dist-tags": {"latest": "1.0.0"}}
    document = {"versions": versions, **rest} if first else {**rest, "versions": versions}
    body = json.dumps(document, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    links = Links("http://pond.example/npm", "https://registry.example/x")
    got = json.loads(through(Rewriter("x", links), *[body[at : at + size] for at in range(0, len(body), size)]))
    for version, one in versions.items():
        one["dist"]["tarball"] = f"http://pond.example/npm/x/-/x-{version}.tgz"
    assert got == document
    assert b"registry.example" not in json.dumps(got).encode()
    assert set(members(body, "x")) >= {f"x-{version}.tgz" for version in versions}
