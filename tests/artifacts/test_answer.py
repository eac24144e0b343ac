"""What an answer says of itself, by values."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from millpond.artifacts.answer import (
    SOURCES,
    Answer,
    arriving_head,
    cache_status,
    digest_tag,
    entry_head,
    hit_status,
)
from millpond.artifacts.flights import Arriving, Flight, Refused
from millpond.artifacts.model import Entry

DIGEST = "sha256:" + "0" * 64


def entry(etag: str = "", digest: str | None = DIGEST) -> Entry:
    return Entry("r", "p", "", 200, digest, 7, "text/x", "", etag, "then", "", 0, 0, 0, 0)


@pytest.mark.parametrize(("etag", "also"), [('"up"', ('"up"',)), ('W/"up"', ()), ("", ())])
def test_the_digest_is_the_tag_and_a_strong_one_of_the_upstream_stands_too(etag, also):
    assert entry_head(entry(etag)).tags == (f'"{DIGEST}"', *also)
    arriving = Arriving("text/x", "", etag, "then", None, None)
    assert arriving_head(arriving).tags == also, "no digest is known yet"
    assert arriving_head(Arriving("text/x", "", etag, "", 7, DIGEST)).tags == (f'"{DIGEST}"', *also)


def test_a_negative_entry_has_no_tag_of_ours():
    assert entry_head(entry(digest=None)).tags == ()
    assert digest_tag(DIGEST) == f'"{DIGEST}"'


@pytest.mark.parametrize(
    ("parts", "detail", "written"),
    [
        (("hit",), "", "hit"),
        (("hit", "", "ttl=3"), "", "hit; ttl=3"),
        (("fwd=stale",), 'it said "no"', 'fwd=stale; detail="it said  no "'),
        ((), "a\r\nb\\c\u00fc", 'detail="a  b c "'),
        ((), "x" * 500, 'detail="' + "x" * 200 + '"'),
    ],
)
def test_cache_status_is_always_a_sound_header(parts, detail, written):
    assert cache_status(*parts, detail=detail) == written


def test_the_time_left_is_told_unless_it_is_for_ever():
    assert hit_status(110.9, 100.0) == "hit; ttl=10"
    assert hit_status(99.5, 100.0) == "hit; ttl=-1"
    assert hit_status(math.inf, 100.0) == "hit"


def test_every_outcome_has_a_source():
    assert SOURCES == {"hit": "cache", "stale": "cache", "revalidated": "cache", "miss": "remote", "local": "local"}


def test_closing_lets_a_flight_go_and_a_file_alone():
    flight = Flight("k")
    flight.hold()
    flight.end(Refused(502, "x"))
    Answer(200, "miss", body=flight).close()
    assert flight.unwanted
    Answer(200, "hit", body=Path("nowhere")).close()
