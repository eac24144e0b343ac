"""Values that the indexes of several formats have: links and times. PURE."""

from __future__ import annotations

from datetime import UTC, datetime
from urllib.parse import SplitResult, urljoin, urlsplit

MAX_URL, MAX_TIME = 8192, 64


def resolve(base: str, link: str) -> SplitResult | None:
    """Resolve a link against the page's URL; None: it leads to nothing that can be fetched.

    Credentials in a link are dropped: they belong to the configuration.
    """
    try:
        link = link.strip()
        # Most links are absolute, and joining costs more than everything else that is done for one.
        parts = urlsplit(link if link.startswith(("https://", "http://")) else urljoin(base, link))
        host = parts.netloc.rpartition("@")[2]
        usable = parts.scheme in {"http", "https"} and parts.hostname and len(link) <= MAX_URL
        _ = parts.port  # raises for a port that is none
    except ValueError:
        return None
    return parts._replace(netloc=host) if usable else None


def epoch(text: object) -> float | None:
    """Read a time (ISO 8601; UTC where no zone is named); None: absent or odd, as one from before 1970 is."""
    if not isinstance(text, str) or len(text) > MAX_TIME:
        return None
    try:
        at = datetime.fromisoformat(text.strip())
        seconds = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if seconds >= 0 else None
