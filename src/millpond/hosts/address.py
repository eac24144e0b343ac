"""Where a host is: ``user@host:port``, or ``local``. PURE.

What is read here ends up in an argument list of ssh, so it is read by a grammar in which nothing can look like an
option (CVE-2017-1000117 and its kin: ``-oProxyCommand=...`` as a host's name).
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass

LOCAL = "local"
MAX_PORT = 65535
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_.-]{0,251}[A-Za-z0-9])?")
_PORT = re.compile(r"[0-9]{1,5}")
_EXAMPLES = '"deploy@web1.lan", "deploy@web1.lan:2222", "deploy@[fd00::1]:22", or "local" for this machine'


@dataclass(frozen=True, slots=True)
class Address:
    """A host's address; an empty `user` and no `port` leave them to ssh's own configuration."""

    host: str
    user: str = ""
    port: int | None = None

    @property
    def local(self) -> bool:
        """Whether it is this machine, without ssh."""
        return self.host == LOCAL

    def __str__(self) -> str:
        """Write it as it is configured."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        user = f"{self.user}@" if self.user else ""
        return f"{user}{host}" + (f":{self.port}" if self.port is not None else "")


def parse_address(text: str) -> Address:
    """Read an address. Raises `ValueError` in words for the operator."""
    if text == LOCAL:
        return Address(LOCAL)
    user, at, rest = text.rpartition("@")
    if at and not _USER.fullmatch(user):
        raise ValueError(f"not a user's name before the @; write {_EXAMPLES}")
    host, port = _split(rest)
    if host == LOCAL:
        raise ValueError(f'"{LOCAL}" is this machine, without user and port; write {_EXAMPLES}')
    return Address(host, user, port)


def _split(rest: str) -> tuple[str, int | None]:
    if rest.startswith("["):
        host, bracket, after = rest[1:].partition("]")
        if not bracket or not _is_ipv6(host) or (after and not after.startswith(":")):
            raise ValueError(f"not an IPv6 address in brackets; write {_EXAMPLES}")
        return host, _port(after[1:]) if after else None
    if rest.count(":") > 1:
        raise ValueError(f"an IPv6 address stands in brackets; write {_EXAMPLES}")
    host, colon, port = rest.partition(":")
    if not _HOST.fullmatch(host):
        raise ValueError(f"not a host's name or address; write {_EXAMPLES}")
    return host, _port(port) if colon else None


def _is_ipv6(host: str) -> bool:
    try:
        return "%" not in host and ipaddress.ip_address(host).version == 6  # noqa: PLR2004 - its number
    except ValueError:
        return False


def _port(text: str) -> int:
    if not _PORT.fullmatch(text) or not 0 < int(text) <= MAX_PORT:
        raise ValueError(f"a port is a number from 1 to {MAX_PORT}; write {_EXAMPLES}")
    return int(text)
