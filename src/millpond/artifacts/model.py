"""The values that travel the request walk. PURE: no I/O, no clock.

Names follow RFC 9110 (validators), RFC 9111 (fresh, stale, age) and the OCI image specification (descriptor, digest).
Times are seconds since the epoch; sizes are bytes; a digest is ``sha256:`` and 64 hex digits.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TypeAlias

Digest: TypeAlias = str


@dataclass(frozen=True, slots=True)
class Checksum:
    """A digest that an index promises for a member: lower-case hex, in the index's own algorithm.

    That is `hashlib`'s name for a digest of the whole, or one that the format's `soundness.Inspector` finds in a body.
    """

    algorithm: str
    hex: str


@dataclass(frozen=True, slots=True)
class Target:
    """One object of a repository, as its format understood the request's path.

    `path` is the key in the catalog, relative to the repository, percent-decoded once. `upstream_path` is what is asked
    upstream, relative to the repository's base URL and percent-encoded (empty: the location comes from an index).
    `variant` tells representations of one path apart (``json``, ``html``); `accept` is what is sent upstream for it.
    """

    path: str
    upstream_path: str
    mutable: bool
    variant: str = ""
    accept: str = "*/*"
    digest: Digest | None = None
    content_type: str | None = None
    """The type to answer with; None: the upstream's own, else by suffix."""
    rewritten: bool = False
    """Served through the format's `Rewrites`; such a document is answered only when it is complete."""
    packed: bool = False
    """Compressed: what is read in it may be far larger than it is, so never in the daemon's own process."""
    complete: bool = False
    """Small, and answered only when it is complete and checked: its head tells its true length and digest."""
    part: str = ""
    """Of a rewritten document only this is served: stored, fetched and fresh is the document itself. Empty: all."""

    @property
    def whole(self) -> Target:
        """The document that this is a part of."""
        return replace(self, part="") if self.part else self


@dataclass(frozen=True, slots=True)
class Moved:
    """The client should ask for `path` instead (relative to the repository); answered 301."""

    path: str


@dataclass(frozen=True, slots=True)
class Absent:
    """No object of this format can live at that path; answered 404 without asking upstream."""

    reason: str


Resolution: TypeAlias = Target | Moved | Absent


@dataclass(frozen=True, slots=True)
class Errand:
    """A request that is handed on to the upstream as it comes, and of which nothing is stored.

    `upstream_path` is relative to the base URL and percent-encoded, with its query. `quiet` is what is answered when
    the upstream can't be asked, for questions that are not worth an outage; None: that is an error. `prefixes`: what
    the answer must begin with. Limits are in bytes; of the client's headers only `headers` (lower case) are handed on.
    """

    method: str
    upstream_path: str
    accept: str
    quiet: bytes | None = None
    prefixes: tuple[bytes, ...] = ()
    headers: tuple[str, ...] = ()
    max_request_bytes: int = 0
    max_reply_bytes: int = 1 << 24


@dataclass(frozen=True, slots=True)
class Said:
    """What a format itself answers, with no upstream: 200 and a `body`, or 400, 403, 405 and its `reason`."""

    status: int
    body: bytes = b""
    reason: str = ""


@dataclass(frozen=True, slots=True)
class Body:
    """What a sound body looks like, so that a captive portal's page is not taken for a package.

    `types`: acceptable media types (without parameters), empty for any. `prefixes` and `suffixes`: the body (white
    space
    stripped) starts or ends with one of these, empty for any. `html` says whether an HTML page can be the real thing.
    """

    types: tuple[str, ...] = ()
    prefixes: tuple[bytes, ...] = ()
    suffixes: tuple[bytes, ...] = ()
    html: bool = False
    max_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Expectation:
    """What is known of a target before it is fetched: which index knows it, and what its body looks like."""

    body: Body = Body()
    index: Target | None = None
    member: str = ""
    also: tuple[Target, ...] = ()
    """Other representations of the index that know the member as well: one that is fresh saves fetching `index`."""


@dataclass(frozen=True, slots=True)
class Member:
    """One line of an index: where a member lies, and what its bytes must be.

    `url` is absolute, or relative to the index's own URL. `size` and `published_at` are None where the index is silent.
    """

    name: str
    url: str
    checksums: tuple[Checksum, ...] = ()
    size: int | None = None
    published_at: float | None = None


@dataclass(frozen=True, slots=True)
class Links:
    """Where rewritten links point, and what they replace.

    `mount` is the repository's own absolute URL without a trailing slash (``http://pond.lan:8080/pypi``); `source`
    is the
    absolute URL the document came from, for its relative links.
    """

    mount: str
    source: str


@dataclass(frozen=True, slots=True)
class Entry:
    """What the catalog knows of one (repository, path, variant).

    A negative entry (status 404 or 410) has no digest. `validated_at` is when the upstream last vouched for these
    bytes,
    less the Age it gave (the true age counts from here); `checked_at` is the last try, successful or not.
    """

    repository: str
    path: str
    variant: str
    status: int
    digest: Digest | None
    size: int
    content_type: str
    content_encoding: str
    etag: str
    """The upstream's own entity tag, as it was sent; empty: none."""
    last_modified: str
    source_url: str
    """Where the bytes came from, after redirects; without credentials or query. Empty for uploads."""
    stored_at: float
    validated_at: float
    checked_at: float
    fresh_until: float
    retry_at: float = 0.0
    """Not asked upstream before this time, after a failure."""
    refresh_until: float = 0.0
    """Until then a stale copy is served at once and refreshed behind it (RFC 5861 section 3)."""
    unchecked: bool = False
    """Stored without the digest its index would have given."""
    failure: str = ""
    """Why the last try failed; empty after a success."""
    next_page: str = ""
    """The query of the list's next page, where the upstream named one (RFC 8288)."""
    identity: str = ""
    """What indexes name these bytes by where that is no SHA-256 of the whole, as verified: ``algorithm:hex``."""

    @property
    def negative(self) -> bool:
        """Whether the upstream said that there is no such object."""
        return self.digest is None


@dataclass(frozen=True, slots=True)
class Reply:
    """The head of an upstream's answer. Header names are lower case; `age_s` is its Age header."""

    status: int
    headers: Mapping[str, str]
    url: str
    length: int | None = None
    """Content-Length, if the body has a known length."""


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No usable answer: see `errors.UpstreamUnreachable` for `kind`."""

    reason: str
    kind: str
    retry_after_s: float | None = None


@dataclass(frozen=True, slots=True)
class Freshness:
    """A repository's settings for `freshness.decide` and `settle`; seconds.

    `ttl_s` is the operator's own and beats the upstream's Cache-Control; None: the upstream's, else `default_ttl_s`.
    """

    default_ttl_s: float = 600.0
    ttl_s: float | None = None
    check_updates: bool = True
    negative_ttl_s: float = 30.0
    max_ttl_s: float = 86400.0


# What to do with a request (RFC 9111 section 4, RFC 5861).


@dataclass(frozen=True, slots=True)
class Serve:
    """Answer from the entry. `stale`: past its freshness; `refresh`: and look upstream behind it.

    `promised`: it stands as long as the documents at hand that promise it, whatever its own freshness.
    """

    entry: Entry
    stale: bool = False
    refresh: bool = False
    promised: bool = False


@dataclass(frozen=True, slots=True)
class Revalidate:
    """Ask upstream conditionally, with the entry's validators."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Fetch:
    """Fetch in full; `entry` is the good copy to keep until a better one is complete, if there is one."""

    entry: Entry | None = None


Decision: TypeAlias = Serve | Revalidate | Fetch


# What to do with the upstream's answer.


@dataclass(frozen=True, slots=True)
class Store:
    """Take the body: once complete and verified it is fresh until then, vouched for at `validated_at`."""

    validated_at: float
    fresh_until: float
    refresh_until: float = 0.0
    keep: bool = True
    """False: hand the body on without storing it (Cache-Control: no-store)."""


@dataclass(frozen=True, slots=True)
class Freshen:
    """304: the stored bytes are current again, as this updated entry says."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class ServeStale:
    """Keep the good copy and answer with it; `entry` carries the back-off and the reason."""

    entry: Entry


@dataclass(frozen=True, slots=True)
class Relay:
    """Hand the upstream's verdict on: 404 or 410 (`entry` remembers it for a while), or 502 with `reason`."""

    status: int
    reason: str
    entry: Entry | None = None
    retry_after_s: float | None = None


Settlement: TypeAlias = Store | Freshen | ServeStale | Relay


@dataclass(frozen=True, slots=True)
class Use:
    """One artifact served to one caller, for the usage records; `outcome` is hit, miss, stale, revalidated or local.

    `count` times within a second, `size` bytes together.
    """

    at: float
    repository: str
    path: str
    digest: Digest
    token: str
    outcome: str
    size: int = 0
    count: int = 1


@dataclass(slots=True)
class Counts:
    """What a removal removed (entries, stored objects, freshness records, bytes)."""

    entries: int = 0
    objects: int = 0
    records: int = 0
    bytes: int = 0
    paths: list[str] = field(default_factory=list)
