"""Addresses: what ssh may be given as a destination, and what looks like something else."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.hosts.address import Address, parse_address

GOOD = {
    "local": Address("local"),
    "web1": Address("web1"),
    "web1.lan": Address("web1.lan"),
    "deploy@web1.lan": Address("web1.lan", "deploy"),
    "deploy@web1.lan:2222": Address("web1.lan", "deploy", 2222),
    "10.0.0.1:22": Address("10.0.0.1", "", 22),
    "root@[fd00::1]:22": Address("fd00::1", "root", 22),
    "[::1]": Address("::1"),
    "my_alias": Address("my_alias"),
    "first.last@h-1": Address("h-1", "first.last"),
    "local.lan": Address("local.lan"),
}
BAD = [
    "", "@", "@host", "user@", ":22", "host:", "host:0", "host:65536", "host:22x", "host:-1", "host:٢٢", "host: 22",
    "-oProxyCommand=id", "-oProxyCommand=id@host", "user@-oProxyCommand=id", "-l", "--", "--help", "-", "-F/x",
    "user@-host", "-user@host", "user name@host", "us;er@host", "user@ho st", "user@host;id", "user@$(id)", "user@`id`",
    "user@host\n", "user@host\0", "\nhost", "user@host\n-oX=y", "user:password@host", "a@b@c", "ssh://user@host",
    "fd00::1", "::1", "fd00::1:22", "[fd00::1", "fd00::1]", "[]", "[host]", "[fd00::1]x", "[fd00::1]:",
    "[fe80::1%eth0]",
    "[-oX=y]", "host/path", "host\\x", "%h", "host%", "hôst", "локал", "host..", "host-", ".host", "a" * 254,
    "u" * 65 + "@h",
    "user@local", "local:22", "root@local:22", "!host", "*", "host,host2", "user'@host", '"host"', "~", "#host",
]  # fmt: skip


@pytest.mark.parametrize(("text", "address"), GOOD.items())
def test_an_address_is_read_and_written_back(text: str, address: Address):
    assert parse_address(text) == address
    assert str(address) == text
    assert address.local == (text == "local")


@pytest.mark.parametrize("text", BAD, ids=lambda text: ascii(text)[:40])
def test_what_is_none_is_refused_with_how_one_is_written(text: str):
    with pytest.raises(ValueError, match=r"deploy@web1\.lan"):
        parse_address(text)


@given(st.text(max_size=40) | st.text(st.sampled_from("-@:[]. aA1=_\n"), max_size=20))
def test_no_part_of_an_address_can_look_like_an_option(text: str):
    try:
        address = parse_address(text)
    except ValueError:
        return
    for part in (address.host, address.user):
        assert not part.startswith("-")
        assert not set(part) & set(" \n\t\0'\"$`;|&<>(){}*?!\\=@/")
