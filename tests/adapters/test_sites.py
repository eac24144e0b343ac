"""Which hosts belong to one owner."""

from __future__ import annotations

import pytest

from millpond.adapters.sites import same_site


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("registry.corp.example", "auth.corp.example", True),
        ("corp.example", "auth.corp.example", True),
        ("registry.one.co.uk", "auth.one.co.uk", True),
        ("one.co.uk", "two.co.uk", False),
        ("one.github.io", "two.github.io", False),
        ("registry.one.example", "registry.two.example", False),
        ("one.example", "one.example.evil.test", False),
        ("10.0.0.1", "10.0.0.1", True),
        ("10.0.0.1", "10.1.0.1", False),
        ("127.0.0.1", "0.1", False),
        ("::1", "::2", False),
        ("registry", "registry", True),
        ("registry", "auth", False),
        ("localhost", "auth.localhost", False),
        ("co.uk", "one.co.uk", False),
        ("registry.one.example.", "auth.one.example", True),
    ],
)
def test_sites(one, other, same):
    assert same_site(one, other) is same
    assert same_site(other, one) is same
