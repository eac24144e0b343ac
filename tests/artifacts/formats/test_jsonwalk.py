"""A JSON object taken apart: its lists element by element, the rest as it stands."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.artifacts.formats.jsonwalk import MAX_ELEMENT, MAX_VALUE, Element, Pair, Value, Walk

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)
WATCHED = frozenset({"files"})


def walked(*chunks: bytes) -> tuple[str, list[object], dict[str, object]]:
    """Give the text that goes on, the elements, and the other values."""
    walk = Walk(WATCHED)
    events = [event for chunk in chunks for event in walk.feed(chunk)] + walk.close()
    text = "".join(event for event in events if isinstance(event, str))
    elements = [event.value for event in events if isinstance(event, Element)]
    return text, elements, {event.key: event.value for event in events if isinstance(event, Value)}


def test_elements_come_one_by_one_and_the_rest_is_handed_on():
    document = b' {"a" : {"b": [1, 2]},\n"files": [ {"x":1} , 2,null ] ,"z":"\\u00e9"} \n'
    text, elements, values = walked(document)
    assert elements == [{"x": 1}, 2, None]
    assert values == {"a": {"b": [1, 2]}, "z": "é"}
    assert json.loads(text) == {"a": {"b": [1, 2]}, "files": [], "z": "é"}


@pytest.mark.heavy
@settings(deadline=None)  # the machine may do other things
@given(
    st.dictionaries(st.text(max_size=6), VALUES, max_size=4),
    st.lists(VALUES, max_size=5),
    st.integers(1, 7),
    st.booleans(),
)
def test_any_document_is_taken_apart_whatever_its_chunks(
    rest: dict[str, object], files: list[object], size: int, ascii_only: bool
):
    document = json.dumps({**rest, "files": files}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    whole = walked(document)
    assert whole[1] == files
    assert json.loads(whole[0]) == {**rest, "files": []}
    assert walked(*[document[at : at + size] for at in range(0, len(document), size)]) == whole


def test_a_byte_order_mark_is_passed_over():
    assert walked(b'\xef\xbb\xbf{"files":[1]}')[1] == [1]


@pytest.mark.parametrize(
    "document",
    [
        b"", b"[]", b"null", b"{", b"}", b'{"a"', b'{"a":', b'{"a":1', b'{"a":1,', b'{"a":1,}', b"{,}", b'{"files":[',
        b'{"files":[1', b'{"files":[1,', b'{"files":[1,]}', b'{"files":[,1]}', b'{"files":[1 2]}', b'{"files":{}}',
        b'{"files":[1]', b'{"files":[1]]', b'{"a":1}x', b'{"a":1}{}', b'{"a":tru}', b'{"a":NaN}', b'{"a":Infinity}',
        b'{"a":01}', b'{"a":1.}', b'{"a":1e}', b"{'a':1}", b'{"a":"\x01"}', b"{1:2}", b'{"a":"\xff"}', b'{"a":1}\xc3',
        b'{"files":[{"x":]}', b"<html>", b'{"files":[' + b"[" * 60000,
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_what_is_malformed_or_cut_off_is_refused(document: bytes, size: int):
    with pytest.raises(ValueError):  # noqa: PT011 - the texts differ, the kind does not
        walked(*[document[at : at + size] for at in range(0, len(document), size)])


@pytest.mark.parametrize("size", [5000, 1 << 22])
@pytest.mark.parametrize(("document", "limit"), [(b'{"files":["%s"]}', MAX_ELEMENT), (b'{"other":"%s"}', MAX_VALUE)])
def test_one_value_has_a_limit_however_it_arrives(document: bytes, limit: int, size: int):
    for length, sound in ((limit - 2, True), (limit - 1, False)):
        whole = document % (b"x" * length)
        chunks = [whole[at : at + size] for at in range(0, len(whole), size)]
        if sound:
            walked(*chunks)
        else:
            with pytest.raises(ValueError, match="more than"):
                walked(*chunks)


def test_a_watched_list_may_come_twice():
    assert walked(b'{"files":[1],"files":[2]}')[1] == [1, 2]


def pairs(*chunks: bytes) -> tuple[str, list[tuple[str, object]]]:
    """Give the text that goes on, and the members of the watched object."""
    walk = Walk(objects=WATCHED)
    events = [event for chunk in chunks for event in walk.feed(chunk)] + walk.close()
    text = "".join(event for event in events if isinstance(event, str))
    return text, [(event.name, event.value) for event in events if isinstance(event, Pair)]


@pytest.mark.heavy
@settings(deadline=None)  # the machine may do other things
@given(
    st.dictionaries(st.text(max_size=6), VALUES, max_size=4),
    st.dictionaries(st.text(max_size=4), VALUES, max_size=5),
    st.integers(1, 7),
    st.booleans(),
)
def test_any_object_is_taken_apart_whatever_its_chunks(
    rest: dict[str, object], files: dict[str, object], size: int, ascii_only: bool
):
    document = json.dumps({**rest, "files": files}, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    whole = pairs(document)
    assert whole[1] == list(files.items())
    assert json.loads(whole[0]) == {**rest, "files": {}}
    assert pairs(*[document[at : at + size] for at in range(0, len(document), size)]) == whole


@pytest.mark.parametrize(
    "document",
    [
        b'{"files":[]}', b'{"files":{"a"}}', b'{"files":{"a":}}', b'{"files":{"a":1,}}', b'{"files":{,"a":1}}',
        b'{"files":{"a":1 "b":2}}', b'{"files":{1:2}}', b'{"files":{"a":1', b'{"files":{"a":1}', b'{"files":{"a"',
        b'{"files":{"a":1]}', b'{"files":null}',
    ],
)  # fmt: skip
@pytest.mark.parametrize("size", [1, 1 << 20])
def test_a_malformed_object_is_refused(document: bytes, size: int):
    with pytest.raises(ValueError):  # noqa: PT011 - the texts differ, the kind does not
        pairs(*[document[at : at + size] for at in range(0, len(document), size)])


def test_limits_are_the_formats_own():
    assert Walk(objects=WATCHED, max_element=1000).feed(b'{"files":{"a":"%s"' % (b"x" * 900))
    with pytest.raises(ValueError, match="more than 1000"):
        Walk(objects=WATCHED, max_element=1000).feed(b'{"files":{"a":"%s"' % (b"x" * 1100))
