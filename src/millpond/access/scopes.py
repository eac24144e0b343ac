"""What a token may do: ``read:REPO``, ``write:REPO``, ``admin``. PURE.

`REPO` is a repository's name, or ``*`` for all of them. Writing implies reading; admin implies everything. A right
belongs to a repository, never to bytes: that a blob is stored is no permission to read it.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass

from millpond.errors import BadRequest

READ, WRITE, ADMIN = "read", "write", "admin"
ANY = "*"
_REPOSITORY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,127}", re.ASCII)
_HINT = "a scope is read:REPO, write:REPO or admin; REPO may be *"


@dataclass(frozen=True, slots=True)
class Scope:
    """One right; `repository` is empty for admin."""

    kind: str
    repository: str = ""

    def __str__(self) -> str:
        return f"{self.kind}:{self.repository}" if self.repository else self.kind

    def implies(self, need: Scope) -> bool:
        """Whether who has this scope may do what `need` names."""
        if self.kind == ADMIN:
            return True
        covers = need.kind == self.kind or (self.kind == WRITE and need.kind == READ)
        return covers and self.repository in (ANY, need.repository)


ADMINISTRATION = Scope(ADMIN)


def reading(repository: str) -> Scope:
    """Name the right to read a repository."""
    return Scope(READ, repository)


def writing(repository: str) -> Scope:
    """Name the right to change a repository's content."""
    return Scope(WRITE, repository)


def parse(text: str) -> Scope:
    """Read one scope. Raises `BadRequest`, saying what was meant."""
    kind, colon, repository = text.strip().partition(":")
    if kind not in (READ, WRITE, ADMIN):
        near = difflib.get_close_matches(kind.lower(), (READ, WRITE, ADMIN), n=1)
        meant = f"; did you mean {near[0]}{colon}{repository}?" if near else ""
        raise BadRequest(f"{text!r} is no scope{meant} ({_HINT})")
    if kind == ADMIN:
        if colon:
            raise BadRequest(f"{text!r}: admin is for the whole pond and takes no repository ({_HINT})")
        return ADMINISTRATION
    if not repository:
        raise BadRequest(f"{text!r} names no repository; did you mean {kind}:{ANY}? ({_HINT})")
    if repository != ANY and _REPOSITORY.fullmatch(repository) is None:
        raise BadRequest(f"{text!r}: {repository!r} can't be a repository's name ({_HINT})")
    return Scope(kind, repository)


def parse_all(texts: Iterable[str]) -> tuple[Scope, ...]:
    """Read scopes, each also a comma- or space-separated list; at least one. Raises `BadRequest`."""
    words = [word for text in texts for word in re.split(r"[,\s]+", text) if word]
    if not words:
        raise BadRequest(f"a token needs at least one scope ({_HINT})")
    return tuple(dict.fromkeys(parse(word) for word in words))


def allows(held: Iterable[Scope], need: Scope) -> bool:
    """Whether any of the scopes at hand implies the one needed."""
    return any(scope.implies(need) for scope in held)
