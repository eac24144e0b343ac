"""A release: an app's resolved document with every image by content, and the record of how it was brought out. PURE.

The document is what compose or a swarm is handed, byte for byte, now and at a rollback. It is JSON written so that a
YAML reader finds the same values in it (YAML 1.2.2, section 1.3: JSON is a subset; readers in use differ in what is
escaped here). Its variables are filled in: nothing of the machine that reads it gets into it.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from millpond.errors import BadRequest
from millpond.hosts.apps import AppKind, AppOptions, Pinned, Resolved, Wanted

MAX_DOCUMENT_BYTES = 4 << 20
MAX_KEY = 1000
"""YAML readers take no longer ones on a line with their value."""
_NOT_IN_YAML = re.compile("[\x7f-\xa0\u2028\u2029\ufeff\ufffe\uffff\ud800-\udfff]")


class State(StrEnum):
    """How far a release is."""

    PREPARED = "prepared"
    """Its document is written down and every host has its images; no host was changed."""
    DEPLOYING = "deploying"
    ACTIVE = "active"
    """It runs, and is well. One release of an app at most."""
    FAILED = "failed"
    """It did not come to run, or not well; hosts may have a part of it."""
    INTERRUPTED = "interrupted"
    """Millpond ended in the middle; hosts may have a part of it."""
    SUPERSEDED = "superseded"
    """It was active until a later one was."""
    ROLLED_BACK = "rolled-back"
    """It was active until an earlier one was brought back."""


UNFINISHED = frozenset({State.PREPARED, State.DEPLOYING})
PARTIAL = frozenset({State.FAILED, State.INTERRUPTED})


@dataclass(frozen=True, slots=True)
class Release:
    """One release, as it is recorded. Times are epoch seconds, None: not yet, or never."""

    app: str
    number: int
    state: State
    kind: AppKind
    checksum: str
    """SHA-256 of its document."""
    hosts: tuple[str, ...]
    images: Mapping[str, str]
    """What each service runs: ``name@sha256:...``, or an image's id."""
    by: str = ""
    commit: str = ""
    sets: Mapping[str, str] = field(default_factory=dict)
    """What was set over the app's .env, for this release alone."""
    restores: int | None = None
    """The number of the release that it brings back."""
    fence: int = 0
    """The fencing number of the lease that it is deployed under."""
    created_at: float = 0.0
    began_at: float | None = None
    """When the first host was changed."""
    activated_at: float | None = None
    ended_at: float | None = None
    error: str = ""
    progress: Mapping[str, str] = field(default_factory=dict)
    """How far each host is: ``deploying``, ``done``, ``failed``; one that is not named was not touched."""
    details: tuple[str, ...] = ()
    """Lines that explain `error`: what the containers said last, with known secrets masked."""

    @property
    def source(self) -> int:
        """The number of the release that its document was made for."""
        return self.number if self.restores is None else self.restores


@dataclass(frozen=True, slots=True)
class Rendered:
    """A release's document, and the image of each of its services."""

    document: str
    images: Mapping[str, str]

    @property
    def checksum(self) -> str:
        """SHA-256 of the document."""
        return checksum_of(self.document)


def checksum_of(document: str) -> str:
    """Give the SHA-256 of a document."""
    return hashlib.sha256(document.encode()).hexdigest()


def render(app: AppOptions, resolved: Resolved, pins: Mapping[Wanted, Pinned]) -> Rendered:
    """Write an app's document with every image by content. Raises `BadRequest`, naming the service.

    What would have the host build or pull is left out, and `profiles` too: what is in the document is wanted. Each
    dollar in it is doubled already (`Resolved.document`), since the document is read once more.
    """
    document = deepcopy(dict(resolved.document))
    services = document.get("services")
    if not isinstance(services, dict) or not services:
        raise BadRequest(f"{app.name} has no services: there is nothing to deploy")
    images: dict[str, str] = {}
    for name, service in services.items():
        images[name] = _image(app, name, resolved.services.get(name), pins)
        services[name] = _service(app.kind, dict(service or {}), images[name])
    document.pop("name", None)
    if app.kind is AppKind.COMPOSE:
        document["name"] = app.name
    return Rendered(written(document), images)


def _image(app: AppOptions, service: str, wanted: Wanted | None, pins: Mapping[Wanted, Pinned]) -> str:
    pinned = pins.get(wanted) if wanted else None
    if wanted is None:
        raise BadRequest(
            f"{app.name}: the service {service} is only built: name its image, and push it (or load it on each host)"
        )
    if pinned is None:
        raise BadRequest(f"{app.name}: the image {wanted.reference} of the service {service} is not pinned")
    if pinned.local and app.kind is AppKind.SWARM:
        raise BadRequest(f"{app.name}: a swarm can't run {wanted.reference} of {service}: no registry has it; push it")
    return pinned.reference


def _service(kind: AppKind, service: dict[str, Any], image: str) -> dict[str, Any]:
    kept = {key: value for key, value in service.items() if key not in {"build", "profiles", "pull_policy"}}
    kept["image"] = image
    if kind is AppKind.COMPOSE:
        kept["pull_policy"] = "never"
    return kept


def written(document: Mapping[str, Any]) -> str:
    """Write a document. Raises `BadRequest` where no YAML reader would find the same in it, or it is too large."""
    _check_keys(document)
    try:
        text = json.dumps(document, ensure_ascii=False, indent=1, sort_keys=True, allow_nan=False)
    except (ValueError, RecursionError):
        raise BadRequest("the resolved document has a number that is none, or is nested too deep") from None
    text = _NOT_IN_YAML.sub(lambda found: f"\\u{ord(found[0]):04x}", text)
    if len(text.encode()) > MAX_DOCUMENT_BYTES:
        raise BadRequest(f"the resolved document is larger than {MAX_DOCUMENT_BYTES} bytes")
    return text


def _check_keys(value: Any) -> None:
    if isinstance(value, dict):
        for key, one in value.items():
            if not isinstance(key, str) or len(key) > MAX_KEY:
                raise BadRequest(f"the resolved document has a key of more than {MAX_KEY} characters: {str(key)[:60]}")
            _check_keys(one)
    elif isinstance(value, list):
        for one in value:
            _check_keys(one)


def current(releases: Iterable[Release]) -> Release | None:
    """Give the active one of an app's releases."""
    return next((one for one in releases if one.state is State.ACTIVE), None)


def partial(releases: Sequence[Release]) -> Release | None:
    """Give the release that hosts may have a part of: it was begun after the active one, and is not."""
    active = current(releases)
    began = [one for one in releases if one.began_at is not None and one.state in PARTIAL]
    return max((one for one in began if active is None or one.number > active.number), key=_number, default=None)


def previous(releases: Sequence[Release]) -> Release | None:
    """Give what a rollback brings back; None: there is nothing.

    Where hosts may have a part of a later release, that is the active one. Else it is the latest that was active, is
    another than what runs, is older than what runs, and was not itself left by a rollback: so a second rollback goes
    further back.
    """
    active = current(releases)
    return active if active is not None and partial(releases) is not None else _earlier(releases)


def _earlier(releases: Sequence[Release]) -> Release | None:
    """Give the release before the active one, whatever failed since."""
    active = current(releases)
    was = [one for one in releases if one.activated_at is not None and one.state is not State.ROLLED_BACK]
    if active is not None:
        was = [one for one in was if one.source < active.source and one.checksum != active.checksum]
    return max(was, key=_number, default=None)


def _number(release: Release) -> int:
    return release.number


def needed(releases: Sequence[Release]) -> tuple[Release, ...]:
    """Give those whose images have to stay on hosts: the current, the one before it, those under way.

    The one before it also while a later one has failed: that one is left behind, and going back goes on from there.
    """
    found = [one for one in (current(releases), _earlier(releases)) if one is not None]
    found += [one for one in releases if one.state in UNFINISHED]
    return tuple({one.number: one for one in found}.values())


def surplus(releases: Sequence[Release], keep: int) -> tuple[Release, ...]:
    """Give those that need not be kept: not the latest `keep` that ran, nor the latest `keep` that never did.

    Never one that is `needed`.
    """
    newest = sorted(releases, key=_number, reverse=True)
    ran = [one for one in newest if one.activated_at is not None]
    never = [one for one in newest if one.activated_at is None]
    stay = {one.number for one in (*ran[:keep], *never[:keep], *needed(releases))}
    return tuple(one for one in releases if one.number not in stay)


def after(active: Release, new: Release) -> State:
    """Give the state of what was active when a new release is: left by a rollback, or superseded."""
    left = new.restores is not None and active.source > new.restores
    return State.ROLLED_BACK if left else State.SUPERSEDED


def platforms_of(document: str) -> dict[str, str]:
    """Give the platform of each image of a release's document for which it names one."""
    services: Mapping[str, Mapping[str, object]] = json.loads(document)["services"]
    return {str(one["image"]): str(one["platform"]) for one in services.values() if one.get("platform")}
