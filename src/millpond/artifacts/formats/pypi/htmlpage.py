"""HTML pages of an index: rewritten while they pass, and read (PEP 503, 592, 629, 658, 714). PURE.

Every ``<`` and every link of a rewritten page was written here, so nothing in it leads past the pond: an anchor that
is no file (on a project's page) or no project (on the root) loses its tag and keeps its text. Only the tags of `KEPT`
are handed on; scripts, forms, frames, images and comments are not, since the page has the pond's own origin.

An index says so ("Links for", "Index of", the version of PEP 629), or has links and nothing to fill in or run. What
does neither is somebody's login or error page, and is refused at its end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from urllib.parse import unquote, urljoin

from millpond.artifacts.formats.fields import epoch, resolve
from millpond.artifacts.formats.pypi.listing import Listed
from millpond.artifacts.formats.pypi.markup import Doctype, End, Event, Start, Text, Tokenizer
from millpond.artifacts.formats.pypi.names import checksum, file_url, is_distribution, normalized, page_url
from millpond.artifacts.model import Checksum, Links, Member

KEPT = frozenset(
    b"html head title body h1 h2 h3 h4 h5 h6 p br hr div span ul ol li dl dt dd pre code tt table thead tbody tr th "
    b"td".split()
)
_INTERACTIVE = frozenset(b"form input button select textarea script iframe frameset object embed".split())
_SIGNS = re.compile(
    rb"links for|index of|package index|simple (?:index|list|packages|repository)|directory listing"
    rb"|pypi:repository-version|[\"']api-version[\"']",
    re.IGNORECASE,
)
_SIGN_BYTES = 16 * 1024
# Of an anchor's attributes these go on; data-provenance (PEP 740) is a link that leads past the pond.
_DATA = re.compile(rb"data-[a-z0-9-]{1,64}|rel")
_DROPPED = frozenset({b"data-provenance"})
_META = re.compile(rb"pypi:[a-z-]{1,64}|api-version", re.IGNORECASE)
_CHARSET = re.compile(rb"[A-Za-z0-9_:.-]{1,40}")
_TYPE = re.compile(rb"text/html; ?charset=[A-Za-z0-9_:.-]{1,40}", re.IGNORECASE)
_FRAGMENT = re.compile(r"[A-Za-z0-9_=&.+%-]{1,1024}", re.ASCII)
_MAX_FRAGMENT_PARTS = 16


class Rewriter:
    """A `formats.base.Transducer` for one page; `project` empty: the root index."""

    def __init__(self, project: str, links: Links) -> None:
        self._project, self._links = project, links
        self._tokens = Tokenizer()
        self._verdict = _Verdict()
        self._base = links.source
        self._anchored = False

    def feed(self, chunk: bytes) -> bytes:
        """Take the next bytes; give those that are ready. Raises `ValueError` for a tag that is too long."""
        self._verdict.saw(chunk)
        return b"".join(self._pieces(self._tokens.feed(chunk)))

    def close(self) -> bytes:
        """Give the rest. Raises `ValueError` when the page is cut off, or is no index."""
        rest = b"".join(self._pieces(self._tokens.close()))
        self._verdict.check()
        return rest

    def _pieces(self, events: Iterable[Event]) -> Iterator[bytes]:
        for event in events:
            match event:
                case Text(data):
                    yield data
                case Start():
                    yield from self._start(event)
                case End(b"a"):
                    yield from self._leave()
                case End(name) if name in KEPT:
                    yield b"</" + name + b">"
                case Doctype(data):
                    yield b"<" + data + b">"
                case _:
                    pass

    def _start(self, tag: Start) -> Iterator[bytes]:
        self._verdict.met(tag)
        if tag.name == b"a":
            yield from self._leave()  # anchors don't nest
            yield from self._anchor(tag)
        elif tag.name == b"base":
            self._base = based(self._base, tag)
        elif tag.name == b"meta":
            yield _meta(tag)
        elif tag.name in KEPT:
            yield b"<" + tag.name + b">"

    def _anchor(self, tag: Start) -> Iterator[bytes]:
        url = self._target(tag)
        if url is None:
            return
        self._verdict.links += 1
        self._anchored = True
        more = [
            (name, value) for name, value in tag.attributes.items() if _DATA.fullmatch(name) and name not in _DROPPED
        ]
        yield b"<a" + b"".join(_attribute(name, value) for name, value in [(b"href", url), *more]) + b">"

    def _target(self, tag: Start) -> bytes | None:
        """Give where an anchor leads in the pond, escaped; None: nowhere."""
        if not self._project:
            name = root_link(tag, self._base)
            return None if name is None else _escaped(page_url(self._links.mount, name))
        found = file_link(tag, self._base)
        if found is None:
            return None
        filename, _, fragment = found
        url = file_url(self._links.mount, self._project, filename)
        return _escaped(f"{url}#{fragment}" if fragment else url)

    def _leave(self) -> Iterator[bytes]:
        if self._anchored:
            self._anchored = False
            yield b"</a>"


class _Verdict:
    """Gathers what tells an index from another page."""

    def __init__(self) -> None:
        self.links = 0
        self._interactive = ""
        self._start = bytearray()

    def saw(self, chunk: bytes) -> None:
        self._start += chunk[: max(_SIGN_BYTES - len(self._start), 0)]

    def met(self, tag: Start) -> None:
        refresh = tag.name == b"meta" and tag.attributes.get(b"http-equiv", b"").lower() == b"refresh"
        if refresh or tag.name in _INTERACTIVE:
            self._interactive = self._interactive or tag.name.decode("ascii", "replace")

    def check(self) -> None:
        """Raise `ValueError` for what is no index."""
        if _SIGNS.search(self._start):
            return
        if self._interactive:
            raise ValueError(f"this HTML page has a <{self._interactive}> and does not say that it is an index")
        if not self.links:
            raise ValueError("this HTML page lists nothing and does not say that it is an index")


def listed(source: str, chunks: Iterable[bytes]) -> Iterator[Listed]:
    """Read a project's page whose URL is `source`. Raises `ValueError` when it is cut off, or is no index."""
    tokens, verdict, base = Tokenizer(), _Verdict(), source
    for events in _events(tokens, verdict, chunks):
        for event in events:
            if not isinstance(event, Start):
                continue
            verdict.met(event)
            if event.name == b"base":
                base = based(base, event)
            found = file_link(event, base) if event.name == b"a" else None
            if found is not None:
                verdict.links += 1
                yield _listed(event, *found)
    verdict.check()


def _events(tokens: Tokenizer, verdict: _Verdict, chunks: Iterable[bytes]) -> Iterator[list[Event]]:
    for chunk in chunks:
        verdict.saw(chunk)
        yield tokens.feed(chunk)
    yield tokens.close()


def _listed(tag: Start, filename: str, url: str, fragment: str) -> Listed:
    parts = [part.partition("=") for part in fragment.split("&", _MAX_FRAGMENT_PARTS)]
    digests = tuple(found for name, _, value in parts if (found := checksum(name, value)) is not None)
    at = epoch(tag.value(b"data-upload-time"))
    signed = (tag.value(b"data-gpg-sig") or "").strip().lower() == "true"
    return Listed(Member(filename, url, digests, published_at=at), _metadata(tag), signed)


def _metadata(tag: Start) -> tuple[Checksum, ...] | None:
    """Read PEP 714's attribute, else its older name in PEP 658; None: there is no metadata file."""
    value = tag.value(b"data-core-metadata")
    if value is None:
        value = tag.value(b"data-dist-info-metadata")
    if value is None or value.strip().lower() == "false":
        return None
    name, _, digest = value.strip().partition("=")
    found = checksum(name, digest)
    return () if found is None else (found,)


def based(base: str, tag: Start) -> str:
    """Give the URL that links are relative to from here on."""
    found = resolve(base, tag.value(b"href") or "")
    return base if found is None else found.geturl()


def file_link(tag: Start, base: str) -> tuple[str, str, str] | None:
    """Read an anchor: file name, absolute URL without fragment, fragment; None: it leads to no file that we serve."""
    parts = resolve(base, tag.value(b"href") or "")
    if parts is None:
        return None
    filename = unquote(parts.path.rpartition("/")[2])
    if not is_distribution(filename):
        return None
    fragment = parts.fragment if _FRAGMENT.fullmatch(parts.fragment) else ""
    return filename, parts._replace(fragment="").geturl(), fragment


def root_link(tag: Start, base: str) -> str | None:
    """Read an anchor of the root index: the project's normalised name; None: it leads to no project's page."""
    parts = resolve(base, tag.value(b"href") or "")
    if parts is None:
        return None
    folder, _, name = parts.path.removesuffix("/").rpartition("/")
    below = parts._replace(path=folder + "/", query="", fragment="").geturl() == urljoin(base, ".")
    return normalized(unquote(name)) if below or parts.path.endswith("/") else None


def _meta(tag: Start) -> bytes:
    name, content = tag.attributes.get(b"name", b""), tag.attributes.get(b"content", b"")
    if _META.fullmatch(name):
        return b"<meta" + _attribute(b"name", name) + _attribute(b"content", content) + b">"
    if _CHARSET.fullmatch(charset := tag.attributes.get(b"charset", b"")):
        return b"<meta" + _attribute(b"charset", charset) + b">"
    if tag.attributes.get(b"http-equiv", b"").lower() == b"content-type" and _TYPE.fullmatch(content):
        return b'<meta http-equiv="content-type"' + _attribute(b"content", content) + b">"
    return b""


def _escaped(url: str) -> bytes:
    return url.replace("&", "&amp;").encode("ascii", "xmlcharrefreplace")


def _attribute(name: bytes, value: bytes) -> bytes:
    """Write an attribute; the value's own character references stay as they are."""
    value = value.replace(b'"', b"&quot;").replace(b"<", b"&lt;").replace(b">", b"&gt;")
    return b" " + name + b'="' + value + b'"'
