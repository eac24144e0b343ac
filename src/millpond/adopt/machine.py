"""What adoption looks at: this machine as its own clients see it, and what comes out of it.

Nothing here reads `os.environ` or the real home: both come in, so that tests (and a daemon that looks on another
user's behalf) bring their own. A URL that is shown or kept as an address never carries credentials.
"""

from __future__ import annotations

import ipaddress
import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TypeAlias
from urllib.parse import unquote, urlsplit

TOOL_TIMEOUT_S = 8.0
"""Less than a request waits for what is being adopted."""
_DEFAULT_PORTS = {"http": 80, "https": 443}
_ANY = {"0.0.0.0", "::"}  # noqa: S104 - recognised, not listened on
Run: TypeAlias = Callable[[Sequence[str]], str | None]
"""Runs a tool and gives what it printed; None: it is not there, or it failed."""


@dataclass(frozen=True, slots=True)
class Adopted:
    """An upstream that this machine's clients use. `found_in` says where they have it from, for people."""

    repository: str
    package: str
    base_url: str
    found_in: str
    username: str = ""
    password: str = field(default="", repr=False)
    notes: tuple[str, ...] = ()
    """What was passed over on the way, and why."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """Nothing was adopted for a package; `reason` says why, and what to do."""

    package: str
    reason: str


Found: TypeAlias = Adopted | Skipped


@dataclass(frozen=True, slots=True)
class Candidate:
    """An index that a client is set to; `earlier` is what was there before `connect`. No `file`: the environment."""

    url: str
    label: str
    name: str = ""
    earlier: str = ""
    earlier_name: str = ""
    file: Path | None = None


@dataclass(frozen=True, slots=True)
class Pond:
    """How this pond's own URLs look, so that it never adopts itself."""

    port: int = 0
    hosts: frozenset[str] = frozenset()
    loopback: bool = False
    public_url: str = ""
    written: frozenset[str] = frozenset()
    """The URLs that `connect` has written into clients' settings."""
    mirror_port: int = 0
    """That of the listener for registry mirrors; 0: there is none."""

    @classmethod
    def at(
        cls,
        host: str,
        port: int,
        *,
        public_url: str = "",
        names: Iterable[str] = (),
        written: Iterable[str] = (),
        mirror_port: int = 0,
    ) -> Pond:
        """Describe the pond that listens on `host` and `port`; `names` are this machine's names."""
        everywhere = host in _ANY
        hosts = {name.lower() for name in names if name} | ({host.lower()} - _ANY)
        return cls(
            port=port,
            mirror_port=mirror_port,
            hosts=frozenset(hosts if everywhere or not is_loopback(host) else {host.lower()}),
            loopback=everywhere or is_loopback(host),
            public_url=public_url.rstrip("/"),
            written=frozenset(url.rstrip("/") for url in written),
        )

    def owns(self, url: str, suffix: str) -> bool:
        """Whether a client's URL leads to this pond: ``.../REPOSITORY`` and `suffix` (``/simple``)."""
        if without_credentials(url).rstrip("/") in self.written:
            return True
        shape = re.compile(r"/[^/]+" + re.escape(suffix) + "/?")
        public = without_credentials(url).removeprefix(self.public_url) if self.public_url else url
        if public != without_credentials(url) and shape.fullmatch(public):
            return True
        try:
            parts = urlsplit(url)
            host, port = parts.hostname or "", parts.port or _DEFAULT_PORTS.get(parts.scheme, 0)
        except ValueError:
            return False
        here = host in self.hosts or (self.loopback and (is_loopback(host) or host in _ANY))
        return here and port == self.port and shape.fullmatch(parts.path) is not None


@dataclass(frozen=True, slots=True)
class Machine:
    """A machine and one user of it."""

    environ: Mapping[str, str]
    home: Path
    run: Run
    root: Path = Path("/")
    pond: Pond = Pond()
    earlier: Mapping[Path, bytes | None] = field(default_factory=dict)
    """What clients' files held before `connect` changed them; None: there was no file."""
    cwd: Path | None = None
    """Where we run, for clients that read a project's files; None: nowhere."""

    def config_home(self) -> Path:
        """Give the user's folder of settings (XDG Base Directory Specification)."""
        named = self.environ.get("XDG_CONFIG_HOME", "")
        return Path(named) if named.startswith("/") else self.home / ".config"

    def config_dirs(self) -> list[Path]:
        """List the machine's folders of settings, most important first (XDG Base Directory Specification)."""
        named = [Path(part) for part in self.environ.get("XDG_CONFIG_DIRS", "").split(":") if part.startswith("/")]
        return named or [self.root / "etc/xdg"]


def run_tool(argv: Sequence[str]) -> str | None:
    """Run a tool of this machine; see `Run`."""
    try:
        done = subprocess.run(  # noqa: S603 - a fixed list of arguments, never a shell
            argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TOOL_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError, UnicodeDecodeError):
        return None
    return done.stdout


def without_credentials(url: str) -> str:
    """Give a URL without its user information."""
    return re.sub(r"^([A-Za-z][A-Za-z0-9+.-]*://)[^/?#]*@", r"\1", url)


def shown(url: str) -> str:
    """Give a URL for people: without credentials, and without a query, which may hold some."""
    return re.split(r"[?#]", without_credentials(url))[0]


def split_credentials(url: str) -> tuple[str, str, str]:
    """Give the URL without credentials, the user name and the password (both percent-decoded, or empty)."""
    netloc = urlsplit(url).netloc
    user, _, password = netloc.rpartition("@")[0].partition(":")
    return without_credentials(url), unquote(user), unquote(password)


def unfit(url: str) -> str | None:
    """Say why a client's URL can't be an upstream; None: it can."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return "is not a URL"
    if parts.scheme == "file" or not parts.scheme:
        return "is a folder of this machine, which needs no cache"
    if parts.scheme not in _DEFAULT_PORTS or not parts.hostname or port == 0:
        return "is not an http or https URL"
    if "?" in url or "#" in url or re.search(r"[\x00-\x20\\\x7f]", url):
        return "has a query, a fragment or white space, which no upstream's base can have"
    return None


def is_loopback(host: str) -> bool:
    """Whether a host in a URL is this machine itself (RFC 6761 section 6.3 for names)."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host.lower() == "localhost" or host.lower().endswith(".localhost")
