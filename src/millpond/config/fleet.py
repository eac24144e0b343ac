"""Hosts, their upkeep and the apps on them: what fits together."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from millpond.config.hosts import DiskConfig
from millpond.config.problems import Problem, meant
from millpond.hosts.address import LOCAL

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.IGNORECASE | re.ASCII)
_PROJECT = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}", re.ASCII)
"""What compose takes as a project's name, and short enough to stand before a service's in a swarm (63 together)."""
_MARKS = (("low_percent", "high_percent"), ("low_inodes_percent", "high_inodes_percent"))
POND = "pond"
"""What the status calls the pond's own disk."""


def host_problems(table: Mapping[str, Any]) -> Iterator[Problem]:
    """Find names that no host can have, and marks in the wrong order."""
    common = _sub(_sub(table, "upkeep"), "disk")
    yield from _marks(("upkeep", "disk"), common, {})
    for name, host in _sub(table, "hosts").items():
        if not _NAME.fullmatch(name):
            text = "a name has letters, digits, '.', '_' and '-', begins with a letter or digit; at most 64 of them"
            yield Problem(("hosts", name), text)
        elif name == POND:
            yield Problem(("hosts", name), f'"{POND}" is what the status calls the pond itself; choose another name')
        if isinstance(host, Mapping) and _sub(host, "disk"):
            yield from _marks(("hosts", name, "disk"), _sub(host, "disk"), common)


def app_problems(table: Mapping[str, Any]) -> Iterator[Problem]:
    """Find apps whose name compose would refuse, whose hosts nobody knows, or that can't be deployed as they are."""
    for name, app in _sub(table, "apps").items():
        if not _PROJECT.fullmatch(name):
            text = (
                "a name has lower-case letters, digits, '_' and '-', begins with a letter or digit; at most 40 of them"
            )
            yield Problem(("apps", name), text)
        if isinstance(app, Mapping):
            found = (*_where(app, table), *_files(app), *_pulls(app, table))
            yield from (Problem(("apps", name, key), text) for key, text in found)


def _where(app: Mapping[str, Any], table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    hosts = _sub(table, "hosts")
    known = {*hosts, *(str(label) for host in hosts.values() for label in _labels(host))}
    wanted, on = app.get("hosts"), app.get("on")
    if isinstance(wanted, Sequence) and not isinstance(wanted, str):
        if not wanted:
            yield "hosts", "empty; name the hosts that it runs on, or a label of theirs"
        for one in wanted:
            if isinstance(one, str) and one not in known:
                yield "hosts", f'"{one}" is no host and no label of one; {_known(one, known)}'
    if on and isinstance(on, str) and on not in hosts:
        yield "on", f'"{on}" is no host; {_known(on, set(hosts))}'


def _known(word: str, known: set[str]) -> str:
    return meant(word, known) if known else "there is no [hosts.NAME] at all"


def _labels(host: Any) -> Sequence[Any]:
    labels = host.get("labels") if isinstance(host, Mapping) else None
    return labels if isinstance(labels, list) else ()


def _files(app: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    path = app.get("path")
    if path == "":
        yield "path", "empty; write the folder of its compose or stack files"
    elif app.get("on") and isinstance(path, str) and not path.startswith("/"):
        yield "path", f'must be absolute, since it lies on the host "{app["on"]}"'
    if app.get("kind") == "swarm" and app.get("profiles"):
        yield "profiles", 'a stack has no profiles; leave the key out, or write kind = "compose"'


def _pulls(app: Mapping[str, Any], table: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    if app.get("pull", "pond") != "pond":
        if app.get("pond"):
            yield "pond", 'its hosts pull directly; leave the key out, or write pull = "pond"'
    elif not app.get("pond") and not pond_address(table, only_local=_only_local(app, table)):
        ways = 'host:port as its hosts reach the pond, or [server] public_url (without a path), or pull = "direct"'
        yield "pond", f"missing; write {ways}"


def _only_local(app: Mapping[str, Any], table: Mapping[str, Any]) -> bool:
    wanted = app.get("hosts")
    hosts = members(wanted, _sub(table, "hosts")) if isinstance(wanted, list) else ()
    tables = (_sub(table, "hosts").get(name) for name in hosts)
    return all(isinstance(host, Mapping) and host.get("ssh") == LOCAL for host in tables)


def members(wanted: Sequence[str], hosts: Mapping[str, Any]) -> tuple[str, ...]:
    """Give the hosts that names and labels mean, each once: a host's name before a label, labels in the file's order.

    `hosts` are tables, or objects that have `labels`.
    """

    def labelled(label: str) -> list[str]:
        return [name for name, host in hosts.items() if label in (_labels(host) or getattr(host, "labels", ()))]

    found = (name for one in wanted for name in ([one] if one in hosts else labelled(one)))
    return tuple(dict.fromkeys(found))


def pond_address(table: Mapping[str, Any], *, only_local: bool) -> str:
    """Give ``host:port`` of the pond for an app's hosts: that of public_url, or of the port here if all are local.

    Empty: there is none.
    """
    server = _sub(table, "server")
    scheme, _, rest = str(server.get("public_url") or "").partition("://")
    address, _, path = rest.strip("/").partition("/")
    if address and not path:
        bare = address.rpartition("]")[2] if address.startswith("[") else address
        return address if ":" in bare else f"{address}:{443 if scheme == 'https' else 80}"
    port = server.get("port", 8080)
    return f"127.0.0.1:{port}" if only_local and port and not address else ""


def _sub(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, Mapping) else {}


def _marks(place: tuple[str, ...], own: Mapping[str, Any], above: Mapping[str, Any]) -> Iterator[Problem]:
    defaults = DiskConfig().model_dump()
    for pair in _MARKS:
        low, high = (_number(key, own, above, defaults) for key in pair)
        if low >= high:
            key = pair[0] if pair[0] in own else pair[1]
            yield Problem((*place, key), f"{pair[0]} ({low:g}) must be less than {pair[1]} ({high:g})")


def _number(key: str, *tables: Mapping[str, Any]) -> float:
    """Give the first table's value that is a number; the last table must have one."""
    values = (table.get(key) for table in tables)
    return next(value for value in values if isinstance(value, int | float) and not isinstance(value, bool))
