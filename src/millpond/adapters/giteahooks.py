"""What a Gitea (or Forgejo) webhook says: which repository and branch to look at. Nothing else of it is believed.

It is sent once: one that is lost is never sent again. With the form content type the JSON within it is what is signed.
"""

from __future__ import annotations

from collections.abc import Mapping
from urllib.parse import parse_qs

from millpond.adapters.signatures import header, parsed, verified, within
from millpond.delivery.model import Hint, Json
from millpond.errors import BadRequest, Denied

PLAIN = ("X-Gitea-Signature", "X-Forgejo-Signature")
PREFIXED = "X-Hub-Signature-256"
PREFIX = "sha256="
HEADS = "refs/heads/"
FORM = "application/x-www-form-urlencoded"


def read(secret: bytes, headers: Mapping[str, str], body: bytes) -> Hint:
    """Verify a delivery and say where to look; the whole repository where it names no branch.

    Raises `Denied`, `BadRequest`.
    """
    signed = _json(headers, body)
    verified(secret, signed, *(header(headers, name) for name in PLAIN), _unprefixed(header(headers, PREFIXED)))
    told = parsed(signed)
    repo = within(told, "repository", "full_name")
    if not repo:
        raise BadRequest("the webhook names no repository")
    return Hint(repo=repo, branch=_branch(told))


def _json(headers: Mapping[str, str], body: bytes) -> bytes:
    """Give what is signed. Raises `Denied`: in a form that can't be read nothing is."""
    if header(headers, "Content-Type").partition(";")[0].strip().casefold() != FORM:
        return body
    try:
        found = parse_qs(body.decode("ascii"), max_num_fields=10).get("payload", [""])
        return found[0].encode()
    except ValueError as error:
        raise Denied("the webhook's form can't be read, so that nothing in it is signed", authenticate=True) from error


def _unprefixed(signature: str) -> str:
    """Take the prefix off; without it, it is no signature of that kind, and wrong."""
    if not signature:
        return ""
    return signature.removeprefix(PREFIX) if signature.startswith(PREFIX) else "none"


def _branch(told: Mapping[str, Json]) -> str:
    ref = within(told.get("ref"))
    if ref.startswith(HEADS):
        return ref.removeprefix(HEADS)
    places = (("pull_request", "head", "ref"), ("workflow_run", "head_branch"), ("workflow_job", "head_branch"))
    found = (within(told.get(place[0]), *place[1:]) for place in places)
    return next((one for one in found if one), "")
