"""The world that the model lives in: an application, an upstream, a clock, and what is known of them."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import tempfile
from email.utils import formatdate
from pathlib import Path

from hypothesis.stateful import RuleBasedStateMachine
from tests.artifacts.modelled.things import (
    CACHING,
    CONFIG,
    FILES,
    GENERIC,
    HTML_TYPE,
    JSON_TYPE,
    PAGES,
    PINNED,
    POLICIES,
    REMOTES,
    SLACK_S,
    Copy,
    Key,
    Negotiating,
    Served,
    Tally,
    content,
    filename,
    wheel,
)

from millpond.api.site import site
from millpond.app.opening import open_app
from millpond.app.sourcing import Source
from millpond.artifacts.circuit import Circuit, Limits
from millpond.testing.asgi import AsgiClient
from millpond.testing.clock import FakeClock


class World(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="millpond-model-"))
        self.clock = FakeClock(now=2_000_000_000.0)
        self.upstream = Negotiating(self.clock)
        self.run(self.upstream.start())
        self.up = True
        digest = f"sha256:{hashlib.sha256(PINNED).hexdigest()}"
        text = CONFIG.replace("URL", self.upstream.url).replace("PINNED", digest)
        (self.folder / "millpond.toml").write_text(text.replace("DATA", str(self.folder / "data")))
        self.copies: dict[Key, Copy] = {}
        self.served: dict[str, Served] = {}
        self.history: dict[str, set[bytes]] = {}
        self.faults: dict[str, str] = {}
        self.listings: dict[bytes, tuple[int, ...]] = {}
        self.passing: tuple[int, ...] | None = None
        self.pages: dict[str, bytes] = {}
        self.local: dict[tuple[str, str], tuple[bytes, float]] = {}
        self.tags: dict[Key, list[str]] = {}
        self.version = 0
        self.last = ""
        self.run(self.open())
        for key in GENERIC:
            self.offer(key, Served(PINNED if key.promised else content(key.path, 2)))
        for key in FILES:
            self.offer(key, Served(key.promised or b""))
        for key in PAGES:
            self.offer_page(key, (0, 1), key.variant, Served(b""))

    # The parts.

    def run(self, coroutine):
        return self.loop.run_until_complete(coroutine)

    async def open(self) -> None:
        source = Source(self.folder / "millpond.toml", {}, self.folder)
        self.app = await open_app(source.load({}), source, clock=self.clock)
        self.client = AsgiClient(site(self.app))
        self.tally = Tally()
        self.noted = 0
        self.circuits = {name: Circuit(Limits()) for name in REMOTES}
        for name in REMOTES:
            self.app.repositories[name].remote.upstream._jitter = lambda: 0.0
        self.token = (self.folder / "data" / "admin-token").read_text().strip()
        self.passing = None

    def teardown(self) -> None:
        try:
            self.audit()
            self.run(self.app.close())
        finally:
            self.run(self.upstream.close())
            self.loop.close()
            shutil.rmtree(self.folder)

    async def settled(self) -> None:
        """Wait for the flights that go on behind an answer."""
        while len(self.app.flights):
            await asyncio.sleep(0)

    @property
    def now(self) -> float:
        return self.clock.now()

    # The upstream, and what the model knows of it.

    def offer(self, key: Key, served: Served) -> None:
        """Publish a new version upstream; no two have the same date."""
        self.version += 1
        at = 1_000_000_000 + 10 * self.version
        tag = f'"{hashlib.sha256(served.body).hexdigest()[:16]}"'
        served.etag = {"strong": tag, "weak": f"W/{tag}", "": "", "both": tag, "date": ""}[served.etag]
        served.modified = formatdate(at, usegmt=True) if served.modified else ""
        headers = {"etag": served.etag, "last-modified": served.modified, "cache-control": served.caching}
        headers |= {"age": str(served.age) if served.age else ""}
        if served.expires_at is not None:
            headers["expires"] = formatdate(served.expires_at, usegmt=True)
        if key.page:
            headers["content-type"] = JSON_TYPE if served.body.startswith(b"{") else HTML_TYPE
        self.upstream.put(key.upstream, served.body, headers=headers, status=served.status, modified_at=at)
        self.served[key.upstream] = served
        if served.status == 200:
            self.history.setdefault(key.upstream, set()).add(served.body)

    def offer_page(self, key: Key, listing: tuple[int, ...], form: str, served: Served) -> None:
        urls = {n: f"../../files/{filename(n)}" for n in listing}  # no port in it: each run has the same bytes
        sums = {n: hashlib.sha256(wheel(n)).hexdigest() for n in listing}
        if form == "json":
            files = [{"filename": filename(n), "url": urls[n], "hashes": {"sha256": sums[n]}} for n in listing]
            page = json.dumps({"meta": {"api-version": "1.0"}, "name": "demo", "files": files})
        else:
            links = "".join(f'<a href="{urls[n]}#sha256={sums[n]}">{filename(n)}</a><br>\n' for n in listing)
            head = '<meta name="pypi:repository-version" content="1.0"><title>Links for demo</title>'
            page = f"<!DOCTYPE html>\n<html><head>{head}</head><body>\n{links}</body></html>\n"
        served.body = page.encode()
        self.listings[served.body] = listing
        self.offer(key, served)

    def caching(self, key: Key, served: Served) -> tuple[float, float, float, bool]:
        """Give validated_at, fresh_until, refresh_until and whether it may be stored."""
        ttl = POLICIES[key.repository].ttl
        validated_at = self.now - served.age
        if not key.mutable:
            return validated_at, self.now, 0.0, True
        if ttl is not None:
            return validated_at, self.now + ttl, 0.0, True
        fresh_s, refresh_s, storable = CACHING[served.caching]
        if fresh_s is None and served.expires_at is not None:
            fresh_s = min(max(served.expires_at - self.now, 0), 86400)
        until = validated_at + (600 if fresh_s is None else fresh_s)
        return validated_at, until, until + refresh_s if refresh_s else 0.0, storable

    # The model of a request.

    def in_time(self, copy: Copy, until: float) -> bool:
        return copy.checked_at - SLACK_S <= self.now < until

    def state(self, key: Key) -> str:
        """Say what a request meets: none, gone, fresh, held (back-off), refreshing, expired."""
        copy = self.copies.get(key)
        if copy is None:
            return "none"
        if copy.body is None:
            return "gone" if self.in_time(copy, copy.fresh_until) else "none"
        if not key.mutable or self.in_time(copy, copy.fresh_until):
            return "fresh"
        if self.in_time(copy, copy.retry_at):
            return "held"
        return "refreshing" if self.in_time(copy, copy.refresh_until) else "expired"

    def note(self, key: Key, copy: Copy) -> None:
        """Take over what a check told, unless a newer one (no further ahead than clocks may differ) told more."""
        there = self.copies.get(key)
        if there is None or not self.now < there.checked_at <= self.now + SLACK_S:
            self.copies[key] = copy
