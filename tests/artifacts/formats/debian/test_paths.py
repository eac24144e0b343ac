"""Which path of a Debian repository is what."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.artifacts.formats.debian.paths import Kind, by_hash_paths, classify, is_index, stem
from millpond.artifacts.model import Checksum

HEX = "0123456789abcdef" * 4
CASES = {
    "dists/bookworm/InRelease": Kind.ENTRY,
    "dists/bookworm/Release": Kind.ENTRY,
    "dists/bookworm/Release.gpg": Kind.SIGNATURE,
    "dists/bullseye/updates/InRelease": Kind.ENTRY,
    "dists/bookworm/main/binary-amd64/Release": Kind.MEMBER,
    "dists/bookworm/main/source/Release": Kind.MEMBER,
    "dists/bookworm/main/binary-amd64/Packages": Kind.MEMBER,
    "dists/bookworm/main/binary-amd64/Packages.xz": Kind.MEMBER,
    "dists/bookworm/main/source/Sources.gz": Kind.MEMBER,
    "dists/bookworm/main/Contents-amd64.gz": Kind.MEMBER,
    "dists/bookworm/Contents-amd64.gz": Kind.MEMBER,
    "dists/bookworm/main/i18n/Translation-en.bz2": Kind.MEMBER,
    "dists/bookworm/main/dep11/Components-amd64.yml.gz": Kind.MEMBER,
    "dists/jammy/main/cnf/Commands-amd64.xz": Kind.MEMBER,
    "dists/bookworm/main/binary-amd64/Packages.diff/Index": Kind.MEMBER,
    "dists/bookworm/main/binary-amd64/Packages.diff/T-2024-01-01-0200.00-F-2023-12-31-0200.00.gz": Kind.PACKAGE,
    "dists/bookworm/main/installer-amd64/current/images/SHA256SUMS": Kind.MEMBER,
    f"dists/bookworm/main/binary-amd64/by-hash/SHA256/{HEX}": Kind.BY_HASH,
    f"dists/bookworm/main/binary-amd64/by-hash/SHA512/{HEX * 2}": Kind.BY_HASH,
    f"dists/bookworm/main/binary-amd64/by-hash/MD5Sum/{HEX[:32]}": Kind.BY_HASH,
    f"by-hash/SHA256/{HEX}": Kind.BY_HASH,
    "pool/main/h/hello/hello_2.10-3_amd64.deb": Kind.PACKAGE,
    "pool/main/g/gcc-12/g++-12_12.2.0-14_amd64.deb": Kind.PACKAGE,
    "pool/main/h/hello/hello_2.10-3.dsc": Kind.PACKAGE,
    "pool/main/h/hello/hello_2.10.orig.tar.gz": Kind.PACKAGE,
    "pool/main/h/hello/hello_2.10.orig.tar.gz.asc": Kind.PACKAGE,
    "pool/main/h/hello/hello_2.10-3.debian.tar.xz": Kind.PACKAGE,
    "pool/main/h/hello/hello_2.10-3.diff.gz": Kind.PACKAGE,
    "pool/main/p/partman/partman-base_226_amd64.udeb": Kind.PACKAGE,
    "pool/main/h/hello/hello_2.10-3.changelog": Kind.FILE,
    "InRelease": Kind.ENTRY,
    "Release": Kind.ENTRY,
    "Release.gpg": Kind.SIGNATURE,
    "Packages.gz": Kind.MEMBER,
    "flat/sub/Packages": Kind.MEMBER,
    "flat/Sources.xz": Kind.MEMBER,
    "flat/Packages.diff/Index": Kind.MEMBER,
    "flat/hello_1_all.deb": Kind.PACKAGE,
    "key.asc": Kind.FILE,
    "dists/README": Kind.FILE,
    "ls-lR.gz": Kind.FILE,
}


@pytest.mark.parametrize(("path", "kind"), CASES.items())
def test_what_lies_where(path, kind):
    assert classify(path).kind is kind


@pytest.mark.parametrize(
    ("path", "folders"),
    [
        ("dists/bookworm/main/binary-amd64/Packages.xz", ("dists/bookworm", "dists/bookworm/main")),
        ("dists/bullseye/updates/main/source/Sources", ("dists/bullseye", "dists/bullseye/updates",
                                                        "dists/bullseye/updates/main")),
        (f"dists/sid/main/source/by-hash/SHA256/{HEX}", ("dists/sid", "dists/sid/main")),
        ("dists/sid/main/i18n/Translation-en.xz", ("dists/sid", "dists/sid/main", "dists/sid/main/i18n")),
        ("dists/sid/Contents-amd64.gz", ("dists/sid",)),
        ("Packages.gz", ("",)),
        ("a/b/Packages.gz", ("a/b",)),
        ("a/b/Packages.diff/Index", ("a/b",)),
        (f"a/by-hash/SHA256/{HEX}", ("a",)),
    ],
)  # fmt: skip
def test_where_a_member_s_entry_file_may_lie(path, folders):
    assert classify(path).folders == folders


@pytest.mark.parametrize("path", ["by-hash/SHA256/zz", f"by-hash/SHA3/{HEX}", f"by-hash/SHA256/{HEX[:32]}", HEX])
def test_what_is_no_digest_is_no_path_by_hash(path):
    assert classify(path).kind is not Kind.BY_HASH


def test_a_path_by_hash_says_what_its_bytes_are():
    assert classify(f"dists/a/main/by-hash/SHA512/{HEX * 2}").digest == Checksum("sha512", HEX * 2)


def test_paths_by_hash_are_of_strong_digests_the_strongest_first():
    known = (Checksum("md5", HEX[:32]), Checksum("sha256", HEX), Checksum("sha512", HEX * 2))
    assert by_hash_paths("dists/a/main/source/Sources", known) == (
        f"dists/a/main/source/by-hash/SHA512/{HEX * 2}",
        f"dists/a/main/source/by-hash/SHA256/{HEX}",
    )
    assert by_hash_paths("Packages", known[:2]) == (f"by-hash/SHA256/{HEX}",)


@pytest.mark.parametrize("name", ["Packages", "Packages.gz", "Packages.xz", "Packages.bz2", "Sources.lzma", "Sources"])
def test_indexes(name):
    assert is_index(f"dists/a/main/binary-amd64/{name}")
    assert stem(f"x/{name}") == f"x/{name.partition('.')[0]}"


@pytest.mark.parametrize("name", ["Packages.lz4", "Release", "Contents-amd64.gz", "Translation-en", "Packages.diff/x"])
def test_what_is_no_index_or_can_t_be_read(name):
    assert not is_index(f"dists/a/main/binary-amd64/{name}")


@settings(deadline=None)
@given(st.text(min_size=1, max_size=80))
def test_every_path_is_something(path):
    place = classify(path)
    assert place.path == path
    assert (place.digest is not None) == (place.kind is Kind.BY_HASH)
    assert len(place.folders) <= 4
