"""One worker: opens the application, serves it.

In this process with one worker, as the supervisor's child with more.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import sys
import time
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from millpond.api.site import site
from millpond.app.accepted import read
from millpond.app.core import Role
from millpond.app.guide import welcome
from millpond.app.opening import open_app
from millpond.app.sourcing import Source
from millpond.config import Config
from millpond.errors import Busy, MillpondError
from millpond.metrics import Metrics
from millpond.server.control import ControlServer, Progress, call
from millpond.server.daemon import Daemon
from millpond.server.lane import Lane, protocol
from millpond.server.link import Superior
from millpond.server.logs import configure
from millpond.server.secluding import seclude_where_jobs_run

SOCKET = "control.sock"
ASKING = ("drift", "reconcile", "task_show", "why")
"""The operations that ask tracker and forge. The first worker does them for all, so that one rate budget holds."""
ASKED_S = 120.0
"""How long the first worker is waited for; comparing all tasks takes a minute at the most."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to do.

    `ports`: of the pond's own listener and, if there is one, of that for registry mirrors. `metrics` is the folder that
    several workers share.
    """

    source: Source
    ports: tuple[int, ...]
    role: Role
    metrics: Path | None = None


async def serve(config: Config, job: Job, sockets: list[socket.socket], superior: Superior | None = None) -> None:
    """Open the application and serve it until told to stop; the first worker tells a person what to do next.

    `superior`: the line to the supervisor, where there is one.
    """
    server = config.server.model_copy(update={"port": job.ports[0]})
    app = await open_app(
        config.model_copy(update={"server": server}),
        job.source,
        role=job.role,
        metrics=Metrics(job.metrics),
        wait=False,
    )
    app.on_reload.append(partial(seclude_where_jobs_run, app))
    seclude_where_jobs_run(app)
    first = job.role.number == 0
    if not first:
        app.operations |= {name: partial(by_the_first, app.data / SOCKET, name) for name in ASKING}
    control = ControlServer(app.data / SOCKET, app.operations) if first else None
    surface = site(app)
    lane = protocol(Lane(app.hits, surface.doorkeeper, app.clock, sum(job.ports[1:])))
    daemon = Daemon(app, surface, sockets, drain_s=config.server.drain_timeout_s, protocol=lane)

    async def ready() -> None:
        with contextlib.suppress(MillpondError):
            await app.adopted()
        sys.stdout.write(welcome(app))
        sys.stdout.flush()

    if superior is not None:
        app.ask_all = superior.ask
        await superior.listen(app.take)
    await daemon.run(control, ready)
    if superior is not None:
        await superior.close()


async def by_the_first(path: Path, operation: str, progress: Progress, **arguments: Any) -> Any:
    """Have the first worker do an operation. Raises its error, or `Busy` while there is none, or it takes too long."""
    try:
        async with asyncio.timeout(ASKED_S):
            return await call(path, operation, arguments, progress)
    except TimeoutError as error:
        raise Busy(f"tracker and forge were asked for {ASKED_S:.0f} s without an answer: ask again later") from error
    except (ConnectionError, FileNotFoundError) as error:
        raise Busy("the worker that asks tracker and forge is being started: ask again in a moment") from error


def work(job: Job, accepted: Path, sockets: list[socket.socket], number: int, line: socket.socket) -> None:
    """Be one of several workers: `line` leads to the supervisor."""
    import uvloop

    config = read(accepted)
    configure(config.server.log_format, config.server.log_level)
    mine = replace(job, role=replace(job.role, number=number))
    uvloop.run(serve(config, mine, sockets, Superior(line)))


def metrics_folder(data: Path) -> Path:
    """Give an empty folder for the workers' shared metrics of this run; those of earlier runs are removed."""
    root = data / "metrics"
    root.mkdir(parents=True, exist_ok=True)
    for path in root.glob("*.db"):
        path.unlink(missing_ok=True)
    (root / "started").write_text(f"{os.getpid()} {time.time()}\n")
    return root
