"""Which upstreams are adopted from this machine, for a configuration."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterable, Iterator
from pathlib import Path

from millpond.adopt import Adopted, Pond, Skipped, load_or_adopt, to_look_for
from millpond.app.sourcing import kinds
from millpond.config import Config, packages_to_adopt
from millpond.connect import this_machine

Found = Adopted | Skipped


def adopt(config: Config, data: Path, *, renew: bool = False) -> tuple[Found, ...]:
    """Give the upstreams to adopt: all there are without repositories, else those asked for.

    Takes as long as the clients' own tools the first time: not for the event loop. Raises `ConfigError`, `OSError`.
    """
    wanted = packages_to_adopt(config, kinds())
    if not wanted:
        return ()
    return load_or_adopt(data, this_machine(os.environ, Path.home(), pond_of(config)), wanted, renew=renew)


def pond_of(config: Config) -> Pond:
    """Describe this pond's own addresses, so that it never adopts itself."""
    server = config.server
    mirror_port = int(server.mirror_listen.rpartition(":")[2] or 0)
    names = (socket.gethostname(),)
    return Pond.at(server.host, server.port, public_url=server.public_url, names=names, mirror_port=mirror_port)


def passed_over(found: Iterable[Found]) -> Iterator[tuple[str, str]]:
    """Give what was not adopted, by package, and why: whole packages, and what was found beside an adopted upstream."""
    for one in found:
        reasons = (one.reason,) if isinstance(one, Skipped) else one.notes
        yield from ((one.package, reason) for reason in reasons)


def is_known(config: Config, data: Path) -> bool:
    """Whether everything that is to be adopted was found before, so that no client's tool has to be asked."""
    return not to_look_for(data, packages_to_adopt(config, kinds()))
