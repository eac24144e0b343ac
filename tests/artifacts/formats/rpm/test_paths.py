"""What lies at a path of an RPM repository."""

from __future__ import annotations

import pytest

from millpond.artifacts.formats.rpm.paths import Kind, below, classify, compression, index_kind, stem
from millpond.artifacts.model import Checksum

SHA256, SHA512 = "ab" * 32, "cd" * 64


@pytest.mark.parametrize(
    ("path", "kind", "root"),
    [
        ("repodata/repomd.xml", Kind.ENTRY, ""),
        ("9/BaseOS/x86_64/os/repodata/repomd.xml", Kind.ENTRY, "9/BaseOS/x86_64/os/"),
        ("os/repodata/repomd.xml.asc", Kind.SIGNATURE, "os/"),
        ("os/repodata/repomd.xml.key", Kind.FILE, "os/"),
        ("os/repodata/primary.xml.gz", Kind.MEMBER, "os/"),
        (f"os/repodata/{SHA256}-filelists.sqlite.bz2", Kind.MEMBER, "os/"),
        ("os/Packages/h/hello-1.0-1.x86_64.rpm", Kind.PACKAGE, "os/Packages/h/"),
        ("drpms/a.drpm", Kind.PACKAGE, "drpms/"),
        ("repomd.xml", Kind.FILE, ""),
        ("repodata.xml", Kind.FILE, ""),
        ("xrepodata/repomd.xml", Kind.FILE, "xrepodata/"),
        ("RPM-GPG-KEY-example", Kind.FILE, ""),
        ("images/pxeboot/vmlinuz", Kind.FILE, "images/pxeboot/"),
        ("mirrorlist", Kind.LIST, ""),
        ("os/metalink", Kind.LIST, "os/"),
        ("os/metalink?repo=a/b&arch=x86_64", Kind.LIST, "os/"),
        ("mirrorlist/9", Kind.FILE, "mirrorlist/"),
    ],
)
def test_kinds(path, kind, root):
    place = classify(path)
    assert (place.path, place.kind, place.root) == (path, kind, root)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        (f"{SHA256}-primary.xml.gz", Checksum("sha256", SHA256)),
        (f"{SHA512}-primary.xml.gz", Checksum("sha512", SHA512)),
        ("ab" * 16 + "-primary.xml.gz", None),  # an MD5, or just a number of somebody's
        ("ab" * 20 + "-primary.xml.gz", None),
        (f"{SHA256}", None),
        (f"{SHA256.upper()}-primary.xml.gz", None),
        ("primary.xml.gz", None),
    ],
)
def test_names_that_have_the_digest_of_their_bytes(name, digest):
    assert classify(f"x/repodata/{name}").digest == digest


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".bz2", ".zst", ".zck"])
@pytest.mark.parametrize("prefix", ["", f"{SHA256}-", "0123456789abcdef0123456789abcdef-"])
def test_indexes_of_packages(prefix, suffix):
    path = f"x/repodata/{prefix}primary.xml{suffix}"
    assert index_kind(path) == "primary"
    assert stem(path) == "x/repodata/:primary"
    assert compression(path) == suffix.removeprefix(".")
    assert index_kind(path.replace("primary", "prestodelta")) == "prestodelta"


@pytest.mark.parametrize(
    "path",
    [
        "repodata/filelists.xml.gz", "repodata/primary.sqlite.bz2", "repodata/primary_db.xml.gz", "primary.xml.gz",
        "repodata/primary.xml.lz4", "repodata/repomd.xml", "x/primary.xml", "repodata/myprimary.xml",
    ],
)  # fmt: skip
def test_what_is_no_index(path):
    assert index_kind(path) == ""


@pytest.mark.parametrize(
    ("href", "base", "path"),
    [
        ("Packages/a-1.rpm", "", "os/Packages/a-1.rpm"),
        ("./a.rpm", "", "os/a.rpm"),
        ("g%2B%2B-1~2^3.rpm", "", "os/g++-1~2^3.rpm"),
        ("g++.rpm", "", "os/g++.rpm"),
        ("größe.rpm", "", "os/größe.rpm"),
        ("", "", ""),
        ("/etc/passwd", "", ""),
        ("../x.rpm", "", ""),
        ("a/../../x.rpm", "", ""),
        ("%2e%2e/x.rpm", "", ""),
        ("a//b.rpm", "", ""),
        ("a\\b.rpm", "", ""),
        ("a.rpm?b", "", ""),
        ("a%00.rpm", "", ""),
        ("%ff.rpm", "", ""),
        ("http://other.example/a.rpm", "", ""),
        ("a.rpm", "http://other.example/", ""),
        ("a.rpm", "media:1#1", ""),
    ],
)
def test_where_a_document_says_that_things_lie(href, base, path):
    assert below("os/", href, base) == path
