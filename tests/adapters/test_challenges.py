"""WWW-Authenticate, as servers really write it."""

from __future__ import annotations

import pytest

from millpond.adapters.challenges import MAX_CHALLENGES, Challenge, read


@pytest.mark.parametrize(
    ("value", "found"),
    [
        ("", []),
        ("Basic", [Challenge("basic")]),
        ('Basic realm="x"', [Challenge("basic", {"realm": "x"})]),
        (
            'Bearer realm="https://auth.example/token",service="reg",scope="repository:a/b:pull,push"',
            [
                Challenge(
                    "bearer",
                    {"realm": "https://auth.example/token", "service": "reg", "scope": "repository:a/b:pull,push"},
                )
            ],
        ),
        (
            'BASIC realm="a, b", Bearer REALM="c" , service=d',
            [Challenge("basic", {"realm": "a, b"}), Challenge("bearer", {"realm": "c", "service": "d"})],
        ),
        ('Bearer realm="a \\"quoted\\" \\\\ one"', [Challenge("bearer", {"realm": 'a "quoted" \\ one'})]),
        ("Negotiate, Basic realm=x", [Challenge("negotiate"), Challenge("basic", {"realm": "x"})]),
        ("Negotiate YWJj==, Bearer realm=y", [Challenge("negotiate"), Challenge("bearer", {"realm": "y"})]),
        ("Bearer realm=a, realm=b", [Challenge("bearer", {"realm": "a"})]),
        ('Bearer realm="never ends', [Challenge("bearer")]),
        ('"', []),
        ("=,=,", []),
    ],
)
def test_challenges(value, found):
    assert read(value)[: len(found) or None] == found


def test_the_number_and_the_length_are_bounded():
    assert len(read("Basic, " * 5000)) == MAX_CHALLENGES
    assert read("Bearer realm=" + '"' * 1_000_000)
