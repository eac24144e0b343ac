"""What `docker stack config` says an app's files are -> the images that it needs, checked. PURE.

It writes YAML with every variable filled in, without a word about those that are not set: what the files use is looked
for in them beforehand. YAML is read by the safe loader, without anchors (its output has none), in bounds. A dollar in
the answer is one: it is doubled again, since a stack file's dollars are read once more when it is deployed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import yaml

from millpond.hosts import dotenv
from millpond.hosts.apps import AppFailed, AppOptions, Resolved
from millpond.hosts.compose import refuse_unset, resolved
from millpond.hosts.model import Completed
from millpond.hosts.refusals import UNTOLD, told

MAX_YAML = 256 * 1024
MAX_DEPTH = 50
_SAFE = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
"""Twenty times as fast where there is libyaml."""
USUAL = ("compose.yaml", "compose.yml", "docker-compose.yaml", "docker-compose.yml", "docker-stack.yml", "stack.yml")
_NOT_HANDED_ON = frozenset({
    "PATH", "HOME", "IFS", "ENV", "PS4", "CDPATH", "SHELLOPTS", "TMPDIR", "TZDIR", "LOCALDOMAIN", "RES_OPTIONS",
    "HOSTALIASES", "GODEBUG", "GOTRACEBACK", "GOCOVERDIR", "GOMAXPROCS", "GOGC", "GOMEMLIMIT", "NLSPATH", "LOCPATH",
    "PWD", "OLDPWD", "POSIXLY_CORRECT",
})  # fmt: skip
_NOR_THOSE_OF = ("LD_", "DYLD_", "BASH", "DOCKER_", "SSL_CERT_", "OTEL_", "XDG_", "MALLOC_", "GCONV_")
"""Names, and how names begin, that mean something to the programs themselves."""
_USED = re.compile(r"\$(?:\$|\{?([A-Za-z_][A-Za-z0-9_]*))")
"""A use of a variable in any form, also within another's default."""
_OF_SHELLS = frozenset({
    "UID", "EUID", "PPID", "GROUPS", "RANDOM", "SRANDOM", "SECONDS", "LINENO", "OPTIND", "OPTARG", "OPTERR", "FUNCNAME",
    "FUNCNEST", "DIRSTACK", "HISTCMD", "EPOCHSECONDS", "EPOCHREALTIME", "PIPESTATUS", "TMOUT", "ERRNO", "USER_ID",
    "PGRP", "KSH_VERSION", "_",
})  # fmt: skip


def reserved(name: str) -> bool:
    """Whether a variable would act on the programs that read the files, and so is not handed to them."""
    plain = name.upper()
    return plain in _NOT_HANDED_ON or plain.startswith(_NOR_THOSE_OF) or plain.endswith("_PROXY")


def of_shells(name: str) -> bool:
    """Whether shells (bash, dash, ash, ksh, mksh) have a variable of this name for themselves.

    They refuse to set it, end of it, or give it another value. None of the names is a secret's.
    """
    return name in _OF_SHELLS


def stack_files(env: Mapping[str, str], app: AppOptions) -> tuple[str, ...]:
    """Give the files that are configured, else those of COMPOSE_FILE; none: the first of the `USUAL` that is there."""
    separator = env.get("COMPOSE_PATH_SEPARATOR") or ":"
    files = app.files or tuple(filter(None, env.get("COMPOSE_FILE", "").split(separator)))
    if "-" in files:
        raise AppFailed(app.name, "a file that is called - would be standard input; write ./-")
    return files


def check_file(name: str, text: str, env: Mapping[str, str], app: AppOptions) -> None:
    """Refuse a file whose variables are not all set, or are set and not handed on. Raises `AppFailed`."""
    if len(text) > MAX_YAML:
        raise AppFailed(app.name, f"{name} has more than {MAX_YAML} characters")
    try:
        scalars = [scalar for scalar in _scalars(text) if "$" in scalar]
    except (yaml.YAMLError, RecursionError) as error:
        raise AppFailed(app.name, f"{name} is no YAML{_at(error)}") from None
    used = {one for scalar in scalars for one in _USED.findall(scalar)}
    kept = sorted(one for one in used if one in env and reserved(one))
    if kept:
        raise AppFailed(app.name, f"{kept[0]} would act on docker itself; call it otherwise (it is used in {name})")
    refuse_unset(sorted({one for scalar in scalars for one in dotenv.missing(scalar, env)}), app)


def _scalars(text: str) -> Iterator[str]:
    for event in yaml.parse(text, Loader=_SAFE):
        if isinstance(event, yaml.ScalarEvent):
            yield str(event.value)


def _at(error: Exception) -> str:
    mark = getattr(error, "problem_mark", None)
    return f": line {mark.line + 1}, column {mark.column + 1}" if mark is not None else ""


def handed_on(env: Mapping[str, str]) -> dict[str, str]:
    """Give the variables that the program is started with."""
    return {name: value for name, value in env.items() if not reserved(name)}


def read_stack(done: Completed, app: AppOptions) -> Resolved:
    """Read the answer of ``docker stack config``. Raises `AppFailed`."""
    if not done.ok:
        said = told(done)
        if "unknown shorthand flag" in done.err or "unknown command" in done.err:
            said = "its `docker` is too old to read stack files: `docker stack config` came with version 25"
        elif said == UNTOLD:
            said += f"; see it by `docker stack config` in {app.path}"
        raise AppFailed(app.name, f"docker refuses its files: {said}")
    if done.truncated or len(done.out) > MAX_YAML:
        raise AppFailed(app.name, f"its files come to more than {MAX_YAML} bytes")
    try:
        if any(isinstance(event, yaml.AliasEvent) for event in yaml.parse(done.out, Loader=_SAFE)):
            raise AppFailed(app.name, "docker gave YAML with aliases: a few lines of them can come to gigabytes")
        document = yaml.load(done.out, Loader=_SAFE)  # noqa: S506 - the safe loader
    except (yaml.YAMLError, RecursionError, ValueError) as error:
        raise AppFailed(app.name, f"docker gave no YAML{_at(error)}") from None
    found = _escaped(document, app)
    for name, service in _services(found):
        service.pop("env_file", None)  # what it says stands in the service already
        if service.get("image") is None:
            raise AppFailed(app.name, f"service {name} has no image, and a stack builds none; write image:")
    return resolved(found, app)


def _escaped(value: Any, app: AppOptions, depth: int = 0) -> Any:
    """Write a value as a stack file has it; times and the like, which JSON does not know, as text."""
    if depth > MAX_DEPTH:
        raise AppFailed(app.name, f"its files are nested deeper than {MAX_DEPTH}")
    match value:
        case dict():
            return {str(key): _escaped(one, app, depth + 1) for key, one in value.items()}
        case list():
            return [_escaped(one, app, depth + 1) for one in value]
        case None | bool() | int() | float():
            return value
    return str(value).replace("$", "$$")


def _services(document: Any) -> Iterator[tuple[str, dict[str, Any]]]:
    services = document.get("services") if isinstance(document, dict) else None
    for name, service in services.items() if isinstance(services, dict) else ():
        if isinstance(service, dict):
            yield name, service
