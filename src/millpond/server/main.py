"""Starting the daemon: check, lock, bind, then serve in this process or supervise workers."""

from __future__ import annotations

import signal
import socket
from functools import partial

import structlog

from millpond.app.accepted import Accepted
from millpond.app.core import Role
from millpond.app.datalock import DataLock
from millpond.app.preflight import prepare_catalog
from millpond.app.sourcing import Source
from millpond.config import Config, open_network_problem
from millpond.errors import ConfigError
from millpond.server.daemon import bind_all, leave
from millpond.server.logs import configure
from millpond.server.secluding import reveal_where_no_jobs_run
from millpond.server.supervisor import Supervisor
from millpond.server.worker import Job, metrics_folder, serve, work

log = structlog.get_logger(__name__)


def run(source: Source, *, was_open: bool = False) -> int:
    """Run the daemon until it is told to stop; gives the exit code.

    `was_open`: whether this process was closed to others of its user by us, so that it may be opened again.
    Raises `ConfigError` (a mistake in the configuration, an address that can't be listened on), `Busy` (the data
    directory is in use).
    """
    # Until somebody listens to it, a signal to reload would end the daemon; it waits, here and in the workers.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    config = source.load()
    if was_open:
        reveal_where_no_jobs_run(config)
    problem = open_network_problem(config)
    if problem is not None:
        raise ConfigError(problem)
    configure(config.server.log_format, config.server.log_level)
    for warning in config.warnings:
        log.warning("a setting is ignored", setting=warning)
    lock = DataLock(config.server.data)
    try:
        sockets = _bound(config)
        try:
            return (_alone if config.server.workers == 1 else _many)(config, source, sockets)
        finally:
            for sock in sockets:
                sock.close()
    finally:
        lock.release()
        leave()


def _alone(config: Config, source: Source, sockets: list[socket.socket]) -> int:
    import uvloop

    uvloop.run(serve(config, Job(source, _ports(sockets), Role()), sockets))
    return 0


def _many(config: Config, source: Source, sockets: list[socket.socket]) -> int:
    prepare_catalog(config)
    folder = metrics_folder(config.server.data)
    role = Role(count=config.server.workers)
    accepted = Accepted(source, config)
    begin = partial(work, Job(source, _ports(sockets), role, folder), accepted.file, sockets)
    supervisor = Supervisor(begin, config.server.workers, sockets, accepted, metrics=folder)
    return supervisor.run()


def _ports(sockets: list[socket.socket]) -> tuple[int, ...]:
    return tuple(int(sock.getsockname()[1]) for sock in sockets)


def _bound(config: Config) -> list[socket.socket]:
    """Bind what is listened on: the pond's own address, then the registry mirrors', if there is one."""
    server = config.server
    places = [("host, port", server.host, server.port)]
    if server.mirror_listen:
        host, _, port = server.mirror_listen.rpartition(":")
        places.append(("mirror_listen", host.strip("[]"), int(port)))
    return bind_all(places)
