"""Errors as people and programs read them: `application/problem+json` (RFC 9457), saying what to do next."""

from __future__ import annotations

import json
from http import HTTPStatus

from millpond.errors import (
    BadRequest,
    Busy,
    Conflict,
    Denied,
    MillpondError,
    NotAllowed,
    NotFound,
    OutOfSpace,
    Stalled,
    TooLarge,
    UpstreamUnreachable,
)

CONTENT_TYPE = "application/problem+json"
_STATUS: tuple[tuple[type[MillpondError], int], ...] = (
    (BadRequest, 400),
    (NotFound, 404),
    (NotAllowed, 405),
    (Stalled, 408),
    (Conflict, 409),
    (TooLarge, 413),
    (UpstreamUnreachable, 502),
    (Busy, 503),
    (OutOfSpace, 507),
)


def status_of(error: MillpondError) -> int:
    """Give the HTTP status of one of our faults."""
    if isinstance(error, Denied):
        return 401 if error.authenticate else 403
    return next((status for kind, status in _STATUS if isinstance(error, kind)), 500)


def problem(status: int, detail: str, **more: object) -> bytes:
    """Write the body: type, title, status, detail, and whatever else helps."""
    title = HTTPStatus(status).phrase
    return json.dumps({"type": "about:blank", "title": title, "status": status, "detail": detail} | more).encode()
