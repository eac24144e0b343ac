"""Where this machine's apt has its packages from: one repository for each address in its package lists.

Two addresses that differ in their last slash are one. What has no upstream that can be cached (``file:``, ``cdrom:``,
mirror lists, Tor) is told of. Credentials come from the address itself or from ``auth.conf`` (apt_auth.conf(5)), and
belong to the host that they are written for.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from millpond.adopt import sourceslist
from millpond.adopt.machine import Adopted, Found, Machine, Skipped, shown, split_credentials, unfit
from millpond.adopt.sourceslist import Source
from millpond.errors import ConfigError

PACKAGE = "debian"
SUFFIX = ""
_ODD = {
    "file": "is a folder of this machine, which needs no cache",
    "copy": "is a folder of this machine, which needs no cache",
    "cdrom": "is a disc, which needs no cache",
    "tor+http": "is reached through Tor, which the pond does not do",
    "tor+https": "is reached through Tor, which the pond does not do",
    "mirror": "is a list of mirrors, of which apt chooses one; write one of them into millpond.toml",
}
_PROXY = re.compile(r"Acquire::(?:https?)::Proxy(?:::[^\s\"]+)?\s+\"?(?P<url>[^\";\s]+)", re.IGNORECASE)
_PROXY_BLOCK = re.compile(
    r"Acquire\s*(?:::)?\s*\{.*?https?\s*\{.*?Proxy\s+\"(?P<url>[^\"]+)\"", re.IGNORECASE | re.DOTALL
)
_COMMENT = re.compile(r"(?m)^\s*(?://|#(?!clear|include)).*$")
_DIRECT = frozenset({"direct", "false", "none"})
MAX_NAME = 64
_TAKEN = frozenset({
    "api", "v2", "health", "metrics", "config", "cache", "queue", "webhook", "ui", "docs", "favicon.ico",
    "pypi", "npm", "dockerhub", "golang", "cargo", "maven", "alpine",
})  # fmt: skip
"""Names that mean something else already."""


@dataclass(frozen=True, slots=True)
class Login:
    """One entry of auth.conf: for which machine, and what to say there."""

    machine: str
    username: str
    password: str

    def fits(self, url: str) -> bool:
        """Whether it is meant for a URL: its scheme if it names one (else https only), its host, port and path."""
        scheme, mark, rest = self.machine.rpartition("://")
        parts = urlsplit(url)
        if parts.scheme != (scheme if mark else "https"):
            return False
        named = urlsplit(f"//{rest}")
        try:
            same = (named.hostname, named.port) == (parts.hostname, parts.port)
        except ValueError:
            return False
        return same and parts.path.startswith(named.path)


def adopt_apt(machine: Machine) -> tuple[Found, ...]:
    """Find the archives that this machine's apt uses."""
    notes: list[str] = []
    try:
        found = [(url, source) for source in sourceslist.sources(machine) for url in _upstream(machine, source, notes)]
        logins = list(auth(machine))
    except ConfigError as error:
        return (Skipped(PACKAGE, f'{error}, or write a repository with package = "debian" and its base_url'),)
    notes += [f"apt is set to the proxy {shown(url)}; the pond asks the archives itself" for url in proxies(machine)]
    places: dict[str, list[Source]] = {}
    for url, source in found:
        places.setdefault(url, []).append(source)
    if not places:
        return (Skipped(PACKAGE, "; ".join(notes) or "there is no apt, or no archive in its package lists"),)
    names = named(places)
    adopted = [_adopted(names[url], url, where, logins) for url, where in places.items()]
    return (replace(adopted[0], notes=tuple(notes)), *adopted[1:])


def _adopted(name: str, url: str, places: list[Source], logins: list[Login]) -> Adopted:
    base_url, username, password = split_credentials(url)
    if not username and not password:
        login = next((one for one in logins if one.fits(f"{base_url}/")), None)
        username, password = (login.username, login.password) if login else ("", "")
    label = ", ".join(dict.fromkeys(place.label for place in places))
    return Adopted(name, PACKAGE, base_url, label, username, password)


def _upstream(machine: Machine, source: Source, notes: list[str]) -> Iterator[str]:
    """Give the upstream that a source stands for; none, with a note, where it can't be one."""
    if machine.pond.owns(source.uri, SUFFIX):
        yield from earlier(machine, source)
        return
    scheme = source.uri.partition(":")[0].lower()
    plain = "mirror" if scheme.startswith("mirror") else scheme
    reason = _ODD.get(plain) or unfit(source.uri)
    if reason is None:
        yield source.uri.rstrip("/")
    else:
        notes.append(f"{source.label}: {shown(source.uri)} {reason}")


def earlier(machine: Machine, source: Source) -> Iterator[str]:
    """Give what stood in the place of the pond's address before `connect`; none: nothing is known of it."""
    before = machine.earlier.get(source.file)
    if before is None:
        return
    old = list(sourceslist.parse(source.file, before.decode(errors="replace")))
    now = list(sourceslist.parse(source.file, sourceslist.read(source.file) or ""))
    for was, one in zip(old, now, strict=False):
        if one.start == source.start and was.suites == one.suites and not machine.pond.owns(was.uri, SUFFIX):
            if unfit(was.uri) is None:
                yield was.uri.rstrip("/")
            return


def named(urls: Mapping[str, object]) -> dict[str, str]:
    """Name each repository by the last part of its address; where two would clash, with ``-2`` and so on."""
    names: dict[str, str] = {}
    taken: set[str] = set()
    for url in urls:
        parts = urlsplit(url)
        last = parts.path.rstrip("/").rpartition("/")[2] or (parts.hostname or "")
        plain = re.sub(r"[^a-z0-9._-]+", "-", last.lower()).strip("-._")[:MAX_NAME] or PACKAGE
        plain = f"apt-{plain}" if plain in _TAKEN else plain
        name, number = plain, 1
        while name in taken:
            number += 1
            name = f"{plain}-{number}"
        taken.add(name)
        names[url] = name
    return names


def auth(machine: Machine) -> Iterator[Login]:
    """Read auth.conf and auth.conf.d; what can't be read by who runs this is passed over."""
    etc = machine.root / "etc/apt"
    try:
        more = sorted(path for path in (etc / "auth.conf.d").iterdir() if path.suffix == ".conf")
    except OSError:
        more = []
    for file in (etc / "auth.conf", *more):
        yield from logins(_readable(file))


def logins(text: str) -> Iterator[Login]:
    """Read entries in the form of netrc: ``machine``, ``login`` and ``password``, in any lines."""
    words = iter(re.sub(r"(?m)^\s*#.*$", "", text).split())
    entry: dict[str, str] = {}
    for key in words:
        if key == "machine":
            if entry:
                yield _login(entry)
            entry = {key: next(words, "")}
        elif key in {"login", "password"} and entry:
            entry[key] = next(words, "")
    if entry:
        yield _login(entry)


def _login(entry: Mapping[str, str]) -> Login:
    return Login(entry["machine"], entry.get("login", ""), entry.get("password", ""))


def proxies(machine: Machine) -> list[str]:
    """List the proxies that apt is set to."""
    text = _settings(machine)
    found = [one["url"] for pattern in (_PROXY, _PROXY_BLOCK) for one in pattern.finditer(text)]
    return [url for url in dict.fromkeys(found) if url.lower() not in _DIRECT]


def asks_itself(machine: Machine, host: str) -> bool:
    """Whether apt is set to ask a host without its proxy: ``Acquire::http::Proxy::HOST "DIRECT";``."""
    pattern = rf"Proxy(?:::|\s*\{{[^}}]*?\s){re.escape(host)}\s+\"?DIRECT\b"
    return re.search(pattern, _settings(machine), re.IGNORECASE) is not None


def _settings(machine: Machine) -> str:
    etc = machine.root / "etc/apt"
    try:
        parts = sorted(path for path in (etc / "apt.conf.d").iterdir() if path.is_file())
    except OSError:
        parts = []
    return "\n".join(_COMMENT.sub("", _readable(file)) for file in (*parts, etc / "apt.conf"))


def _readable(file: Path) -> str:
    try:
        return file.read_bytes()[: sourceslist.MAX_BYTES].decode(errors="replace")
    except OSError:
        return ""
