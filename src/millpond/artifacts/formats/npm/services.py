"""What a registry does beside its artifacts: audits, search, ping, accounts. PURE.

An audit that only accompanies an install is not worth an outage: it is answered with "nothing found" when the upstream
can't be asked. Who asks for an audit is told that it could not be had: a check that passes since nobody looked is
worse than none. The two are told apart by npm's ``npm-command`` header.

There are no accounts here: a client's credentials are the pond's own, and are never handed on.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from urllib.parse import quote

from millpond.artifacts.model import Errand, Said

MIB = 1 << 20
MAX_AUDIT_BYTES, MAX_ADVISORIES_BYTES, MAX_SEARCH_BYTES, MAX_QUERY = 8 * MIB, 32 * MIB, 16 * MIB, 4096
_AUDITS = "-/npm/v1/security/"
_SEVERITIES = ("info", "low", "moderate", "high", "critical")
_NO_ADVISORIES = b"{}"
_CLEAN = json.dumps(
    {
        "actions": [],
        "advisories": {},
        "muted": [],
        "metadata": {
            "vulnerabilities": dict.fromkeys(_SEVERITIES, 0),
            "dependencies": 0,
            "devDependencies": 0,
            "optionalDependencies": 0,
            "totalDependencies": 0,
        },
    }
).encode()
QUIET = {
    f"{_AUDITS}advisories/bulk": _NO_ADVISORIES,
    f"{_AUDITS}audits/quick": _CLEAN,
    f"{_AUDITS}audits": _CLEAN,
}
_QUERY_SAFE = "/?!$&'()*+,;=:@~%[]|^"
_NO_ACCOUNTS = (
    "this repository has no accounts to log in to: put a token of the pond (millpond token create) "
    "into .npmrc as //HOST/REPOSITORY/:_authToken"
)
_READ_ONLY = "this is a cache of another registry: publish and change tags there"
READING = frozenset({"GET", "HEAD"})


def errand(method: str, path: str, query: str, headers: Mapping[str, str]) -> Errand | Said | None:
    """Say what becomes of a request; None: it is for an artifact."""
    if path.startswith("-/"):
        service = _service(method, path, query, headers)
        if service is not None:
            return service
    if method not in READING:
        return Said(405, reason=_READ_ONLY)
    return None


def _service(method: str, path: str, query: str, headers: Mapping[str, str]) -> Errand | Said | None:
    if path in QUIET:
        return _audit(path, headers) if method == "POST" else Said(405, reason="this takes POST")
    match path.split("/"):
        case ["-", "ping"]:
            return Said(200, b"{}")
        case ["-", "v1", "search"] if method in READING:
            return _search(query)
        case ["-", "whoami"] | ["-", "npm", "v1", "user"]:
            return Said(403, reason=_NO_ACCOUNTS)
        case ["-", "v1", "login"] | ["-", "user", *_] | ["-", "npm", "v1", "tokens", *_]:
            return Said(405, reason=_NO_ACCOUNTS)
    return None


def _audit(path: str, headers: Mapping[str, str]) -> Errand:
    beside_an_install = headers.get("npm-command", "audit") != "audit"
    return Errand(
        "POST",
        path,
        "application/json",
        quiet=QUIET[path] if beside_an_install else None,
        prefixes=(b"{",),
        headers=("content-type", "content-encoding"),
        max_request_bytes=MAX_AUDIT_BYTES,
        max_reply_bytes=MAX_ADVISORIES_BYTES,
    )


def _search(query: str) -> Errand | Said:
    if len(query) > MAX_QUERY:
        return Said(400, reason=f"the query is longer than {MAX_QUERY} characters")
    try:
        sent = quote(query, safe=_QUERY_SAFE)
    except UnicodeEncodeError:
        return Said(400, reason="the query is not Unicode text")
    # Nothing found would be a lie: an outage of the search is told.
    path = f"-/v1/search?{sent}" if sent else "-/v1/search"
    return Errand("GET", path, "application/json", prefixes=(b"{",), max_reply_bytes=MAX_SEARCH_BYTES)


def explained(status: int, reason: str) -> tuple[str, bytes]:
    """Write an error as npm's clients read it: they show what stands under ``error``."""
    del status
    return "application/json", json.dumps({"error": reason}).encode()
