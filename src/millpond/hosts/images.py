"""Images on a host: reading what Docker tells of them, and which of them nothing needs. PURE."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable
from datetime import UTC, datetime

from millpond.hosts.commands import Unreadable, brief
from millpond.hosts.model import Image
from millpond.hosts.references import canonical, is_image_id, parse_reference

_FRACTION = re.compile(r"\.\d+")
NO_NAME = "<none>"


def read_image(line: str) -> Image:
    """Read one line of `Docker.inspect_images`. Raises `Unreadable`."""
    try:
        found = json.loads(line)
        image = Image(
            id=str(found["id"]),
            tags=_names(found["tags"]),
            digests=_names(found["digests"]),
            size=int(found["size"]),
            created_at=read_time(found["created"]),
            tagged_at=read_time(found["tagged"]),
        )
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise Unreadable(f"no image: {brief(line)!r}") from error
    if not is_image_id(image.id):
        raise Unreadable(f"no image's id: {brief(line)!r}")
    return image


def _names(found: object) -> tuple[str, ...]:
    if found is None:
        return ()
    if not isinstance(found, list):
        raise TypeError("no list of names")
    return tuple(str(name) for name in found if not str(name).startswith(NO_NAME))


def read_time(text: object) -> float:
    """Read a time of RFC 3339 with nanoseconds; 0 for none, and for Go's zero time. Raises `ValueError`."""
    if text is None or text == "":
        return 0.0
    whole = datetime.fromisoformat(_FRACTION.sub("", str(text)))
    at = whole if whole.tzinfo else whole.replace(tzinfo=UTC)
    return max(at.timestamp(), 0.0) if at.year > 1 else 0.0


def unneeded(
    images: Iterable[Image], used: Collection[str], roots: Collection[str], *, now: float, min_age_s: float
) -> list[Image]:
    """Give the named images that may go, those made longest ago first.

    Kept are those that a container uses (`used`: image ids), that `roots` names in any way (a reference, a digest, an
    id), and that were pulled or tagged less than `min_age_s` ago, or ahead of the clock. A root that can't be read
    keeps everything: raises `ValueError`.
    """
    rooted = {canonical(root) for root in roots}
    idle = (image for image in images if not image.dangling and image.id not in used)
    old = (image for image in idle if now - image.tagged_at >= min_age_s)
    return sorted((image for image in old if not _is_rooted(image, rooted)), key=lambda one: (one.created_at, one.id))


def _is_rooted(image: Image, rooted: set[str]) -> bool:
    """Whether a root means this image; one whose names can't be read is left alone too."""
    try:
        forms = {canonical(name) for name in (*image.tags, *image.digests)}
    except ValueError:
        return True
    digests = {name.rpartition("@")[2] for name in image.digests}
    return bool(rooted & (forms | digests | {image.id}))


def names_of(image: Image) -> tuple[str, ...]:
    """Give the names that have to be taken from an image for it to go. Raises `ValueError`.

    With its last tag in a repository its digests there go too.
    """
    tagged = {parse_reference(tag).name for tag in image.tags}
    return (*image.tags, *(name for name in image.digests if parse_reference(name).name not in tagged))
