"""Lists of mirrors, read and rewritten."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.repodata import metalink

from millpond.artifacts.formats.rpm import lists
from millpond.artifacts.formats.rpm.lists import MetalinkRewriter, MirrorlistRewriter, MirrorReader, list_url
from millpond.config.fields import LISTS

ENTRY = b"<repomd><revision>7</revision></repomd>"
MIRRORS = ["https://a.example/pub/os/", "http://b.example/os/"]
LINK = metalink(ENTRY, MIRRORS, [b"<older/>"])
PLAIN = b"# a comment\nhttp://b.example/os\r\n\nhttps://a.example/pub/os/\nrsync://c.example/os\nftp://d.example/\n"
URL = "http://pond.example:8080/fedora/os/"


def mirrors(body: bytes, size: int = 10**9) -> tuple[str, ...]:
    reader = MirrorReader()
    for at in range(0, len(body), size):
        reader.feed(body[at : at + size])
    return reader.close()


def rewritten(make, body: bytes, size: int = 10**9) -> bytes:
    rewriter = make(URL)
    pieces = [rewriter.feed(body[at : at + size]) for at in range(0, len(body), size)]
    return b"".join([*pieces, rewriter.close()])


@pytest.mark.parametrize("size", [1, 7, 10**9])
def test_the_mirrors_of_both_kinds(size):
    assert mirrors(LINK, size) == ("https://a.example/pub/os/", "http://b.example/os/")
    assert mirrors(PLAIN, size) == ("http://b.example/os/", "https://a.example/pub/os/")
    assert mirrors(b"\n \n" + LINK, size) == mirrors(LINK)


def test_the_preferred_ones_first_and_each_once():
    again = metalink(ENTRY, [*MIRRORS, MIRRORS[0]]).replace(b'preference="99"', b'preference="101"')
    assert mirrors(again) == ("http://b.example/os/", "https://a.example/pub/os/")


@pytest.mark.parametrize(
    "body",
    [
        b"", b"nothing", b"\0" * 100, b"<html></html>", b"<metalink/>", LINK[: len(LINK) // 2], b"ftp://a.example/\n",
        b"http://user:secret@a.example/\n", b"http://a.example/?x\n", b"http://a.example/ b\n", b"x" * 100_000,
        b'<!DOCTYPE metalink [<!ENTITY a "b">]>' + LINK.partition(b"?>\n")[2],
        metalink(ENTRY, ["http://a.example/os?x="]), b"\n".join(b"http://m%d.example/" % n for n in range(1002)),
    ],
)  # fmt: skip
def test_what_names_no_mirror_is_refused(body):
    with pytest.raises(ValueError, match="it "):
        mirrors(body)


@pytest.mark.parametrize("size", [1, 7, 10**9])
def test_a_metalink_names_the_pond_alone_and_keeps_what_it_says_of_repomd(size):
    made = rewritten(MetalinkRewriter, LINK, size)
    assert mirrors(made) == (URL,)
    for digest in (hashlib.sha256(ENTRY).hexdigest(), hashlib.sha512(b"<older/>").hexdigest()):
        assert digest.encode() in made
    assert b"mm0:alternate>" in made
    assert b"<size>%d</size>" % len(ENTRY) in made
    for foreign in (b"a.example", b"b.example", b"rsync:", b"publisher.example"):
        assert foreign not in made


@pytest.mark.parametrize("size", [1, 7, 10**9])
def test_a_mirrorlist_is_the_pond_alone(size):
    assert rewritten(MirrorlistRewriter, PLAIN, size) == f"{URL}\n".encode()


@pytest.mark.parametrize("body", [b"", b"x", b"<html/>", b"<metalink></metalink>", LINK[:-20]])
def test_what_is_no_metalink_is_refused(body):
    with pytest.raises(ValueError, match="it "):
        rewritten(MetalinkRewriter, body)


@pytest.mark.parametrize("size", [1, 7, 10**9])
def test_what_a_metalink_promises(size):
    pieces = [LINK[at : at + size] for at in range(0, len(LINK), size)]
    first, second = lists.promised("os/repodata/repomd.xml", pieces)
    assert (first.name, first.url, first.size) == ("os/repodata/repomd.xml", "os/repodata/repomd.xml", len(ENTRY))
    assert [one.hex for one in first.checksums] == [
        hashlib.sha256(ENTRY).hexdigest(), hashlib.sha512(ENTRY).hexdigest(),
    ]  # fmt: skip
    assert (second.name, second.size) == ("os/repodata/repomd.xml#1", len(b"<older/>"))
    for broken in (b"", b"<html/>", LINK[:-20]):
        with pytest.raises(ValueError, match="it "):
            list(lists.promised("repodata/repomd.xml", [broken]))


def test_what_has_to_be_escaped_is():
    link = LINK.replace(b"Somebody", b"A &amp; B &lt;c&gt;").replace(b'generator="', b'generator="&quot;&lt;')
    again = rewritten(MetalinkRewriter, link)
    assert b"A &amp; B &lt;c&gt;" in again
    assert rewritten(MetalinkRewriter, again) == again


def test_addresses_of_lists():
    assert list_url("metalink+https://a.example/metalink?repo=x&arch=y") == "https://a.example/metalink?repo=x&arch=y"
    assert list_url("mirrorlist+http://a.example/list") == "http://a.example/list"
    assert list_url("https://a.example/os/") == ""
    assert LISTS == lists.SCHEMES


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.integers(0, len(LINK)))
def test_whatever_comes_it_is_read_or_refused(noise, at):
    for body in (noise, LINK[:at] + noise, LINK[:at] + noise + LINK[at:], b"http://a.example/\n" + noise):
        for read in (mirrors, lambda text: rewritten(MetalinkRewriter, text)):
            try:
                read(body)
            except ValueError:
                continue
