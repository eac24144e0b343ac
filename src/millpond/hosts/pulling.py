"""What a pre-pull does: which digest each image gets, who has to pull it, and what is done after a failure. PURE.

One digest for each image, on all hosts alike, and no network where it can be avoided:
- a reference with a digest has it already;
- an image that a host has by the app's own reference is pinned from there (RepoDigests). Hosts that do not agree: the
  image that was made last counts, of two of one age that of the first host;
- one that was built or loaded there is pinned by its id: good for compose, as long as every host has the same one;
- only what no host has is asked for at the registry.
A release has one name for each image: one that all hosts have it under (the app's own first), else the name that
is pulled by; who has it only under another one fetches the manifest again, and no layer.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum

from millpond.hosts.apps import Pinned, Wanted
from millpond.hosts.commands import Unreadable, brief, lines
from millpond.hosts.images import read_time
from millpond.hosts.model import Completed, Kind
from millpond.hosts.references import canonical, parse_reference


@dataclass(frozen=True, slots=True)
class Here:
    """An image on a host. `digests` as ``domain/path@sha256:...``; `created_at` epoch seconds."""

    id: str
    tags: frozenset[str]
    digests: frozenset[str]
    platform: str
    created_at: float


@dataclass(frozen=True, slots=True)
class Facts:
    """What a host has of the images in question, and the platform that it runs."""

    host: str
    platform: str
    images: tuple[Here, ...] = ()

    def find(self, wanted: Wanted) -> Here | None:
        """Find an image by the app's own reference, for the platform that it is wanted for."""
        name = own(wanted)
        named = (one for one in self.images if name in one.tags or name in one.digests)
        return next((one for one in named if fits(one.platform, wanted.platform)), None)

    def holds(self, reference: str) -> bool:
        """Whether it has ``name@digest``, in full."""
        return any(reference in one.digests for one in self.images)


def own(wanted: Wanted) -> str:
    """Write an image's reference in the form in which hosts' own are compared: a digest makes the tag idle."""
    found = parse_reference(wanted.reference)
    return f"{found.name}@{found.digest}" if found.digest else canonical(wanted.reference)


def fits(platform: str, wanted: str) -> bool:
    """Whether an image for one platform is one for another; what either does not tell is no matter."""
    pairs = zip(platform.lower().split("/"), wanted.lower().split("/"), strict=False)
    return not wanted or all(have in {want, ""} for have, want in pairs)


def read_facts(host: str, platform: str, done: Completed) -> Facts:
    """Read `Docker.platform` and `Docker.named_images`. Raises `Unreadable`, also where the engine does not answer."""
    errors = [line for line in done.err.splitlines() if line.strip() and not _missing(line)]
    if not done.ok and (errors or "no such image" not in done.err.lower()):
        raise Unreadable(brief(" ".join(errors) or done.err or "its engine said nothing"))
    return Facts(host, platform.strip(), tuple(_here(line) for line in lines(done.out)))


def _missing(line: str) -> bool:
    return "no such image" in line.lower()


def _here(line: str) -> Here:
    try:
        found = json.loads(line)
        tags, digests = ([one for one in found[key] or () if "<none>" not in one] for key in ("tags", "digests"))
        return Here(
            id=str(found["id"]),
            tags=frozenset(map(canonical, tags)),
            digests=frozenset(map(canonical, digests)),
            platform=f"{found['os']}/{found['architecture']}",
            created_at=read_time(found["created"]),
        )
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise Unreadable(f"no image: {brief(line)!r}") from error


@dataclass(frozen=True, slots=True)
class Known:
    """The digest is known without asking anybody."""

    digest: str


@dataclass(frozen=True, slots=True)
class Loaded:
    """It was built or loaded on the hosts, which all have the same one."""

    id: str


@dataclass(frozen=True, slots=True)
class Unknown:
    """The registry has to be asked."""


@dataclass(frozen=True, slots=True)
class Torn:
    """There is no one image for all hosts; `text` says why, and what to do."""

    text: str


Choice = Known | Loaded | Unknown | Torn


def choose(wanted: Wanted, pull_name: str, facts: Sequence[Facts], *, refresh: bool = False) -> Choice:
    """Choose an image's digest from what the hosts have, in the order of the app's hosts.

    `pull_name` is the name that hosts pull it by; `refresh`: a tag is asked for again, whoever has it.
    """
    reference = parse_reference(wanted.reference)
    if reference.digest:
        return Known(reference.digest)
    having = [(one.host, here) for one in facts if (here := one.find(wanted)) is not None]
    if refresh or not having:
        return Unknown()
    names = {reference.name, pull_name}
    digests = [_digests(here, names) for _, here in having]
    if not all(digests):
        return _loaded(wanted, having, digests, facts)
    common = frozenset.intersection(*digests)
    if common:
        return Known(min(common))
    latest = max(range(len(having)), key=lambda at: (having[at][1].created_at, -at))
    return Known(min(digests[latest]))


def _digests(here: Here, names: set[str]) -> frozenset[str]:
    """Give an image's digests under some names; under whatever name, where it has none of them (an earlier pond's)."""
    pairs = [one.rpartition("@") for one in here.digests]
    usual = frozenset(digest for name, _, digest in pairs if name in names)
    return usual or frozenset(digest for _, _, digest in pairs)


def _loaded(
    wanted: Wanted, having: Sequence[tuple[str, Here]], digests: Sequence[frozenset[str]], facts: Sequence[Facts]
) -> Choice:
    if not any(digests) and len(having) == len(facts) and len({here.id for _, here in having}) == 1:
        return Loaded(having[0][1].id)
    where = ", ".join(host for (host, _), found in zip(having, digests, strict=True) if not found)
    text = f"{wanted.reference} was built or loaded on {where}, and not all hosts have the same"
    return Torn(f"{text}: push it to a registry, or load it on each (docker save | docker load)")


def pinned(wanted: Wanted, digest: str, pull_name: str, facts: Sequence[Facts]) -> Pinned:
    """Name an image by content: as all hosts have it (under the app's own name first), else by the name to pull by."""
    mine, pull = f"{parse_reference(wanted.reference).name}@{digest}", f"{pull_name}@{digest}"
    held = (one for here in (facts[0].images if facts else ()) for one in sorted(here.digests) if digest in one)
    common = (one for one in (mine, pull, *held) if facts and all(other.holds(one) for other in facts))
    reference = next(common, pull)
    return Pinned(wanted, parse_reference(reference).short, digest)


def lacking(pins: Mapping[Wanted, Pinned], facts: Facts) -> list[Pinned]:
    """Give what a host has to pull, each reference once."""
    found = {pin.reference: pin for pin in pins.values() if not pin.local and not facts.holds(canonical(pin.reference))}
    return list(found.values())


def gone(pins: Mapping[Wanted, Pinned], facts: Facts) -> list[Pinned]:
    """Give what a host does not have (any more), each reference once; what is known by its id only, too."""
    ids = {one.id for one in facts.images}
    lost = [pin for pin in pins.values() if pin.local and pin.reference not in ids]
    return [*lacking(pins, facts), *{pin.reference: pin for pin in lost}.values()]


def platforms(pin: Pinned, facts: Sequence[Facts]) -> tuple[str, ...]:
    """Give the platforms that hosts need an image for."""
    return tuple(dict.fromkeys(pin.wanted.platform or one.platform for one in facts))


class Then(StrEnum):
    """What comes after a failure."""

    FAIL = "fail"
    AGAIN = "again"
    ROOM = "room"
    """Room is made on the host, then it is tried once more."""
    DROP = "drop"
    """What the pond has of it is looked through, and what is wrong taken away; then it is tried once more."""


_WAITS: Mapping[Kind, tuple[float, ...]] = {Kind.WAIT: (15.0, 45.0), Kind.TRANSIENT: (1.0, 4.0, 10.0)}
_ONCE: Mapping[Kind, Then] = {Kind.DISK: Then.ROOM, Kind.CORRUPT: Then.DROP}
MAX_WAIT_S = 60.0
MAX_TRIES = 8


def after(failures: Sequence[Kind], told_s: float | None = None) -> tuple[Then, float]:
    """Say what to do after failures of one image in one place, and the seconds to wait first.

    The last one counts, by how often its kind came. `told_s`: how long the registry says to wait.
    """
    kind = failures[-1]
    times = failures.count(kind)
    if len(failures) >= MAX_TRIES:
        return Then.FAIL, 0.0
    if kind in _ONCE:
        return (_ONCE[kind], 0.0) if times == 1 else (Then.FAIL, 0.0)
    waits = _WAITS.get(kind, ())
    if times > len(waits) or (told_s or 0.0) > MAX_WAIT_S:
        return Then.FAIL, 0.0
    return Then.AGAIN, max(waits[times - 1], told_s or 0.0)


class Pulled:
    """Reads what `docker image pull` says while it runs: how many bytes of which layers are there.

    It tells no bytes where it has no terminal, but which layers are done: `sizes` has theirs, by digest.
    """

    def __init__(self, sizes: Mapping[str, int]) -> None:
        self._sizes = {digest.partition(":")[2][:12]: size for digest, size in sizes.items()}
        self._rest = ""
        self._done: set[str] = set()
        self.total = sum(sizes.values())

    def hear(self, piece: bytes) -> int:
        """Take a piece of its output; gives the bytes that are there."""
        *whole, self._rest = (self._rest + piece.decode("utf-8", "replace"))[-65536:].split("\n")
        for line in whole:
            layer, _, state = line.strip().partition(": ")
            if state.startswith(("Pull complete", "Already exists", "Download complete")):
                self._done.add(layer)
        return sum(self._sizes.get(layer, 0) for layer in self._done)
