"""Which form a client gets (RFC 9110 section 12.5.1)."""

from __future__ import annotations

import pytest

from millpond.artifacts.formats.npm.negotiation import UPSTREAM_ACCEPT, choose

TYPE = "application/vnd.npm.install-v1+json"


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        (f"{TYPE}; q=1.0, application/json; q=0.8, */*", "abbreviated"),  # npm
        (f"{TYPE};q=1.0,application/json;q=0.8,*/*;q=0.1", "abbreviated"),
        (TYPE, "abbreviated"),
        (f"{TYPE}, application/json", "abbreviated"),
        ("application/json", "full"),
        ("application/json; q=1.0, */*; q=0.1", "full"),
        (f"{TYPE};q=0.5, application/json", "full"),
        (f"{TYPE};q=0", "full"),
        ("*/*", "full"),
        ("application/*", "full"),
        ("", "full"),
        ("nonsense;;;,,", "full"),
    ],
)
def test_the_form_is_chosen_by_the_accept_header(accept: str, form: str):
    assert choose(accept) == form


def test_what_is_asked_upstream_is_that_form():
    assert {form: choose(accept) for form, accept in UPSTREAM_ACCEPT.items()} == {
        "full": "full",
        "abbreviated": "abbreviated",
    }
