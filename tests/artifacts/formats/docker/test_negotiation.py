"""The many ways to write Accept come down to a few variants."""

from __future__ import annotations

import pytest

from millpond.artifacts.formats.docker.negotiation import ALL, FORMS, accept_of, others, takes, variant_of

V2, LIST, OCI, INDEX = FORMS["v2"], FORMS["list"], FORMS["manifest"], FORMS["index"]


@pytest.mark.parametrize(
    ("accept", "variant"),
    [
        ("", ALL),
        ("*/*", ALL),
        ("application/json", ALL),
        (f"{V2}, */*", ALL),
        (f"{V2}, application/*;q=0.1", ALL),
        (V2, "v2"),
        (f"{V2};q=0.5 , {LIST}", "list+v2"),
        (f"{LIST},{V2}", "list+v2"),
        (f"{V2}, {LIST};q=0", "v2"),
        (f"{V2}, {LIST};q=0.000", "v2"),
        (f"{OCI}, {INDEX}, {V2}, {LIST}, application/vnd.docker.distribution.manifest.v1+prettyjws", ALL),
        (V2.upper(), "v2"),
    ],
)
def test_variants(accept, variant):
    assert variant_of(accept) == variant


def test_what_is_sent_upstream_leads_to_the_same_variant():
    for variant in (ALL, *others(ALL)):
        assert variant_of(accept_of(variant)) == variant


def test_each_variant_has_all_others_the_richest_first():
    assert len({ALL, *others(ALL)}) == 15
    assert others("v2")[0] == ALL


def test_who_takes_what():
    assert takes("v2", f"{V2}; charset=utf-8")
    assert not takes("v2", INDEX)
    assert takes(ALL, INDEX)
