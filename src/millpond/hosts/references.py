"""Image references, by the grammar of the distribution specification's reference package. PURE.

``nginx``, ``nginx:latest`` and ``docker.io/library/nginx`` are one image: `Reference` has the full name, `short` gives
back what `docker image ls` writes. What does not fit the grammar never reaches an argument list; nothing that fits it
begins with a dash.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

DEFAULT_DOMAIN, OFFICIAL = "docker.io", "library/"
MAX_NAME = 255
_DOMAIN = re.compile(
    r"(?:[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)(?:\.[a-zA-Z0-9](?:[a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?)*(?::[0-9]{1,5})?"
    r"|\[[0-9a-fA-F:.]{2,45}\](?::[0-9]{1,5})?"
)
_COMPONENT = r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*"
_PATH = re.compile(rf"{_COMPONENT}(?:/{_COMPONENT})*")
_TAG = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_HEX_ID = re.compile(r"[0-9a-f]{64}")
_ID = re.compile(r"(?:sha256:)?[0-9a-f]{12,64}")


@dataclass(frozen=True, slots=True)
class Reference:
    """A reference, read. Without `tag` and `digest` the tag ``latest`` is meant."""

    domain: str
    path: str
    tag: str = ""
    digest: str = ""

    @property
    def name(self) -> str:
        """The full name: domain and path."""
        return f"{self.domain}/{self.path}"

    @property
    def short(self) -> str:
        """As Docker shows it: Docker Hub's name, and its ``library/``, are left out."""
        if self.domain != DEFAULT_DOMAIN:
            return self._with(self.name)
        rest = self.path.removeprefix(OFFICIAL)
        return self._with(self.path if "/" in rest else rest)

    def __str__(self) -> str:
        """Write it in full."""
        return self._with(self.name)

    def _with(self, name: str) -> str:
        tag = f":{self.tag}" if self.tag else ""
        return name + tag + (f"@{self.digest}" if self.digest else "")


class NotReference(ValueError):
    """A text is no image reference. `why` says it without the text, which may hold what a variable does."""

    def __init__(self, text: str, why: str) -> None:
        super().__init__(f"{_shown(text)} {why}")
        self.why = why


def parse_reference(text: str) -> Reference:
    """Read a reference. Raises `NotReference` in words for the operator."""
    rest, at, digest = text.partition("@")
    if at and not _DIGEST.fullmatch(digest):
        raise NotReference(text, "is no image reference: what follows the @ is no digest")
    if not at and _HEX_ID.fullmatch(rest):
        raise NotReference(text, "is an image's id, not its name")
    name, tag = _split_tag(rest)
    if tag is not None and not _TAG.fullmatch(tag):
        raise NotReference(text, "is no image reference: what follows the colon is no tag")
    domain, path = _split_domain(name)
    if not _DOMAIN.fullmatch(domain) or not _PATH.fullmatch(path) or len(domain) + len(path) >= MAX_NAME:
        raise NotReference(text, "is no image reference; write one such as nginx:1.27 or pond.lan:8080/hub/app")
    return Reference(domain, path, tag or "", digest)


def _split_tag(rest: str) -> tuple[str, str | None]:
    name, colon, tag = rest.rpartition(":")
    return (name, tag) if colon and "/" not in tag else (rest, None)


def _split_domain(name: str) -> tuple[str, str]:
    first, slash, path = name.partition("/")
    if slash and ("." in first or ":" in first or first == "localhost" or first != first.lower()):
        return first, path
    return DEFAULT_DOMAIN, name if slash else OFFICIAL + name


def canonical(text: str) -> str:
    """Write a reference, a digest or an image's id in the one form in which they can be compared.

    A name without tag and digest gets ``:latest``. Raises `ValueError`.
    """
    if _DIGEST.fullmatch(text):
        return text
    if _HEX_ID.fullmatch(text):
        return f"sha256:{text}"
    found = parse_reference(text)
    return f"{found}" if found.tag or found.digest else f"{found}:latest"


def is_image_id(text: str) -> bool:
    """Whether it is an image's id as Docker writes it, short or whole."""
    return _ID.fullmatch(text) is not None


def _shown(text: str) -> str:
    return repr(text if len(text) <= MAX_NAME else f"{text[:MAX_NAME]}...")
