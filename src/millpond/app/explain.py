"""``millpond why``: the same decisions as for a request, told instead of carried out."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from millpond.app.core import Core
from millpond.artifacts.formats.base import Varies
from millpond.artifacts.model import Absent, Entry, Fetch, Moved, Revalidate, Serve, Target
from millpond.artifacts.policy import Refused
from millpond.artifacts.proxy import Proxy
from millpond.artifacts.repository import LocalRepository


async def explain(app: Core, repository: Proxy | LocalRepository, path: str, query: str) -> dict[str, Any]:
    """Say what a request for the path would meet now, and why."""
    found = repository.resolve(path, query, "")
    facts: dict[str, Any] = {"repository": repository.name, "type": repository.type, "path": path}
    match found:
        case Moved(to):
            return {"verdict": f"redirected (301) to {repository.name}/{to}", "facts": facts}
        case Absent(reason):
            return {"verdict": f"absent (404): {reason}", "facts": facts}
        case Refused(rule):
            return {"verdict": f"refused (403): {rule}", "facts": facts}
    found, entry = await _representation(app, repository, found)
    facts |= {"mutable": found.mutable, "variant": found.variant}
    if isinstance(repository, LocalRepository):
        verdict = "kept here: an upload" if entry else "absent (404): nothing was uploaded under this path"
        return {"verdict": verdict, "facts": facts | _entry_facts(entry, app.clock.now())}
    facts |= _entry_facts(entry, app.clock.now())
    facts |= await _dates(repository, found, entry, app.clock.now())
    facts |= upstream_facts(repository.remote.upstream.status(), app.clock.now())
    return {
        "verdict": _verdict(await repository.decision(found), app.clock.now(), mutable=found.mutable),
        "facts": facts,
    }


def _verdict(decision: Serve | Revalidate | Fetch, now: float, *, mutable: bool) -> str:
    match decision:
        case Serve(entry) if entry.negative:
            return f"absent (404): the upstream said so; asked again in {entry.fresh_until - now:.0f} s"
        case Serve(promised=True):
            return "stands: a document at hand promises these bytes"
        case Serve(entry, stale=True, refresh=True):
            return "stale: served at once, refreshed behind it (stale-while-revalidate)"
        case Serve(entry, stale=True):
            return f"stale: {entry.failure}; the upstream is asked again in {entry.retry_at - now:.0f} s"
        case Serve(entry):
            return f"fresh: for {entry.fresh_until - now:.0f} s more" if mutable else "fresh: it never changes"
        case Revalidate():
            return "expired: the next request asks the upstream whether it has changed"
        case Fetch(entry):
            return "expired: the next request fetches it again" if entry else "not here: the next request fetches it"


def _entry_facts(entry: Entry | None, now: float) -> dict[str, Any]:
    if entry is None:
        return {}
    return {
        "digest": entry.digest or "",
        "size": entry.size,
        "age_s": round(max(now - entry.validated_at, 0)),
        "last tried_s ago": round(max(now - entry.checked_at, 0)),
        "from": entry.source_url,
        "last failure": entry.failure,
        "unchecked": entry.unchecked,
    }


async def _dates(repository: Proxy, target: Target, entry: Entry | None, now: float) -> dict[str, Any]:
    """Tell until when an entry file says that it is valid; past that, clients refuse it."""
    dates = None if entry is None else await repository.coherence.dates(target, entry)
    if dates is None or dates.valid_until is None:
        return {}
    left_s = dates.valid_until - now
    words = f"for {left_s:.0f} s more" if left_s >= 0 else f"no more, since {-left_s:.0f} s: clients refuse it"
    return {"valid by its own word (Valid-Until)": words}


async def _representation(
    app: Core, repository: Proxy | LocalRepository, target: Target
) -> tuple[Target, Entry | None]:
    """Give the representation that is stored, of those that the path has; else the one that was asked for."""
    entry = await app.catalog.find(repository.name, target.path, target.variant)
    if entry is None and isinstance(repository, Proxy) and isinstance(repository.remote.format, Varies):
        for other in repository.remote.format.stand_ins(target):
            stored = await app.catalog.find(repository.name, other.path, other.variant)
            if stored is not None:
                return other, stored
    return target, entry


def upstream_facts(status: Mapping[str, Any], now: float) -> dict[str, Any]:
    """Tell an upstream's state in words."""
    failures = status["failures"]
    words = {
        "closed": f"failing: {failures} times in a row" if failures else "answering",
        "half-open": "being tried again",
        "open": f"left alone for {max(float(status['open_until'] or now) - now, 0):.0f} s after {failures} failures",
    }
    told = {"upstream": words.get(str(status["state"]), str(status["state"]))}
    if "quota_remaining" in status:
        told["quota"] = f"{status['quota_remaining']} of {status['quota_limit']} pulls left"
    return told | ({"last error": status["last_error"]} if status["last_error"] and failures else {})
