"""What the model is about: paths that are asked for, what an upstream has and does, what must come of a request."""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, field, replace

from millpond.testing import behaviours as b
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
