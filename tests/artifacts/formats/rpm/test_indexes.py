"""primary.xml and prestodelta.xml, in every compression."""

from __future__ import annotations

import hashlib
import tracemalloc

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.repodata import PACK, Rpm, primary

from millpond.artifacts.formats.rpm import indexes
from millpond.artifacts.model import Checksum, Member

from .zchunks import zchunk

RPMS = [Rpm(), Rpm("g++", "1.0~2^3"), Rpm("other", payload=b"other")]
ALL = {**PACK, ".zst": zstandard.ZstdCompressor().compress, ".zck": zchunk}
DELTAS = b"""<?xml version="1.0"?>
<prestodelta><newpackage name="a" epoch="0" version="2" release="1" arch="noarch">
<delta oldepoch="0" oldversion="1" oldrelease="1"><filename>drpms/a-1_2.noarch.drpm</filename>
<sequence>a-1-ab</sequence><size>123</size><checksum type="sha256">%s</checksum></delta>
<delta oldepoch="0" oldversion="0" oldrelease="1"><filename>../out.drpm</filename><size>1</size></delta>
</newpackage></prestodelta>
""" % (b"ab" * 32)


def read(path: str, *chunks: bytes) -> dict[str, Member]:
    return {one.name: one for one in indexes.members(path, chunks)}


@pytest.mark.parametrize("suffix", ALL)
@pytest.mark.parametrize("size", [1, 7, 1000, 10**9])
def test_packages_in_every_compression_and_cut(suffix, size):
    body = ALL[suffix](primary(RPMS))
    path = f"9/os/repodata/{'ab' * 32}-primary.xml{suffix}"
    found = read(path, *(body[at : at + size] for at in range(0, len(body), size)))
    assert set(found) == {f"9/os/Packages/{one.filename}" for one in RPMS}
    for one in RPMS:
        member = found[f"9/os/Packages/{one.filename}"]
        assert member.size == len(one.body)
        assert member.checksums == (Checksum("sha256", hashlib.sha256(one.body).hexdigest()),)


@pytest.mark.parametrize("algorithm", ["sha1", "sha512", "md5"])
def test_other_algorithms(algorithm):
    found = read("repodata/primary.xml", primary(RPMS[:1], algorithm=algorithm))
    assert [one.checksums[0].algorithm for one in found.values()] == [algorithm]


@pytest.mark.parametrize("suffix", ALL)
def test_one_that_was_cut_off_or_is_none_is_refused(suffix):
    body = ALL[suffix](primary(RPMS))
    for broken in (body[: len(body) // 2], body[:-3], b"", b"nothing of the kind", b"\0ZCK1", b"<metadata/>x"):
        with pytest.raises(ValueError, match="it"):
            read(f"repodata/primary.xml{suffix}", broken)


def test_a_package_that_lies_elsewhere_is_not_promised():
    text = primary(RPMS[:1]).replace(b"<location href", b'<location xml:base="http://other.example/" href', 1)
    assert read("repodata/primary.xml", text) == {}


def test_deltas():
    assert read("os/repodata/prestodelta.xml", DELTAS) == {
        "os/drpms/a-1_2.noarch.drpm": Member(
            "os/drpms/a-1_2.noarch.drpm", "os/drpms/a-1_2.noarch.drpm", (Checksum("sha256", "ab" * 32),), 123
        )
    }
    with pytest.raises(ValueError, match="prestodelta"):
        read("os/repodata/prestodelta.xml", primary(RPMS))


def test_the_number_of_packages_has_a_limit(monkeypatch):
    monkeypatch.setattr(indexes, "MAX_MEMBERS", 2)
    with pytest.raises(ValueError, match="more than 2 packages"):
        read("repodata/primary.xml", primary(RPMS))


@pytest.mark.heavy
def test_memory_does_not_grow_with_the_document():
    stanza = RPMS[0].stanza().encode()
    whole = primary([])
    cut = whole.index(b"</metadata>")

    def pieces(count: int):
        yield whole[:cut]
        for _ in range(count):
            yield stanza
        yield whole[cut:]

    def peak(count: int) -> int:
        tracemalloc.start()
        try:
            assert sum(1 for _ in indexes.members("repodata/primary.xml", pieces(count))) == count
            return tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()

    assert peak(4000) < peak(200) + 200_000


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=300), st.sampled_from([*ALL]), st.integers(0, 2000))
def test_whatever_comes_it_is_read_or_refused(noise, suffix, at):
    body = ALL[suffix](primary(RPMS[:1]))
    for text in (noise, body[:at] + noise, body[:at] + noise + body[at:]):
        try:
            read(f"repodata/primary.xml{suffix}", text)
        except ValueError:
            continue
