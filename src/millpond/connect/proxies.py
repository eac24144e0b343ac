"""A proxy that a client has from its environment, which would be asked for the pond too."""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import urlsplit


def of_environment(environ: Mapping[str, str], url: str) -> list[str]:
    """Give the proxy that the environment names for an address, unless ``no_proxy`` takes its host out; or none."""
    parts = urlsplit(url)
    name = f"{parts.scheme}_proxy"
    proxy = environ.get(name) or environ.get(name.upper()) or ""
    without = (environ.get("no_proxy") or environ.get("NO_PROXY") or "").lower()
    return [proxy] if proxy and not _exempt(parts.hostname or "", without) else []


def _exempt(host: str, without: str) -> bool:
    """Whether a list of names (``no_proxy``) has a host, or a domain that it is in."""
    names = [name.lstrip(".") for name in without.replace(",", " ").split()]
    return "*" in names or any(f".{host}".endswith(f".{name}") for name in names if name)
