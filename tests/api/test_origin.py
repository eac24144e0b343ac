"""Under which address a client sees us: not one that it may choose for others."""

from __future__ import annotations

import ipaddress

import pytest

from millpond.api.origin import Origins
from millpond.errors import BadRequest

PROXIED = Origins(trusted_proxies=[ipaddress.ip_network("10.0.0.0/8")])
FORWARDED = {"host": "inner:1", "x-forwarded-host": "pond.lan", "x-forwarded-proto": "https"}


def test_the_configured_address_wins():
    assert Origins("http://pond.lan/").of({"host": "evil"}, "http", "1.2.3.4", "s") == "http://pond.lan"


def test_else_the_request_s_own_host():
    assert Origins().of({"host": "pond:8080"}, "http", "1.2.3.4", "s") == "http://pond:8080"
    assert Origins().of({}, "http", "1.2.3.4", "127.0.0.1:80") == "http://127.0.0.1:80"


def test_forwarded_headers_count_from_trusted_proxies_only():
    assert PROXIED.of(FORWARDED, "http", "10.1.2.3", "s") == "https://pond.lan"
    assert PROXIED.of(FORWARDED, "http", "11.1.2.3", "s") == "http://inner:1"
    assert PROXIED.of(FORWARDED, "http", "", "s") == "http://inner:1"


@pytest.mark.parametrize("host", ["a b", "a/b", "a@b", 'a"b', "a:b:c", "a\n", "[::1", "x" * 300, "a:123456"])
def test_a_host_that_is_none_is_refused(host: str):
    with pytest.raises(BadRequest):
        Origins().of({"host": host}, "http", "1.2.3.4", "s")
