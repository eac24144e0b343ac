"""The formats of this version: an explicit tuple, and what other packages register.

A third-party format is an entry point of the group ``millpond.formats`` whose name is the format's `name` and whose
object is the format, or a class that makes one without arguments. Those are loaded when they are first asked for, so
that the built-in ones cost nothing more. A built-in name can't be taken over.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib.metadata import EntryPoint, entry_points

from millpond.artifacts.formats.alpine import Alpine
from millpond.artifacts.formats.base import Format
from millpond.artifacts.formats.debian import Debian
from millpond.artifacts.formats.docker import Docker
from millpond.artifacts.formats.generic import Generic
from millpond.artifacts.formats.npm import Npm
from millpond.artifacts.formats.pypi import PyPI
from millpond.artifacts.formats.rpm import Rpm
from millpond.errors import ConfigError

GROUP = "millpond.formats"
BUILT_IN: tuple[Format, ...] = (Generic(), Alpine(), Debian(), Docker(), Npm(), PyPI(), Rpm())


class Formats(Mapping[str, Format]):
    """Formats by name: the built-in ones, then the registered ones.

    Asking for anything but a built-in format raises `ConfigError` when a registered one can't be loaded.
    """

    def __init__(self, built_in: tuple[Format, ...], group: str = GROUP) -> None:
        self._built_in = {one.name: one for one in built_in}
        self._group = group
        self._all: dict[str, Format] | None = None

    def __getitem__(self, name: str) -> Format:
        return self._built_in[name] if name in self._built_in else self._loaded()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._loaded())

    def __len__(self) -> int:
        return len(self._loaded())

    def _loaded(self) -> dict[str, Format]:
        if self._all is None:
            points = sorted(entry_points(group=self._group), key=lambda one: one.name)
            self._all = self._built_in | {point.name: self._load(point) for point in points}
        return self._all

    def _load(self, point: EntryPoint) -> Format:
        """Load one registered format. Raises `ConfigError` naming the package."""
        package = point.dist.name if point.dist is not None else point.value
        hint = f"uninstall {package}, or install a version that fits this one"
        if point.name in self._built_in:
            raise ConfigError(f"{package} registers the format {point.name!r}, which is built in: {hint}")
        try:
            found = point.load()
            made = found() if isinstance(found, type) else found
        except Exception as error:
            raise ConfigError(f"the format {point.name!r} of {package} can't be loaded ({error}): {hint}") from error
        can = all(callable(getattr(made, ability, None)) for ability in ("resolve", "expects"))
        if not can or getattr(made, "name", None) != point.name:
            raise ConfigError(f"{package} registers {point.name!r}, which is no format of that name: {hint}")
        format_: Format = made
        return format_


FORMATS: Mapping[str, Format] = Formats(BUILT_IN)
