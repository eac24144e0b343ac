"""One line of a project's page, whatever it was written in: a distribution and what goes with it. PURE."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit, urlunsplit

from millpond.artifacts.formats.pypi.names import METADATA, SIGNATURE
from millpond.artifacts.model import Checksum, Member

MAX_MEMBERS = 1_000_000


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
