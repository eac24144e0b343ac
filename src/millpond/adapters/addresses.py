"""Which URLs may be asked, and which addresses may be dialled.

An upstream's index and its redirects are other people's words: they must not steer the pond into the operator's own
network (server-side request forgery). Two checks, both needed:

- `parse` reads a URL strictly (RFC 3986, and less): what two parsers could understand differently is refused.
- `is_public` judges the address that is about to be dialled, after name resolution: only global unicast, looking
  through the forms that carry an IPv4 address within an IPv6 one (RFC 4291, 6052, 3056, 5214).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address
from urllib.parse import quote, urljoin

DEFAULT_PORTS = {"http": 80, "https": 443}
MAX_URL_CHARS = 8000

_AUTHORITY = re.compile(
    r"(?:\[(?P<v6>[0-9A-Fa-f:.]{2,45})\]|(?P<name>[A-Za-z0-9._-]{1,253}))(?::(?P<port>[0-9]{1,5}))?"
)
_NUMERIC = re.compile(r"[0-9]+|0[xX][0-9A-Fa-f]*")
_PRINTABLE = "".join(map(chr, range(0x21, 0x7F)))

# Global in the registry's sense, and still not the Internet.
_V4_REFUSED = (
    IPv4Network("168.63.129.16/32"),  # Azure's wire server: metadata under a public address
    IPv4Network("192.0.0.0/24"),  # protocol assignments, among them Oracle's metadata service
    IPv4Network("192.88.99.0/24"),  # relays of 6to4, withdrawn (RFC 7526)
)
_V6_UNICAST = IPv6Network("2000::/3")  # all that has been given out; leaves out site-local, unique local, multicast
_V6_REFUSED = (
    IPv6Network("2001::/23"),  # protocol assignments: Teredo, ORCHID, benchmarks
    IPv6Network("2001:db8::/32"),  # documentation
    IPv6Network("3fff::/20"),  # documentation (RFC 9637)
)
# Prefixes whose last four bytes are an IPv4 address: mapped, compatible, translated (SIIT), NAT64.
_V4_SUFFIXED = tuple(map(IPv6Network, ("::ffff:0:0/96", "::/96", "::ffff:0:0:0/96", "64:ff9b::/96")))
_V6_6TO4 = IPv6Network("2002::/16")
_ISATAP = {0x00005EFE, 0x02005EFE}

_LOCAL_NAMES = {"localhost", "localhost.localdomain", "ip6-localhost", "ip6-loopback", "metadata.google.internal"}


class BadUrl(ValueError):
    """A URL that is not asked. Its text never quotes the URL, which may hold a secret."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Scheme, host and port (RFC 6454): what credentials and trust are bound to."""

    scheme: str
    host: str
    port: int

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}" + ("" if self.port == DEFAULT_PORTS[self.scheme] else f":{self.port}")


@dataclass(frozen=True, slots=True)
class Location:
    """A URL that was read strictly. `url` has no user information and no fragment; its query may be a signature."""

    origin: Origin
    url: str = field(repr=False)


def origin_of(url: str) -> Origin:
    """Give the origin of an absolute http or https URL. Raises `BadUrl`."""
    return parse(url).origin


def parse(url: str) -> Location:
    """Read an absolute URL strictly.

    Raises `BadUrl`: other schemes, user information, no host, port 0, hosts outside ASCII, control characters,
    backslashes, IPv4 addresses in any but the usual spelling.
    """
    if len(url) > MAX_URL_CHARS:
        raise BadUrl(f"the URL is longer than {MAX_URL_CHARS} characters")
    if not url.isascii() or any(char not in _PRINTABLE for char in url) or "\\" in url:
        raise BadUrl("the URL has characters that don't belong in one")
    scheme, separator, rest = url.partition("://")
    scheme = scheme.lower()
    if not separator or scheme not in DEFAULT_PORTS:
        raise BadUrl("only http and https URLs are fetched")
    cut = re.search(r"[/?#]", rest)
    authority = rest[: cut.start()] if cut else rest
    tail = (rest[cut.start() :] if cut else "/").partition("#")[0]
    origin = _origin(scheme, authority)
    return Location(origin, f"{origin}{'' if tail.startswith('/') else '/'}{tail}")


def follow(base: Location, target: str) -> Location:
    """Read a redirect's Location header, relative to the URL that answered. Raises `BadUrl`.

    Characters that have no place in a URL but are sent all the same (spaces, UTF-8) are percent-encoded as browsers
    do; within the host they are refused.
    """
    raw = target.strip(" \t").encode("utf-8", "surrogateescape")
    if any(byte < 0x20 or byte == 0x7F for byte in raw):  # noqa: PLR2004 - the control characters
        raise BadUrl("the redirect's target has control characters")
    if b"\\" in raw:
        raise BadUrl("the redirect's target has a backslash")
    try:
        return parse(urljoin(base.url, quote(raw, safe=_PRINTABLE)))
    except BadUrl:
        raise
    except ValueError:  # urljoin quotes the URL in its own messages
        raise BadUrl("the redirect's target is no URL") from None


def is_public(address: str) -> bool:
    """Whether an address (as text, as name resolution gave it) is global unicast, looked through to its core."""
    try:
        parsed = ip_address(address.partition("%")[0])
    except ValueError:
        return False
    return _is_public_v4(parsed) if isinstance(parsed, IPv4Address) else _is_public_v6(parsed)


def is_local_name(host: str) -> bool:
    """Whether a host is this machine or a private address, without asking DNS: for when a proxy does the asking."""
    name = host.rstrip(".").lower()
    if name in _LOCAL_NAMES or name.endswith(".localhost"):
        return True
    try:
        ip_address(name)
    except ValueError:
        return False
    return not is_public(name)


def _origin(scheme: str, authority: str) -> Origin:
    if "@" in authority:
        raise BadUrl("the URL has a user name in it; set username and password for the repository instead")
    match = _AUTHORITY.fullmatch(authority)
    if match is None:
        raise BadUrl("the URL's host can't be read")
    port = int(match["port"]) if match["port"] else DEFAULT_PORTS[scheme]
    if not 0 < port < 65536:  # noqa: PLR2004 - the range of TCP ports
        raise BadUrl("the URL's port is not between 1 and 65535")
    return Origin(scheme, _host(match["v6"], match["name"]), port)


def _host(v6: str | None, name: str | None) -> str:
    try:
        if v6 is not None:
            return str(IPv6Address(v6))
        host = (name or "").lower()
        if _NUMERIC.fullmatch(host.rstrip(".").rpartition(".")[2]):
            return str(IPv4Address(host))  # strict: four decimal numbers, no leading zeros, no trailing dot
    except ValueError:
        raise BadUrl("the URL's host is a number but no usual IP address") from None
    if ".." in host or host.startswith("."):
        raise BadUrl("the URL's host has an empty label")
    return host


def _is_public_v4(address: IPv4Address) -> bool:
    refused = address.is_multicast or address.is_reserved or any(address in network for network in _V4_REFUSED)
    return address.is_global and not refused


def _is_public_v6(address: IPv6Address) -> bool:
    inner = _embedded_v4(address)
    if inner is not None and not _is_public_v4(inner):
        return False
    if any(address in network for network in _V4_SUFFIXED):
        return True
    if address not in _V6_UNICAST or any(address in network for network in _V6_REFUSED):
        return False
    return address in _V6_6TO4 or address.is_global


def _embedded_v4(address: IPv6Address) -> IPv4Address | None:
    """Find the IPv4 address that a gateway on the way would send this to."""
    value = int(address)
    if any(address in network for network in _V4_SUFFIXED):
        return IPv4Address(value & 0xFFFFFFFF)
    if address in _V6_6TO4:
        return IPv4Address(value >> 80 & 0xFFFFFFFF)
    if (value >> 32 & 0xFFFFFFFF) in _ISATAP:
        return IPv4Address(value & 0xFFFFFFFF)
    return None
