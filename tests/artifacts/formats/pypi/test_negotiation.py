"""What clients ask for, and what they get (RFC 9110 section 12.5.1, PEP 691)."""

from __future__ import annotations

import pytest

from millpond.artifacts.formats.media import MAX_RANGES
from millpond.artifacts.formats.pypi.negotiation import UPSTREAM_ACCEPT, choose

V1 = "application/vnd.pypi.simple.v1"
PIP = f"{V1}+json, {V1}+html; q=0.1, text/html; q=0.01"
UV = f"{V1}+json, {V1}+html;q=0.2, text/html;q=0.01"
OLD_PIP = "text/html"
BROWSER = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8"


@pytest.mark.parametrize(
    ("accept", "variant"),
    [
        (PIP, "json"),
        (UV, "json"),
        (OLD_PIP, "html"),
        (BROWSER, "html"),
        ("", "html"),
        ("*/*", "html"),
        ("application/*", "html"),
        ("text/*", "html"),
        ("application/json", "html"),
        (f"{V1}+json", "json"),
        (f"{V1}+JSON", "json"),
        ("application/vnd.pypi.simple.latest+json", "json"),
        (f"{V1}+json, */*;q=0.01", "json"),
        (f"{V1}+json, text/html", "json"),
        (f"{V1}+json;q=0.5, text/html", "html"),
        (f"{V1}+json;q=0.5, text/html;q=0.4", "json"),
        (f"{V1}+json;q=0, text/html;q=0.1", "html"),
        (f"{V1}+json;q=0, */*", "html"),
        (f"text/html;q=0.9, {V1}+json;q=0.901", "json"),
        (f"{V1}+json ; charset=utf-8 ; Q=0.3, text/html;q=0.2", "json"),
        (f"{V1}+json;q=much, text/html;q=0.1", "html"),
        ("image/png", "html"),
        (", ,;", "html"),
        ("a/b," * MAX_RANGES + f"{V1}+json", "html"),
    ],
)
def test_the_accept_header_chooses(accept: str, variant: str):
    assert choose("", accept) == variant


@pytest.mark.parametrize(
    ("query", "variant"),
    [
        (f"format={V1}+json", "json"),
        (f"a=b&format={V1}%2Bjson", "json"),
        ("format=text/html", "html"),
        (f"format={V1}+html", "html"),
        ("format=pdf", "json"),
        ("", "json"),
    ],
)
def test_the_format_parameter_beats_the_header(query: str, variant: str):
    assert choose(query, PIP) == variant


def test_a_client_from_before_the_json_pages_gets_plain_html_from_upstream_too():
    first, *_ = UPSTREAM_ACCEPT["html"].split(",")
    assert first == "text/html"


def test_json_is_asked_first_where_the_client_can_read_it():
    assert choose("", UPSTREAM_ACCEPT["json"]) == "json"
