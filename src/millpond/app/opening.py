"""Opens an application, and puts into it what acts upon the whole of it."""

from __future__ import annotations

from millpond.app.application import App
from millpond.app.core import Role
from millpond.app.counterparts import Counterparts
from millpond.app.hosting import Connect
from millpond.app.operations import Operations
from millpond.app.sourcing import Source
from millpond.clock import Clock, SystemClock
from millpond.config import Config
from millpond.hosts.ports import Notifier
from millpond.metrics import Metrics


async def open_app(
    config: Config,
    source: Source,
    *,
    role: Role | None = None,
    clock: Clock | None = None,
    metrics: Metrics | None = None,
    mend: bool = False,
    wait: bool = True,
    admin: bool = True,
    connect: Connect | None = None,
    notifier: Notifier | None = None,
    counterparts: Counterparts | None = None,
) -> App:
    """Open everything; `mend`: put the newest good backup in the place of a damaged catalog first.

    `wait`: also for upstreams that have to be looked for on this machine; else they come when they are found.
    `admin`: make the first token if there is none. `connect`, `notifier` and `counterparts`: in the place of ssh, of
    the configured services, and of tracker and forge. Raises `ConfigError`, `Busy`, `OSError`, `db.Damaged`.
    """
    app = App(config, source, role or Role(), clock or SystemClock(), metrics or Metrics())
    app.operations |= Operations(app).all()
    await app.opened(mend=mend, wait=wait, admin=admin, connect=connect, notifier=notifier, counterparts=counterparts)
    return app
