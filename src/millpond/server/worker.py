"""One worker: opens the application, serves it.

In this process with one worker, as the supervisor's child with more.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from dataclasses import dataclass
from pathlib import Path

from millpond.api.site import site
from millpond.app import App, Role, Source
from millpond.app.accepted import read
from millpond.app.guide import welcome
from millpond.config import Config
from millpond.errors import MillpondError
from millpond.metrics import Metrics
from millpond.server.control import ControlServer
from millpond.server.daemon import Daemon, leave
from millpond.server.lane import Lane, protocol
from millpond.server.link import Superior
from millpond.server.logs import configure
from millpond.server.supervisor import die_with_parent

SOCKET = "control.sock"


@dataclass(frozen=True, slots=True)
class Job:
    """What a worker is to do, as the supervisor writes it to the child's command line."""

    source: Source
    fd: int
    port: int
    role: Role
    metrics: str = ""
    accepted: str = ""
    """The file with the configuration to begin with; a path, since a command line is for everybody to see."""

    def text(self) -> str:
        """Write it."""
        source = {
            "path": str(self.source.path) if self.source.path else None,
            "overrides": dict(self.source.overrides),
            "cwd": str(self.source.cwd),
        }
        role = {"number": self.role.number, "count": self.role.count, "supervisor": self.role.supervisor}
        rest = {"fd": self.fd, "port": self.port, "metrics": self.metrics, "accepted": self.accepted}
        return json.dumps({"source": source, "role": role, **rest})

    @classmethod
    def read(cls, text: str, number: int) -> Job:
        """Read it, for one worker."""
        told = json.loads(text)
        source = told["source"]
        path = Path(source["path"]) if source["path"] else None
        role = Role(**told["role"] | {"number": number})
        where = Source(path, source["overrides"], Path(source["cwd"]))
        return cls(where, told["fd"], told["port"], role, told["metrics"], told["accepted"])


async def serve(config: Config, job: Job, sock: socket.socket, superior: Superior | None = None) -> None:
    """Open the application and serve it until told to stop; the first worker tells a person what to do next.

    `superior`: the line to the supervisor, where there is one.
    """
    server = config.server.model_copy(update={"port": job.port})
    app = await App.open(
        config.model_copy(update={"server": server}),
        job.source,
        role=job.role,
        metrics=Metrics(Path(job.metrics) if job.metrics else None),
        wait=False,
    )
    first = job.role.number == 0
    control = ControlServer(app.data / SOCKET, app.operations) if first else None
    surface = site(app)
    lane = protocol(Lane(app.hits, surface.doorkeeper, app.clock))
    daemon = Daemon(app, surface, [sock], drain_s=config.server.drain_timeout_s, protocol=lane)

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


def main(arguments: list[str]) -> None:
    """Be the supervisor's child: ``worker JOB NUMBER LINE``."""
    import uvloop

    job = Job.read(arguments[0], int(arguments[1]))
    die_with_parent(job.role.supervisor)
    config = read(Path(job.accepted))
    configure(config.server.log_format, config.server.log_level)
    with socket.socket(fileno=job.fd) as sock, socket.socket(fileno=int(arguments[2])) as line:
        uvloop.run(serve(config, job, sock, Superior(line)))
    leave()


def child_command(job: Job) -> list[str]:
    """Give the command of a child; the supervisor adds the number and the line."""
    return [sys.executable, "-m", "millpond", "worker", job.text()]


def metrics_folder(data: Path) -> Path:
    """Give an empty folder for the workers' shared metrics of this run; those of earlier runs are removed."""
    root = data / "metrics"
    root.mkdir(parents=True, exist_ok=True)
    for path in root.glob("*.db"):
        path.unlink(missing_ok=True)
    (root / "started").write_text(f"{os.getpid()} {time.time()}\n")
    return root
