"""The freshness decision and its settlement, by values."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.artifacts.freshness import decide, lifetime, negative, retry_after_s, settle, validators
from millpond.artifacts.model import (
    Entry,
    Fetch,
    Freshen,
    Freshness,
    Relay,
    Reply,
    Revalidate,
    Serve,
    ServeStale,
    Store,
    Target,
    Unreachable,
)

NOW = 1_000_000.0
INDEX = Target("simple/six/", "six/", mutable=True)
FILE = Target("files/six/six-1.whl", "", mutable=False)
POLICY = Freshness(default_ttl_s=600)


def entry(**changes: object) -> Entry:
    made = Entry(
        repository="pypi", path="simple/six/", variant="", status=200, digest="sha256:" + "0" * 64, size=1,
        content_type="text/html", content_encoding="", etag='"a"', last_modified="", source_url="", stored_at=NOW - 100,
        validated_at=NOW - 100, checked_at=NOW - 100, fresh_until=NOW + 500,
    )  # fmt: skip
    return replace(made, **changes)


def reply(status: int = 200, **headers: str) -> Reply:
    return Reply(status, {key.replace("_", "-"): value for key, value in headers.items()}, "http://up/six/")


def test_nothing_stored_is_fetched():
    assert decide(None, INDEX, POLICY, NOW) == Fetch()


def test_a_fresh_copy_is_served():
    assert decide(entry(), INDEX, POLICY, NOW) == Serve(entry())


def test_an_immutable_copy_is_served_whatever_its_age():
    old = entry(fresh_until=0.0, validated_at=0.0, checked_at=0.0)
    assert decide(old, FILE, POLICY, NOW) == Serve(old)


def test_an_expired_copy_with_validators_is_revalidated():
    old = entry(fresh_until=NOW - 1)
    assert decide(old, INDEX, POLICY, NOW) == Revalidate(old)


@pytest.mark.parametrize("policy", [Freshness(check_updates=False), POLICY])
def test_an_expired_copy_is_fetched_in_full_where_checks_are_off_or_impossible(policy: Freshness):
    old = entry(fresh_until=NOW - 1, etag="" if policy.check_updates else '"a"')
    assert decide(old, INDEX, policy, NOW) == Fetch(old)


def test_a_path_that_failed_is_left_alone_until_its_back_off_is_over():
    failed = entry(fresh_until=NOW - 1, retry_at=NOW + 5)
    assert decide(failed, INDEX, POLICY, NOW) == Serve(failed, stale=True)
    assert decide(failed, INDEX, POLICY, NOW + 5) == Revalidate(failed)


def test_stale_while_revalidate_serves_at_once_and_refreshes_behind():
    old = entry(fresh_until=NOW - 1, refresh_until=NOW + 30)
    assert decide(old, INDEX, POLICY, NOW) == Serve(old, stale=True, refresh=True)


def test_a_negative_answer_is_remembered_for_a_while_then_asked_again():
    gone = negative(INDEX, "pypi", 404, POLICY, NOW)
    assert decide(gone, INDEX, POLICY, NOW + 29) == Serve(gone)
    assert decide(gone, INDEX, POLICY, NOW + 31) == Fetch()


def test_a_copy_from_the_future_is_not_fresh_for_ever():
    tomorrow = entry(checked_at=NOW + 86400, fresh_until=NOW + 87000)
    assert decide(tomorrow, INDEX, POLICY, NOW) == Revalidate(tomorrow)


def test_a_new_body_is_stored_with_the_default_lifetime():
    assert settle(None, reply(), INDEX, POLICY, NOW) == Store(NOW, NOW + 600)


def test_the_upstreams_lifetime_counts_less_the_age_it_had():
    stored = settle(None, reply(cache_control="max-age=300", age="100"), INDEX, POLICY, NOW)
    assert stored == Store(validated_at=NOW - 100, fresh_until=NOW + 200)


def test_the_operators_ttl_beats_the_upstreams():
    stored = settle(None, reply(cache_control="no-store"), INDEX, Freshness(ttl_s=60), NOW)
    assert stored == Store(NOW, NOW + 60)


def test_no_store_is_handed_on_but_not_kept():
    stored = settle(None, reply(cache_control="no-store"), INDEX, POLICY, NOW)
    assert isinstance(stored, Store)
    assert not stored.keep


def test_an_immutable_body_is_kept_whatever_cache_control_says():
    stored = settle(None, reply(cache_control="no-store"), FILE, POLICY, NOW)
    assert isinstance(stored, Store)
    assert stored.keep


def test_a_304_refreshes_the_age_and_ends_the_back_off():
    old = entry(fresh_until=NOW - 1, retry_at=NOW - 1, failure="down")
    settled = settle(old, reply(304, etag='"b"'), INDEX, POLICY, NOW)
    assert settled == Freshen(
        replace(old, etag='"b"', validated_at=NOW, checked_at=NOW, fresh_until=NOW + 600, retry_at=0.0, failure="")
    )


def test_a_304_without_a_copy_is_a_fault():
    assert isinstance(settle(None, reply(304), INDEX, POLICY, NOW), Relay)


@pytest.mark.parametrize("status", [404, 410])
def test_an_absence_is_an_answer_even_with_a_copy_at_hand(status: int):
    settled = settle(entry(), reply(status), INDEX, POLICY, NOW)
    assert isinstance(settled, Relay)
    assert settled.status == status


@pytest.mark.parametrize(
    "answer", [reply(s) for s in (500, 502, 503, 429, 401, 403, 418, 301)] + [Unreachable("x", "connect")]
)
def test_a_good_copy_outlives_every_failure(answer: Reply | Unreachable):
    settled = settle(entry(), answer, INDEX, POLICY, NOW)
    assert isinstance(settled, ServeStale)
    kept = settled.entry
    assert (kept.digest, kept.validated_at) == (entry().digest, entry().validated_at)
    assert kept.checked_at == NOW
    assert kept.retry_at == NOW + 600
    assert kept.failure


def test_a_failure_after_the_clock_was_set_back_makes_no_copy_fresh_again():
    ahead = entry(validated_at=NOW + 900, checked_at=NOW + 900, fresh_until=NOW + 1500)
    assert decide(ahead, INDEX, POLICY, NOW) == Revalidate(ahead)
    settled = settle(ahead, Unreachable("down", "connect"), INDEX, POLICY, NOW)
    assert isinstance(settled, ServeStale)
    assert settled.entry.retry_at == NOW + 600
    assert decide(settled.entry, INDEX, POLICY, NOW + 1) == Serve(settled.entry, stale=True)
    assert decide(settled.entry, INDEX, POLICY, NOW + 600) == Revalidate(settled.entry)
    again = settle(settled.entry, Unreachable("down", "connect"), INDEX, Freshness(default_ttl_s=60), NOW + 600)
    assert isinstance(again, ServeStale)
    assert again.entry.retry_at == NOW + 1200, "the copy's own time stays"


def test_a_failure_while_a_copy_is_fresh_leaves_it_fresh():
    """As when a project's page is asked again for a file that it does not know."""
    settled = settle(entry(), Unreachable("down", "connect"), INDEX, POLICY, NOW)
    assert isinstance(settled, ServeStale)
    assert decide(settled.entry, INDEX, POLICY, NOW + 1) == Serve(settled.entry)


def test_retry_after_lengthens_the_back_off():
    settled = settle(entry(fresh_until=NOW), reply(429, retry_after="1200"), INDEX, POLICY, NOW)
    assert isinstance(settled, ServeStale)
    assert settled.entry.retry_at == NOW + 1200


def test_a_failure_with_nothing_at_hand_is_a_502_that_tells_when_to_come_back():
    settled = settle(None, reply(503, retry_after="7"), INDEX, POLICY, NOW)
    assert settled == Relay(502, settled.reason, retry_after_s=7.0)
    assert "503" in settled.reason


def test_a_negative_entry_is_no_good_copy():
    gone = negative(INDEX, "pypi", 404, POLICY, NOW)
    assert isinstance(settle(gone, Unreachable("down", "connect"), INDEX, POLICY, NOW), Relay)


@pytest.mark.parametrize(
    ("value", "fresh"),
    [
        ("max-age=10", 10),
        ("s-maxage=5, max-age=10", 5),
        ("no-cache", 0),
        ("max-age=x", 0),
        ("public", None),
        ('max-age="7"', 7),
    ],
)
def test_cache_control_is_read(value: str, fresh: float | None):
    assert lifetime({"cache-control": value}, NOW).fresh_s == fresh


def test_expires_counts_from_date():
    headers = {"date": "Sun, 06 Nov 1994 08:49:37 GMT", "expires": "Sun, 06 Nov 1994 08:50:37 GMT"}
    assert lifetime(headers, NOW).fresh_s == 60
    assert lifetime({"expires": "0"}, NOW).fresh_s == 0


def test_retry_after_is_seconds_or_a_date():
    assert retry_after_s({"retry-after": "3"}, NOW) == 3
    assert retry_after_s({"retry-after": "Mon, 12 Jan 1970 13:46:50 GMT"}, NOW) == 10
    assert retry_after_s({"retry-after": "soon"}, NOW) is None


def test_validators_are_sent_back_as_they_came():
    sent = validators(entry(etag='W/"x"', last_modified="Sun, 06 Nov 1994 08:49:37 GMT"))
    assert sent == {"If-None-Match": 'W/"x"', "If-Modified-Since": "Sun, 06 Nov 1994 08:49:37 GMT"}


@given(st.dictionaries(st.sampled_from(["cache-control", "age", "expires", "date", "retry-after"]), st.text()))
def test_no_header_breaks_a_settlement(headers: dict[str, str]):
    told = lifetime(headers, NOW)
    assert told.age_s >= 0
    assert told.fresh_s is None or told.fresh_s >= 0
    assert isinstance(settle(entry(), Reply(503, headers, ""), INDEX, POLICY, NOW), ServeStale)
