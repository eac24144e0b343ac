"""``POST /webhook/{sender}``: webhooks of tracker and forge, answered as soon as the nudges are on the disk.

No signature, a wrong one, or no secret configured: 401, always. The body is taken as it came, at most `MAX_BYTES`.
"""

from __future__ import annotations

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse, Response

from millpond.api.problems import CONTENT_TYPE as PROBLEM
from millpond.api.problems import problem, status_of
from millpond.app import hooking
from millpond.app.application import App
from millpond.errors import Denied, MillpondError, TooLarge

MAX_BYTES = 1 << 20
DIGITS = 10
"""A length of more is too long, and need not be counted."""
_TAKEN = 202


def add_hooks(api: FastAPI, app: App) -> None:
    """Add them."""
    for sender in hooking.SENDERS:
        _add(api, app, sender)


def _add(api: FastAPI, app: App, sender: str) -> None:
    @api.post(f"/webhook/{sender}", status_code=_TAKEN, name=f"webhook_{sender}", summary=f"Take a webhook of {sender}")
    async def hook(request: Request) -> Response:
        try:
            if not hooking.expected(app, sender):
                raise Denied(f"no webhook of {sender} is expected here: set its webhook_secret", authenticate=True)
            count = await hooking.take(app, sender, request.headers, await _body(request))
        except MillpondError as error:
            status = status_of(error)
            app.metrics.hooked(sender, status)
            return Response(problem(status, str(error)), status, media_type=PROBLEM)
        app.metrics.hooked(sender, _TAKEN)
        return JSONResponse({"nudged": count}, _TAKEN)


async def _body(request: Request) -> bytes:
    """Read the body as it is, within limits, whatever it says of its length. Raises `TooLarge`."""
    said = request.headers.get("content-length", "")
    if said.isascii() and said.isdigit() and (len(said) > DIGITS or int(said) > MAX_BYTES):
        raise TooLarge(f"a webhook has at most {MAX_BYTES} bytes")
    body = bytearray()
    async for piece in request.stream():
        body += piece
        if len(body) > MAX_BYTES:
            raise TooLarge(f"a webhook has at most {MAX_BYTES} bytes")
    return bytes(body)
