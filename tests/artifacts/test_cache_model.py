"""The cache against a simple model of what the contract promises, driven by hypothesis through the ASGI application.

The upstream is a real HTTP server on loopback that changes, fails and comes back; the clock is the test's own. The
model says beforehand what each request must give: status, bytes, Age, Cache-Status, and what the upstream is asked.
2,000 steps by default, always the same ones; MILLPOND_TEST_STEPS=100000 takes that many, with new seeds that it prints.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import random
import re
import shutil
import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from email.utils import formatdate
from pathlib import Path
from urllib.parse import urljoin

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from millpond.api.site import site
from millpond.app import App, Source
from millpond.artifacts import rows
from millpond.artifacts.circuit import Circuit, Limits, Wait
from millpond.testing import behaviours as b
from millpond.testing.asgi import Answered, AsgiClient
from millpond.testing.clock import FakeClock
from millpond.testing.upstream import FakeUpstream

STEPS = int(os.environ.get("MILLPOND_TEST_STEPS", "2000"))
LONG = STEPS > 2000
SHARDS = 2
"""Halves that can run side by side."""
PER_EXAMPLE = 100 if LONG else 50
MAX_STORE = 400_000
SLACK_S = 60.0
JSON_TYPE, HTML_TYPE = "application/vnd.pypi.simple.v1+json", "text/html"
SIZES = (0, 1, 600, 5_000, 70_000, 300_000)
CONFIG = """
[server]
data = "DATA"
[storage]
max_size = "400KB"
[upstream]
read_timeout_s = 2.0
[repositories.plain]
package = "generic"
base_url = "URL/plain"
check_mutable_updates = true
[repositories.timed]
package = "generic"
base_url = "URL/timed"
check_mutable_updates = true
mutable_ttl_s = 60
[repositories.ruled]
package = "generic"
base_url = "URL/ruled"
immutable_patterns = ["^fixed/", "^pinned"]
mutable_patterns = ["^moving/"]
digests = { "pinned.bin" = "PINNED" }
[repositories.py]
package = "pypi"
base_url = "URL/simple"
check_mutable_updates = true
[repositories.keep]
package = "generic"
type = "local"
[repositories.loose]
package = "generic"
type = "local"
allow_overwrite = true
"""


def content(path: str, number: int) -> bytes:
    """Bytes that name their version; those of even numbers are shared by all paths."""
    name = f"{number} of {path if number % 2 else 'all'}; ".encode()
    size = SIZES[number % len(SIZES)]
    return (name * (size // len(name) + 1))[:size]


def wheel(number: int) -> bytes:
    return b"PK" + content("wheel", number * 2 + 3)


def filename(number: int) -> str:
    return f"demo-{number}-py3-none-any.whl"


PINNED = b"exactly these bytes " * 300


@dataclass(frozen=True, repr=False)
class Key:
    """A cached path: where it is asked here and upstream, and how it is treated."""

    repository: str
    path: str
    variant: str = ""
    upstream: str = ""
    mutable: bool = True

    @property
    def promised(self) -> bytes | None:
        """The only bytes that are right, where something promises them."""
        return PROMISED.get(self.upstream)

    def __repr__(self) -> str:
        return f"{self.repository}/{self.path}{self.variant and ':'}{self.variant}"

    @property
    def page(self) -> bool:
        return bool(self.variant)


def generic(repository: str, path: str, **more) -> Key:
    return Key(repository, path, upstream=f"/{repository}/{path}", **more)


PROMISED = {f"/files/{filename(n)}": wheel(n) for n in range(4)} | {"/ruled/pinned.bin": PINNED}
PAGES = [Key("py", "simple/demo/", variant, f"/simple/demo/{variant}") for variant in ("json", "html")]
FILES = [Key("py", f"files/demo/{filename(n)}", upstream=f"/files/{filename(n)}", mutable=False) for n in range(4)]
GENERIC = [
    generic("plain", "a.bin"),
    generic("plain", "b.bin"),
    generic("timed", "a.bin"),
    generic("ruled", "moving/a.bin"),
    generic("ruled", "fixed/a.bin", mutable=False),
    generic("ruled", "pinned.bin", mutable=False),
]
REMOTES = ("plain", "timed", "ruled", "py")


@dataclass(frozen=True)
class Policy:
    ttl: float | None = None
    check: bool = True


POLICIES = {"plain": Policy(), "timed": Policy(ttl=60.0), "ruled": Policy(check=False), "py": Policy()}

# Headers, and what they mean: lifetime (None: not said), stale-while-revalidate, storable.
CACHING = {
    "": (None, 0, True),
    "max-age=60": (60, 0, True),
    "max-age=0": (0, 0, True),
    "no-cache": (0, 0, True),
    "no-store": (None, 0, False),
    "max-age=30, stale-while-revalidate=120": (30, 120, True),
    "s-maxage=90, max-age=5": (90, 0, True),
    "public, max-age=99999999": (86400, 0, True),
}

# A fault: how it is played, and its nature: `early` (no usable head), `late` (a body that breaks off), `wrong` (other
# bytes), `odd` (no fault at all); then what it does to the circuit, and the Retry-After that it carries.
FAULTS = {
    "drop": (b.Drop(), "early", "fails", None),
    "drop by reset": (b.Drop(rst=True), "early", "fails", None),
    "no HTTP": (b.Raw(b"220 mail.example ESMTP\r\n\r\n"), "early", "fails", None),
    "500": (b.status(500), "early", "fails", None),
    "503 later": (b.status(503, retry_after="30"), "early", "fails", 30.0),
    "429 later": (b.status(429, retry_after="3"), "early", "fails", 3.0),
    "401": (b.status(401), "early", "answers", None),
    "403 later": (b.status(403, retry_after="900"), "early", "answers", 900.0),
    "portal": (b.portal(), "early", "rejected", None),
    "hang": (b.Hang(), "early", "fails", None),
    "nothing of the body": (b.truncate(0), "late", 0, None),
    "truncated": (b.truncate(599), "late", 599, None),
    "reset": (b.reset(4_999), "late", 4_999, None),
    "unfinished chunks": (b.Chunked(1000, stop_after=650), "late", None, None),
    "wrong bytes": (b.WrongBytes(), "wrong", "", None),
    "chunked": (b.Chunked(7_000), "odd", "", None),
    "until the end": (b.CloseDelimited(), "odd", "", None),
}


class FullOnly:
    """Plays a framing fault for answers that have a body; others are right."""

    def __init__(self, inner: b.Behaviour) -> None:
        self.inner = inner

    async def play(self, exchange: b.Exchange) -> bool:
        if exchange.answer.status != 200:
            return await exchange.deliver(exchange.answer)
        return await self.inner.play(exchange)


class Negotiating(FakeUpstream):
    """An upstream whose pages differ by Accept, as an index has them."""

    async def _answer(self, request, reader, writer) -> bool:
        if request.path.startswith("/simple/"):
            variant = "json" if JSON_TYPE in request.headers.get("accept", "") else "html"
            request = replace(request, target=request.target + variant)
        return await super()._answer(request, reader, writer)


@dataclass
class Served:
    """What the upstream has at a path."""

    body: bytes = field(repr=False)
    status: int = 200
    etag: str = ""
    modified: str = ""
    caching: str = ""
    age: int = 0
    expires_at: float | None = None


@dataclass
class Copy:
    """What the model believes to be stored for a key."""

    body: bytes | None = field(repr=False)
    status: int
    etag: str
    modified: str
    validated_at: float
    checked_at: float
    fresh_until: float
    retry_at: float = 0.0
    refresh_until: float = 0.0
    failed: bool = False


@dataclass
class Result:
    """What a request must give. `how` is an outcome of ours, or refused; `risky`: its transfer may break off."""

    status: int
    how: str
    copy: Copy | None = None
    streamed: bool = False
    risky: bool = False
    retry_after_s: float | None = None
    stands_in: bool = False


@dataclass
class Tally:
    """What the counters must say."""

    requests: Counter = field(default_factory=Counter)
    sent: Counter = field(default_factory=Counter)
    errors: Counter = field(default_factory=Counter)
    fetched: Counter = field(default_factory=Counter)


done = Counter()


class Cache(RuleBasedStateMachine):
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
        self.app = await App.open(source.load({}), source, clock=self.clock)
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

    def ask(self, key: Key) -> Result:
        """Ask upstream once, and take over what it says. `asked` collects what the upstream must have seen."""
        good = self.copies.get(key)
        good = good if good is not None and good.body is not None else None
        circuit = self.circuits[key.repository]
        ticket = circuit.admit(self.clock.monotonic())
        if isinstance(ticket, Wait):
            return self.failed(key, good, ticket.retry_after_s)
        if not self.up:
            circuit.failed(ticket, self.clock.monotonic(), 0.0)
            return self.failed(key, good, None)
        conditional = good is not None and POLICIES[key.repository].check and bool(good.etag or good.modified)
        self.asked.append((key.upstream, conditional))
        name = self.faults.get(key.upstream, "")
        _, nature, effect, wish = FAULTS.get(name, (None, "odd", "", None))
        if name == "hang":
            del self.faults[key.upstream]
        if nature == "early" and effect == "fails":
            circuit.failed(ticket, self.clock.monotonic(), 0.0, wish)
            return self.failed(key, good, wish)
        circuit.answered(ticket)
        if nature == "early":
            readable = name == "portal" and key.page and (good is None or not good.body.startswith(b"{"))
            if effect == "answers" or readable:  # a page that might be an index is read to its end
                circuit.succeeded(ticket)
            if readable:
                self.tally.fetched[key.repository] += len(b.portal().answer.body)
            return self.failed(key, good, wish)
        served = self.served.get(key.upstream)
        if served is None or served.status != 200:
            circuit.succeeded(ticket)
            gone = Copy(None, 404 if served is None else served.status, "", "", self.now, self.now, self.now + 30)
            self.note(key, gone)
            return Result(gone.status, "refused")
        if conditional and good is not None and self.unchanged(good, served):
            circuit.succeeded(ticket)
            return self.confirmed(key, good, served)
        return self.received(key, good, served, ticket)

    @staticmethod
    def unchanged(good: Copy, served: Served) -> bool:
        if good.etag:
            return good.etag.removeprefix("W/") == served.etag.removeprefix("W/") != ""
        return good.modified == served.modified != ""

    def failed(self, key: Key, good: Copy | None, wish: float | None, *, risky: bool = False) -> Result:
        if good is None:
            return Result(502, "refused", retry_after_s=wish, risky=risky)
        policy = POLICIES[key.repository]
        had_s = good.fresh_until - good.validated_at
        ttl_s = policy.ttl if policy.ttl is not None else min(had_s if had_s > 0 else 600, 86400)
        pause_s = max(ttl_s, min(wish or 0, 3600), 5)
        kept = replace(good, checked_at=self.now, retry_at=self.now + pause_s, failed=True)
        self.note(key, kept)
        return Result(200, "stale", kept)

    def confirmed(self, key: Key, good: Copy, served: Served) -> Result:
        validated_at, fresh_until, refresh_until, _ = self.caching(key, served)
        copy = Copy(
            good.body, 200, served.etag or good.etag, served.modified or good.modified,
            validated_at, self.now, fresh_until, refresh_until=refresh_until,
        )  # fmt: skip
        self.note(key, copy)
        return Result(200, "revalidated", copy)

    def received(self, key: Key, good: Copy | None, served: Served, ticket) -> Result:
        """A body comes: whole and right, or not."""
        name, circuit = self.faults.get(key.upstream, ""), self.circuits[key.repository]
        _, nature, effect, _ = FAULTS.get(name, (None, "odd", "", None))
        breaks = nature == "late" and (effect is None or effect < len(served.body))
        is_json = served.body.startswith(b"{")
        unsound = key.page and (is_json if key.variant == "html" else good and good.body.startswith(b"{") > is_json)
        if unsound:
            return self.failed(
                key, good, None
            )  # its type tells: neither JSON for HTML, nor a portal's page for an index
        if breaks:
            circuit.failed(ticket, self.clock.monotonic(), 0.0)
            return self.failed(key, good, None, risky=not key.page)
        circuit.succeeded(ticket)
        body = bytes(byte ^ 0x55 for byte in served.body) if nature == "wrong" else served.body
        if key.promised is not None and body != key.promised:
            return self.failed(key, good, None, risky=not key.page)
        self.tally.fetched[key.repository] += len(body)
        validated_at, fresh_until, refresh_until, storable = self.caching(key, served)
        copy = Copy(
            body, 200, served.etag, served.modified, validated_at, self.now, fresh_until, refresh_until=refresh_until
        )
        if storable:
            self.copies[key] = copy
        return Result(200, "miss", copy, streamed=(good is None and not key.page) or not storable)

    def request(self, key: Key) -> Result:
        """Say what a request for a key must give."""
        self.asked: list[tuple[str, bool]] = []
        state, copy = self.state(key), self.copies.get(key)
        if state == "gone":
            return Result(copy.status, "refused")
        if state == "fresh":
            return Result(200, "hit", copy)
        if state == "held":
            return Result(200, "stale", copy)
        if state == "refreshing":
            self.ask(key)
            return Result(200, "stale", copy)
        if key in FILES:
            return self.member(key)
        result = self.ask(key)
        return self.stand_in(key, result) if key.page and result.status == 502 else result

    def stand_in(self, key: Key, refused: Result) -> Result:
        """A page that can't be had is answered by the other representation, if that is stored and can be read."""
        other = self.copies.get(PAGES[key.variant == "json"])
        if other is None or other.body is None or (other.body.startswith(b"{") and key.variant == "html"):
            return refused
        return Result(200, "stale", other, stands_in=True)

    def member(self, key: Key) -> Result:
        """A file that is not here: its project's page is consulted, anew if it does not know the file."""
        number = FILES.index(key)
        listing, checked_at, refusal = self.index(force=False)
        if refusal is None and number not in listing and self.now - checked_at >= 10:
            listing, checked_at, refusal = self.index(force=True)
        if refusal is not None or number not in listing:
            return refusal or Result(404, "refused")
        return self.ask(key)

    def index(self, *, force: bool) -> tuple[tuple[int, ...], float, Result | None]:
        page = PAGES[0]
        state = self.state(page)
        if force or state in {"none", "expired"}:
            result = self.ask(page)
            if result.status != 200:
                return (), 0.0, Result(result.status, "refused", retry_after_s=result.retry_after_s)
            assert result.copy is not None
            return self.listings[result.copy.body], result.copy.checked_at, None
        copy = self.copies[page]
        if state == "gone":
            return (), 0.0, Result(copy.status, "refused")
        return self.listings[copy.body], copy.checked_at, None

    # What came, against the model.

    def check(self, key: Key, method: str, asked: dict[str, str], got: Answered, want: Result) -> None:
        seen = self.seen()
        assert seen == self.asked, f"asked upstream {seen}, not {self.asked}"
        name = key.repository
        if want.risky:
            if got.status == 502:
                self.tally.errors[name, 502] += 1
                return
            assert got.status in {200, 206, 304, 416}, got.status
            if method == "GET" and got.status in {200, 206}:
                assert not got.complete, "a bad body was given as a whole one"
                assert got.body in self.prefixes(key, asked), "bytes that the upstream never had"
            elif method == "HEAD" and got.status == 200:
                self.tally.requests[name, "miss"] += 1
            return
        assert got.complete, f"broke off: {got}"
        if want.status != 200:
            assert got.status == want.status, (got.status, got.body[:200], got.headers, want)
            assert got.headers["content-type"] == "application/problem+json"
            if want.retry_after_s is not None:
                assert int(got.headers["retry-after"]) == max(-int(-want.retry_after_s // 1), 1)
            self.tally.errors[name, want.status] += 1
            return
        assert got.status in {200, 206, 304, 416}, f"{got.status} {got.body!r} instead of {want}"
        assert want.copy is not None
        upstream = PAGES[key.variant == "json"].upstream if want.stands_in else key.upstream
        assert want.copy.body in self.history[upstream], "the model itself went wrong"
        self.check_head(key, got, want)
        self.check_body(key, method, asked, got, want)

    def prefixes(self, key: Key, asked: dict[str, str]) -> list[bytes]:
        """What may have been seen of a body that broke off: the beginning of what the upstream has (or of a range)."""
        body = self.served[key.upstream].body
        match = re.fullmatch(r"bytes=(\d+)-\d*", asked.get("range", ""))
        starts = {0, int(match[1]) if match else 0}
        return [body[start:end] for start in starts for end in {0, *range(start, min(len(body), start + 6000))}]

    def check_head(self, key: Key, got: Answered, want: Result) -> None:
        copy, headers = want.copy, got.headers
        age = int(max(self.now - copy.validated_at, 0))
        assert headers["age"] == str(age), (headers, age)
        status = headers["cache-status"]
        assert headers["x-artifact-source"] == ("remote" if want.how == "miss" else "cache")
        starts = {
            "hit": "millpond; hit",
            "miss": "millpond; fwd=",
            "revalidated": "millpond; fwd=stale; fwd-status=304",
        }
        assert status.startswith(starts.get(want.how, "millpond; ")), status
        if want.how == "stale" and not want.stands_in:
            assert copy.fresh_until <= self.now or copy.checked_at > self.now + SLACK_S or copy.failed
            assert not copy.failed or "detail=" in status, status
        if want.how in {"hit", "stale"} and key.mutable and not want.streamed:
            assert f"ttl={int(copy.fresh_until - self.now)}" in status, status
        if want.how == "miss" and not want.streamed:
            assert "stored" in status
        if not self.caching_allows(key, want):
            assert "stored" not in status, status

    def caching_allows(self, key: Key, want: Result) -> bool:
        return want.how != "miss" or self.caching(key, self.served[key.upstream])[3]

    def check_body(self, key: Key, method: str, asked: dict[str, str], got: Answered, want: Result) -> None:
        copy, name = want.copy, key.repository
        tag = got.headers.get("etag", "")
        stands = {f'"sha256:{hashlib.sha256(copy.body).hexdigest()}"'} if not want.streamed or key.promised else set()
        stands |= {copy.etag} if copy.etag and not copy.etag.startswith("W/") else set()
        if key.page:
            stands = {tag}  # it names what was made from the bytes: `check_page` holds it to that
        assert not tag or tag in stands, f"the tag {tag} stands for other bytes than {stands}"
        if asked.get("if-none-match", "") in stands and asked.get("if-none-match"):
            assert got.status == 304, got.status
            self.tally.requests[name, want.how] += 1
            return
        assert got.status != 304, "304 for a tag that does not stand for the current bytes"
        body = self.check_page(key, method, got, copy) if key.page else copy.body
        expected = self.region(asked, got, body, copy, stands) if method == "GET" and not key.page else (200, body)
        assert got.status == expected[0], (got.status, expected[0], asked)
        self.tally.requests[name, want.how] += 1
        if got.status == 416:
            return
        if method == "HEAD":
            assert key.page or int(got.headers.get("content-length", len(body))) == len(body)
        else:
            assert got.body == expected[1], f"{len(got.body)} wrong bytes instead of {len(expected[1])}"
        self.tally.sent[name, want.how] += len(got.body)
        self.noted += method == "GET"
        self.tags.setdefault(key, []).append(tag)

    def region(self, asked: dict[str, str], got: Answered, body: bytes, copy: Copy, stands: set[str]):
        """Give status and bytes that the request's Range and If-Range lead to."""
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.get("range", ""))
        condition = asked.get("if-range", "")
        if match is None or (condition and condition not in stands and condition != copy.modified):
            return 200, body
        first, last = match.groups()
        start = int(first) if first else max(len(body) - int(last), 0)
        end = min(int(last) + 1, len(body)) if first and last else len(body)
        if start >= end:
            assert got.headers["content-range"] == f"bytes */{len(body)}"
            return 416, b""
        assert got.headers.get("content-range") == f"bytes {start}-{end - 1}/{len(body)}"
        return 206, body[start:end]

    def check_page(self, key: Key, method: str, got: Answered, copy: Copy) -> bytes:
        """A served page lists what the upstream's own did, with links that lead back here."""
        if method == "HEAD":
            return b""
        listing = self.listings[copy.body]
        base = f"http://pond.test/py/{key.path}"
        if got.headers["content-type"].startswith("text/html"):
            links = re.findall(r'<a [^>]*href="([^"#]+)#sha256=([0-9a-f]{64})"[^>]*>([^<]+)</a>', got.body.decode())
        else:
            links = [(f["url"], f["hashes"]["sha256"], f["filename"]) for f in got.json()["files"]]
        found = [(urljoin(base, url).partition("#")[0], digest, name) for url, digest, name in links]
        mount = "http://pond.test/py/files/demo/"
        assert found == [(mount + filename(n), hashlib.sha256(wheel(n)).hexdigest(), filename(n)) for n in listing]
        if tag := got.headers.get("etag", ""):
            assert self.pages.setdefault(tag, got.body) == got.body, "one tag for two pages"
        return got.body

    def seen(self) -> list[tuple[str, bool]]:
        """Give what the upstream was asked since the last time."""
        found = []
        for request in self.upstream.requests:
            if not request.headers.get("user-agent", "").startswith("millpond/"):
                continue  # another program of this machine knocked at a port that it had given up
            path = request.path
            if path.startswith("/simple/"):
                path += "json" if JSON_TYPE in request.headers["accept"] else "html"
            assert request.method == "GET"
            one = (path, "if-none-match" in request.headers or "if-modified-since" in request.headers)
            if found[-1:] == [one] and self.faults.get(path, "").startswith("drop"):
                continue  # a pooled connection that died without an answer: the request is sent anew on another one
            found.append(one)
        self.upstream.requests.clear()
        return found

    # The rules: clients.

    def get(self, key: Key, method: str, asked: dict[str, str]) -> None:
        done["steps"] += 1
        if key.page:
            asked = asked | {"accept": JSON_TYPE if key.variant == "json" else HTML_TYPE}
        want = self.request(key)
        contract = method == "GET" and self.version % 3 == 0
        url = (
            f"/api/v1/remote/{key.repository}/{key.path}"
            if contract and not key.page
            else f"/{key.repository}/{key.path}"
        )

        async def ask() -> Answered:
            got = await self.client.ask(method, url, asked)
            await self.settled()
            return got

        self.check(key, method, asked, self.run(ask()), want)

    def condition(self, key: Key, kind: str, value: int) -> dict[str, str]:
        known = self.tags.get(key, [])
        copy = self.copies.get(key)
        tags = [*known[-3:], '"nobody\'s"', *([copy.etag] if copy and copy.etag else [])]
        tag = tags[value % len(tags)]
        if kind == "if-none-match":
            return {kind: tag} if tag else {}
        if kind == "if-range":
            dated = copy is not None and copy.modified and value % 2
            return {"range": f"bytes={value}-", "if-range": copy.modified if dated else tag}
        if kind == "range":
            return {"range": f"bytes={value}-{value + 700}" if value % 2 else f"bytes=-{value + 1}"}
        return {}

    requests = st.sampled_from(["", "", "", "if-none-match", "range", "if-range"])
    methods = st.sampled_from(["GET", "GET", "GET", "HEAD"])
    values = st.integers(0, 700)

    @rule(key=st.sampled_from(GENERIC), method=methods, kind=requests, value=values)
    def get_a_generic_file(self, key, method, kind, value) -> None:
        self.get(key, method, self.condition(key, kind, value))

    @rule(key=st.sampled_from(GENERIC))
    def get_a_generic_file_again(self, key) -> None:
        self.get(key, "GET", {})

    @rule(key=st.sampled_from(PAGES), method=methods, kind=st.sampled_from(["", "", "if-none-match"]), value=values)
    def get_a_page(self, key, method, kind, value) -> None:
        self.get(key, method, self.condition(key, kind, value))

    @rule(key=st.sampled_from(FILES), method=methods, kind=requests, value=values)
    def get_a_package(self, key, method, kind, value) -> None:
        self.get(key, method, self.condition(key, kind, value))

    @rule(path=st.sampled_from(["other.bin", "moving", "fixe/d"]))
    def get_what_the_patterns_refuse(self, path) -> None:
        done["steps"] += 1
        got = self.run(self.client.get(f"/ruled/{path}"))
        assert got.status == 403
        assert self.seen() == []
        self.tally.errors["ruled", 403] += 1

    @rule(key=st.sampled_from(GENERIC), clients=st.integers(2, 6))
    def a_herd_comes(self, key, clients) -> None:
        """Many clients of one object: the upstream is asked as for one, when that ends well."""
        done["steps"] += 1
        before = self.state(key)
        want = self.request(key)

        async def ask() -> list[Answered]:
            got = await asyncio.gather(*(self.client.get(f"/{key.repository}/{key.path}") for _ in range(clients)))
            await self.settled()
            return got

        alone = before == "refreshing" or want.status != 200 or want.risky  # then who comes later may see another state
        if alone or (want.how == "miss" and not self.caching_allows(key, want)):
            self.check(key, "GET", {}, self.run(self.one(key)), want)
            return
        answers = self.run(ask())
        assert self.seen() == self.asked, "one flight"
        for got in answers:
            assert (got.status, got.complete) == (200, True)
            assert got.body == want.copy.body
            how = {"hit": "hit", "stale": "stale"}.get(want.how)
            status = got.headers["cache-status"]
            how = how or (
                "miss" if "fwd-status=200" in status else "revalidated" if "fwd-status=304" in status else "hit"
            )
            self.tally.requests[key.repository, how] += 1
            self.tally.sent[key.repository, how] += len(got.body)
            self.noted += 1

    async def one(self, key: Key) -> Answered:
        got = await self.client.get(f"/{key.repository}/{key.path}")
        await self.settled()
        return got

    @rule(key=st.sampled_from(GENERIC))
    def a_client_leaves_at_the_first_byte(self, key) -> None:
        """What it started lands all the same."""
        done["steps"] += 1
        want = self.request(key)
        if want.how == "miss" and not self.caching_allows(key, want):
            self.check(
                key, "GET", {}, self.run(self.one(key)), want
            )  # what passes by unstored ends with its last client
            return

        async def ask() -> Answered:
            got = await self.client.ask("GET", f"/{key.repository}/{key.path}", leave_after=0)
            await self.settled()
            return got

        got = self.run(ask())
        if got.complete or got.status == 502 or want.risky:
            self.check(key, "GET", {}, got, want)
            return
        assert self.seen() == self.asked
        assert want.copy.body.startswith(got.body)

    # The rules: the upstream.

    @rule(
        key=st.sampled_from(GENERIC), number=st.integers(0, 11), caching=st.sampled_from(sorted(CACHING)),
        etag=st.sampled_from(["strong", "weak", ""]), modified=st.sampled_from(["yes", ""]),
        age=st.sampled_from([0, 0, 20]), expires=st.sampled_from([None, None, -50, 100]),
    )  # fmt: skip
    def upstream_changes(self, key, number, caching, etag, modified, age, expires) -> None:
        done["steps"] += 1
        body = PINNED if key.promised is not None and number > 1 else content(key.path, number)
        at = None if expires is None else self.now + expires
        self.offer(key, Served(body, 200, etag, modified, caching, age, at))

    @rule(
        key=st.sampled_from(PAGES), listing=st.sets(st.integers(0, 3)), caching=st.sampled_from(sorted(CACHING)),
        etag=st.sampled_from(["strong", "weak", ""]), form=st.sampled_from(["json", "json", "html"]),
    )  # fmt: skip
    def an_index_changes(self, key, listing, caching, etag, form) -> None:
        done["steps"] += 1
        form = "html" if key.variant == "html" and form == "html" else form
        self.offer_page(key, tuple(sorted(listing)), form, Served(b"", 200, etag, "yes", caching))

    @rule(key=st.sampled_from([*GENERIC, *PAGES, *FILES]), status=st.sampled_from([404, 410]))
    def upstream_removes(self, key, status) -> None:
        done["steps"] += 1
        if status == 404:
            self.upstream.remove(key.upstream)
            self.served.pop(key.upstream, None)
        else:
            self.offer(key, Served(b"gone", 410))

    @rule(key=st.sampled_from(FILES))
    def a_package_comes_back(self, key) -> None:
        done["steps"] += 1
        self.offer(key, Served(key.promised or b"", 200, "strong", "yes"))

    @rule(
        key=st.sampled_from([*GENERIC, *PAGES, *FILES]), fault=st.sampled_from(sorted(FAULTS)), rarely=st.integers(0, 9)
    )
    def upstream_breaks(self, key, fault, rarely) -> None:
        done["steps"] += 1
        behaviour, nature, _, _ = FAULTS[fault]
        if (nature == "wrong" and key.promised is None) or (fault == "hang" and (rarely or not LONG)):
            return
        self.heal(key.upstream)
        self.faults[key.upstream] = fault
        played = FullOnly(behaviour) if nature in {"late", "wrong", "odd"} else behaviour
        if fault == "hang":
            self.upstream.script(key.upstream, played)
        else:
            self.upstream.always(key.upstream, played)

    def heal(self, path: str) -> None:
        self.faults.pop(path, None)
        self.upstream.always(path, None)
        self.upstream._scripts.pop(path, None)

    @rule(keys=st.sets(st.sampled_from([*GENERIC, *PAGES, *FILES]), max_size=9))
    def upstream_is_mended(self, keys) -> None:
        done["steps"] += 1
        for key in keys:
            self.heal(key.upstream)

    @rule(comes_back=st.booleans())
    def upstream_is_cut_or_restored(self, comes_back) -> None:
        done["steps"] += 1
        if comes_back and not self.up:
            self.run(self.upstream.restore())
        elif not comes_back and self.up:
            self.run(self.upstream.cut())
        self.up = comes_back

    # The rules: time, and the operator.

    @rule(seconds=st.sampled_from([1, 4, 9, 11, 29, 31, 59, 61, 119, 299, 601, 3601, 90_000]))
    def time_passes(self, seconds) -> None:
        done["steps"] += 1
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-86_400, -3_600, -61, -30, 86_400]))
    def the_clock_is_set(self, seconds) -> None:
        done["steps"] += 1
        self.clock.jump(seconds)

    @rule(name=st.sampled_from([None, "keep", *REMOTES]))
    def the_cache_is_flushed(self, name) -> None:
        done["steps"] += 1
        self.sync_negatives()
        query = f"?remote={name}" if name else ""
        got = self.run(self.client.put(f"/cache/flush{query}", authorization=f"Bearer {self.token}"))
        gone = {key: copy for key, copy in self.copies.items() if name in {None, key.repository}}
        kept = {copy.body for key, copy in self.copies.items() if key not in gone} | {x for x, _ in self.local.values()}
        freed = {copy.body for copy in gone.values() if copy.body is not None} - kept
        entries = sum(copy.body is not None for copy in gone.values())
        self.copies = {key: copy for key, copy in self.copies.items() if key not in gone}
        want = {"entries": entries, "objects": len(freed), "bytes": sum(map(len, freed))}
        want |= {"redis_keys": len(gone), "s3_objects": len(freed)}
        assert got.json() == {"remote": name, "flushed": want}

    def sync_negatives(self) -> None:
        """Nobody may tell whether an absence that is over is still written down."""
        over = [key for key, copy in self.copies.items() if copy.body is None and copy.fresh_until < self.now]
        if over:
            self.run(self.client.ask("POST", "/api/v1/gc", {"authorization": f"Bearer {self.token}"}))
            self.collected()
        for key in over:
            self.copies.pop(key, None)

    @rule()
    def the_store_is_collected(self) -> None:
        done["steps"] += 1
        got = self.run(self.client.ask("POST", "/api/v1/gc", {"authorization": f"Bearer {self.token}"}))
        assert got.status == 200, got.body
        self.collected()

    def collected(self) -> None:
        """What was evicted may be gone, and only if there was too much; nothing else may."""
        there = self.entries()
        missing = [
            k for k, c in self.copies.items() if c.body is not None and (k.repository, k.path, k.variant) not in there
        ]
        if missing:
            done["evictions"] += 1
            assert self.total > MAX_STORE * 0.95, f"evicted at {self.total} bytes"
        for key in missing:
            del self.copies[key]
        uploads = {body for body, _ in self.local.values()}
        if self._stored > MAX_STORE * 0.95:
            assert all(copy.body in uploads for copy in self.copies.values() if copy.body is not None), (
                "too much is kept"
            )
        over = [key for key, copy in self.copies.items() if copy.body is None and copy.fresh_until < self.now]
        for key in over:
            del self.copies[key]

    def entries(self) -> dict[tuple[str, str, str], object]:
        def read(connection):
            found = [e for name in self.app.repositories for e in rows.listed(connection, name, "", ("", ""), 1000)]
            return found, rows.stored(connection)[1]

        found, self._stored = self.run(self.app.catalog.db.read(read))
        return {(e.repository, e.path, e.variant): e for e in found}

    @rule(rarely=st.integers(0, 3))
    def the_daemon_restarts(self, rarely) -> None:
        done["steps"] += 1
        if rarely:
            return
        self.run(self.app.close())
        self.run(self.open())

    # The rules: uploads.

    places = st.sampled_from([(repository, path) for repository in ("keep", "loose") for path in ("x.bin", "y.bin")])

    @rule(place=places, number=st.integers(0, 11))
    def an_upload_comes(self, place, number) -> None:
        done["steps"] += 1
        body = content("a.bin", number)  # the same bytes that remotes have: blobs are shared, rights are not
        url = f"/api/v1/remote/{place[0]}/{place[1]}"
        got = self.run(self.client.put(url, body, authorization=f"Bearer {self.token}"))
        there = self.local.get(place)
        if there is not None and there[0] == body:
            assert got.status == 200
        elif there is not None and place[0] == "keep":
            assert got.status == 409
        else:
            assert got.status == 201, got.body
            self.local[place] = (body, self.now)
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            assert got.json() == {"path": place[1], "digest": digest, "size": len(body)}

    @rule(place=places)
    def an_upload_is_deleted(self, place) -> None:
        done["steps"] += 1
        got = self.run(
            self.client.delete(f"/api/v1/remote/{place[0]}/{place[1]}", authorization=f"Bearer {self.token}")
        )
        assert got.status == (204 if self.local.pop(place, None) else 404)

    @rule(place=places, method=methods)
    def an_upload_is_got(self, place, method) -> None:
        done["steps"] += 1
        got = self.run(self.client.ask(method, f"/{place[0]}/{place[1]}"))
        there = self.local.get(place)
        if there is None:
            assert got.status == 404
            self.tally.errors[place[0], 404] += 1
            return
        assert (got.status, got.headers["x-artifact-source"]) == (200, "local")
        assert got.headers["content-length"] == str(len(there[0]))
        assert got.headers["age"] == str(int(max(self.now - there[1], 0)))
        assert got.body == (there[0] if method == "GET" else b"")
        self.tally.requests[place[0], "local"] += 1
        self.tally.sent[place[0], "local"] += len(got.body)
        self.noted += method == "GET"

    # What holds after every step.

    @property
    def total(self) -> int:
        """The bytes that the store held at most since the last step, by the model."""
        return self._total

    @initialize()
    def begin(self) -> None:
        self._total = 0

    @invariant()
    def nothing_good_is_lost(self) -> None:
        there = self.entries()
        for key, copy in self.copies.items():
            entry = there.get((key.repository, key.path, key.variant))
            if copy.body is None:
                continue
            assert entry is not None, f"{key} is lost"
            assert entry.digest == f"sha256:{hashlib.sha256(copy.body).hexdigest()}", f"{key} has other bytes"
            assert self.app.store.stat(entry.digest).size == len(copy.body)
        for (name, path), (body, _) in self.local.items():
            entry = there[name, path, ""]
            assert self.app.store.path(entry.digest).read_bytes() == body
        known = {(k.repository, k.path, k.variant) for k in self.copies} | {(*place, "") for place in self.local}
        assert set(there) <= known, f"stored, but it should not be: {set(there) - known}"
        assert not list((self.folder / "data" / "spool").iterdir()), "a flight left something behind"
        self._total = self._stored

    @invariant()
    def the_counters_add_up(self) -> None:
        values = self.app.metrics.values()
        for (name, how), count in self.tally.requests.items():
            labels = f'{{outcome="{how}",repository="{name}"}}'
            assert values[f"millpond_requests_total{labels}"] == count, (name, how)
            assert values.get(f"millpond_served_bytes_total{labels}", 0) == self.tally.sent[name, how]
        for (name, status), count in self.tally.errors.items():
            labels = f'{{repository="{name}",status="{status}"}}'
            assert values[f"millpond_errors_total{labels}"] == count, (name, status)
        for name in REMOTES:
            label = f'{{repository="{name}"}}'
            ours = {how: n for (repository, how), n in self.tally.requests.items() if repository == name}
            assert values.get(f"millpond_cache_misses_total{label}", 0) == ours.get("miss", 0), (name, ours)
            assert values.get(f"millpond_cache_hits_total{label}", 0) == sum(ours.values()) - ours.get("miss", 0)
            assert values.get(f"millpond_fetched_bytes_total{label}", 0) == self.tally.fetched[name], name

    @invariant()
    def the_circuits_stand_as_they_should(self) -> None:
        for name in REMOTES:
            assert self.app.repositories[name].remote.upstream.status()["state"] == self.circuits[name].state, name

    def audit(self) -> None:
        """Every complete answer with a body was noted."""

        async def count() -> int:
            await self.app.usage.flush()
            return len(await self.app.usage.records(limit=10_000))

        assert self.run(count()) >= self.noted


@pytest.mark.timeout(14_400 if LONG else 600)
@pytest.mark.parametrize("shard", range(SHARDS))
def test_the_cache_agrees_with_its_model(shard):
    done.clear()
    steps = STEPS // SHARDS
    first = random.SystemRandom().randrange(2**31) if LONG else 1000 * shard
    options = settings(
        max_examples=20, stateful_step_count=PER_EXAMPLE, deadline=None, database=None, print_blob=True,
        report_multiple_bugs=False, suppress_health_check=list(HealthCheck),
        phases=(Phase.generate, Phase.shrink),
    )  # fmt: skip
    for number in range(first, first + steps):
        print(f"{done['steps']} of {steps} steps, {done['evictions']} evictions; next seed {number}", flush=True)  # noqa: T201 - shown when it fails
        if done["steps"] >= steps:
            return
        run_state_machine_as_test(seed(number)(type("Cache", (Cache,), {})), settings=options)
