"""The first token: made at the first start, printed once, kept in ``DATA/admin-token``.

The file is complete, and readable by its owner only, from the moment it has its name. It is written before the token is
enrolled, and enrolled again when the catalog was lost: a crash in between leaves nothing that the next start does not
mend. A token that was revoked stays revoked, though its file remains.
"""

from __future__ import annotations

import secrets
from contextlib import suppress
from pathlib import Path

from millpond.access import secretfile
from millpond.access.tokens import PREFIX, Tokens
from millpond.errors import ConfigError, Conflict

NAME = "admin"
_MIN_LENGTH = 40


async def ensure_admin(tokens: Tokens, path: Path) -> str | None:
    """Make the admin token unless there are tokens already; gives its secret when it is new, else None.

    Raises `ConfigError` where the file holds no token.
    """
    if not path.exists():  # noqa: ASYNC240 - once, at the start, on the local disk
        if await tokens.list():
            return None
        secret = PREFIX + secrets.token_urlsafe(32)
        new = secretfile.write_once(path, secret)
        await _enrol(tokens, _read(path))
        return secret if new else None
    secret = _read(path)
    if not await tokens.known(secret):
        await _enrol(tokens, secret)
    return None


async def _enrol(tokens: Tokens, secret: str) -> None:
    with suppress(Conflict):  # another process did
        await tokens.enrol(NAME, ["admin"], secret)


def _read(path: Path) -> str:
    secret = secretfile.read(path)
    if not secret.startswith(PREFIX) or len(secret) < _MIN_LENGTH or not secret.isascii() or " " in secret:
        raise ConfigError(f"{path} holds no token: remove the file, and `millpond token create` makes a new one")
    return secret
