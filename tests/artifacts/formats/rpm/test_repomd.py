"""repomd.xml: what it names, and how it fails."""

from __future__ import annotations

import hashlib

import pytest
from tests.repodata import AT, Repository, Rpm

from millpond.artifacts.formats.rpm import repomd
from millpond.artifacts.generations import Dates
from millpond.artifacts.model import Checksum, Member
from millpond.testing.upstream import FakeUpstream

PATH = "x/os/repodata/repomd.xml"
SUM = "ab" * 32


def made(**more) -> Repository:
    one = Repository(FakeUpstream(), **more)
    one.publish(Rpm(), Rpm("other"))
    return one


def read(*chunks: bytes, path: str = PATH) -> dict[str, Member]:
    return {one.name: one for one in repomd.members(path, chunks)}


def document(data: str) -> bytes:
    return f'<?xml version="1.0"?><repomd xmlns="http://x.example/repo">{data}</repomd>'.encode()


@pytest.mark.parametrize("hashed", [True, False])
@pytest.mark.parametrize("size", [1, 7, 10**6])
def test_members_by_their_paths_whatever_the_cut(hashed, size):
    repository = made(hashed=hashed)
    found = read(*(repository.entry[at : at + size] for at in range(0, len(repository.entry), size)))
    assert set(found) == {f"x/os/{path}" for path in repository.members}
    for path, body in repository.members.items():
        member = found[f"x/os/{path}"]
        assert (member.url, member.size) == (f"x/os/{path}", len(body))
        assert member.checksums == (Checksum("sha256", hashlib.sha256(body).hexdigest()),)


def test_of_a_plain_member_the_open_checksum_counts_too():
    data = (
        f'<data type="x"><open-checksum type="sha512">{"cd" * 64}</open-checksum>'
        f'<checksum type="sha256">{SUM}</checksum><location href="repodata/{{}}"/></data>'
    )
    (plain,) = read(document(data.format("comps.xml"))).values()
    assert [one.algorithm for one in plain.checksums] == ["sha256", "sha512"]
    (packed,) = read(document(data.format("comps.xml.gz"))).values()
    assert [one.algorithm for one in packed.checksums] == ["sha256"]


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        ('<data><location href="a"/></data>', [("a", (), None)]),
        ('<data><location href="a"/><checksum type="sha">x</checksum><size>-1</size></data>', [("a", (), None)]),
        (f'<data><location href="a"/><checksum type="sha">{"ab" * 20}</checksum><size> 7 </size></data>',
         [("a", (Checksum("sha1", "ab" * 20),), 7)]),
        (f'<data><location href="a"/><checksum type="crc">{SUM}</checksum></data>', [("a", (), None)]),
        ('<data><location href="../a"/></data><data><location xml:base="http://o.example" href="b"/></data>', []),
        ("<data><location/></data><data/><other/>", []),
        ('<data><sub><location href="a"/></sub></data>', []),
        ('<data><location href="a"/><location href="b"/></data>', [("a", (), None)]),
    ],
)  # fmt: skip
def test_odd_entries(data, expected):
    found = read(document(data), path="repodata/repomd.xml")
    assert [(one.name, one.checksums, one.size) for one in found.values()] == expected


@pytest.mark.parametrize(
    "body",
    [
        b"", b"nothing", b"<html></html>", b"<repomd>", b"<repomd></repomd", b"<metadata/>", b"<repomd/><more/>",
        b'<!DOCTYPE repomd [<!ENTITY a "b">]><repomd><data>&a;</data></repomd>',
        b'<!DOCTYPE repomd SYSTEM "http://x.example/dtd"><repomd/>',
        b"<repomd>&unknown;</repomd>", b"<repomd>\xff</repomd>",
    ],
)  # fmt: skip
def test_what_is_none_is_refused(body):
    with pytest.raises(ValueError, match="it "):
        read(body)


def test_limits(monkeypatch):
    data = '<data><location href="a"/></data>'
    with pytest.raises(ValueError, match="more than"):
        read(document(data * (repomd.MAX_FILES + 1)))
    monkeypatch.setattr(repomd, "MAX_BYTES", 100)
    with pytest.raises(ValueError, match="more than 100 bytes"):
        read(document(data * 10))


def test_dates():
    assert repomd.dates(PATH, [made().entry]) == Dates(float(AT + 1), None)
    assert repomd.dates(PATH, [document("<revision>9.3-rc1</revision>")]) == Dates()
    assert repomd.dates(PATH, [document("")]) == Dates()
    assert repomd.dates(PATH, [document("<data><revision>7</revision></data>")]) == Dates()
    with pytest.raises(ValueError, match="repomd"):
        repomd.dates(PATH, [b"<html/>"])
