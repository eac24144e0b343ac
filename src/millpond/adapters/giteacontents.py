"""Files of a Gitea's repositories by its contents API: a gate's evidence, and the pipeline that a repo brings."""

from __future__ import annotations

import base64
import binascii
from dataclasses import dataclass

from millpond.adapters.httpjson import JsonApi, segment
from millpond.delivery.ports import ForgeFailed
from millpond.delivery.rates import Use
from millpond.delivery.workspaces.gitargs import check_path

NOT_FOUND = 404
LATER_S = 60.0


@dataclass(frozen=True, slots=True)
class Contents:
    """A file that is there. `raw` is None where it is larger than was asked for, or than Gitea shows."""

    raw: bytes | None


async def read_contents(api: JsonApi, repo: str, ref: str, path: str, limit: int) -> Contents | None:
    """Read a file of at most `limit` bytes at a branch or commit; None: there is no such file (nor is it a folder).

    Raises `ForgeFailed` (there is no usable answer), `ValueError` (the path is none).
    """
    place = "/".join(segment(part) for part in check_path(path).split("/"))
    answer = await api.ask("GET", f"{repo}/contents/{place}", use=Use.READ, query={"ref": ref}, may_cut=True)
    if answer.status == NOT_FOUND:
        return None
    if answer.cut:
        return Contents(None)
    if not answer.ok:
        detail = f": {answer.said}" if answer.said else ""
        text = f"Gitea answered {answer.status} when {path} of {repo} was read{detail}"
        raise ForgeFailed(text, after_s=LATER_S)
    body = answer.body
    if not isinstance(body, dict) or body.get("type") != "file":  # a folder is a list, a link has its own type
        return None
    content, size = body.get("content"), body.get("size")
    if not isinstance(content, str) or (isinstance(size, int) and size > limit):
        return Contents(None)
    try:
        raw = base64.b64decode(content)
    except (binascii.Error, ValueError) as error:
        raise ForgeFailed(f"Gitea's answer about {path} of {repo} can't be read") from error
    return Contents(raw if len(raw) <= limit else None)
