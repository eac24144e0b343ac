"""gzip streams one behind the other, and the archive within, in any pieces."""

from __future__ import annotations

import gzip
import io
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.apks import segment

from millpond.artifacts.formats.alpine import segments
from millpond.artifacts.formats.alpine.segments import Entries, Streams, contents

BODY = segment({".SIGN.RSA.k": b"s" * 256}) + segment({"DESCRIPTION": b"d", "APKINDEX": b"P:a\n" * 3000}, last=True)


def cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


@given(st.lists(st.binary(max_size=3000), max_size=4), st.integers(1, 400))
def test_streams_end_where_they_end(parts, size):
    streams, read, ends, plain = Streams(), 0, [], b""
    packed = [gzip.compress(part, mtime=0) for part in parts]
    for chunk in cut(b"".join(packed), size):
        for piece in streams.feed(chunk):
            read, plain = read + len(piece.raw), plain + piece.plain
            if piece.ends:
                ends.append(read)
    assert plain == b"".join(parts)
    assert ends == [sum(map(len, packed[: count + 1])) for count in range(len(packed))]
    assert not streams.begun


@pytest.mark.parametrize("piece_bytes", [1, 7, 512])
def test_what_one_read_makes_many_pieces_of_comes_whole(monkeypatch, piece_bytes):
    monkeypatch.setattr(segments, "PIECE_BYTES", piece_bytes)
    body = b"a" * 5000
    pieces = list(Streams().feed(gzip.compress(body) + gzip.compress(b"b")))
    assert b"".join(piece.plain for piece in pieces) == body + b"b"
    assert max(len(piece.plain) for piece in pieces) <= piece_bytes
    assert sum(piece.ends for piece in pieces) == 2


@pytest.mark.parametrize("size", [1, 511, 512, 513, 100_000])
def test_an_archive_s_files_come_in_any_pieces(size):
    assert b"".join(contents(cut(BODY, size), "APKINDEX", 1 << 20)) == b"P:a\n" * 3000


def test_entries_are_told_as_python_s_own_reader_tells_them():
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as archive:
        for name, body in {"a": b"", "b/c": b"x" * 512, "d": b"y" * 700, "é" * 80: b"z"}.items():
            member = tarfile.TarInfo(name)
            member.size = len(body)
            archive.addfile(member, io.BytesIO(body))
    entries, found = Entries(), {}
    for chunk in cut(out.getvalue(), 100):
        for name, data in entries.feed(chunk):
            found[name] = found.get(name, b"") + data
    assert list(found.values()) == [b"", b"x" * 512, b"y" * 700, b"z"]
    assert list(found)[:3] == ["a", "b/c", "d"]
    assert entries.whole


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"", "has no APKINDEX"),
        (segment({"other": b"x"}, last=True), "has no APKINDEX"),
        (BODY[:-9], "ends too early"),
        (gzip.compress(b"no archive" * 100), "no tar archive"),
        (gzip.compress(gzip.decompress(segment({"APKINDEX": b"x" * 900}))[:800]), "ends too early"),
        (b"plain text", "can't be decompressed"),
        (BODY + b"\0\1garbage", "can't be decompressed"),
    ],
    ids=["nothing", "another file", "cut", "no archive", "cut within", "no gzip", "more behind it"],
)
def test_what_is_no_such_file_is_refused(body, why):
    with pytest.raises(ValueError, match=why):
        list(contents([body], "APKINDEX", 1 << 20))


def test_a_bomb_is_refused_before_it_has_grown():
    bomb = segment({"APKINDEX": bytes(50 << 20)}, last=True)
    assert len(bomb) < 100_000
    read: list[int] = []
    with pytest.raises(ValueError, match="grows beyond"):
        read.extend(map(len, contents([bomb], "APKINDEX", 1 << 20)))
    assert sum(read) <= 1 << 20
