"""Tracker, forge, projects and pipelines: what fits together."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from millpond.config.delivery import DeliveryConfig
from millpond.config.problems import Problem, meant
from millpond.delivery.board import board
from millpond.delivery.definition import from_table
from millpond.delivery.model import Key
from millpond.errors import ConfigError

_NAME = re.compile(r"[a-z0-9][a-z0-9._-]{0,63}", re.IGNORECASE | re.ASCII)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,99}", re.ASCII)
_PART = re.compile(r"\[(\d+)\]|([^.\[\]]+)")
_NEEDED = {"plane": ("url", "workspace", "token"), "gitea": ("url", "token")}
_OWN = {"tracker": ("url", "workspace"), "forge": ("url",)}


def delivery_problems(table: Mapping[str, Any]) -> Iterator[Problem]:
    """Find what is wrong between the settings of the delivery."""
    yield from _counterpart("tracker", _sub(table, "tracker"))
    yield from _counterpart("forge", _sub(table, "forge"))
    yield from _states(_sub(table, "tracker"))
    yield from _pipeline(("pipeline",), table.get("pipeline"), _variables(table))
    yield from _projects(table)
    yield from _circuit(_sub(table, "delivery"))
    for name in _variables(table):
        if not _VARIABLE.fullmatch(name):
            yield Problem(("delivery", "environment", name), "no name of a variable; write letters, digits and '_'")


def _counterpart(name: str, table: Mapping[str, Any]) -> Iterator[Problem]:
    kind = table.get("kind", "local")
    for key in _NEEDED.get(kind, ()) if isinstance(kind, str) else ():
        if not table.get(key):
            yield Problem((name, key), f'missing; kind = "{kind}" needs it')
    if kind == "local":
        for key in _OWN[name]:
            if table.get(key):
                other = "plane" if name == "tracker" else "gitea"
                yield Problem((name, key), f'the embedded one has none; leave the key out, or write kind = "{other}"')
    elif name == "forge" and table.get("path"):
        yield Problem((name, "path"), 'only a local forge has one; leave the key out, or write kind = "local"')


def _states(tracker: Mapping[str, Any]) -> Iterator[Problem]:
    for table in ("states", "default_states"):
        found = _sub(tracker, table)
        unknown = [key for key in found if key not in set(Key)]
        yield from (Problem(("tracker", table, key), f"unknown state; {meant(key, list(Key), 0.5)}") for key in unknown)
        wrong = [key for key, value in found.items() if not isinstance(value, str) or not value]
        yield from (Problem(("tracker", table, key), "must be text, and not empty") for key in wrong)
        if table == "states" and not unknown and not wrong:
            try:
                board.names(found)
            except ValueError as error:
                yield Problem(("tracker", "states"), str(error))


def _projects(table: Mapping[str, Any]) -> Iterator[Problem]:
    prefixes: dict[str, str] = {}
    boards: dict[str, str] = {}
    apps = _sub(table, "apps")
    for name, project in _sub(table, "projects").items():
        place = ("projects", name)
        if not _NAME.fullmatch(name):
            text = "a name has letters, digits, '.', '_' and '-', begins with a letter or digit; at most 64 of them"
            yield Problem(place, text)
        if not isinstance(project, Mapping):
            continue
        yield from _unlike(place, "prefix", str(project.get("prefix", "")).upper(), prefixes)
        yield from _unlike(place, "tracker_project", str(project.get("tracker_project") or name), boards)
        if str(project.get("repo", "")).startswith("/") and _sub(table, "forge").get("kind", "local") != "local":
            yield Problem((*place, "repo"), 'only a local forge takes a path; write its name, such as "team/shop"')
        app = project.get("app")
        if app and isinstance(app, str) and app not in apps:
            known = meant(app, apps) if apps else "there is no [apps.NAME] at all"
            yield Problem((*place, "app"), f'"{app}" is no app; {known}')
        if project.get("own") is True and not app:
            yield Problem((*place, "own"), "there is no app; name it, or leave the key out")
        yield from _pipeline((*place, "pipeline"), project.get("pipeline"), _variables(table))


def _unlike(place: tuple[str, str], key: str, value: str, seen: dict[str, str]) -> Iterator[Problem]:
    """Keep what names issues apart: two projects can't share it."""
    if value and value in seen:
        yield Problem((*place, key), f'"{value}" is that of the project {seen[value]}, too; each has its own')
    elif value:
        seen[value] = place[1]


def _variables(table: Mapping[str, Any]) -> Mapping[str, Any]:
    """Give the variables that stages may pass on to what they run, by name."""
    return _sub(_sub(table, "delivery"), "environment")


def _pipeline(place: tuple[str, ...], table: Any, variables: Collection[str]) -> Iterator[Problem]:
    if not table or not isinstance(table, Mapping):
        return
    try:
        from_table(table, "", variables=variables)
    except ConfigError as error:
        for one in error.mistakes:
            parts = [int(index) if index else word for index, word in _PART.findall(one.key)]
            yield Problem((*place, *parts), f"{one.wrong}; {one.meant}" if one.meant else one.wrong)


def _circuit(table: Mapping[str, Any]) -> Iterator[Problem]:
    plain = DeliveryConfig()
    first, most = (
        table.get("circuit_open_s", plain.circuit_open_s),
        table.get("circuit_max_open_s", plain.circuit_max_open_s),
    )
    if isinstance(first, int | float) and isinstance(most, int | float) and first > most:
        key = "circuit_open_s" if "circuit_open_s" in table else "circuit_max_open_s"
        yield Problem(("delivery", key), f"circuit_open_s ({first:g}) must not exceed circuit_max_open_s ({most:g})")


def _sub(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = table.get(key)
    return value if isinstance(value, Mapping) else {}
