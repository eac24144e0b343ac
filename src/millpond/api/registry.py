"""The words of the OCI distribution protocol: error documents, headers, challenges, names. PURE.

OCI distribution specification 1.1 ("Error codes", "Pulling manifests", "Listing referrers"), and for tokens the
specification of Docker's registry ("Token authentication"): a challenge names realm, service and scope.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from millpond.api.manners import Refusal
from millpond.artifacts.answer import Head
from millpond.artifacts.formats.docker.names import BLOBS, MANIFESTS, REFERRERS, TAGS
from millpond.artifacts.formats.docker.negotiation import INDEX

JSON = "application/json"
VERSION = (b"docker-distribution-api-version", b"registry/2.0")
SERVICE = "millpond"
MAX_SCOPES = 20
GONE = (404, 410)
_EMPTY_INDEX = json.dumps({"schemaVersion": 2, "mediaType": INDEX, "manifests": []}).encode()
_UNKNOWN = {MANIFESTS: "MANIFEST_UNKNOWN", REFERRERS: "MANIFEST_UNKNOWN", BLOBS: "BLOB_UNKNOWN", TAGS: "NAME_UNKNOWN"}
_CODES = {
    400: "UNSUPPORTED", 401: "UNAUTHORIZED", 403: "DENIED", 404: "NAME_UNKNOWN", 405: "UNSUPPORTED",
    429: "TOOMANYREQUESTS",
}  # fmt: skip
_SCOPE = re.compile(r"repository(?:\([a-z0-9]+\))?:([^\s:]{1,255}(?::[0-9]{1,5}/[^\s:]{1,255})?):([a-z*,]{1,100})")


def error(code: str, message: str, detail: Mapping[str, str] | None = None) -> bytes:
    """Write the document of one error."""
    return json.dumps({"errors": [{"code": code, "message": message, "detail": dict(detail or {})}]}).encode()


def code_of(status: int) -> str:
    """Give the code that fits a status where nothing more is known."""
    return _CODES.get(status, "UNAVAILABLE" if status >= 500 else "UNSUPPORTED")  # noqa: PLR2004 - ours or upstream's


@dataclass(frozen=True, slots=True)
class Dressed:
    """The manner of one request (`manners.Manner`); `list_path` is where a list's next page is asked for."""

    kind: str
    list_path: str
    exact: bool = True

    def refusal(self, status: int, reason: str, repository: str, path: str) -> Refusal:
        """Answer with an error document; an upstream without referrers has an empty list of them."""
        if self.kind == REFERRERS and status in GONE:
            return Refusal(200, INDEX, _EMPTY_INDEX)
        status = 404 if status in GONE else status
        code = _UNKNOWN.get(self.kind, "NAME_UNKNOWN") if status in GONE else code_of(status)
        return Refusal(status, JSON, error(code, reason, {"repository": repository, "path": path}))

    def headers(self, head: Head) -> Mapping[str, str]:
        """Name the content, and the page behind this one."""
        named = self.kind in {MANIFESTS, BLOBS}
        link = f'<{self.list_path}?{head.next_page}>; rel="next"' if head.next_page else ""
        version = VERSION[1].decode()
        return {
            "docker-content-digest": (head.digest or "") if named else "",
            "docker-distribution-api-version": version,
            "link": link,
        }


def challenge(origin: str, scope: str = "", *, insufficient: bool = False) -> bytes:
    """Write WWW-Authenticate: where a token is to be had, and for what (RFC 6750 section 3)."""
    parts = [f'Bearer realm="{origin}/api/v1/token"', f'service="{SERVICE}"']
    parts += [f'scope="{scope}"'] if scope else []
    parts += ['error="insufficient_scope"'] if insufficient else []
    return ",".join(parts).encode("latin-1", "replace")


@dataclass(frozen=True, slots=True)
class Wish:
    """One scope that a client asks for: a repository's full name, and what it would do there."""

    name: str
    actions: frozenset[str]


def wishes(scopes: Iterable[str]) -> list[Wish]:
    """Read ``repository:NAME:ACTIONS``, any number of them with spaces between; others are passed over."""
    words = [word for scope in scopes for word in scope.split()][:MAX_SCOPES]
    found = (_SCOPE.fullmatch(word) for word in words)
    return [Wish(match[1], frozenset(match[2].split(","))) for match in found if match]
