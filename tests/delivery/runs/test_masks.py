from __future__ import annotations

import base64
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.delivery.runs.masks import MASK, StreamMask, forms

SECRET = "mp_Canary-Q+7/x"


def shown(pieces: list[bytes], *secrets: str) -> bytes:
    mask = StreamMask(form for secret in secrets for form in forms(secret))
    return b"".join([*(mask.feed(piece) for piece in pieces), mask.close()])


def test_a_secret_is_masked_in_each_of_its_forms():
    quoted = SECRET.replace("+", "%2B").replace("/", "%2F")
    for form in (SECRET, quoted, base64.b64encode(SECRET.encode()).decode()):
        assert shown([f"a {form} b".encode()], SECRET) == b"a " + MASK + b" b"


def test_each_line_of_a_long_secret_is_one():
    assert shown([b"x first-line y\nsecond-line"], "first-line\nsecond-line\n") == b"x " + MASK + b" y\n" + MASK


def test_short_values_occur_in_any_text_and_are_left():
    assert shown([b"abc"], "abc") == b"abc"


def test_what_may_begin_a_secret_is_held_back_until_it_is_known():
    mask = StreamMask([b"secret-1"])
    assert mask.feed(b"so se") == b"so "
    assert mask.feed(b"cret-2") == b"secret-2"
    assert mask.feed(b" secret") == b" "
    assert mask.close() == b"secret"


def test_the_end_of_a_secret_that_another_one_begins_with_is_not_shown():
    mask = StreamMask([b"secretab", b"abcdefgh"])
    assert mask.feed(b"x secretab") == b"x "
    assert mask.feed(b" y") == MASK + b" y"
    assert mask.feed(b"secretab") + mask.feed(b"cdefgh") + mask.close() == MASK


@settings(deadline=None, max_examples=200)
@given(
    st.lists(st.sampled_from([b"aaaaab", b"aabaaa", b"baaaaab"]), min_size=1, max_size=3),
    st.text("ab", max_size=40),
    st.lists(st.integers(0, 40), max_size=6),
)
def test_however_it_is_cut_no_secret_is_shown(secrets: list[bytes], text: str, cuts: list[int]):
    data = text.encode()
    places = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    mask = StreamMask(secrets)
    pieces = [mask.feed(data[a:b]) for a, b in pairwise(places)]
    told = b"".join([*pieces, mask.close()])
    whole = StreamMask(secrets)
    assert not any(secret in told for secret in secrets)
    assert told.replace(MASK, b"") == (whole.feed(data) + whole.close()).replace(MASK, b"")
