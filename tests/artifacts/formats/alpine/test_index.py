"""What an APKINDEX names."""

from __future__ import annotations

import base64

import pytest
from tests.apks import Apk, index, segment

from millpond.artifacts.formats.alpine import index as apkindex
from millpond.artifacts.formats.alpine.index import ALGORITHM, members
from millpond.artifacts.model import Checksum

HELLO = Apk()
FOLDER = "v3.20/main/x86_64/"


def read(text: str | bytes, folder: str = FOLDER):
    body = text if isinstance(text, bytes) else text.encode()
    return list(members(folder, [segment({"DESCRIPTION": b"d", "APKINDEX": body}, last=True)]))


def test_a_package_is_named_by_its_path_its_size_and_its_control_segment():
    [one] = members(FOLDER, [index(HELLO)])
    assert one.name == one.url == f"{FOLDER}hello-1.0-r0.apk"
    assert one.size == len(HELLO.body())
    assert one.checksums == (Checksum(ALGORITHM, HELLO.identity.hex()),)


def test_an_index_at_the_root():
    assert read("P:a\nV:1\n", folder="")[0].name == "a-1.apk"


@pytest.mark.parametrize(
    "told",
    ["", "C:\n", "C:Q1\n", "C:Q1!!!!\n", "C:Q2" + base64.b64encode(bytes(20)).decode() + "\n", "C:abc\n",
     "C:Q1" + base64.b64encode(bytes(32)).decode() + "\n"],
)  # fmt: skip
def test_what_is_no_sha1_promises_no_digest(told):
    [one] = read(f"{told}P:a\nV:1\nS:7\n")
    assert (one.checksums, one.size) == ((), 7)


@pytest.mark.parametrize("size", ["", "S:\n", "S:many\n", "S:-1\n"])
def test_a_size_may_be_missing(size):
    assert read(f"P:a\nV:1\n{size}")[0].size is None


@pytest.mark.parametrize("name", ["../a", "a/b", "a b", "a\x01", ".", "", "é"])
def test_a_name_that_no_file_can_have_here_is_nobody_s(name):
    assert [one.name for one in read(f"P:{name}\nV:1\n\nP:b\nV:2\n")] == [f"{FOLDER}b-2.apk"]


def test_names_as_alpine_has_them():
    found = read("P:gtk+3.0\nV:3.24.42-r0\n\nP:py3-x_y\nV:1.0_git20240101-r1\n\nP:7zip\nV:24.08-r0\n")
    assert [one.name.removeprefix(FOLDER) for one in found] == [
        "gtk+3.0-3.24.42-r0.apk", "py3-x_y-1.0_git20240101-r1.apk", "7zip-24.08-r0.apk",
    ]  # fmt: skip


@pytest.mark.parametrize("text", ["no stanza at all\n", "V:1\n", "P:a\n", "P:a\nV:1\n\n\n{}\n"])
def test_what_is_no_index_is_refused(text):
    with pytest.raises(ValueError, match="stanza"):
        read(text)


def test_limits(monkeypatch):
    monkeypatch.setattr(apkindex, "MAX_MEMBERS", 2)
    assert len(read("P:a\nV:1\n\nP:b\nV:1\n")) == 2
    with pytest.raises(ValueError, match="more than 2 packages"):
        read("P:a\nV:1\n\nP:b\nV:1\n\nP:c\nV:1\n")
    monkeypatch.setattr(apkindex, "MAX_STANZA_BYTES", 100)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        read("P:a\nV:1\nD:" + "x" * 200)
