"""Who calls, and what they may: tokens from the Authorization header, checked before anything is looked up."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from millpond.access.scopes import Scope, allows, reading
from millpond.access.tokens import Tokens
from millpond.errors import Denied

CHALLENGE = b'Basic realm="millpond", charset="UTF-8"'
_MAX_HEADER = 4096


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller: the token's name (empty: anonymous) and what it may."""

    name: str
    scopes: tuple[Scope, ...]

    def require(self, need: Scope) -> None:
        """Let the caller pass, or raise `Denied`."""
        if allows(self.scopes, need):
            return
        if not self.name:
            raise Denied(f"this needs a token with the scope {need}", authenticate=True)
        raise Denied(f"the token {self.name!r} lacks the scope {need}")

    def require_some_reading(self) -> None:
        """Let pass who may read at least one repository, whichever, or raise `Denied`. Every scope implies reading."""
        if self.scopes:
            return
        raise Denied("this needs a token that may read, such as one with the scope read:REPO", authenticate=True)


class Doorkeeper:
    """Turns credentials into callers. Wrong credentials are refused even where none are needed."""

    def __init__(self, tokens: Tokens, *, anonymous_read: bool) -> None:
        self._tokens = tokens
        self.open_to_read(anonymous_read)

    def open_to_read(self, anonymous_read: bool) -> None:
        """Say whether callers without a token may read from now on."""
        self._anonymous = Caller("", (reading("*"),) if anonymous_read else ())

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """Name the caller. Raises `Denied` for credentials that are not (or no longer) good."""
        value = headers.get("authorization", "")
        if not value:
            return self._anonymous
        secret = read_secret(value)
        principal = await self._tokens.check(secret) if secret else None
        if principal is None:
            reason = "this token is unknown, expired or revoked; make one with `millpond token create`"
            raise Denied(reason, authenticate=True)
        return Caller(principal.name, principal.scopes)

    def token_for(self, authorization: str, repository: str) -> str | None:
        """Give the caller's name (empty: anonymous) if it may read, without I/O; None: ask `caller`."""
        if not authorization:
            return "" if self._anonymous.scopes else None  # all that anonymous ever gets is reading, everywhere
        principal = self._tokens.cached(read_secret(authorization))
        if principal is None:
            return None
        return principal.name if allows(principal.scopes, reading(repository)) else None


def read_secret(value: str) -> str:
    """Read the token out of a Bearer or Basic header (any user name); empty: there is none."""
    if len(value) > _MAX_HEADER:
        return ""
    kind, _, rest = value.partition(" ")
    if kind.lower() == "bearer":
        return rest.strip()
    if kind.lower() != "basic":
        return ""
    try:
        decoded = base64.b64decode(rest.strip(), validate=True).decode()
    except (binascii.Error, ValueError):
        return ""
    return decoded.partition(":")[2]
