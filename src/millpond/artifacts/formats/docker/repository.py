"""The paths of a registry, and what is known of each. PURE.

Whatever is named by digest never changes and is checked against it. Tags change: a HEAD tells which digest one has now
(`told`), so that nothing is fetched twice; Docker Hub does not count HEADs against its quota. Lists (tags, referrers)
change too. The upstream's base URL is the registry's own (``https://registry.example``), without ``/v2/``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import ClassVar
from urllib.parse import parse_qsl, urlencode, urlsplit

from millpond.artifacts.formats.docker import manifests
from millpond.artifacts.formats.docker.names import BLOBS, MANIFESTS, REFERRERS, TAGS, Place, Unreadable, read
from millpond.artifacts.formats.docker.negotiation import ALL, INDEX, accept_of, others, takes, variant_of
from millpond.artifacts.model import Absent, Body, Checksum, Expectation, Resolution, Target

OCTETS = "application/octet-stream"
MAX_MANIFEST_BYTES = 4 << 20
MAX_LIST_BYTES = 16 << 20
MAX_PAGE = 1000
"""The most tags that a client may ask for in one page."""
MAX_QUERY_CHARS = 1024
HUB_NAMESPACE = "library"
"""Where Docker Hub has images whose name is a single component."""
_PREFIX = "v2/"
_HEX = {"sha256": 64, "sha512": 128}
_NOT_SENT = {"ns", "artifactType"}


class Docker:
    """A registry. `namespace` stands before names of one component."""

    name: ClassVar[str] = "docker"
    default_ttl_s: ClassVar[float] = 600.0

    def __init__(self, namespace: str = "") -> None:
        self.namespace = namespace

    def resolve(self, path: str, query: str, accept: str) -> Resolution:
        """Read a path: a manifest by tag or digest, a blob, a list."""
        match read(path, self.namespace):
            case Unreadable(_, reason):
                return Absent(reason)
            case Place(kind=kind) as place if kind == MANIFESTS:
                return _manifest(place, accept)
            case Place(kind=kind) as place if kind == BLOBS:
                upstream = _PREFIX + place.path
                return Target(place.path, upstream, mutable=False, digest=place.reference, content_type=OCTETS)
            case place:
                return _list(place, query)

    def expects(self, target: Target) -> Expectation:
        """Say what a body looks like; what has a digest is known by that."""
        kind = _kind(target)
        if kind == BLOBS:
            return Expectation(Body(html=True))
        return Expectation(
            Body(prefixes=(b"{",), max_bytes=MAX_MANIFEST_BYTES if kind == MANIFESTS else MAX_LIST_BYTES)
        )

    def told(self, target: Target, headers: Mapping[str, str]) -> Checksum | None:
        """Read the digest that an answer's head promises; None: there is none that can be checked."""
        if _kind(target) != MANIFESTS:
            return None
        algorithm, _, digits = headers.get("docker-content-digest", "").strip().partition(":")
        sound = len(digits) == _HEX.get(algorithm, 0) and not digits.strip("0123456789abcdef")
        return Checksum(algorithm, digits) if sound and digits else None

    def moves(self, target: Target) -> bool:
        """Whether a target is a tag."""
        return target.mutable and _kind(target) == MANIFESTS

    def media_type(self, target: Target, told: str, body: bytes) -> str:
        """Give a document's own media type. Raises `ValueError` for a manifest that is none."""
        return manifests.media_type(told, body) if _kind(target) == MANIFESTS else told

    def next_page(self, target: Target, link: str) -> str:
        """Give the query of the page behind this one, of an upstream's Link header (RFC 8288); empty: there is none."""
        if _kind(target) not in {TAGS, REFERRERS}:
            return ""
        for part in link.split(","):
            url, _, parameters = part.strip().partition(">")
            if url.startswith("<") and 'rel="next"' in parameters.replace("rel=next", 'rel="next"'):
                return _sent(urlsplit(url[1:]).query) or ""
        return ""

    def stand_ins(self, target: Target) -> tuple[Target, ...]:
        """Give a tag's other forms."""
        if not target.variant:
            return ()
        return tuple(replace(target, variant=one, accept=accept_of(one)) for one in others(target.variant))

    def serves(self, target: Target, content_type: str) -> bool:
        """Say whether the client takes such a form."""
        return not target.variant or takes(target.variant, content_type)


def _manifest(place: Place, accept: str) -> Target:
    upstream = _PREFIX + place.path
    if place.digest:
        everything = f"{accept_of(ALL)}, */*"
        return Target(place.path, upstream, mutable=False, accept=everything, digest=place.reference, complete=True)
    variant = variant_of(accept)
    return Target(place.path, upstream, mutable=True, variant=variant, accept=accept_of(variant), complete=True)


def _list(place: Place, query: str) -> Resolution:
    sent = _sent(query)
    if sent is None:
        return Absent(f"n is a number, and the query has at most {MAX_QUERY_CHARS} characters")
    key = f"{place.path}?{sent}" if sent else place.path
    kind = "application/json" if place.kind == TAGS else INDEX
    return Target(key, _PREFIX + key, mutable=True, accept=kind, content_type=kind, complete=True)


def _sent(query: str) -> str | None:
    """Write the query as it goes upstream: pages of a bounded size, and nothing that is ours; None: not sound."""
    if len(query) > MAX_QUERY_CHARS:
        return None
    pairs = [(key, value) for key, value in parse_qsl(query, keep_blank_values=True) if key not in _NOT_SENT]
    kept = []
    for key, value in pairs:
        if key == "n" and not (value.isascii() and value.isdigit()):
            return None
        kept.append((key, str(min(int(value[:9]), MAX_PAGE)) if key == "n" else value))
    return urlencode(kept, errors="replace")


def _kind(target: Target) -> str:
    path = target.path.partition("?")[0]
    return path.rsplit("/", 2)[1] if path.count("/") > 1 else ""
