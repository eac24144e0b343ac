"""What dnf's requests mean, and what is known of each."""

from __future__ import annotations

import pytest

from millpond.artifacts.formats.rpm import Rpm
from millpond.artifacts.generations import Head, Lead, Leaf, Part, Signature
from millpond.artifacts.model import Absent, Checksum, Target

FORMAT = Rpm()
HEX = "ab" * 32


def target(path: str, query: str = "") -> Target:
    found = FORMAT.resolve(path, query, "*/*")
    assert isinstance(found, Target), path
    return found


@pytest.mark.parametrize("path", ["", "os/", "a/../b.rpm", "./a.rpm", "a\\b", "a?b", "a#b", "a\nb", "\ud800.rpm"])
def test_what_can_t_be_asked_for(path):
    assert isinstance(FORMAT.resolve(path, "", ""), Absent)


def test_which_paths_change():
    assert target("os/repodata/repomd.xml").mutable
    assert target("os/repodata/primary.xml.gz").mutable
    assert target("keys/RPM-GPG-KEY").mutable
    assert not target("os/Packages/a.rpm").mutable
    hashed = target(f"os/repodata/{HEX}-primary.xml.gz")
    assert (hashed.mutable, hashed.digest, hashed.packed) == (False, f"sha256:{HEX}", True)
    assert target(f"os/repodata/{'cd' * 64}-primary.xml.gz").digest is None


def test_a_query_counts_for_lists_only():
    assert target("os/repodata/repomd.xml", "x=1").path == "os/repodata/repomd.xml"
    listed = target("metalink", "repo=a b&arch=x86_64")
    assert (listed.path, listed.upstream_path) == ("metalink?repo=a%20b&arch=x86_64", "metalink?repo=a%20b&arch=x86_64")
    assert listed.rewritten
    assert isinstance(FORMAT.resolve("metalink", "\ud800", ""), Absent)


def test_what_goes_upstream_is_escaped():
    assert target("os/g++-1~2^3 x.rpm").upstream_path == "os/g%2B%2B-1~2^3%20x.rpm"


def test_roles():
    head = target("os/repodata/repomd.xml")
    assert FORMAT.role(head) == Head("os/repodata/", target("os/repodata/repomd.xml.asc"), target("os/metalink"))
    assert FORMAT.role(target("os/repodata/repomd.xml.asc")) == Signature(head)
    assert FORMAT.role(target("os/repodata/comps.xml")) == Part((head,))
    assert FORMAT.role(target(f"os/repodata/{HEX}-comps.xml")) == Part((head,), Checksum("sha256", HEX))
    assert FORMAT.role(target("os/Packages/h/a.rpm")) == Leaf(
        ("repodata/", "os/repodata/", "os/Packages/repodata/", "os/Packages/h/repodata/")
    )
    assert FORMAT.role(target("os/metalink")) == Lead(head)
    assert FORMAT.role(target("os/metalink", "repo=x")) is None
    assert FORMAT.role(target("os/mirrorlist")) is None
    assert FORMAT.role(target("os/repodata/repomd.xml.key")) is None


def test_bodies():
    def starts(path: str) -> tuple[bytes, ...]:
        return FORMAT.expects(target(path)).body.prefixes

    assert starts("a.rpm") == (b"\xed\xab\xee\xdb",)
    assert starts("repodata/primary.xml.zck") == (b"\0ZCK1",)
    assert starts("repodata/repomd.xml") == (b"<",)
    assert starts("repodata/repomd.xml.asc") == (b"-----BEGIN PGP SIGNATURE-----",)
    assert starts("metalink") == (b"<",)
    assert starts("mirrorlist") == starts("some.xml") == ()
    assert not any(FORMAT.expects(target(path)).body.html for path in ("a.rpm", "repodata/x", "key", "mirrorlist"))
