"""What a tool must be told to use the pond, as values: to print, or to write."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar, Protocol
from urllib.parse import urlsplit

from millpond.adopt.machine import Candidate, Machine, Run, is_loopback, shown, unfit, without_credentials
from millpond.errors import BadRequest


@dataclass(frozen=True, slots=True)
class Settings:
    """One tool's settings: for a single command, as variables, and as the text of its file."""

    tool: str
    url: str
    command: str
    variables: Mapping[str, str]
    file: Path
    text: str


class Tool(Protocol):
    """A client that can be pointed at the pond."""

    name: ClassVar[str]
    package: ClassVar[str]
    suffix: ClassVar[str]
    """What its index's address has after the repository's name."""
    variables: ClassVar[tuple[str, ...]]
    """The variables of the environment that win over its files."""

    def settings(self, url: str, machine: Machine) -> Settings:
        """Say what to tell it."""

    def edit(self, text: str, settings: Settings, machine: Machine) -> str:
        """Put the settings into the text of its file; all else stays as it is. Raises `Conflict`."""

    def candidates(self, machine: Machine) -> Iterator[Candidate]:
        """Give the indexes of its files, the strongest first. Raises `ConfigError`."""

    def notes(self, machine: Machine) -> Iterator[str]:
        """Say what else of its settings leads past the pond."""

    def public(self, run: Run) -> str | None:
        """Give the public index, which it has without settings; None: it can't be found out."""


def index_url(pond_url: str, repository: str, suffix: str) -> str:
    """Give the address of a repository's index. Raises `BadRequest`."""
    if unfit(pond_url) is not None or without_credentials(pond_url) != pond_url:
        raise BadRequest(f"{shown(pond_url)!r} is not the pond's address; write it as http://127.0.0.1:8080")
    return f"{pond_url.rstrip('/')}/{repository}{suffix}/"


def untrusted_host(url: str) -> str | None:
    """Give the host (and port) that pip must be told to trust: one of plain http that is not this machine."""
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "https" or (is_loopback(host) and not host.endswith(".localhost"))
    return None if secure else parts.netloc
