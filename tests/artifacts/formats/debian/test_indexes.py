"""Packages, Sources and the Index of patches, plain and compressed."""

from __future__ import annotations

import bz2
import gzip
import lzma

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.artifacts.formats import unpacking
from millpond.artifacts.formats.debian import deb822, indexes

from . import archive

PACK = {
    "": bytes,
    ".gz": lambda body: gzip.compress(body, mtime=0),
    ".xz": lzma.compress,
    ".bz2": bz2.compress,
    ".lzma": lambda body: lzma.compress(body, lzma.FORMAT_ALONE),
    ".zst": zstandard.ZstdCompressor().compress,
}
HEX = "ab" * 32


def read(path: str, *chunks: bytes):
    return {one.name: one for one in indexes.members(path, chunks)}


@pytest.mark.parametrize("suffix", PACK)
@pytest.mark.parametrize("size", [1, 7, 1000, 10**9])
def test_packages_in_every_compression_and_cut(suffix, size):
    body = PACK[suffix](archive.PACKAGES)
    found = read(f"x/Packages{suffix}", *(body[at : at + size] for at in range(0, len(body), size)))
    assert set(found) == {archive.DEB, archive.UDEB}
    assert found[archive.DEB].size == len(archive.BODY)
    assert {one.algorithm: one.hex for one in found[archive.DEB].checksums} == {
        name: archive.hexdigest(name, archive.BODY) for name in ("md5", "sha256")
    }


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2", ".zst"])
def test_several_streams_behind_each_other_are_one_file(suffix):
    half = len(archive.PACKAGES) // 2
    body = PACK[suffix](archive.PACKAGES[:half]) + PACK[suffix](archive.PACKAGES[half:])
    assert set(read(f"Packages{suffix}", body)) == {archive.DEB, archive.UDEB}
    assert set(read(f"Packages{suffix}", *(body[at : at + 5] for at in range(0, len(body), 5)))) == {
        archive.DEB, archive.UDEB,
    }  # fmt: skip


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".bz2", ".lzma", ".zst"])
def test_one_that_was_cut_off_or_is_none_is_refused(suffix):
    body = PACK[suffix](archive.PACKAGES)
    for broken in (body[: len(body) // 2], b"", b"nothing of the kind", archive.PACKAGES):
        with pytest.raises(ValueError, match="it "):
            read(f"Packages{suffix}", broken)


def test_a_compression_that_is_not_read_here_is_refused():
    with pytest.raises(ValueError, match="not known"):
        read("Packages.lz4", b"\x04\x22M\x18")


@pytest.mark.heavy
def test_a_bomb_is_stopped(monkeypatch):
    monkeypatch.setattr(unpacking, "MAX_PLAIN_BYTES", 1 << 20)
    for suffix in (".gz", ".xz", ".bz2", ".zst"):
        bomb = PACK[suffix](b"A: b\n\n" * (3 << 17))
        assert len(bomb) < 1 << 17
        with pytest.raises(ValueError, match="grows beyond"):
            for _ in deb822.plain(f"Packages{suffix}", [bomb]):
                pass


def test_pieces_are_small_whatever_a_file_grows_to():
    body = gzip.compress(bytes(30 << 20), mtime=0)
    assert max(map(len, deb822.plain("x.gz", [body]))) <= unpacking.PIECE_BYTES
    assert sum(map(len, deb822.plain("x.gz", [body]))) == 30 << 20


def test_a_stanza_has_a_limit(monkeypatch):
    monkeypatch.setattr(deb822, "MAX_STANZA_BYTES", 1000)
    with pytest.raises(ValueError, match="stanza of more"):
        read("Packages", b"Package: x\n" * 200)


@pytest.mark.parametrize("body", [b"404 page not found\n", b"null", b"Version: 1\n", b"<html></html>", b" continued\n"])
def test_what_is_no_stanza_is_refused(body):
    for name in ("Packages", "Sources"):
        with pytest.raises(ValueError, match="it has"):
            read(name, body)


def test_an_empty_index_lists_nothing():
    assert read("Packages", b"") == read("Packages.gz", gzip.compress(b"")) == {}


def test_a_field_s_text_is_no_field():
    body = archive.stanza(archive.DEB, archive.BODY)
    assert b"\n SHA256: no field\n" in body
    assert read("Packages", body)[archive.DEB].checksums[0].hex == archive.hexdigest("sha256", archive.BODY)


@pytest.mark.parametrize("path", [b"../x.deb", b"/x.deb", b"a//b.deb", b"a/./b.deb", b"\xff.deb", b""])
def test_a_file_outside_of_the_repository_is_passed_over(path):
    body = b"Package: x\nFilename: %b\nSize: 1\n\n" % path + archive.stanza(archive.DEB, b"x")
    assert set(read("Packages", body)) == {archive.DEB}


def test_sources_list_every_file_with_all_that_is_said_of_it():
    found = read("x/Sources.xz", lzma.compress(archive.SOURCES))
    (one,) = found.values()
    assert one.name == "pool/main/h/hello/hello_1.0.dsc"
    assert {sum_.algorithm for sum_ in one.checksums} == {"md5", "sha256"}
    assert one.size == len(archive.BODY)


def test_patches_are_listed_as_they_are_downloaded():
    body = f"SHA256-Current: {HEX} 5\nSHA256-History:\n {HEX} 4 2024\nSHA256-Download:\n {HEX} 77 2024.gz\n".encode()
    found = read("dists/a/main/binary-amd64/Packages.diff/Index", body)
    assert set(found) == {"dists/a/main/binary-amd64/Packages.diff/2024.gz"}
    assert found["dists/a/main/binary-amd64/Packages.diff/2024.gz"].size == 77


NAME = st.from_regex(r"[a-z0-9][a-z0-9+.-]{1,12}", fullmatch=True)


@pytest.mark.heavy
@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAME, st.binary(max_size=20), max_size=10), st.integers(1, 50), st.sampled_from(list(PACK)))
def test_what_is_written_is_read(files, cut, suffix):
    body = PACK[suffix](archive.packages(*((f"pool/{name}.deb", content) for name, content in files.items())))
    found = read(f"Packages{suffix}", *(body[at : at + cut] for at in range(0, len(body), cut)))
    assert {name: one.checksums[0].hex for name, one in found.items()} == {
        f"pool/{name}.deb": archive.hexdigest("sha256", content) for name, content in files.items()
    }


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from(["Packages", "Packages.gz", "Sources", "Packages.diff/Index"]))
def test_whatever_comes_is_read_or_refused(body, name):
    try:
        read(name, body)
    except ValueError:
        return
