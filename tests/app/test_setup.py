"""What an upstream's answer to `millpond check` means."""

from __future__ import annotations

import pytest

from millpond.app.setup import judged


@pytest.mark.parametrize(
    ("package", "url", "ok", "told"),
    [
        ("pypi", "http://a.example/", False, "ends in /simple"),
        ("pypi", "http://a.example/pypi/", False, "ends in /simple"),
        ("pypi", "http://a.example/simple/", False, "no index there"),
        ("debian", "http://a.example/debian/dists/stable/", False, "leave out /dists: http://a.example/debian"),
        ("debian", "http://a.example/debian/dists/", False, "leave out /dists: http://a.example/debian"),
        ("debian", "http://a.example/debain/", False, "no archive there"),
        ("docker", "http://a.example/", False, "no registry there"),
        ("generic", "http://a.example/", True, "may be right"),
        ("npm", "http://a.example/", True, "may be right"),
        ("alpine", "http://a.example/", True, "may be right"),
        ("rpm", "http://a.example/", True, "may be right"),
    ],
)
def test_nothing_at_the_base_url(package, url, ok, told):
    good, meant = judged(package, url, 404)
    assert good is ok
    assert told in meant


def test_a_hint_is_given_only_where_it_applies():
    assert "/simple" not in judged("pypi", "http://a.example/simple/", 404)[1]
    assert "/dists" not in judged("debian", "http://a.example/debian/", 404)[1]


@pytest.mark.parametrize(
    ("status", "ok", "told"),
    [
        (200, True, ""),
        (301, True, ""),
        (405, True, ""),
        (401, False, "username"),
        (403, False, "username"),
        (502, False, ""),
    ],
)
def test_other_answers(status, ok, told):
    for package in ("pypi", "debian", "generic"):
        good, meant = judged(package, "http://a.example/", status)
        assert (good, told in meant) == (ok, True)
