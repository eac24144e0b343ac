"""Webhook signatures: an HMAC-SHA256 of the raw body, compared in constant time. Without a secret nothing is right."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Mapping
from typing import cast

from millpond.delivery.model import Json
from millpond.errors import BadRequest, Denied

MAX_ID = 200


def header(headers: Mapping[str, str], name: str) -> str:
    """Find a header whatever its case; empty: it is not there."""
    wanted = name.casefold()
    return next((value for found, value in headers.items() if found.casefold() == wanted), "")


def verified(secret: bytes, signed: bytes, *told: str) -> None:
    """See that each signature which was sent (hexadecimal, with no prefix) is right, and that there is one.

    Raises `Denied`.
    """
    expected = hmac.new(secret, signed, hashlib.sha256).hexdigest().encode()
    given = [one.encode("utf-8", "replace") for one in told if one]
    right = [hmac.compare_digest(expected, one.lower()) for one in given]
    if not secret:
        raise Denied("no secret for webhooks is configured: set webhook_secret", authenticate=True)
    if not right or not all(right):
        raise Denied("the webhook's signature is missing or wrong", authenticate=True)


def parsed(body: bytes) -> dict[str, Json]:
    """Read a webhook's JSON. Raises `BadRequest`."""
    try:
        told = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise BadRequest("the webhook's body is no JSON") from error
    if not isinstance(told, dict):
        raise BadRequest("the webhook's body is no JSON object")
    return cast("dict[str, Json]", told)


def within(value: Json, *path: str) -> str:
    """Find a text in nested objects; empty: there is none, or it is no sound id."""
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    sound = isinstance(value, str) and len(value) <= MAX_ID and value.isprintable()
    return cast("str", value) if sound else ""
