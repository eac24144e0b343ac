"""Plane's JSON as delivery's values: states, work items, comments. Pure; what can't be read is None, never a guess."""

from __future__ import annotations

import html
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime

from millpond.adapters.htmltext import text_of
from millpond.delivery.model import Comment, Issue, Json, State

MAX_TITLE, MAX_TEXT, MAX_LABELS = 255, 20_000, 100
MAX_HTML = 50_000
"""It is read on the event loop: some twenty milliseconds for the worst of it, which is nothing but tags."""


def when(value: Json) -> float | None:
    """Read a time as epoch seconds; None: it is none."""
    if not isinstance(value, str):
        return None
    try:
        read = datetime.fromisoformat(value)
    except ValueError:
        return None
    return read.timestamp() if read.tzinfo is not None else None


def identifier(value: Json) -> str:
    """Read a reference: a bare id, or an object that has one (with ``expand``); empty: neither."""
    if isinstance(value, dict):
        value = value.get("id")
    return value if isinstance(value, str) else ""


def state(value: Json) -> State | None:
    """Read a column."""
    if not isinstance(value, dict):
        return None
    name, group = value.get("name"), value.get("group")
    found = identifier(value)
    return State(found, name[:MAX_TITLE], str(group or "")) if found and isinstance(name, str) else None


def described(found: Issue | None, value: Json) -> Issue | None:
    """Add what people wrote of an issue, which lists do not need: reading HTML takes its time."""
    if found is None or not isinstance(value, dict):
        return found
    return replace(found, description=plain(str(value.get("description_html") or "")))


def issue(value: Json, project: str, labels: Mapping[str, str], comments: tuple[Comment, ...] = ()) -> Issue | None:
    """Read a work item; `labels` has their names by id."""
    if not isinstance(value, dict):
        return None
    found, at, column = identifier(value), when(value.get("updated_at")), identifier(value.get("state"))
    number = value.get("sequence_id")
    if not found or at is None or not column or not isinstance(number, int):
        return None
    title = str(value.get("name") or "")[:MAX_TITLE]
    return Issue(found, project, number, title, column, at, names_of(value, labels), comments)


def names_of(value: Mapping[str, Json], labels: Mapping[str, str]) -> frozenset[str]:
    """Give the names of an item's labels, whichever way they are told."""
    told = value.get("labels")
    found = told[:MAX_LABELS] if isinstance(told, list) else []
    named = (_label(one) or labels.get(identifier(one), "") for one in found)
    return frozenset(name for name in named if name)


def label_ids(value: Json) -> frozenset[str]:
    """Give the labels that an item names by id only."""
    told = value.get("labels") if isinstance(value, dict) else None
    found = told[:MAX_LABELS] if isinstance(told, list) else []
    return frozenset(one for one in found if isinstance(one, str))


def comment(value: Json, source: str) -> Comment | None:
    """Read a comment; one of ours carries our `source`."""
    if not isinstance(value, dict):
        return None
    found, at = identifier(value), when(value.get("created_at"))
    if not found or at is None:
        return None
    author = identifier(value.get("actor")) or identifier(value.get("created_by"))
    text = plain(str(value.get("comment_html") or ""))
    return Comment(found, at, text, author, value.get("external_source") == source)


def marked_up(text: str) -> str:
    """Write plain text as a comment's HTML."""
    return "".join(f"<p>{html.escape(line)}</p>" for line in text[:MAX_TEXT].splitlines()) or "<p></p>"


def plain(markup: str) -> str:
    """Read a comment's HTML as plain text: a line for each block."""
    text = text_of(markup[:MAX_HTML])
    if len(markup) <= MAX_HTML and len(text) <= MAX_TEXT:
        return text
    return f"{text[: MAX_TEXT - 1]}\N{HORIZONTAL ELLIPSIS}"  # or the last line might say what the whole one did not


def _label(value: Json) -> str:
    name = value.get("name") if isinstance(value, dict) else None
    return name if isinstance(name, str) else ""
