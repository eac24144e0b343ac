"""Starting the daemon: check, lock, bind, then serve in this process or supervise workers."""

from __future__ import annotations

import signal
import socket
from functools import partial

from millpond.app import Accepted, DataLock, Role, Source, prepare_catalog
from millpond.config import Config, open_network_problem
from millpond.errors import ConfigError
from millpond.server.daemon import bind, leave
from millpond.server.logs import configure
from millpond.server.supervisor import Supervisor
from millpond.server.worker import Job, metrics_folder, serve, work


def run(source: Source) -> int:
    """Run the daemon until it is told to stop; gives the exit code.

    Raises `ConfigError` (a mistake in the configuration, an address that can't be listened on), `Busy` (the data
    directory is in use).
    """
    # Until somebody listens to it, a signal to reload would end the daemon; it waits, here and in the workers.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
    config = source.load()
    problem = open_network_problem(config)
    if problem is not None:
        raise ConfigError(problem)
    configure(config.server.log_format, config.server.log_level)
    lock = DataLock(config.server.data)
    try:
        with _bound(config) as sock:
            port = sock.getsockname()[1]
            if config.server.workers == 1:
                return _alone(config, source, sock, port)
            return _many(config, source, sock, port)
    finally:
        lock.release()
        leave()


def _alone(config: Config, source: Source, sock: socket.socket, port: int) -> int:
    import uvloop

    uvloop.run(serve(config, Job(source, port, Role()), sock))
    return 0


def _many(config: Config, source: Source, sock: socket.socket, port: int) -> int:
    prepare_catalog(config)
    folder = metrics_folder(config.server.data)
    role = Role(count=config.server.workers)
    accepted = Accepted(source, config)
    begin = partial(work, Job(source, port, role, folder), accepted.file, sock)
    supervisor = Supervisor(begin, config.server.workers, [sock], accepted, metrics=folder)
    return supervisor.run()


def _bound(config: Config) -> socket.socket:
    host, port = config.server.host, config.server.port
    try:
        return bind(host, port)
    except OSError as error:
        raise ConfigError(
            f"[server] host, port: can't listen on {host}:{port}: {error.strerror or error}; "
            "stop what uses it, or choose another --port"
        ) from error
