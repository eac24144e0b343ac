"""Pointing a tool's own file at the pond, and taking that back.

Invariants: nothing is changed before what was there is saved; files change whole or not at all; `undo` gives the very
bytes back if nobody has changed the file since, and else takes out only our lines. A private index (any but the public
default) is replaced only if the pond draws from it: otherwise its packages would be looked for in public.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import urlsplit

from millpond.adopt.atomic import PRIVATE, replace_file, sync_folder
from millpond.adopt.machine import Candidate, Machine, Pond, Run, run_tool, shown, without_credentials
from millpond.connect import apk, apt, containers, dnf, saved
from millpond.connect.lines import revert
from millpond.connect.lists import Kit
from millpond.connect.npm import Npm, Pnpm
from millpond.connect.pip import Pip
from millpond.connect.saved import Record
from millpond.connect.settings import Settings, Tool, index_url
from millpond.connect.uv import Uv
from millpond.connect.yarn import Yarn, YarnClassic
from millpond.errors import BadRequest, ConfigError, Conflict, NotFound

TOOLS: Mapping[str, Tool] = {tool.name: tool for tool in (Pip(), Uv(), Npm(), Pnpm(), Yarn(), YarnClassic())}
_READABLE = 0o644


@dataclass(frozen=True, slots=True)
class Written:
    """What was done to a tool's file. `notes` tells what still leads past the pond."""

    file: Path
    changed: bool
    notes: tuple[str, ...] = ()


def plan(tool: str, pond_url: str, environ: Mapping[str, str], home: Path, *, repository: str = "pypi") -> Settings:
    """Say what to tell a tool. Raises `BadRequest` for an unknown tool or a URL that is none."""
    kit = _tool(tool)
    return kit.settings(index_url(pond_url, repository, kit.suffix), Machine(environ, home, run_tool))


def package_of(tool: str) -> str:
    """Say which package a tool installs. Raises `BadRequest` for an unknown tool."""
    return _tool(tool).package


def write(
    tool: str,
    pond_url: str,
    environ: Mapping[str, str],
    home: Path,
    *,
    upstreams: Collection[str] = (),
    repository: str = "pypi",
    run: Run = run_tool,
    root: Path = Path("/"),
) -> Written:
    """Put the settings into the tool's own file; `upstreams` are the URLs that the pond's repositories draw from.

    Raises `Conflict` when that would replace a private index or the file can't be edited, `ConfigError` when the tool
    itself could not read its files, `OSError`.
    """
    kit, records = _tool(tool), saved.folder(environ, home)
    record = saved.load(records, tool)
    url = index_url(pond_url, repository, kit.suffix)
    machine = _machine(environ, home, pond_url, record, run, root)
    settings = kit.settings(url, machine)
    if record is not None and record.file != settings.file:
        raise Conflict(f"{tool} is connected by another file, {record.file}; take that back first (--undo)")
    if settings.file.exists() and not settings.file.is_file():  # /dev/null, which some set to have no file at all
        raise Conflict(f"{tool} is told to read {settings.file}, which is no file that can be edited; unset that first")
    now = _bytes(settings.file)
    before = _without_ours(record, now)
    _guard(kit, machine, settings.file, upstreams)
    after = kit.edit(_text(before, settings.file), settings, machine).encode()
    if after != now:
        if now != before:
            _put(settings.file, before)  # so that the record, which is next, is true at every moment
        if after == before:
            saved.forget(records, tool)
        else:
            saved.save(records, Record(tool, settings.file, settings.url, before, after))
            _put(settings.file, after)
    return Written(settings.file, after != now, tuple(_notes(kit, machine, settings)))


def undo(tool: str, environ: Mapping[str, str], home: Path) -> Written:
    """Take back what `write` did. Raises `NotFound` when it did nothing, `Conflict` when our lines were changed."""
    _tool(tool)
    records = saved.folder(environ, home)
    record = saved.load(records, tool)
    if record is None:
        raise NotFound(f"{tool} has not been connected by `millpond connect {tool} --write`; there is nothing to undo")
    now = _bytes(record.file)
    before = _without_ours(record, now)
    if before != now:
        _put(record.file, before)
    saved.forget(records, tool)
    return Written(record.file, before != now)


def this_machine(
    environ: Mapping[str, str],
    home: Path,
    pond: Pond,
    *,
    run: Run = run_tool,
    root: Path = Path("/"),
    cwd: Path | None = None,
) -> Machine:
    """Describe this machine for adoption: with what the tools were set to before they were connected to the pond."""
    records = [
        record for tool in (*TOOLS, *containers.NAMES) if (record := saved.load(saved.folder(environ, home), tool))
    ]
    written = {record.url.rstrip("/") for record in records}
    kits: tuple[Kit, ...] = (apk, apt, dnf)
    for kit in kits:
        for record in kit.recorded(saved.folder(environ, home)):
            records.append(record)
            written |= {url.rstrip("/") for url in kit.written(record)}
    known = replace(pond, written=pond.written | written)
    return Machine(environ, home, run, root, known, {record.file: record.before for record in records}, cwd)


def _tool(name: str) -> Tool:
    if name not in TOOLS:
        raise BadRequest(f"no settings are known for {name!r}; there are: {', '.join(TOOLS)}")
    return TOOLS[name]


def _machine(
    environ: Mapping[str, str], home: Path, pond_url: str, record: Record | None, run: Run, root: Path
) -> Machine:
    parts = urlsplit(pond_url)
    port = parts.port or (443 if parts.scheme == "https" else 80)
    pond = Pond.at(parts.hostname or "", port, public_url=pond_url, written=[record.url] if record else [])
    return Machine(environ, home, run, root, pond, {record.file: record.before} if record else {})


def _bytes(file: Path) -> bytes | None:
    try:
        return file.read_bytes()
    except FileNotFoundError:
        return None


def _text(content: bytes | None, file: Path) -> str:
    try:
        return (content or b"").decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: cannot be read: it is not UTF-8 text") from None


def _put(file: Path, content: bytes | None) -> None:
    """Write or remove a file; behind a link, the file that it leads to, with the mode that it has."""
    target = file.resolve()
    if content is None:
        target.unlink(missing_ok=True)
        sync_folder(target.parent)
        return
    mode = target.stat().st_mode & 0o777 if target.exists() else PRIVATE if b"@" in content else _READABLE
    replace_file(target, content, mode)


def _without_ours(record: Record | None, now: bytes | None) -> bytes | None:
    """Give the file's content as it would be without us. Raises `Conflict`."""
    if record is None or now is None or now == record.before:
        return now
    if now == record.after:
        return record.before
    text = _text(now, record.file)
    if record.url.rstrip("/") not in text:
        return now
    reverted = revert(_text(record.before, record.file), _text(record.after, record.file), text)
    if reverted is None:
        raise Conflict(f"{record.file}: the lines with {record.url} have been changed since; take them out by hand")
    return reverted.encode() if reverted or record.before is not None else None


def _guard(kit: Tool, machine: Machine, file: Path, upstreams: Collection[str]) -> None:
    """Refuse to replace a private index: the one that counts now, and any in the file that is going to be edited."""
    values = [(_real(kit, machine, candidate), candidate) for candidate in kit.candidates(machine)]
    present = [(url, candidate) for url, candidate in values if url]
    known = {_bare(url) for url in upstreams}
    for place, (url, candidate) in enumerate(present):
        if (place and candidate.file != file) or _bare(url) in known:
            continue
        public = kit.public(machine.run)
        if public is None or _bare(url) != _bare(public):
            raise Conflict(
                f"{candidate.label} names the private index {shown(url)}, which this pond does not draw from, so it is "
                "left alone. Let the pond draw from it (`millpond init --adopt`, or base_url in the configuration), or "
                "take it out by hand"
            )


def _real(kit: Tool, machine: Machine, candidate: Candidate) -> str:
    """Give the index that a candidate stands for: behind the pond's own URL, what was there before."""
    url = candidate.earlier if machine.pond.owns(candidate.url, kit.suffix) else candidate.url
    return "" if machine.pond.owns(url, kit.suffix) else url


def _bare(url: str) -> str:
    return without_credentials(url).rstrip("/")


def _notes(kit: Tool, machine: Machine, settings: Settings) -> Iterator[str]:
    for variable in kit.variables:
        value = machine.environ.get(variable, "")
        if value and _bare(value) != _bare(settings.url):
            yield f"{variable} is set to {shown(value)} and wins over the file; unset it"
    strongest = next(kit.candidates(machine), None)
    if strongest is None:
        yield f"{kit.name} does not read {settings.file} here: its environment names another file"
    elif _bare(strongest.url) != _bare(settings.url):
        yield f"{strongest.label} names {shown(strongest.url)} and wins over {settings.file}"
    yield from kit.notes(machine)
