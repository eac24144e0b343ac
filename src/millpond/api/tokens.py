"""``/api/v1/token``: where a registry's clients change their credentials for a pull token.

The specification of Docker's registry, "Token authentication" (GET with Basic credentials) and "OAuth2 token
authentication" (POST of a form). Who shows no credentials gets a token too, with the rights that everybody has; who
shows wrong ones is refused, so that `docker login` tells. A token has only the rights that were asked for.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Callable, Iterable, Mapping
from typing import Annotated, Any
from urllib.parse import parse_qs

from fastapi import FastAPI, Query, Request
from fastapi.responses import Response

from millpond.access.pulls import LIFETIME_S
from millpond.access.scopes import Scope, allows, reading, writing
from millpond.api import registry
from millpond.api.auth import CHALLENGE, Caller, Doorkeeper
from millpond.api.oci import DOCKER, MIRRORED, Registries
from millpond.errors import BadRequest, Denied, TooLarge

MAX_FORM_BYTES = 64 * 1024
MAX_FIELDS = 100
_NO_STORE = {"cache-control": "no-store"}


def add_token_endpoint(api: FastAPI, doorkeeper: Doorkeeper, registries: Callable[[], Registries]) -> None:
    """Put it into the control API."""

    @api.get("/api/v1/token")
    async def token(
        request: Request,
        service: Annotated[str, Query(max_length=255)] = "",
        scope: Annotated[list[str], Query(max_length=100)] = [],  # noqa: B006 - FastAPI copies it
    ) -> Response:
        """Give a pull token for the scopes that are asked for, as far as the credentials (or nobody's) go."""
        del service
        return await _given(request, request.headers, scope)

    @api.post("/api/v1/token")
    async def oauth2(request: Request) -> Response:
        """Give a pull token by OAuth2: ``grant_type`` password, or refresh_token with a token of the pond."""
        fields = _fields(await _body(request))
        secret = fields.get("password") or fields.get("refresh_token") or ""
        if fields.get("grant_type") not in {"password", "refresh_token"} or not secret:
            raise BadRequest("grant_type is password or refresh_token, with the password or token beside it")
        basic = b64encode(f"{fields.get('username', '')}:{secret}".encode()).decode()
        return await _given(request, {"authorization": f"Basic {basic}"}, [fields.get("scope", "")])

    async def _given(request: Request, headers: Mapping[str, str], scopes: Iterable[str]) -> Response:
        try:
            caller = await doorkeeper.caller(headers)
        except Denied as error:
            body = registry.error("UNAUTHORIZED", str(error))
            return Response(body, 401, {"www-authenticate": CHALLENGE.decode()} | _NO_STORE, registry.JSON)
        found = registries()
        granted = granted_of(scopes, caller, found, mirrored=bool(request.scope.get(MIRRORED)))
        return Response(_document(doorkeeper, caller, granted), 200, _NO_STORE, registry.JSON)


def granted_of(scopes: Iterable[str], caller: Caller, found: Registries, *, mirrored: bool) -> list[Scope]:
    """Give the rights that a caller gets of those that are asked for; a right is for a whole repository of the pond."""
    granted: dict[Scope, None] = {}
    for wish in registry.wishes(scopes):
        first = wish.name.partition("/")[0]
        named = [first] if found.packages.get(first) == DOCKER else []
        for name in [*named, *([found.mirror] if mirrored and found.mirror else [])]:
            for action, need in (("pull", reading(name)), ("push", writing(name))):
                if action in wish.actions and allows(caller.scopes, need):
                    granted[need] = None
    return list(granted)


def _document(doorkeeper: Doorkeeper, caller: Caller, granted: Iterable[Scope]) -> bytes:
    token = doorkeeper.pulls.issue(caller.token_id, granted)
    told: dict[str, Any] = {"token": token, "access_token": token, "expires_in": LIFETIME_S, "token_type": "Bearer"}
    return json.dumps(told).encode()


async def _body(request: Request) -> bytes:
    body = b""
    async for chunk in request.stream():
        body += chunk
        if len(body) > MAX_FORM_BYTES:
            raise TooLarge(f"the form has more than {MAX_FORM_BYTES} bytes")
    return body


def _fields(body: bytes) -> dict[str, str]:
    try:
        fields = parse_qs(body.decode("ascii"), max_num_fields=MAX_FIELDS)
    except ValueError as error:
        raise BadRequest("the body is no form (application/x-www-form-urlencoded)") from error
    return {key: " ".join(values) if key == "scope" else values[0] for key, values in fields.items()}
