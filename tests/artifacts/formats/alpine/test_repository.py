"""Which path of a mirror is what."""

from __future__ import annotations

import pytest
from tests.apks import Apk, index

from millpond.artifacts.formats.alpine import Alpine
from millpond.artifacts.generations import Dates, Head, Leaf
from millpond.artifacts.model import Absent, Target

ALPINE = Alpine()
INDEX = "v3.20/main/x86_64/APKINDEX.tar.gz"
PACKAGE = "v3.20/main/x86_64/hello-1.0-r0.apk"


def target(path: str) -> Target:
    found = ALPINE.resolve(path, "", "")
    assert isinstance(found, Target)
    return found


def test_the_index_is_an_entry_file_that_lists_packages_and_is_never_read_here():
    found = target(INDEX)
    assert (found.mutable, found.packed, found.complete) == (True, True, True)
    assert ALPINE.role(found) == Head("v3.20/main/x86_64/")
    assert ALPINE.index(INDEX) == (found, INDEX)
    assert [one.name for one in ALPINE.members(found, "", "", [index(Apk())])] == [PACKAGE]


def test_a_package_belongs_to_the_index_of_its_folder():
    found = target(PACKAGE)
    assert (found.mutable, found.packed) == (False, False)
    assert ALPINE.role(found) == Leaf((INDEX,), (target(INDEX),))
    assert ALPINE.index(PACKAGE) is None
    assert ALPINE.inspector(found) is not None
    assert ALPINE.inspector(target(INDEX)) is None


def test_at_the_root_of_a_repository():
    assert ALPINE.role(target("APKINDEX.tar.gz")) == Head("")
    assert ALPINE.role(target("a-1.apk")) == Leaf(("APKINDEX.tar.gz",), (target("APKINDEX.tar.gz"),))


@pytest.mark.parametrize(
    "path", ["MIRRORS.txt", "v3.20/releases/x86_64/latest-releases.yaml", "edge/main/x86_64/Packages.adb"]
)
def test_whatever_else_lies_there_is_mutable_and_of_no_generation(path):
    assert target(path).mutable
    assert ALPINE.role(target(path)) is None
    assert list(ALPINE.members(target(path), "", "", [b"x"])) == []


def test_a_plus_sign_is_escaped_upstream():
    assert (
        target("edge/main/x86_64/gtk+3.0-3.24.42-r0.apk").upstream_path == "edge/main/x86_64/gtk%2B3.0-3.24.42-r0.apk"
    )


@pytest.mark.parametrize("path", ["", "v3.20/", "v3.20//main", "../x", "a\\b", "a\nb"])
def test_a_path_that_no_file_has_is_absent_and_says_why(path):
    found = ALPINE.resolve(path, "", "")
    assert isinstance(found, Absent)
    assert found.reason


def test_an_index_says_nothing_of_its_time_and_has_no_paths_by_digest():
    assert ALPINE.dates(target(INDEX), [b""]) == Dates()
    assert ALPINE.by_digest(PACKAGE, ()) == ()
