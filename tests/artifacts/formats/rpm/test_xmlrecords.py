"""XML with nothing dangerous in it, and with limits."""

from __future__ import annotations

import pytest

from millpond.artifacts.formats.rpm import xmlrecords
from millpond.artifacts.formats.rpm.xmlrecords import Element, records


def read(text: bytes, size: int = 10**9):
    pieces = (text[at : at + size] for at in range(0, len(text), size))
    return list(records(pieces, "all", "one", "a", "b"))


@pytest.mark.parametrize("size", [1, 5, 1000])
def test_the_wanted_children_of_each(size):
    text = b'<all><one><a x="1">t&amp;<i>no</i>u</a><b/><c>no</c></one><x><a/></x><n:one><n:a>2</n:a></n:one></all>'
    assert read(text, size) == [{"a": Element({"x": "1"}, "t&nou"), "b": Element({}, "")}, {"a": Element({}, "2")}]


BOMB = b'<!DOCTYPE all [<!ENTITY a "' + b"x" * 100 + b'"><!ENTITY b "&a;&a;&a;&a;">]><all><one><a>&b;</a></one></all>'


@pytest.mark.parametrize(
    ("text", "why"),
    [
        (BOMB, "document type"),
        (b'<!DOCTYPE all [<!ENTITY x SYSTEM "file:///etc/passwd">]><all>&x;</all>', "document type"),
        (b'<!DOCTYPE all SYSTEM "http://evil.example/x.dtd"><all/>', "document type"),
        (b"<all>&x;</all>", "not XML"),
        (b"<all><one></all>", "not XML"),
        (b"<all>", "not XML"),
        (b"", "not XML"),
        (b"<other/>", "no all document"),
        (b"<all>" * 100, "nested"),
        (b"<all>" + b"".join(b"<n%d/>" % n for n in range(xmlrecords.MAX_NAMES + 5)) + b"</all>", "different names"),
        (b"<all><one><a>" + b"x" * 9000 + b"</a></one></all>", "a text of more"),
        (b'<?xml version="1.0" encoding="utf-16"?><all>\xff\xfe</all>', "not XML"),
    ],
)
def test_what_is_dangerous_or_broken_is_refused(text, why):
    for size in (10**9, 1000):
        with pytest.raises(ValueError, match=why):
            read(text, size)


def test_a_tag_has_a_limit_before_it_has_an_end():
    def endless():
        yield b'<all><one><a x="'
        while True:
            yield b"y" * 100_000

    with pytest.raises(ValueError, match="a tag of more"):
        list(records(endless(), "all", "one", "a"))


def test_a_text_outside_of_what_is_wanted_has_no_limit_and_costs_nothing():
    pieces = [b"<all><one><c>", *[b"z" * 100_000] * 50, b"</c><a/></one></all>"]
    assert list(records(pieces, "all", "one", "a")) == [{"a": Element()}]
