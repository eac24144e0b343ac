"""What a Plane webhook says: where to look. Nothing else of it is believed.

It is sent once for each changed field, may be lost, doubled, late or reordered, and has a new delivery id at each try.
"""

from __future__ import annotations

from collections.abc import Mapping

from millpond.adapters.signatures import header, parsed, verified, within
from millpond.delivery.model import Hint, Json

ISSUES = frozenset({"issue", "workitem", "work_item", "work-item"})
COMMENTS = frozenset({f"{one}_comment" for one in ISSUES} | {"comment", "workitemcomment", "work-item-comment"})


def read(secret: bytes, headers: Mapping[str, str], body: bytes) -> Hint:
    """Verify a delivery and say where to look; the whole project where it names no issue.

    Raises `Denied`, `BadRequest`.
    """
    verified(secret, body, header(headers, "X-Plane-Signature"))
    told = parsed(body)
    event = (within(told, "event") or header(headers, "X-Plane-Event")).casefold()
    kind = event.partition(".")[0]  # newer servers: "workitem.updated"
    data = told.get("data")
    project = within(data, "project") or within(data, "project", "id") or within(data, "project_id")
    if kind in ISSUES:
        return Hint(project=project, issue=within(data, "id"))
    if kind in COMMENTS:
        return Hint(project=project, issue=_issue_of(data))
    return Hint(project=project or (within(data, "id") if kind == "project" else ""))


def _issue_of(comment: Json) -> str:
    """Find a comment's issue."""
    names = ("issue", "issue_id", "workitem", "work_item", "work_item_id")
    found = (within(comment, name) or within(comment, name, "id") for name in names)
    return next((one for one in found if one), "")
