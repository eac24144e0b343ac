"""Entry files: what they name, when they were made, and what is none."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.artifacts.formats.debian import release
from millpond.artifacts.model import Checksum

from . import archive

IN, PLAIN = f"{archive.SUITE}/InRelease", f"{archive.SUITE}/Release"
XZ = "main/binary-amd64/Packages.xz"


def read(path: str, body: bytes) -> dict[str, tuple[str, dict[str, str], int | None]]:
    found = release.members(path, [body])
    return {one.name: (one.url, {sum_.algorithm: sum_.hex for sum_ in one.checksums}, one.size) for one in found}


def test_it_names_its_members_by_their_paths_in_the_repository():
    found = read(IN, archive.INRELEASE)
    url, sums, size = found[f"{archive.SUITE}/{XZ}"]
    body = archive.MEMBERS[XZ]
    assert url == f"{archive.SUITE}/{XZ}"
    assert sums == {name: archive.hexdigest(name, body) for name in ("md5", "sha1", "sha256", "sha512")}
    assert size == len(body)


def test_a_signed_one_says_the_same_as_a_plain_one():
    assert read(IN, archive.INRELEASE) == read(PLAIN, archive.RELEASE)


def test_with_acquire_by_hash_members_are_known_by_their_strong_digests_too():
    digest = archive.hexdigest("sha512", archive.MEMBERS[XZ])
    alias = f"{archive.SUITE}/main/binary-amd64/by-hash/SHA512/{digest}"
    assert read(IN, archive.INRELEASE)[alias][0] == f"{archive.SUITE}/{XZ}"
    assert not any("by-hash" in name for name in read(PLAIN, archive.release(archive.MEMBERS, by_hash=False)))


def test_a_flat_one_names_what_lies_beside_it():
    body = archive.release({"./Packages": b"a", "Packages.gz": b"b"}, by_hash=False)
    assert set(read("Release", body)) == {"Packages", "Packages.gz"}
    assert set(read("x/Release", body)) == {"x/Packages", "x/Packages.gz"}


@pytest.mark.parametrize("name", ["md5", "sha1", "sha256", "sha512"])
def test_one_algorithm_is_enough(name):
    only = tuple(pair for pair in archive.NAMES if pair[0] == name)
    body = archive.release({"main/x": b"x"}, by_hash=False, names=only)
    assert read(PLAIN, body)[f"{archive.SUITE}/main/x"][1] == {name: archive.hexdigest(name, b"x")}


def test_line_ends_and_dash_escapes():
    text = archive.release({"-x": b"1"}, by_hash=False).replace(b"\n", b"\r\n")
    assert list(read(PLAIN, text)) == [f"{archive.SUITE}/-x"]
    assert list(read(IN, archive.signed(archive.release({"x": b"1"}, more="-Odd: 1\n", by_hash=False)))) == [
        f"{archive.SUITE}/x"
    ]


@pytest.mark.parametrize(
    "body",
    [
        b"evil: 1\n" + archive.INRELEASE,
        archive.INRELEASE + b"SHA256:\n " + b"0" * 64 + b" 1 evil\n",
        archive.INRELEASE + archive.INRELEASE,
        archive.INRELEASE.replace(b"Hash: SHA512", b"SHA256: evil"),
        archive.INRELEASE[:-40],
        archive.RELEASE,
        archive.signed(b"Origin: x\n"),
        b"",
    ],
)
def test_what_is_not_one_signed_message_is_refused(body):
    with pytest.raises(ValueError, match=r"its? "):
        read(IN, body)


@pytest.mark.parametrize(
    "line",
    [b"00 1 x", b"g" * 64 + b" 1 x", b"0" * 64 + b" -1 x", b"0" * 64 + b" 1 ../x", b"0" * 64 + b" 1 /x", b"0" * 64],
)  # fmt: skip
def test_a_line_that_names_no_file_spoils_it(line):
    with pytest.raises(ValueError, match="it "):
        read(PLAIN, b"Origin: x\nSHA256:\n " + line + b"\n")


def test_its_dates():
    body = archive.release({"x": b""}, more="Valid-Until: Sat, 16 Mar 2030 10:00:00 UTC\n")
    found = release.dates(IN, [archive.signed(body)])
    assert found.valid_until is not None
    assert found.issued_at is not None
    assert found.valid_until - found.issued_at == 7 * 86400
    odd = release.dates(PLAIN, [b"SHA256:\nDate: yesterday\n"])
    assert (odd.issued_at, odd.valid_until) == (None, None)


def test_it_has_a_limit():
    with pytest.raises(ValueError, match="more than"):
        list(release.members(PLAIN, (b"Origin: x\n" + b"A: b\n" * 200_000 for _ in range(40))))


NAME = st.text("abcXYZ019-_.+~", min_size=1, max_size=20).filter(lambda name: name not in {".", ".."})


@settings(max_examples=100, deadline=None)
@given(st.dictionaries(NAME, st.binary(max_size=30), min_size=1, max_size=8), st.booleans())
def test_what_is_written_is_read(files, by_hash):
    body = archive.release(files, by_hash=by_hash)
    found = read(IN, archive.signed(body))
    for name, content in files.items():
        _, sums, size = found[f"{archive.SUITE}/{name}"]
        assert (sums["sha256"], size) == (archive.hexdigest("sha256", content), len(content))
    assert len(found) == len(files) if not by_hash else len(found) > len(files)


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=400))
def test_whatever_comes_is_read_or_refused(body):
    for path in (IN, PLAIN):
        try:
            found = list(release.members(path, [body]))
        except ValueError:
            continue
        assert all(isinstance(one.checksums[0], Checksum) for one in found)
