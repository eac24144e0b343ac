"""zchunk files, ours and those of the tool itself."""

from __future__ import annotations

import shutil
import subprocess

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.repodata import Rpm, primary

from millpond.artifacts.formats.rpm import zchunk

from .zchunks import assembled, number
from .zchunks import zchunk as made

BODY = primary([Rpm(f"p{n}") for n in range(20)])


def read(data: bytes, size: int = 10**9) -> bytes:
    return b"".join(zchunk.unpacked(data[at : at + size] for at in range(0, len(data), size)))


@pytest.mark.parametrize("flags", [0, 2, 4, 6])
@pytest.mark.parametrize("size", [1, 13, 10**9])
def test_what_goes_in_comes_out(size, flags):
    words = BODY[:3000]
    for data in (made(BODY), made(BODY, zstd=False), made(BODY, words=words), made(b""), made(BODY, flags=flags)):
        assert read(data, size) in {BODY, b""}
    assert read(made(BODY, flags=flags), size) == BODY


@pytest.mark.parametrize("more", [[], ["-D", "dictionary"], ["--uncompressed"]])
def test_what_the_tool_itself_makes(tmp_path, more):
    if shutil.which("zck") is None:
        pytest.skip("zck is not installed (Debian: zchunk)")
    (tmp_path / "dictionary").write_bytes(BODY[:4000])
    (tmp_path / "primary.xml").write_bytes(BODY)
    argv = ["zck", "-s", "<package ", *more, "-o", "primary.xml.zck", "primary.xml"]
    done = subprocess.run(argv, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    if more == ["--uncompressed"] and done.returncode:
        pytest.skip(f"this zck has no such option: {done.stderr}")
    assert done.returncode == 0, done.stderr
    assert read((tmp_path / "primary.xml.zck").read_bytes(), 100) == BODY


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "too early"),
        (b"\0ZHR1" + bytes(40), "no zchunk"),
        (b"\0ZCK1" + number(9) + bytes(40), "not known"),
        (b"\0ZCK1" + number(1) + number(zchunk.MAX_HEADER_BYTES + 1) + bytes(40), "header has more"),
        (b"\0ZCK1" + number(1) + bytes(40), "number that is too large"),
        (made(BODY, flags=1), "not known"),
        (made(BODY)[:-1], "too early"),
        (made(BODY)[:60], "too early"),
        (assembled([(b"", 0), (b"abc", 4)], zstd=False), "that should have 4"),
        (assembled([(b"", 0), (b"abc", 3)]), "can't be decompressed"),
        (assembled([(b"", 0), (b"abc", zchunk.MAX_CHUNK_BYTES + 1)]), "more than"),
        (assembled([(b"", 0), *[(b"a", zchunk.MAX_CHUNK_BYTES)] * 17]), "grows beyond"),
    ],
)
def test_what_is_none_is_refused(data, why):
    with pytest.raises(ValueError, match=why):
        read(data)


def test_a_chunk_that_grows_beyond_its_size_is_stopped():
    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(50 << 20))
    with pytest.raises(ValueError, match="that should have 5"):
        read(assembled([(b"", 0), (bomb, 5)]))


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=60), st.integers(0, 400))
def test_whatever_comes_it_is_read_or_refused(noise, at):
    good = made(BODY[:1000])
    for data in (b"\0ZCK1" + noise, good[:at] + noise + good[at + len(noise) :]):
        try:
            read(data)
        except ValueError:
            continue
