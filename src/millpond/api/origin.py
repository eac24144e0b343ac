"""Under which address a client sees us. PURE.

Rewritten URLs carry it, so it must not be the client's to choose for others: `public_url` wins; else the request's
own Host, checked by
grammar; forwarded headers count only when they come from a trusted proxy (nora#471, CVE-2019-9733).
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from millpond.errors import BadRequest

_HOST = re.compile(r"(\[[0-9A-Fa-f:.]{2,45}\]|[A-Za-z0-9._-]{1,253})(:\d{1,5})?")
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True, slots=True)
class Origins:
    """How the address is found: the configured one, and the proxies that may speak for a client."""

    public_url: str = ""
    trusted_proxies: Sequence[Network] = ()

    def of(self, headers: Mapping[str, str], scheme: str, peer: str, server: str) -> str:
        """Give scheme and authority, without a trailing slash. Raises `BadRequest` for a Host that is none."""
        if self.public_url:
            return self.public_url.rstrip("/")
        host = headers.get("host", "") or server
        if self._trusted(peer):
            host = headers.get("x-forwarded-host", host).partition(",")[0].strip()
            scheme = headers.get("x-forwarded-proto", scheme).partition(",")[0].strip().lower()
        if not _HOST.fullmatch(host) or scheme not in {"http", "https"}:
            raise BadRequest("the Host header is not a host name; set server.public_url if a proxy changes it")
        return f"{scheme}://{host}"

    def of_scope(self, scope: Mapping[str, Any], headers: Mapping[str, str]) -> str:
        """Give it for an ASGI request. Raises `BadRequest`."""
        peer = (scope.get("client") or ("", 0))[0]
        host, port = (scope.get("server") or ("localhost", 80))[:2]
        return self.of(headers, scope["scheme"], peer, f"{host}:{port}")

    def _trusted(self, peer: str) -> bool:
        try:
            address = ipaddress.ip_address(peer)
        except ValueError:
            return False
        return any(address in network for network in self.trusted_proxies if network.version == address.version)
