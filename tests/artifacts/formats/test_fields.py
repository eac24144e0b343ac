"""Links and times, as documents of strangers have them."""

from __future__ import annotations

import pytest

from millpond.artifacts.formats.fields import MAX_URL, epoch, resolve

BASE = "https://index.example/simple/foo/"


@pytest.mark.parametrize(
    ("link", "url"),
    [
        ("a.whl", "https://index.example/simple/foo/a.whl"),
        ("../../p/a.whl", "https://index.example/p/a.whl"),
        ("/p/a.whl?x=1", "https://index.example/p/a.whl?x=1"),
        ("//files.example:8443/a.whl", "https://files.example:8443/a.whl"),
        (" http://files.example/a.whl\n", "http://files.example/a.whl"),
        ("https://user:secret@files.example/a.whl", "https://files.example/a.whl"),
    ],
)
def test_a_link_is_resolved_against_the_page(link: str, url: str):
    parts = resolve(BASE, link)
    assert parts is not None
    assert parts.geturl() == url


@pytest.mark.parametrize(
    "link",
    ["javascript:alert(1)", "data:,x", "ftp://f.example/a.whl", "file:///a.whl", "http://[::1", "http://", "http://h:99999/a",
     "https:///a.whl", "http://h.example/" + "a" * MAX_URL, "mailto:a@b.example"],
)  # fmt: skip
def test_a_link_that_can_not_be_fetched_is_none(link: str):
    assert resolve(BASE, link) is None


@pytest.mark.parametrize(
    ("text", "at"),
    [
        ("2024-01-02T03:04:05Z", 1704164645.0),
        ("2024-01-02T03:04:05.5Z", 1704164645.5),
        ("2024-01-02T03:04:05", 1704164645.0),
        ("2024-01-02T05:04:05+02:00", 1704164645.0),
        ("yesterday", None),
        ("", None),
        (None, None),
        (1704164645, None),
        ("9" * 1000, None),
        ("0001-01-01T00:00:00+14:00", None),
    ],
)
def test_an_upload_time_is_read_or_passed_over(text: object, at: float | None):
    assert epoch(text) == at
