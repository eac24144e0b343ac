"""What is run on a host, as argument lists, beside what reads its output. PURE.

An argument list is a value: tests compare it, and no shell reads it. What comes from outside (a reference, an id) is
checked by its grammar and stands behind ``--``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from millpond.hosts.model import Completed, Engine, Filled, Kind, Reclaimed
from millpond.hosts.references import is_image_id, parse_reference
from millpond.hosts.sizes import read_size
from millpond.hosts.until import go_duration

Argv: TypeAlias = tuple[str, ...]
MAX_ROOT = 1024
MAX_TOLD = 300
_RECLAIMED = re.compile(r"^(?:Total reclaimed space|Total):[ \t]*(\S.*?)[ \t]*$", re.MULTILINE)
_DF = re.compile(r".*?\s(\d{1,20}|-)\s+(\d{1,20}|-)\s+(-?\d{1,20}|-)\s+(?:\d+%|-)\s+(/.*)")
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]+")
_DATE = re.compile(r"([0-9]{4}-[01][0-9]-[0-3][0-9])[ T]([0-2][0-9]:[0-5][0-9]:[0-5][0-9])")
_LONG_AGO = re.compile(r"\b(?:day|week|month|year)s?\b")
_LATELY_S = 2 * 86400.0
_SOCKET = re.compile(r"unix:///[A-Za-z0-9._/@-]{1,100}")


class Unreadable(ValueError):
    """A command's output is not what it should be."""


@dataclass(frozen=True, slots=True)
class Docker:
    """The docker client's command lines for one engine; `socket` as ``unix:///path``, empty: its own default."""

    socket: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no socket. Raises `ValueError`."""
        if self.socket:
            check_socket(self.socket)

    def version(self) -> Argv:
        """Ask for the client's and the server's version."""
        return self._argv("version", "--format", "{{json .}}")

    def info(self) -> Argv:
        """Ask the engine about itself."""
        return self._argv("info", "--format", "{{json .}}")

    def prune_cache(self, until: str, *, all_: bool = False) -> Argv:
        """Prune build cache last used longer ago than `until` (as configured). Raises `ValueError` for no sound one."""
        everything = ("-a",) if all_ else ()
        return self._argv("builder", "prune", "-f", *everything, "--filter", f"until={go_duration(until)}")

    def cache_by_buildx(self) -> Argv:
        """List the build cache's records, of the builder that `prune_cache` prunes where there is buildx."""
        return self._argv("buildx", "du", "--verbose")

    def cache_by_engine(self) -> Argv:
        """List the build cache's records of the engine's own builder, as one JSON list."""
        return self._argv("system", "df", "-v", "--format", "{{json .BuildCache}}")

    def images(self, *, dangling: bool = False) -> Argv:
        """List the ids of images; `dangling`: of those without a name."""
        return self._argv("image", "ls", "-q", "--no-trunc", *(("--filter", "dangling=true") if dangling else ()))

    def inspect_images(self, ids: Iterable[str]) -> Argv:
        """Describe images, a JSON line for each."""
        return self._argv("image", "inspect", "--format", _IMAGE, "--", *map(_id, ids))

    def containers(self) -> Argv:
        """List the ids of all containers, stopped ones too."""
        return self._argv("container", "ls", "-a", "-q", "--no-trunc")

    def images_of(self, containers: Iterable[str]) -> Argv:
        """Tell the image of each container, a JSON line for each."""
        return self._argv("container", "inspect", "--format", "{{json .Image}}", "--", *map(_id, containers))

    def services(self) -> Argv:
        """Tell the image of each service of a swarm, a JSON line for each; on its managers only."""
        return self._argv("service", "ls", "--format", "{{json .Image}}")

    def platform(self) -> Argv:
        """Ask for the platform that the engine's own images are for, as ``linux/amd64``."""
        return self._argv("version", "--format", "{{.Server.Os}}/{{.Server.Arch}}")

    def named_images(self, references: Iterable[str]) -> Argv:
        """Describe images by name or id, a JSON line for each that is there; it ends with 1 where one is not."""
        names = (_id(one) if one.startswith("sha256:") else parse_reference(one).short for one in references)
        return self._argv("image", "inspect", "--format", _NAMED_IMAGE, "--", *names)

    def pull(self, reference: str, platform: str = "") -> Argv:
        """Pull an image; empty `platform`: the host's own."""
        wanted = ("--platform", platform) if platform else ()
        return self._argv("image", "pull", *wanted, "--", parse_reference(reference).short)

    def tag(self, reference: str, name: str) -> Argv:
        """Give an image that is there one more name."""
        return self._argv("image", "tag", "--", parse_reference(reference).short, parse_reference(name).short)

    def remove_image(self, reference: str) -> Argv:
        """Take a name from an image, and the image away with its last one. Never forced: one in use stays."""
        return self._argv("image", "rm", "--", parse_reference(reference).short)

    def remove_nameless(self, ids: Iterable[str]) -> Argv:
        """Remove images by id that have no name. `docker image prune` would take those with a digest only too.

        A release that was pulled by digest is such a one.
        """
        return self._argv("image", "rm", "--", *map(_id, ids))

    def compose(self) -> tuple[Argv, Argv]:
        """Ask for compose's version: of the client's plug-in, and of the program that stands alone."""
        return self._argv("compose", "version", "--short"), ("docker-compose", "version", "--short")

    def _argv(self, *words: str) -> Argv:
        return ("docker", *(("-H", self.socket) if self.socket else ()), *words)


def check_socket(text: str) -> str:
    """Check an engine's address on its host. Raises `ValueError`."""
    if not _SOCKET.fullmatch(text):
        raise ValueError('not an engine\'s socket; write one such as "unix:///run/user/1000/docker.sock"')
    return text


_IMAGE = (
    '{"id":{{json .Id}},"tags":{{json .RepoTags}},"digests":{{json .RepoDigests}},"size":{{json .Size}},'
    '"created":{{json .Created}},"tagged":{{json .Metadata.LastTagTime}}}'
)


_NAMED_IMAGE = (
    '{"id":{{json .Id}},"tags":{{json .RepoTags}},"digests":{{json .RepoDigests}},"created":{{json .Created}},'
    '"os":{{json .Os}},"architecture":{{json .Architecture}}}'
)
"""Without the variant: a client fails where an image has none."""


def _id(text: str) -> str:
    if not is_image_id(text):
        raise Unreadable(f"{text[:80]!r} is no id of Docker's")
    return text


def blocks_of(path: str) -> Argv:
    """Measure the bytes of the file system that a path is on (POSIX df)."""
    return ("df", "-P", "-k", "--", _absolute(path))


def inodes_of(path: str) -> Argv:
    """Measure the inodes of the file system that a path is on."""
    return ("df", "-P", "-i", "--", _absolute(path))


def read_df(out: str, unit: int = 1) -> Filled | None:
    """Read df's one row, in units of so many bytes; None: the file system has no such number."""
    rows = out.strip("\n").splitlines()
    found = _DF.fullmatch(rows[-1]) if len(rows) > 1 else None
    if found is None:
        raise Unreadable(f"df said {brief(out)!r}")
    if "-" in found.group(1, 2, 3) or int(found[1]) == 0:
        return None
    return Filled(int(found[1]) * unit, int(found[2]) * unit, max(int(found[3]), 0) * unit)


def read_reclaimed(out: str) -> Reclaimed | None:
    """Find what a prune freed, in both forms: ``Total reclaimed space: 11.05GB``, and buildx's ``Total:``."""
    for text in reversed(_RECLAIMED.findall(out)):
        try:
            return Reclaimed(text, read_size(text))
        except ValueError:
            continue
    return None


def read_versions(out: str) -> tuple[str, str]:
    """Give the client's and the server's version; the server's is empty where it does not answer."""
    found = _object(out)
    return _text(found, "Client", "Version"), _text(found, "Server", "Version")


def read_engine(out: str) -> Engine:
    """Read what an engine tells of itself."""
    found = _object(out)
    errors = found.get("ServerErrors")
    if errors:
        raise Unreadable(brief("; ".join(map(str, errors)) if isinstance(errors, list) else str(errors)))
    root = _text(found, "DockerRootDir")
    state = _text(found, "Swarm", "LocalNodeState") or "inactive"
    manager = _inner(found, "Swarm").get("ControlAvailable") is True
    return Engine(_text(found, "ServerVersion"), _absolute(root), state, manager, _text(found, "Swarm", "NodeID"))


def builds_by_buildx(out: str, now: float) -> bool:
    """Whether a record of `Docker.cache_by_buildx` is held by a build.

    Builders are known to lose count of who uses a record (moby/buildkit#5583). So one that is in use tells of a running
    build only where it was made or used in the last two days; a build that runs has such a one at least.
    """
    for record in re.split(r"^ID:", out, flags=re.MULTILINE)[1:]:
        facts = dict(re.findall(r"^(Reclaimable|Created at|Last used):[ \t]+(.*?)[ \t]*$", record, re.MULTILINE))
        times = (facts.get("Created at", ""), facts.get("Last used", ""))
        if facts.get("Reclaimable") == "false" and any(_lately(text, now) for text in times):
            return True
    return False


def builds_by_engine(out: str, now: float) -> bool:
    """Whether a record of `Docker.cache_by_engine` is held by a build; see `builds_by_buildx`."""
    held = [record for record in _records(out) if _in_use(record)]
    times = [str(record.get(key) or "") for record in held for key in ("CreatedSince", "LastUsedSince")]
    return any(_lately(text, now) for text in times)


def _in_use(record: Mapping[str, Any]) -> bool:
    return str(record.get("InUse")).lower() == "true"


def _lately(text: str, now: float) -> bool:
    """Whether a time is within the last two days: Docker's "3 hours ago" (days begin at two), or a date and time."""
    date = _DATE.match(text)
    if date is None:
        return bool(text) and _LONG_AGO.search(text) is None
    try:
        at = datetime.fromisoformat(f"{date[1]}T{date[2]}+00:00").timestamp()
    except ValueError as error:
        raise Unreadable(f"no date: {brief(text)!r}") from error
    return now - at < _LATELY_S


def cache_size(out: str) -> int:
    """Give the bytes of the records of `Docker.cache_by_engine` that no build holds."""
    return sum(_size(record.get("Size")) for record in _records(out) if not _in_use(record))


def _records(out: str) -> list[Mapping[str, Any]]:
    found = _json(out)
    if found is None:
        return []
    if not isinstance(found, list) or not all(isinstance(one, dict) for one in found):
        raise Unreadable(f"no list of build cache: {brief(out)!r}")
    return found


def _size(value: object) -> int:
    try:
        return int(value) if isinstance(value, int) else read_size(str(value))
    except ValueError as error:
        raise Unreadable(str(error)) from error


def lines(out: str) -> Iterator[str]:
    """Give the lines that say something."""
    return (line for line in out.splitlines() if line.strip())


def ids(out: str) -> tuple[str, ...]:
    """Read a list of ids, each once."""
    return tuple(dict.fromkeys(_id(line.strip()) for line in lines(out)))


def read_string(line: str) -> str:
    """Read one JSON string."""
    found = _json(line)
    if not isinstance(found, str):
        raise Unreadable(f"no JSON string: {brief(line)!r}")
    return found


def read_removed(out: str) -> int:
    """Count the layers and images that a removal says are gone."""
    return sum(line.startswith("Deleted:") for line in out.splitlines())


def pull_failure(text: str) -> Kind:
    """Class what a failed `docker pull` (or whatever pulls) said; all of them exit with 1."""
    said = text.lower()
    return next((kind for kind, words in _FAILURES if any(word in said for word in words)), Kind.TRANSIENT)


_DENIED = (
    "unauthorized", "pull access denied", "authentication required", "docker login", "denied:",
    "no basic auth credentials",
)  # fmt: skip
_FAILURES: tuple[tuple[Kind, tuple[str, ...]], ...] = (
    (Kind.CORRUPT, ("filesystem layer verification failed", "manifest verification failed", "digest mismatch")),
    (Kind.DISK, ("no space left on device", "disk quota exceeded")),
    (Kind.WAIT, ("toomanyrequests", "too many requests", "rate limit")),
    (Kind.CREDENTIALS, _DENIED),
    (
        Kind.PERMANENT,
        (
            "manifest unknown",
            "no matching manifest",
            "invalid reference format",
            "name unknown",
            "x509:",
            "not found",
            "http response to https client",
        ),
    ),
)
"""The first that fits: a layer that can't be written may be told beside the registry's own words."""


def brief(text: str, at_most: int = MAX_TOLD) -> str:
    """Make a line that can stand in a status or a log: control characters gone, not long."""
    plain = _CONTROL.sub(" ", text).strip()
    return plain if len(plain) <= at_most else f"{plain[:at_most]}..."


def failure_text(done: Completed, shorten: Callable[[str], str] = brief) -> str:
    """Give what a failed command had to say, in one line, which `shorten` makes."""
    return shorten(done.err.strip() or done.out.strip()) or "it said nothing"


def _absolute(path: str) -> str:
    if not path.startswith("/") or len(path) > MAX_ROOT or _CONTROL.search(path):
        raise Unreadable(f"{path[:80]!r} is no absolute path")
    return path


def _json(out: str) -> Any:
    try:
        return json.loads(out)
    except (ValueError, RecursionError):
        raise Unreadable(f"no JSON: {brief(out)!r}") from None


def _object(out: str) -> Mapping[str, Any]:
    found = _json(out)
    if not isinstance(found, dict):
        raise Unreadable(f"no JSON object: {brief(out)!r}")
    return found


def _inner(found: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = found.get(key)
    return value if isinstance(value, dict) else {}


def _text(found: Mapping[str, Any], *keys: str) -> str:
    for key in keys[:-1]:
        found = _inner(found, key)
    value = found.get(keys[-1])
    return value if isinstance(value, str) else ""
