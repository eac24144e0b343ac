"""What compose says an app's files are -> the images that it needs, checked. PURE.

Compose is asked for its JSON form (``config --format json``), in which every variable is filled in, files are merged,
and what a service reads from ``env_file`` stands in it. The document may hold secrets: nothing here repeats a value of
it but where something is mounted, masked, and images that are sound references; of what compose says there is told
what `refusals` lets through. Compose tells of a variable that is not set by a warning only, and PyPI's launcher of it
forgets the exit code: what was written to standard error decides too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any

from millpond.hosts.apps import AppFailed, AppOptions, Resolved, Wanted
from millpond.hosts.commands import Argv, brief
from millpond.hosts.masking import Mask
from millpond.hosts.model import Completed
from millpond.hosts.references import NotReference, parse_reference
from millpond.hosts.refusals import UNTOLD, told

MAX_DOCUMENT = 1 << 20
MAX_SERVICES, MAX_IMAGES = 500, 200
_UNSET = re.compile(r'The \\?"([A-Za-z_][A-Za-z0-9_]{0,199})\\?" variable is not set')
_SERVICE = re.compile(r"[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}")
_PLATFORM = re.compile(r"[a-z0-9_]+(?:/[a-zA-Z0-9_]+(?:/[a-zA-Z0-9_.]+)?)?")
_MAJOR = re.compile(r"v?(\d+)\.")
OLDEST = 2


def config(program: Argv, app: AppOptions) -> Argv:
    """Ask compose for an app's document; to be run in the app's folder.

    Where its files do not lie where it runs, relative paths stay as they are written, so that they can be told.
    """
    options = [*(f"--file={file}" for file in app.files), *(f"--profile={profile}" for profile in app.profiles)]
    env_file = [f"--env-file={app.env_file}"] if app.env_file else []
    paths = [] if app.in_place else ["--no-path-resolution"]
    return (*program, "-p", app.name, *env_file, *options, "config", "--format", "json", *paths)


def variables(program: Argv, app: AppOptions) -> Argv:
    """Ask compose which variables an app's files use by themselves; older ones than 2.28 don't tell."""
    return (*config(program, app), "--variables")


def read_variables(done: Completed) -> frozenset[str]:
    """Read the answer; nothing is known where it can't be read."""
    try:
        found = json.loads(done.out) if done.ok and not done.truncated and len(done.out) <= MAX_DOCUMENT else {}
    except (ValueError, RecursionError):
        return frozenset()
    return frozenset(found) if isinstance(found, dict) else frozenset()


def unset(done: Completed) -> frozenset[str]:
    """Give what compose warns of as not set: variables' names, and what follows a $ in a value of the .env."""
    return frozenset(_UNSET.findall(done.err))


def check_version(said: str) -> None:
    """Refuse a compose that knows no JSON form. Raises `ValueError`."""
    found = _MAJOR.match(said.strip())
    if found and int(found[1]) < OLDEST:
        raise ValueError(
            f"Docker Compose {brief(said)} is too old; {OLDEST}.0 is the first that can tell what it reads"
        )


def read_config(done: Completed, app: AppOptions, named: Collection[str] = ()) -> Resolved:
    """Read compose's answer. `named`: variables whose names stand in the files themselves. Raises `AppFailed`."""
    missing = unset(done)
    refuse_unset(sorted(missing.intersection(named)), app)
    if missing:
        text = f"a value in {app.env_file or '.env'}, or an env_file, uses a variable that is not set"
        see = f"`docker compose config -q` in {app.path} tells its name"
        raise AppFailed(app.name, f"{text}; a $ in a value: use single quotes ({see}, which may be part of a secret)")
    if not done.ok or not done.out.strip():
        raise AppFailed(app.name, f"compose refuses its files: {_refusal(done, app)}")
    if done.truncated or len(done.out) > MAX_DOCUMENT:
        raise AppFailed(app.name, f"its files come to more than {MAX_DOCUMENT} bytes")
    try:
        document = json.loads(done.out)
    except (ValueError, RecursionError):
        raise AppFailed(app.name, "compose gave no JSON: version 2.0 or later is needed") from None
    if "\ufffd" in json.dumps(document, ensure_ascii=False):
        where = app.env_file or ".env"
        raise AppFailed(app.name, f"its files, {where} or an env_file are not text in UTF-8 (or have U+FFFD in them)")
    return resolved(document, app)


def refuse_unset(names: Sequence[str], app: AppOptions) -> None:
    """Refuse variables that are not set. Raises `AppFailed`."""
    if names:
        listed = ", ".join(brief(name) for name in names[:20])
        where = app.env_file or ".env"
        text = f"not set: {listed}; set it in {where}, or give it a default in the file: ${{NAME:-default}}"
        raise AppFailed(app.name, text)


def _refusal(done: Completed, app: AppOptions) -> str:
    """Say why compose refuses the files; where that can't be told, say how to see it."""
    why = told(done)
    where = f"on {app.on}" if app.on else "on the pond's machine"
    return why if why != UNTOLD else f"{why}; see it by `docker compose config -q` in {app.path} {where}"


def resolved(document: object, app: AppOptions) -> Resolved:
    """Check a document, and list its images. Raises `AppFailed`."""
    found = document if isinstance(document, dict) else {}
    services = found.get("services")
    services = {} if services is None else services
    if not isinstance(document, dict) or not isinstance(services, dict) or len(services) > MAX_SERVICES:
        raise AppFailed(app.name, f"its files come to no document of at most {MAX_SERVICES} services")
    images: dict[str, Wanted] = {}
    for name, service in services.items():
        if not _SERVICE.fullmatch(name) or not isinstance(service, dict):
            raise AppFailed(
                app.name, f"{brief(repr(name))} is no service's name; use letters, digits, '.', '_' and '-'"
            )
        wanted = _wanted(name, service, app)
        if wanted is not None:
            images[name] = wanted
    if len(set(images.values())) > MAX_IMAGES:
        raise AppFailed(app.name, f"it needs more than {MAX_IMAGES} images")
    for line in _astray(found, app):
        raise AppFailed(app.name, Mask(found)(line))
    return Resolved(found, tuple(dict.fromkeys(images.values())), images)


def _wanted(name: str, service: Mapping[str, Any], app: AppOptions) -> Wanted | None:
    """Give a service's image; None: it is only built, and so can't be pulled."""
    image, platform = service.get("image"), service.get("platform") or ""
    only_built = image is None or (service.get("build") is not None and service.get("pull_policy") == "build")
    try:
        parse_reference(built_as(name, service, app) if only_built else image if isinstance(image, str) else "")
    except NotReference as error:
        mend = "; name it by image:, in small letters" if image is None else ""
        raise AppFailed(app.name, f"service {name}: its image {error.why}{mend}") from None
    if only_built or not isinstance(image, str):
        return None
    if not isinstance(platform, str) or (platform and not _PLATFORM.fullmatch(platform)):
        text = f"service {name}: its platform is none; write one such as linux/arm64"
        raise AppFailed(app.name, text)
    return Wanted(image, platform)


def built_as(name: str, service: Mapping[str, Any], app: AppOptions) -> str:
    """Give the name of the image that a service is built as: its own, or compose's APP-SERVICE."""
    image = service.get("image")
    if image is None:
        return f"{app.name}-{name}"
    return image if isinstance(image, str) else ""


def _astray(document: Mapping[str, Any], app: AppOptions) -> Iterator[str]:
    """Name what would not be there where the app runs."""
    for kind in ("configs", "secrets"):
        for name, one in _tables(document.get(kind)):
            if one.get("environment"):
                yield f"{kind[:-1]} {name}: its value is a variable, which a release has not; write file: instead"
            if _stays_behind(one.get("file"), app):
                yield f"{kind[:-1]} {name}: its file {_there(app)}"
    for name, service in _tables(document.get("services")):
        volumes = service.get("volumes")
        for volume in volumes if isinstance(volumes, list) else ():
            if not isinstance(volume, dict):
                continue
            if volume.get("type") == "bind" and _stays_behind(volume.get("source"), app):
                yield f"service {name}: what is mounted at {brief(str(volume.get('target')))} {_there(app)}"
            if volume.get("type") == "image":
                yield f"service {name}: a volume that is an image is not pulled ahead; put it into its own image"


def _tables(found: object) -> Iterator[tuple[str, Mapping[str, Any]]]:
    for name, one in found.items() if isinstance(found, dict) else ():
        if isinstance(one, dict):
            yield brief(str(name)), one


def _stays_behind(path: object, app: AppOptions) -> bool:
    """Whether a path is of the machine that the files lie on: it was written relative, or is below the app's folder."""
    if app.in_place or not isinstance(path, str) or path.startswith("~"):
        return False
    return not path.startswith("/") or path == app.path or path.startswith(f"{app.path.rstrip('/')}/")


def _there(app: AppOptions) -> str:
    """Say what is wrong with a path, without it: it is filled in, and may hold a secret."""
    where = f"on {app.on}" if app.on else "on the pond's machine"
    ways = "write a path that is absolute and there on the app's hosts, or put it into the image"
    only = " (or `on = HOST`, if the app runs on that host only and its folder lies there)"
    return f"lies beside its files {where}, and not on its hosts; {ways}{only}"
