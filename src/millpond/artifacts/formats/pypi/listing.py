"""One line of a project's page, whatever it was written in: a distribution and what goes with it. PURE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from urllib.parse import SplitResult, urljoin, urlsplit, urlunsplit

from millpond.artifacts.formats.pypi.names import METADATA, SIGNATURE
from millpond.artifacts.model import Checksum, Member

MAX_MEMBERS = 1_000_000
MAX_URL, MAX_TIME = 8192, 64


@dataclass(frozen=True, slots=True)
class Listed:
    """A distribution as its page lists it. `metadata`: None when it has none of its own (PEP 658)."""

    member: Member
    metadata: tuple[Checksum, ...] | None = None
    signed: bool = False


def members(listed: Listed) -> Iterator[Member]:
    """Give the distribution, its metadata and its signature, as far as they are there."""
    yield listed.member
    if listed.metadata is not None:
        yield _beside(listed.member, METADATA, listed.metadata)
    if listed.signed:
        yield _beside(listed.member, SIGNATURE, ())


def _beside(member: Member, suffix: str, checksums: tuple[Checksum, ...]) -> Member:
    parts = urlsplit(member.url)
    url = urlunsplit(parts._replace(path=parts.path + suffix))
    return Member(member.name + suffix, url, checksums, published_at=member.published_at)


def resolve(base: str, link: str) -> SplitResult | None:
    """Resolve a link against the page's URL; None: it leads to nothing that can be fetched.

    Credentials in a link are dropped: they belong to the configuration.
    """
    try:
        link = link.strip()
        # Most links are absolute, and joining costs more than everything else that is done for one.
        parts = urlsplit(link if link.startswith(("https://", "http://")) else urljoin(base, link))
        host = parts.netloc.rpartition("@")[2]
        usable = parts.scheme in {"http", "https"} and parts.hostname and len(link) <= MAX_URL
        _ = parts.port  # raises for a port that is none
    except ValueError:
        return None
    return parts._replace(netloc=host) if usable else None


def epoch(text: object) -> float | None:
    """Read an upload time (PEP 700: ISO 8601, UTC); None: absent or odd, as one from before 1970 is."""
    if not isinstance(text, str) or len(text) > MAX_TIME:
        return None
    try:
        at = datetime.fromisoformat(text.strip())
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= 0 else None
