"""How answers are dressed: each client protocol has its own headers and its own form of an error.

An `ArtifactServer` serves every protocol alike; what differs is told by the request's manner. `PROBLEMS` is the pond's
own: nothing more than HTTP, and errors as ``application/problem+json`` (RFC 9457).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from millpond.api.problems import CONTENT_TYPE, problem
from millpond.artifacts.answer import Head
from millpond.artifacts.formats.base import Explains, Format


@dataclass(frozen=True, slots=True)
class Refusal:
    """An answer in the place of an artifact: its status, its body and the body's type."""

    status: int
    content_type: str
    body: bytes


class Manner(Protocol):
    """One client protocol's way."""

    @property
    def exact(self) -> bool:
        """Whether a HEAD has to tell the length, even where the end must be waited for."""

    def refusal(self, status: int, reason: str, repository: str, path: str) -> Refusal:
        """Say that, and why, there is nothing to give."""

    def headers(self, head: Head) -> Mapping[str, str]:
        """Give the headers that an artifact has beside HTTP's own; empty values are left out."""


class Words(Manner, Protocol):
    """A manner that can tell an error before it is known what was asked for."""

    def words(self, status: int, reason: str) -> tuple[str, bytes]:
        """Write an error's media type and body."""


@dataclass(frozen=True, slots=True)
class Problems:
    """See `Manner`."""

    exact: bool = False

    def words(self, status: int, reason: str) -> tuple[str, bytes]:
        """Write a problem."""
        return CONTENT_TYPE, problem(status, reason)

    def refusal(self, status: int, reason: str, repository: str, path: str) -> Refusal:
        """Answer with a problem."""
        return Refusal(status, CONTENT_TYPE, problem(status, reason, repository=repository, path=path))

    def headers(self, head: Head) -> Mapping[str, str]:
        """Add nothing."""
        del head
        return {}


PROBLEMS = Problems()


@dataclass(frozen=True, slots=True)
class Explained:
    """See `Manner`: errors as a format's clients read them."""

    format: Explains
    exact: bool = False

    def words(self, status: int, reason: str) -> tuple[str, bytes]:
        """Write it as the format does."""
        return self.format.explained(status, reason)

    def refusal(self, status: int, reason: str, repository: str, path: str) -> Refusal:
        """Answer in the format's own words."""
        del repository, path
        return Refusal(status, *self.words(status, reason))

    def headers(self, head: Head) -> Mapping[str, str]:
        """Add nothing."""
        del head
        return {}


def manner_of(format_: Format) -> Words:
    """Give the manner in which a format's native mount answers."""
    return Explained(format_) if isinstance(format_, Explains) else PROBLEMS
