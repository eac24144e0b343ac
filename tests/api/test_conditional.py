"""RFC 9110's conditions and ranges, by values."""

from __future__ import annotations

import math
from dataclasses import replace
from email.utils import parsedate_to_datetime

import pytest

from millpond.api.conditional import (
    Failed,
    NotModified,
    Part,
    Unsatisfiable,
    Whole,
    precondition,
    select_range,
    wants_range,
)
from millpond.artifacts.answer import Head

OLD, NEW = "Sun, 06 Nov 1994 08:49:37 GMT", "Mon, 07 Nov 1994 08:49:37 GMT"
HEAD = Head(tags=('"d"', '"up"'), last_modified=OLD)


@pytest.mark.parametrize("tag", ['"d"', '"up"', 'W/"d"', '"x", "d"', "*", '"x" , W/"up"'])
def test_any_tag_that_stands_for_these_bytes_gives_304(tag: str):
    assert precondition({"if-none-match": tag}, HEAD) == NotModified()


@pytest.mark.parametrize("tag", ['"x"', "d", "", '"D"'])
def test_another_tag_gives_the_body_and_silences_the_date(tag: str):
    assert precondition({"if-none-match": tag, "if-modified-since": NEW}, HEAD) is None


def test_a_date_gives_304_unless_it_changed_since():
    assert precondition({"if-modified-since": OLD}, HEAD) == NotModified()
    assert precondition({"if-modified-since": "Sat, 05 Nov 1994 08:49:37 GMT"}, HEAD) is None
    assert precondition({"if-modified-since": "yesterday"}, HEAD) is None


def test_a_time_of_the_client_s_own_counts_from_when_these_bytes_came_to_hand():
    held = replace(HEAD, held_since=parsedate_to_datetime(NEW).timestamp() - 0.5)
    assert precondition({"if-modified-since": OLD}, held) == NotModified(), "it has these bytes: that is their own time"
    assert precondition({"if-modified-since": "Sun, 06 Nov 1994 23:00:00 GMT"}, held) is None, "it may have older ones"
    assert precondition({"if-modified-since": NEW}, held) == NotModified()
    arriving = replace(HEAD, held_since=math.inf)
    assert precondition({"if-modified-since": NEW}, arriving) is None
    assert precondition({"if-modified-since": OLD}, arriving) == NotModified()


def test_if_match_needs_a_strong_tag():
    assert precondition({"if-match": '"d"'}, HEAD) is None
    assert precondition({"if-match": 'W/"d"'}, HEAD) == Failed()
    assert precondition({"if-match": '"x"'}, HEAD) == Failed()


@pytest.mark.parametrize(
    ("value", "selected"),
    [
        ("bytes=0-0", Part(0, 1)),
        ("bytes=5-", Part(5, 10)),
        ("bytes=-3", Part(7, 10)),
        ("bytes=-30", Part(0, 10)),
        ("bytes=2-99", Part(2, 10)),
        ("bytes=10-", Unsatisfiable()),
        ("bytes=-0", Unsatisfiable()),
        ("bytes=5-2", Whole()),
        ("bytes=-", Whole()),
        ("bytes=0-1,3-4", Whole()),
        ("items=0-1", Whole()),
        ("bytes = 1 - 2", Part(1, 3)),
    ],
)
def test_a_single_range_is_selected(value: str, selected: object):
    assert select_range(value, 10) == selected


def test_if_range_decides_by_a_strong_validator():
    part = {"range": "bytes=0-1"}
    assert wants_range(part, HEAD)
    assert wants_range(part | {"if-range": '"up"'}, HEAD)
    assert wants_range(part | {"if-range": OLD}, HEAD)
    assert not wants_range(part | {"if-range": 'W/"d"'}, HEAD)
    assert not wants_range(part | {"if-range": NEW}, HEAD)
    assert not wants_range({"range": "bytes=0-1,2-3"}, HEAD)
