"""The head of a review's file, as people write it and as somebody hostile does."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.delivery.frontmatter import fields


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("---\nverdict: approved\n---\nbody", {"verdict": "approved"}),
        ("\ufeff---\r\nverdict: approved\r\n---\r\n", {"verdict": "approved"}),
        ("---\nverdict: \"rejected\" # no\nby: 'ada'\n---", {"verdict": "rejected", "by": "ada"}),
        ("---\nverdict: approved # looks good\nempty:\n---\n", {"verdict": "approved", "empty": ""}),
        ("---\nverdict: rejected\nverdict: approved\n---\n", {"verdict": "approved"}),
        ("---\n- a\n  nested: x\nverdict: approved\n---\n", {"verdict": "approved"}),
        ("---\n---\n", {}),
    ],
)
def test_what_is_read(text: str, found: dict[str, str]):
    assert fields(text) == found


@pytest.mark.parametrize("text", ["", "verdict: approved", "\n---\nverdict: approved\n---", "---\nverdict: approved\n"])
def test_what_is_no_front_matter(text: str):
    assert fields(text) is None


def test_a_verdict_below_the_fence_counts_for_nothing():
    assert fields("---\na: b\n---\nverdict: approved\n") == {"a": "b"}


@given(st.text(alphabet="-\n:ab \"'#\r", max_size=200))
@settings(deadline=None)
def test_nothing_breaks_it(text: str):
    found = fields(text)
    assert found is None or all(isinstance(value, str) for value in found.values())


def test_it_stays_small():
    found = fields("---\n" + "".join(f"k{n}: {'x' * 9000}\n" for n in range(150)) + "---\n")
    assert found is not None
    assert len(found) == 50
    assert max(map(len, found.values())) == 500
