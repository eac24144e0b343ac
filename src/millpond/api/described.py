"""What FastAPI can't know of the OpenAPI document: the artifacts' URLs, which plain ASGI serves, and HEAD. PURE.

In `path` any number of segments may stand, slashes as they are; OpenAPI 3.1 has no way to say so but in words.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millpond.api.problems import CONTENT_TYPE as PROBLEM

Document = dict[str, Any]
OCI = "application/json"

_PARAMETERS = [
    {"name": "repository", "in": "path", "required": True, "schema": {"type": "string"}},
    {
        "name": "path",
        "in": "path",
        "required": True,
        "schema": {"type": "string"},
        "description": "The artifact's path, with its slashes.",
    },
]
_READ: Mapping[int, str] = {
    200: "The artifact, or its head.",
    206: "The part of it that Range asked for.",
    301: "It has another spelling: see Location.",
    304: "It has not changed (If-None-Match, If-Modified-Since).",
    400: "The path is not sound.",
    401: "Reading takes a token.",
    403: "The token, or a pattern of the repository, does not allow it.",
    404: "No such repository or artifact.",
    412: "If-Match or If-Unmodified-Since does not hold.",
    416: "There is no such range.",
    502: "The upstream failed, and nothing is stored.",
    503: "This machine's own upstreams are still being looked for.",
}
_REMOTE_HEAD: Mapping[int, str] = {
    **_READ,
    405: "HEAD here is for local repositories; the native mount has it for all.",
}
_PULL: Mapping[int, str] = {status: told for status, told in _READ.items() if status not in {301, 412}}
_WRITE: Mapping[int, str] = {
    400: "The repository is not local, or the request is not sound.",
    401: "Writing takes a token.",
    403: "The token, or a pattern of the repository, does not allow it.",
    404: "No such repository.",
}
_PUT: Mapping[int, str] = {
    200: "These very bytes were there already.",
    201: "Kept, on the disk.",
    **_WRITE,
    408: "Nothing of the body came for a minute.",
    409: "Other bytes are there under this name.",
    413: "Larger than max_upload.",
    507: "The disk has no room.",
}
_HAND_ON: Mapping[int, str] = {
    200: "The upstream's answer, or that nothing was found.",
    400: "The request is not sound.",
    401: "Reading takes a token.",
    403: "The token does not allow it.",
    404: "No such repository, or the upstream has no such service.",
    405: "This repository hands nothing on at that path.",
    408: "Nothing of the body came for a minute.",
    413: "The body is too large.",
    502: "The upstream could not be asked.",
    503: "This machine's own upstreams are still being looked for.",
}
_DELETE: Mapping[int, str] = {204: "Removed.", **_WRITE, 404: "No such repository or artifact."}
_BYTES = {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}
_FORM = {"type": "object", "required": ["file"], "properties": {"file": {"type": "string", "format": "binary"}}}
_KEPT = {
    "type": "object",
    "required": ["path", "digest", "size"],
    "properties": {"path": {"type": "string"}, "digest": {"type": "string"}, "size": {"type": "integer"}},
}


def described(document: Document) -> Document:
    """Add the artifacts' URLs, and HEAD beside each GET."""
    paths = dict(document["paths"])
    for path, item in paths.items():
        if "get" in item:
            paths[path] = {**item, "head": _head_of(item["get"])}
    return {**document, "paths": {**paths, **_artifacts()}}


def _artifacts() -> Document:
    registry = {
        "get": _operation(
            "Tell that this is an OCI registry",
            {200: "It is.", 401: "Show a token: the challenge says where to get one."},
            errors=OCI,
        )
    }
    return {
        "/{repository}/{path}": {
            "parameters": _PARAMETERS,
            "get": _operation("Get an artifact", _READ, ok=_BYTES),
            "head": _operation("Get an artifact's head", _READ),
            "post": _operation("Hand a question on to the upstream, such as npm's audit", _HAND_ON),
        },
        "/api/v1/remote/{repository}/{path}": {
            "parameters": _PARAMETERS,
            "get": _operation("Get an artifact as an attachment", _READ, ok=_BYTES),
            "head": _operation("Get the head of an artifact of a local repository", _REMOTE_HEAD),
            "put": {
                **_operation("Keep an artifact in a local repository", _PUT, ok=_json(_KEPT)),
                "requestBody": {"required": True, "content": {**_BYTES, "multipart/form-data": {"schema": _FORM}}},
            },
            "delete": _operation("Remove an artifact from a local repository", _DELETE),
        },
        "/v2/{repository}/{path}": {
            "parameters": _PARAMETERS,
            "get": _operation(
                "Get a manifest, a blob or a list of an image (OCI distribution)", _PULL, ok=_BYTES, errors=OCI
            ),
            "head": _operation("Get the head of one", _PULL, errors=OCI),
        },
        "/v2/": {**registry, "head": _head_of(registry["get"])},
    }


def _head_of(operation: Document) -> Document:
    """Describe HEAD by its GET: the same, without a body."""
    answers = {status: {"description": answer["description"]} for status, answer in operation["responses"].items()}
    kept = {key: operation[key] for key in ("parameters",) if key in operation}
    return {"summary": f"{operation['summary']}: the head only", **kept, "responses": answers}


def _operation(summary: str, answers: Mapping[int, str], ok: Document | None = None, errors: str = PROBLEM) -> Document:
    """Describe one; `errors` is the media type of what is 400 and above."""
    told = {str(status): _answer(status, answers[status], ok, errors) for status in answers}
    return {"summary": summary, "responses": told}


def _answer(status: int, description: str, ok: Document | None, errors: str) -> Document:
    if status >= 400:  # noqa: PLR2004 - a problem (RFC 9457)
        return {"description": description, "content": {errors: {"schema": {"type": "object"}}}}
    content = ok if status in {200, 201, 206} else None
    return {"description": description, "content": content} if content else {"description": description}


def _json(schema: Document) -> Document:
    return {"application/json": {"schema": schema}}
