"""What a manifest says of itself. PURE.

The type that counts is the one within the document (``mediaType``); OCI's own may leave it out, and then the type that
came with it does, or the shape tells (image specification 1.1, "Guidelines for the mediaType field").
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from millpond.artifacts.formats.docker.negotiation import FORMS

_MEDIA_TYPE_CHARS = 255


def media_type(told: str, body: bytes) -> str:
    """Give a manifest's media type; `told` came with it. Raises `ValueError` for what is no manifest."""
    try:
        document = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise ValueError("it is not JSON, which a manifest is") from error
    if not isinstance(document, Mapping):
        raise ValueError("it is no JSON object, which a manifest is")  # noqa: TRY004 - as for every other unsound body
    if document.get("schemaVersion") == 1:
        raise ValueError("it is a manifest of schema 1, which no client of today reads; push the image anew")
    own = document.get("mediaType")
    if isinstance(own, str) and 0 < len(own) <= _MEDIA_TYPE_CHARS and own.isascii() and own.isprintable():
        return own
    kind = told.partition(";")[0].strip().lower()
    return kind if kind in FORMS.values() else _by_shape(document) or told


def _by_shape(document: Mapping[str, Any]) -> str:
    if isinstance(document.get("manifests"), list):
        return FORMS["index"]
    if isinstance(document.get("config"), Mapping) and isinstance(document.get("layers"), list):
        return FORMS["manifest"]
    return ""
