"""Cached files that are here already: they are taken without a download.

After a lost catalog, only where an index of the repository promises the digest (or the upstream says that it has it for
us), and only blobs that `fsck --repair` verified and registered and that nothing needs since. Else only what the
repository has under another path. Any other blob at hand is no permission: it may be somebody else's upload.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from millpond.artifacts import leftovers, rows
from millpond.artifacts.catalog import Catalog
from millpond.artifacts.model import Digest, Entry, Target
from millpond.errors import NotFound

OCTETS = "application/octet-stream"


async def waits(catalog: Catalog, digest: Digest) -> bool:
    """Whether a blob is here since the catalog was lost, and nothing needs it yet."""
    now = catalog.clock.now()
    return await catalog.db.read(partial(leftovers.waiting, digest=digest, now=now)) is not None


async def own(
    catalog: Catalog, repository: str, target: Target, digest: Digest, *, unlike: str | None = None
) -> Entry | None:
    """Make an entry for a target, still to be published, of a blob that the repository has; None: it has none.

    `unlike`: a type of which it must not be.
    """
    now = catalog.clock.now()
    there = await catalog.db.read(partial(rows.of_digest, repository=repository, digest=digest, unlike=unlike))
    if there is None:
        return None
    kind = target.content_type or there.content_type
    return replace(
        there, path=target.path, variant=target.variant, content_type=kind, next_page="", retry_at=0.0, failure="",
        stored_at=now, checked_at=now, fresh_until=now, refresh_until=0.0,
    )  # fmt: skip


async def take_own(catalog: Catalog, repository: str, target: Target, digest: Digest) -> Entry | None:
    """Make a target's entry of a blob that the repository has under another path; None: it has none.

    For content that a client asks for by digest: that a blob is stored for somebody else is no permission. What was
    stored as mere bytes (a layer) is nothing that has a type of its own (a manifest).
    """
    entry = await own(catalog, repository, target, digest, unlike=None if target.content_type else OCTETS)
    try:
        return None if entry is None else await catalog.publish(entry, None)
    except NotFound:
        return None  # it was evicted meanwhile


async def take_back(catalog: Catalog, repository: str, target: Target, digest: Digest, url: str) -> Entry | None:
    """Make a target's entry of the blob that waits for it; `url` (public) is where it came from. None: none waits."""
    now = catalog.clock.now()
    size = await catalog.db.read(partial(leftovers.waiting, digest=digest, now=now))
    if size is None:
        return None
    entry = Entry(
        repository=repository, path=target.path, variant=target.variant, status=200, digest=digest, size=size,
        content_type=target.content_type or "", content_encoding="", etag="", last_modified="", source_url=url,
        stored_at=now, validated_at=now, checked_at=now, fresh_until=now,
    )  # fmt: skip
    try:
        return await catalog.publish(entry, None)
    except NotFound:
        return None  # it was evicted meanwhile
