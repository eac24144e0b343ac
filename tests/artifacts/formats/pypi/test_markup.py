"""HTML in pieces: what is a tag, and what only looks like one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.artifacts.formats.pypi.markup import MAX_TAG, Doctype, End, Event, Start, Text, Tokenizer

PIECES = st.lists(
    st.sampled_from(
        [
            b"<", b">", b"<a", b" href=", b'"', b"'", b"=", b"x", b" ", b"</", b"a>", b"<!--", b"-->", b"--!>", b"-",
            b"!", b"/", b"<script>", b"</script>", b"</scr", b"<!doctype html>", b"<![CDATA[", b"]]>", b"<?xml",
            b"&lt;", b"\n", b"<b/>",
        ]
    ),
    max_size=30,
)  # fmt: skip


def cut(*chunks: bytes) -> list[Event]:
    tokens = Tokenizer()
    events = [event for chunk in chunks for event in tokens.feed(chunk)] + tokens.close()
    joined: list[Event] = []
    for event in events:
        last = joined[-1] if joined else None
        if isinstance(event, Text) and isinstance(last, Text):
            joined[-1] = Text(last.data + event.data)
        elif event != Text(b""):
            joined.append(event)
    return joined


def attributes(tag: bytes) -> dict[bytes, bytes]:
    [start] = cut(tag)
    assert isinstance(start, Start)
    return start.attributes


def test_tags_and_text_come_in_order():
    assert cut(b"<!DOCTYPE html><P>a &amp; b</p >c") == [
        Doctype(b"!DOCTYPE html"), Start(b"p", {}), Text(b"a &amp; b"), End(b"p"), Text(b"c"),
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("tag", "expected"),
    [
        (b'<a href="x">', {b"href": b"x"}),
        (b"<a href='x\"y'>", {b"href": b'x"y'}),
        (b"<a href=x/y?a=b>", {b"href": b"x/y?a=b"}),
        (b"<a\n\tHREF\n=\n'x'\n>", {b"href": b"x"}),
        (b'<a title="a > b" href="y">', {b"title": b"a > b", b"href": b"y"}),
        (b'<a href="1" href="2">', {b"href": b"1"}),
        (b"<a download href=x>", {b"download": b"", b"href": b"x"}),
        (b'<a href="x"class="y">', {b"href": b"x", b"class": b"y"}),
        (b"<a href=x/>", {b"href": b"x/"}),
        (b"<a/>", {}),
        (b"<a href=>", {b"href": b""}),
        (b'<a =x href="y">', {b"href": b"y"}),
    ],
)
def test_attributes_are_read_as_browsers_do(tag: bytes, expected: dict[bytes, bytes]):
    found = attributes(tag)
    assert {name: found.get(name) for name in expected} == expected


def test_references_are_resolved_in_a_value_and_no_more():
    start = Start(b"a", {b"href": b"?a=1&amp;b=2&region=eu&#x3d;&#61;&lt;&nosuch;"})
    assert start.value(b"href") == "?a=1&b=2&region=eu==<&nosuch;"
    assert start.value(b"other") is None


@pytest.mark.parametrize(
    "comment",
    [b"<!-- <a href=x> -->", b"<!-->", b"<!--->", b"<!-- --!>", b"<!---->", b"<!-- > -- ->-->", b"<? <a ?>", b"</ a>"],
)
def test_comments_are_dropped(comment: bytes):
    assert cut(b"1" + comment + b"2") == [Text(b"12")]


@pytest.mark.parametrize("name", ["script", "style", "textarea", "iframe", "xmp"])
def test_the_content_of_scripts_and_the_like_is_dropped(name: str):
    raw = name.encode()
    page = b"<" + raw + b">'</scrip' <a href=x> </" + raw + b"x> <!-- </" + raw.upper() + b"\n>after"
    assert cut(page) == [Start(raw, {}), End(raw), Text(b"after")]


def test_a_less_than_that_opens_nothing_becomes_a_reference():
    assert cut(b"1 < 2 <3") == [Text(b"1 &lt; 2 &lt;3")]


@pytest.mark.parametrize(
    "page",
    [
        b"<a href=x", b"x<", b"x</", b'<a href="x>y', b"<!-- x", b"<script>x", b"<!doc", b"<plaintext>x</plaintext>",
    ],
)  # fmt: skip
def test_a_page_that_ends_inside_something_is_cut_off(page: bytes):
    with pytest.raises(ValueError, match="cut off"):
        cut(page)


@pytest.mark.parametrize("size", [1000, MAX_TAG])
def test_a_tag_has_a_limit_however_it_arrives(size: int):
    fits = b"<a title='" + b"x" * (MAX_TAG - 12) + b"'>"
    assert len(fits) == MAX_TAG
    for tag, sound in ((fits, True), (fits.replace(b"'>", b"x'>"), False), (b"<a " + b"x" * 2 * MAX_TAG, False)):
        chunks = [tag[at : at + size] for at in range(0, len(tag), size)]
        if sound:
            assert len(cut(*chunks)) == 1
        else:
            with pytest.raises(ValueError, match="more than"):
                cut(*chunks)


def test_a_long_declaration_has_a_limit_and_a_long_comment_needs_none():
    with pytest.raises(ValueError, match="declaration"):
        cut(b"<!x" + b"y" * 2 * MAX_TAG)
    assert cut(b"<!--" + b"<a>" * MAX_TAG + b"-->") == []


@given(PIECES, st.integers(1, 9))
def test_the_cut_of_the_chunks_makes_no_difference(pieces: list[bytes], size: int):
    page = b"".join(pieces)
    chunks = [page[at : at + size] for at in range(0, len(page), size)]
    assert outcome(page) == outcome(*chunks)


@given(PIECES)
def test_text_never_has_a_tag_in_it(pieces: list[bytes]):
    events = outcome(b"".join(pieces))
    assert events is None or not [event for event in events if isinstance(event, Text) and b"<" in event.data]


def outcome(*chunks: bytes) -> list[Event] | None:
    try:
        return cut(*chunks)
    except ValueError:
        return None
