"""pip's configuration files: where pip looks, what wins, and which index is in them (pip's "Configuration" page).

Within one file and between files: the section of the command (``[install]``) beats ``[global]`` whatever file it is in;
then the virtual environment's file beats the user's, and that one the machine's. ``PIP_CONFIG_FILE`` names one file
more, the weakest of all; while it exists pip does not read the user's files, and with ``/dev/null`` none at all.
"""

from __future__ import annotations

import configparser
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from millpond.adopt.machine import Machine
from millpond.errors import ConfigError

SECTIONS = ("install", "global")
Options = dict[str, dict[str, str]]


@dataclass(frozen=True, slots=True)
class Setting:
    """One value of a client's file. `section` is empty where the file has none."""

    file: Path
    section: str
    value: str

    @property
    def label(self) -> str:
        """The place, for people."""
        return f"{self.file} [{self.section}]" if self.section else str(self.file)


def user_file(machine: Machine) -> Path:
    """Give the file that `pip config --user` writes."""
    return machine.config_home() / "pip/pip.conf"


def files(machine: Machine) -> list[Path]:
    """List the files that pip reads, the strongest first."""
    named = machine.environ.get("PIP_CONFIG_FILE")
    if named == "/dev/null":
        return []
    venv = machine.environ.get("VIRTUAL_ENV")
    found = [Path(venv) / "pip.conf"] if venv else []
    if not named or not Path(named).exists():
        found += [user_file(machine), machine.home / ".pip/pip.conf"]
    found.append(machine.root / "etc/pip.conf")
    found += [folder / "pip/pip.conf" for folder in reversed(machine.config_dirs())]
    return [*found, Path(named)] if named else found


def parse(text: str, file: Path) -> Options:
    """Read a file's sections; names as pip understands them. Raises `ConfigError`, as pip would refuse it."""
    parser = configparser.RawConfigParser()
    try:
        parser.read_string(text)
    except configparser.Error as error:
        first = str(error).splitlines()[0] if isinstance(error, configparser.DuplicateOptionError) else "not pip's form"
        raise ConfigError(f"{file}: cannot be read ({first}); pip refuses it too: mend it") from None
    return {section: {normalised(key): value for key, value in parser.items(section)} for section in parser.sections()}


def normalised(key: str) -> str:
    """Give an option's name as pip understands it."""
    return key.lower().replace("_", "-").removeprefix("--")


def read(file: Path) -> bytes | None:
    """Give a file's bytes; None: there is none, or we may not read it (pip passes over both)."""
    try:
        return file.read_bytes()
    except OSError:
        return None


def decode(content: bytes, file: Path) -> str:
    """Give a file's text. Raises `ConfigError`."""
    try:
        return content.decode()
    except UnicodeDecodeError:
        raise ConfigError(f"{file}: cannot be read: it is not UTF-8 text") from None


def values(machine: Machine, option: str) -> Iterator[Setting]:
    """Give every value of an option that pip's files have, the strongest first. Raises `ConfigError`."""
    parsed = []
    for file in files(machine):
        content = read(file)
        if content is not None:
            parsed.append((file, parse(decode(content, file), file)))
    for section in SECTIONS:
        for file, options in parsed:
            value = options.get(section, {}).get(option, "").strip()
            if value:
                yield Setting(file, section, value)


def earlier(machine: Machine, setting: Setting, option: str) -> str:
    """Give what a place held before `connect` changed its file; empty: nothing."""
    content = machine.earlier.get(setting.file)
    if content is None:
        return ""
    return parse(decode(content, setting.file), setting.file).get(setting.section, {}).get(option, "").strip()
