"""Cached files that a repair found again after a lost catalog: they are taken back without a download.

Only where an index of the repository promises the digest, and only blobs that `fsck --repair` verified and registered
and that nothing needs since: any other blob at hand is no permission (it may be somebody else's upload).
"""

from __future__ import annotations

from functools import partial

from millpond.artifacts import leftovers
from millpond.artifacts.catalog import Catalog
from millpond.artifacts.model import Digest, Entry, Target
from millpond.errors import NotFound


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
