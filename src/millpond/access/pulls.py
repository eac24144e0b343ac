"""Pull tokens: what a registry's client is given for a few minutes in the place of its credentials.

A pull token is signed (HMAC with SHA-256, RFC 2104), not stored: it says whose token it stands for, which of its rights
were asked for, and until when. It gives none that the token behind it does not have at the moment of use, and ends with
it. The key lies in the data directory, so that every worker, and the next start, knows it.

Docker's registry, "Token authentication": the token is opaque to the client.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import json
import secrets
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from millpond.access import secretfile
from millpond.access.scopes import Scope, parse
from millpond.clock import Clock
from millpond.errors import BadRequest, ConfigError

PREFIX = "mpull_"
LIFETIME_S = 300
MAX_TOKEN = 4000
_KEY_BYTES = 32


@dataclass(frozen=True, slots=True)
class Grant:
    """What a pull token says: the id of the token that it stands for (empty: anonymous), and the rights asked for."""

    token_id: str
    scopes: tuple[Scope, ...]


class PullTokens:
    """Makes and reads pull tokens."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key, self._clock = key, clock

    @classmethod
    def at(cls, path: Path, clock: Clock) -> PullTokens:
        """Take the key from a file, which is made if there is none. Raises `ConfigError` where it holds no key."""
        if not path.exists():
            secretfile.write_once(path, secrets.token_hex(_KEY_BYTES))
        try:
            key = bytes.fromhex(secretfile.read(path))
        except ValueError:
            key = b""
        if len(key) != _KEY_BYTES:
            raise ConfigError(f"{path} holds no key: remove the file, and the next start makes a new one")
        return cls(key, clock)

    def issue(self, token_id: str, scopes: Iterable[Scope]) -> str:
        """Make one that is good for `LIFETIME_S`."""
        told = {"t": token_id, "s": [str(scope) for scope in scopes], "e": int(self._clock.now()) + LIFETIME_S}
        body = _text(json.dumps(told, separators=(",", ":")).encode())
        return f"{PREFIX}{body}.{self._sign(body)}"

    def read(self, secret: str) -> Grant | None:
        """Read one; None: it is none of ours, or too old."""
        body, dot, signature = secret.removeprefix(PREFIX).partition(".")
        if not secret.startswith(PREFIX) or not dot or len(secret) > MAX_TOKEN or not secret.isascii():
            return None
        if not hmac.compare_digest(self._sign(body), signature):
            return None
        try:
            told = json.loads(base64.urlsafe_b64decode(body + "=" * (-len(body) % 4)))
            grant = Grant(str(told["t"]), tuple(parse(scope) for scope in told["s"]))
            expires_at = float(told["e"])
        except (ValueError, KeyError, TypeError, binascii.Error, BadRequest):  # signed by another version
            return None
        return grant if self._clock.now() < expires_at else None

    def _sign(self, body: str) -> str:
        return _text(hmac.new(self._key, body.encode(), hashlib.sha256).digest())


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
