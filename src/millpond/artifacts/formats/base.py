"""The capabilities that a package format can have. PURE.

A format knows its own paths and documents and nothing else: no other format, no storage, no clock. Each capability is a
small protocol; a format implements those it has and the executor asks with `isinstance`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import ClassVar, Protocol, runtime_checkable

from millpond.artifacts.generations import Dates, Role
from millpond.artifacts.model import Checksum, Errand, Expectation, Links, Member, Resolution, Said, Target
from millpond.artifacts.soundness import Inspector


class Format(Protocol):
    """What every format can do: read a path, and say what is known of its target beforehand."""

    name: ClassVar[str]
    default_ttl_s: ClassVar[float]

    def resolve(self, path: str, query: str, accept: str) -> Resolution:
        """Read a request's path once.

        `path` is relative to the repository, percent-decoded once, without a leading slash; `query` is the raw query
        string without its question mark; `accept` is the request's Accept header (empty: anything).
        """

    def expects(self, target: Target) -> Expectation:
        """Say which index knows the target and what a sound body looks like."""


class Transducer(Protocol):
    """A document on its way through: what `feed` and `close` return is the rewritten document, in order."""

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; give those that are ready."""

    def close(self) -> bytes:
        """Give the rest. Raises `ValueError` when the document can't be what it says it is."""


@runtime_checkable
class Rewrites(Protocol):
    """Documents whose links must point back at the pond. Stored bytes stay the upstream's own."""

    rewrite_version: ClassVar[int]
    """Part of the key of cached results: raise it when the output changes."""

    def rewriter(self, target: Target, content_type: str, links: Links) -> Transducer:
        """Make a fresh transducer for one document; its memory does not grow with the document."""


@runtime_checkable
class Described(Protocol):
    """Documents that list members: where each lies, its digest, its date."""

    def members(self, target: Target, content_type: str, source: str, chunks: Iterable[bytes]) -> Iterator[Member]:
        """List the members of an index whose bytes are `chunks` and whose own URL is `source`.

        Raises `ValueError` when the document can't be read. Needs to run in the process pool: it may hold the document.
        """


@runtime_checkable
class Varies(Protocol):
    """Paths with several representations: during an outage a stored one may stand in for one that is not."""

    def stand_ins(self, target: Target) -> tuple[Target, ...]:
        """Give the other representations of a target, the best first."""

    def serves(self, target: Target, content_type: str) -> bool:
        """Say whether a document of that type can be read by who asked for `target`."""


@runtime_checkable
class Pinned(Protocol):
    """Names that point at content, and content that has a digest: a HEAD tells whether a name has moved."""

    def told(self, target: Target, headers: Mapping[str, str]) -> Checksum | None:
        """Read the digest that an answer's head promises for its body; None: there is none that can be checked."""

    def moves(self, target: Target) -> bool:
        """Whether a target is such a name, to be asked for by HEAD first."""


@runtime_checkable
class Typed(Protocol):
    """Documents that say within themselves what they are, and lists that come in pages."""

    def media_type(self, target: Target, told: str, body: bytes) -> str:
        """Give a whole document's own media type; `told` came with it. Raises `ValueError` for what is none."""

    def next_page(self, target: Target, link: str) -> str:
        """Give the query of the page behind this one, of the Link header that came with it; empty: it is the last."""


@runtime_checkable
class PassesOn(Protocol):
    """Services beside the artifacts: requests that are handed on and not stored, or answered by the format itself.

    Questions only: one that is asked twice, since a connection broke, must do no harm.
    """

    def errand(self, method: str, path: str, query: str, headers: Mapping[str, str]) -> Errand | Said | None:
        """Say what becomes of a request, before `resolve` is asked; None: it is none of these.

        `path` and `query` are as for `resolve`, header names in lower case. Needs no client's credentials: none are
        handed on.
        """


@runtime_checkable
class Explains(Protocol):
    """Errors in the form that the format's clients read, in the place of problem+json (RFC 9457)."""

    def explained(self, status: int, reason: str) -> tuple[str, bytes]:
        """Write an error: its media type and its body. `reason` is one line in words, with the next step."""


@runtime_checkable
class EscapesSlashes(Protocol):
    """Formats whose clients write the slash of a scoped name as ``%2f`` (``@scope%2fname``); elsewhere it is refused.

    Both spellings are one path, and it is with a slash.
    """

    escaped_scopes: ClassVar[bool]


@runtime_checkable
class Coherent(Protocol):
    """Entry files that promise their members, and indexes that promise packages (`artifacts.generations`).

    Both are `Described`: they list what they promise by its path in the repository. `Member.url` of a path by digest is
    the path of the member itself.
    """

    def role(self, target: Target) -> Role | None:
        """Say what a target is within its generation; None: it belongs to none."""

    def index(self, path: str) -> tuple[Target, str] | None:
        """Give the target of an index of packages, and what is the same for all of its encodings; None: it is none."""

    def by_digest(self, path: str, checksums: tuple[Checksum, ...]) -> tuple[str, ...]:
        """Give the paths under which a member lies by its digest, if the entry file lists them; the strongest first."""

    def dates(self, target: Target, chunks: Iterable[bytes]) -> Dates:
        """Read what an entry file says of its own time. Raises `ValueError`."""


@runtime_checkable
class Inspects(Protocol):
    """Bodies that indexes name by something else than a digest of the whole, or that say themselves what is right."""

    def inspector(self, target: Target) -> Inspector | None:
        """Make what looks into one body of a target; None: nothing needs to."""


@runtime_checkable
class PlainDots(Protocol):
    """Formats whose clients write ``.`` segments (apt, for a flat repository: ``/./Packages``); elsewhere refused.

    They are left out: both spellings are one path.
    """

    plain_dots: ClassVar[bool]
