"""JSON pages: rewritten, read, and told apart from other documents."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pypi_simple import ProjectPage

from millpond.artifacts.formats.pypi.jsonpage import ProjectRewriter, RootChecker, listed
from millpond.artifacts.model import Checksum, Links, Member

from .pages import DOCUMENT, JSON, META, ROOT_JSON, SDIST, SHA, SOURCE, WHEEL

MOUNT = "http://pond.example/pypi"
MIB = 1 << 20


def rewritten(document: bytes, size: int = MIB) -> bytes:
    rewriter = ProjectRewriter("foo-bar", Links(MOUNT, SOURCE))
    chunks = [document[at : at + size] for at in range(0, len(document), size)]
    return b"".join([*map(rewriter.feed, chunks), rewriter.close()])


def page(*files: Any, **more: Any) -> bytes:
    return json.dumps({"meta": {"api-version": "1.1"}, "name": "foo-bar", "files": files, **more}).encode()


def entry(name: str = "x.whl", **more: Any) -> dict[str, Any]:
    return {"filename": name, "url": f"https://files.example/p/{name}", "hashes": {}, **more}


def test_a_page_is_the_same_but_for_links_and_provenance():
    after = json.loads(rewritten(JSON))
    expected = json.loads(JSON)
    for file in expected["files"]:
        file["url"] = f"{MOUNT}/files/foo-bar/{file['filename']}"
    expected["files"][0]["provenance"] = None
    assert after == expected
    assert "provenance" not in after["files"][1]


def test_an_independent_reader_finds_the_same_files():
    page = json.loads(rewritten(JSON))
    page["files"][1] |= {"size": 1, "upload-time": None}  # that reader refuses a page with an odd one
    wheel, sdist = ProjectPage.from_json_data(page).packages
    assert (wheel.filename, wheel.url) == (WHEEL, f"{MOUNT}/files/foo-bar/{WHEEL}")
    assert wheel.digests["sha256"] == SHA
    assert (wheel.requires_python, wheel.size, wheel.metadata_digests) == (">=3.8,<4", 1234, {"sha256": META})
    assert wheel.upload_time is not None
    assert (sdist.is_yanked, sdist.yanked_reason, sdist.has_sig) == (True, "broken: größer", True)


@pytest.mark.parametrize(
    "odd",
    [
        None, 1, "x.whl", [], {}, {"filename": "x.whl"}, {"url": "x.whl"}, entry("../x.whl"), entry("x.txt"),
        entry("-x.whl"),
        entry() | {"url": "javascript:1"}, entry() | {"url": None}, entry() | {"filename": ["x.whl"]},
        entry() | {"url": "http://[bad/x.whl"},
    ],
)  # fmt: skip
def test_an_odd_entry_is_left_out_and_kills_nothing(odd: Any):
    document = page(odd, entry("a.whl"), odd, entry("b.whl"), odd)
    assert [file["filename"] for file in json.loads(rewritten(document))["files"]] == ["a.whl", "b.whl"]
    assert [one.member.name for one in listed(SOURCE, [document])] == ["a.whl", "b.whl"]


def test_a_number_beyond_all_bounds_leaves_its_file_out():
    document = page(entry("a.whl")).replace(b'"hashes": {}', b'"size": 1e999')
    assert json.loads(rewritten(document))["files"] == []


def test_a_page_without_files_stays_one():
    assert json.loads(rewritten(page()))["files"] == []


def test_files_are_read_with_all_that_a_page_tells():
    first, second = listed(SOURCE, [JSON])
    checksums = (Checksum("sha256", SHA), Checksum("blake2b_256", "c" * 64))
    url = f"https://files.example/packages/ab/{WHEEL}"
    assert first.member == Member(WHEEL, url, checksums, 1234, 1704164645.25)
    assert (first.metadata, first.signed) == ((Checksum("sha256", META),), False)
    assert second.member == Member(SDIST, f"https://index.example/packages/cd/{SDIST}")
    assert (second.metadata, second.signed) == (None, True)


@pytest.mark.parametrize(
    ("more", "metadata"),
    [
        ({"core-metadata": True}, ()),
        ({"core-metadata": {"sha256": "ab"}}, (Checksum("sha256", "ab"),)),
        ({"core-metadata": False, "dist-info-metadata": True}, None),
        ({"dist-info-metadata": {"md5": "ab"}}, (Checksum("md5", "ab"),)),
        ({"data-dist-info-metadata": True}, ()),
        ({"core-metadata": "yes"}, None),
        ({}, None),
    ],
)
def test_the_newer_metadata_key_counts(more: dict[str, Any], metadata: tuple[Checksum, ...] | None):
    [one] = listed(SOURCE, [page(entry(**more))])
    assert one.metadata == metadata


@pytest.mark.parametrize(
    ("more", "size"),
    [
        ({"size": 5}, 5),
        ({"size": 0}, 0),
        ({"size": -1}, None),
        ({"size": True}, None),
        ({"size": 1.5}, None),
        ({}, None),
    ],
)
def test_a_size_is_a_size_or_nothing(more: dict[str, Any], size: int | None):
    [one] = listed(SOURCE, [page(entry(**more))])
    assert one.member.size == size


@pytest.mark.parametrize(
    "document", [b"{}", b'{"projects": []}', b'{"message": "no"}', JSON[:-3], page() + b"{}", b"<html>"]
)
def test_another_document_is_no_page(document: bytes):
    for read in (rewritten, lambda body: list(listed(SOURCE, [body]))):
        with pytest.raises(ValueError):  # noqa: PT011 - the texts differ, the kind does not
            read(document)


@pytest.mark.parametrize(
    ("version", "sound"), [("1.0", True), ("1.99", True), ("2.0", False), (None, True), ("", False)]
)
def test_a_later_major_version_is_not_understood(version: str | None, sound: bool):
    document = page(entry(), meta={"api-version": version})
    if sound:
        assert rewritten(document)
    else:
        with pytest.raises(ValueError, match="version"):
            rewritten(document)
        with pytest.raises(ValueError, match="version"):
            list(listed(SOURCE, [document]))


def test_the_root_passes_byte_for_byte():
    for size in (1, 7, MIB):
        root = RootChecker()
        chunks = [ROOT_JSON[at : at + size] for at in range(0, len(ROOT_JSON), size)]
        assert b"".join([*map(root.feed, chunks), root.close()]) == ROOT_JSON


@pytest.mark.parametrize(
    "document", [ROOT_JSON[:-4], b"{}", b'{"files": []}', b'{"meta":{"api-version":"2.0"},"projects":[]}']
)
def test_an_unsound_root_is_refused(document: bytes):
    root = RootChecker()
    with pytest.raises(ValueError):  # noqa: PT011 - the texts differ, the kind does not
        root.close() if root.feed(document) else None


NAMES = st.from_regex(r"[A-Za-z0-9_][A-Za-z0-9._+!-]{0,12}\.(whl|tar\.gz|zip)", fullmatch=True)
EXTRA = st.dictionaries(
    st.sampled_from(["requires-python", "yanked", "size", "upload-time", "core-metadata", "gpg-sig", "x-other"]),
    st.none()
    | st.booleans()
    | st.integers()
    | st.text(max_size=8)
    | st.dictionaries(st.text(max_size=3), st.text(max_size=3)),
)


@pytest.mark.heavy
@given(st.lists(st.tuples(NAMES, EXTRA), max_size=6), st.integers(1, 40), st.booleans())
def test_any_page_keeps_its_files_and_what_is_said_of_them(
    files: list[tuple[str, dict[str, Any]]], size: int, first: bool
):
    entries = [entry(name, **more) for name, more in files]
    parts = {"files": entries, **DOCUMENT["meta"]} if first else {"name": "foo-bar", "files": entries}  # type: ignore[dict-item]
    document = json.dumps(parts, ensure_ascii=False).encode("utf-8", "surrogatepass")
    whole = rewritten(document)
    assert rewritten(document, size) == whole
    for was, now in zip(entries, json.loads(whole)["files"], strict=True):
        assert now["url"].startswith(f"{MOUNT}/files/foo-bar/")
        assert now == was | {"url": now["url"]}
    assert json.loads(whole) == parts | {"files": json.loads(whole)["files"]}


def test_memory_does_not_grow_with_the_page():
    rewriter = ProjectRewriter("foo-bar", Links(MOUNT, SOURCE))
    one = json.dumps(DOCUMENT["files"][0]).encode() + b","  # type: ignore[index]
    chunk = one * 100
    rewriter.feed(b'{"files":[')
    tracemalloc.start()
    try:
        for _ in range(MIB // len(chunk)):
            rewriter.feed(chunk)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    rewriter.feed(one[:-1] + b"]}")
    rewriter.close()
    assert peak < MIB // 2
