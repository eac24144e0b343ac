"""Who calls, and what they may: tokens from the Authorization header, checked before anything is looked up."""

from __future__ import annotations

import base64
import binascii
from collections.abc import Mapping
from dataclasses import dataclass

from millpond.access.pulls import PREFIX, PullTokens
from millpond.access.scopes import Scope, allows, reading
from millpond.access.tokens import Tokens
from millpond.errors import Denied

CHALLENGE = b'Basic realm="millpond", charset="UTF-8"'
_MAX_HEADER = 4096
_UNKNOWN = "this token is unknown, expired or revoked; make one with `millpond token create`"


@dataclass(frozen=True, slots=True)
class Caller:
    """A caller: the token's name (empty: anonymous), its id, and what it may.

    `limited`: it showed a pull token, which may have fewer rights than the token behind it.
    """

    name: str
    scopes: tuple[Scope, ...]
    token_id: str = ""
    limited: bool = False

    def require(self, need: Scope) -> None:
        """Let the caller pass, or raise `Denied`."""
        if allows(self.scopes, need):
            return
        if not self.name or self.limited:
            raise Denied(f"this needs a token with the scope {need}", authenticate=True)
        raise Denied(f"the token {self.name!r} lacks the scope {need}")

    def require_some_reading(self) -> None:
        """Let pass who may read at least one repository, whichever, or raise `Denied`. Every scope implies reading."""
        if self.scopes:
            return
        raise Denied("this needs a token that may read, such as one with the scope read:REPO", authenticate=True)


class Doorkeeper:
    """Turns credentials into callers. Wrong credentials are refused even where none are needed."""

    def __init__(self, tokens: Tokens, *, anonymous_read: bool, pulls: PullTokens) -> None:
        self._tokens, self.pulls = tokens, pulls
        self.open_to_read(anonymous_read)

    @property
    def open(self) -> bool:
        """Whether callers without a token may read."""
        return bool(self._anonymous.scopes)

    def open_to_read(self, anonymous_read: bool) -> None:
        """Say whether callers without a token may read from now on."""
        self._anonymous = Caller("", (reading("*"),) if anonymous_read else ())

    async def caller(self, headers: Mapping[str, str]) -> Caller:
        """Name the caller. Raises `Denied` for credentials that are not (or no longer) good."""
        value = headers.get("authorization", "")
        if not value:
            return self._anonymous
        secret = read_secret(value)
        if secret.startswith(PREFIX):
            return await self._pulling(secret)
        principal = await self._tokens.check(secret) if secret else None
        if principal is None:
            raise Denied(_UNKNOWN, authenticate=True)
        return Caller(principal.name, principal.scopes, principal.id)

    async def _pulling(self, secret: str) -> Caller:
        """Name who shows a pull token: it gives what was asked for, as far as the token behind it still has it."""
        grant = self.pulls.read(secret)
        principal = await self._tokens.of_id(grant.token_id) if grant is not None and grant.token_id else None
        if grant is None or (grant.token_id and principal is None):
            raise Denied(_UNKNOWN, authenticate=True)
        held = self._anonymous.scopes if principal is None else principal.scopes
        scopes = tuple(scope for scope in grant.scopes if allows(held, scope))
        return Caller("" if principal is None else principal.name, scopes, grant.token_id, limited=True)

    def token_for(self, authorization: str, repository: str) -> str | None:
        """Give the caller's name (empty: anonymous) if it may read, without I/O; None: ask `caller`."""
        if not authorization:
            return "" if self._anonymous.scopes else None  # all that anonymous ever gets is reading, everywhere
        secret = read_secret(authorization)
        if secret.startswith(PREFIX):
            return self._pull_token_for(secret, reading(repository))
        principal = self._tokens.cached(secret)
        if principal is None:
            return None
        return principal.name if allows(principal.scopes, reading(repository)) else None

    def _pull_token_for(self, secret: str, need: Scope) -> str | None:
        grant = self.pulls.read(secret)
        if grant is None or not allows(grant.scopes, need):
            return None
        if not grant.token_id:
            return "" if allows(self._anonymous.scopes, need) else None
        principal = self._tokens.cached_id(grant.token_id)
        return principal.name if principal is not None and allows(principal.scopes, need) else None


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
