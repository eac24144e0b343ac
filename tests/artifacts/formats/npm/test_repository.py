"""The paths of a registry, and what is known of each."""

from __future__ import annotations

import pytest

from millpond.artifacts.formats.npm import Npm
from millpond.artifacts.model import Absent, Moved, Reply, Target
from millpond.artifacts.soundness import unsound_head, unsound_start

NPM = Npm()
TYPE = "application/vnd.npm.install-v1+json"
CLI = f"{TYPE}; q=1.0, application/json; q=0.8, */*"


def target(path: str, accept: str = "") -> Target:
    found = NPM.resolve(path, "", accept)
    assert isinstance(found, Target), path
    return found


def test_a_packument_has_two_forms_of_one_path():
    full, short = target("@scope/thing"), target("@scope/thing", CLI)
    assert full.path == short.path == "@scope/thing"
    assert full.upstream_path == "@scope%2fthing"
    assert {full.variant, short.variant} == {"full", "abbreviated"}
    assert (full.mutable, full.rewritten) == (True, True)
    assert full.accept == "application/json"
    assert short.accept.startswith(TYPE)


@pytest.mark.parametrize(
    ("paths", "key"),
    [
        (("left-pad/-/left-pad-1.0.0.tgz", "files/left-pad/left-pad-1.0.0.tgz"), "left-pad/-/left-pad-1.0.0.tgz"),
        (
            (
                "@scope/thing/-/thing-1.0.0.tgz",
                "@scope/thing/-/@scope/thing-1.0.0.tgz",
                "files/@scope/thing/thing-1.0.0.tgz",
            ),
            "@scope/thing/-/thing-1.0.0.tgz",
        ),
        (("files/-/files-1.0.0.tgz",), "files/-/files-1.0.0.tgz"),
        (("-/-/--0.0.1.tgz",), "-/-/--0.0.1.tgz"),
    ],
)
def test_every_spelling_of_a_tarball_is_one_object(paths: tuple[str, ...], key: str):
    assert {target(path).path for path in paths} == {key}
    assert not target(key).mutable
    expectation = NPM.expects(target(key))
    package, _, filename = key.rpartition("/-/")
    assert expectation.index == target(package, CLI)
    assert expectation.member == filename


@pytest.mark.parametrize(
    ("path", "document", "part"),
    [
        ("left-pad/1.0.0", "left-pad", "version 1.0.0"),
        ("left-pad/latest", "left-pad", "version latest"),
        ("@scope/thing/1.0.0-rc.1", "@scope/thing", "version 1.0.0-rc.1"),
        ("files/1.0.0", "files", "version 1.0.0"),
        ("-/package/left-pad/dist-tags", "left-pad", "dist-tags"),
        ("-/package/@scope/thing/dist-tags", "@scope/thing", "dist-tags"),
    ],
)
def test_versions_and_tags_are_parts_of_the_packument(path: str, document: str, part: str):
    found = target(path)
    assert (found.path, found.part) == (document, part)
    assert found.whole in {target(document), target(document, CLI)}


@pytest.mark.parametrize(("path", "moved"), [("left-pad/", "left-pad"), ("@scope/thing/", "@scope/thing")])
def test_a_trailing_slash_is_moved(path: str, moved: str):
    assert NPM.resolve(path, "", "") == Moved(moved)


@pytest.mark.parametrize(
    "path",
    ["", "@scope", "left-pad/-", "left-pad/-/x.zip", "left-pad/-/a/b.tgz", "@scope/thing/-/@other/thing-1.0.0.tgz",
     "a/b/c", "left-pad/^1.0.0", "files/left-pad/x.zip", "files/@scope/x.tgz", "-/all", "-/package/dist-tags",
     "-/package/a/b/dist-tags", "-/npm/v1/attestations/x", "-/npm/v1/attestations/@1.0.0", "-/npm/v1/other",
     "left-pad/-rev/5", ".hidden", "favicon.ico"],
)  # fmt: skip
def test_everything_else_is_absent(path: str):
    found = NPM.resolve(path, "", "")
    assert isinstance(found, Absent), found


def test_documents_beside_the_packuments():
    keys = target("-/npm/v1/keys")
    assert (keys.path, keys.upstream_path, keys.mutable, keys.rewritten) == ("-/npm/v1/keys",) * 2 + (True, False)
    assert target("-/npm/v1/attestations/@scope/thing@1.0.0").upstream_path.endswith("/@scope%2fthing@1.0.0")
    for path in ("-/npm/v1/keys", "-/npm/v1/attestations/x@1.0.0"):
        assert NPM.expects(target(path)).body.max_bytes


def test_a_portals_page_is_neither_packument_nor_tarball():
    page, head = b"<!doctype html><html>", Reply(200, {"content-type": "text/html"}, "http://x.example/")
    for path in ("left-pad", "left-pad/-/left-pad-1.0.0.tgz", "-/npm/v1/keys"):
        body = NPM.expects(target(path)).body
        assert unsound_head(body, head, None)
        assert unsound_start(body, page, None)


def test_the_full_form_stands_in_for_the_abbreviated_one_only():
    full, short = target("left-pad"), target("left-pad", CLI)
    assert NPM.stand_ins(short) == (full,)
    assert NPM.serves(short, "application/json")
    assert not NPM.serves(full, TYPE)
    assert NPM.serves(full, "application/json"), "a registry that has the full form only"
    part = target("-/package/left-pad/dist-tags")
    assert [one.part for one in NPM.stand_ins(part)] == ["dist-tags"]
