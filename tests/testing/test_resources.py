from __future__ import annotations

import pytest

from millpond.testing.resources import Answer, Request, Resource, respond

BODY = b"0123456789"
RESOURCE = Resource.of(BODY, {}, 200, modified_at=1_000_000_000.0)
ETAG, MODIFIED = RESOURCE.headers["etag"], RESOURCE.headers["last-modified"]


def ask(method: str = "GET", resource: Resource = RESOURCE, **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return respond(resource, Request(method, "/x", named, 0.0, 1))


def test_a_resource_has_validators_of_its_own() -> None:
    assert MODIFIED == "Sun, 09 Sep 2001 01:46:40 GMT"
    assert Resource.of(b"other", {}, 200, 0.0).headers["etag"] != ETAG


def test_headers_beat_the_automatic_ones_and_an_empty_one_drops_them() -> None:
    made = Resource.of(BODY, {"ETag": '"mine"', "Last-Modified": ""}, 200, 0.0)
    assert made.headers["etag"] == '"mine"'
    assert "last-modified" not in made.headers


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"if_none_match": ETAG}, 304),
        ({"if_none_match": f"W/{ETAG}"}, 304),
        ({"if_none_match": f'"a", {ETAG}'}, 304),
        ({"if_none_match": "*"}, 304),
        ({"if_none_match": '"a"'}, 200),
        ({"if_none_match": '"a"', "if_modified_since": MODIFIED}, 200),
        ({"if_modified_since": MODIFIED}, 304),
        ({"if_modified_since": "Sun, 09 Sep 2001 01:46:39 GMT"}, 200),
        ({"if_modified_since": "yesterday"}, 200),
    ],
)
def test_conditions_are_answered(headers: dict[str, str], status: int) -> None:
    answer = ask(**headers)
    assert answer.status == status
    assert answer.body == (b"" if status == 304 else BODY)
    assert answer.headers["etag"] == ETAG


@pytest.mark.parametrize(
    ("wanted", "status", "body", "content_range"),
    [
        ("bytes=2-4", 206, b"234", "bytes 2-4/10"),
        ("bytes=7-", 206, b"789", "bytes 7-9/10"),
        ("bytes=-3", 206, b"789", "bytes 7-9/10"),
        ("bytes=-30", 206, BODY, "bytes 0-9/10"),
        ("bytes=8-100", 206, b"89", "bytes 8-9/10"),
        ("bytes=10-", 416, b"", "bytes */10"),
        ("bytes=1-2,4-5", 200, BODY, None),
        ("lines=1-2", 200, BODY, None),
        ("bytes=-", 200, BODY, None),
    ],
)
def test_ranges_are_answered(wanted: str, status: int, body: bytes, content_range: str | None) -> None:
    answer = ask(range=wanted)
    assert (answer.status, answer.body, answer.headers.get("content-range")) == (status, body, content_range)


def test_a_range_of_something_older_gives_it_all() -> None:
    assert ask(range="bytes=1-2", if_range='"old"').body == BODY
    assert ask(range="bytes=1-2", if_range=ETAG).body == b"12"


def test_other_statuses_know_no_conditions() -> None:
    gone = Resource.of(b"gone", {}, 410, 0.0)
    assert ask(resource=gone, if_none_match="*", range="bytes=0-1") == Answer(410, gone.headers, b"gone")
