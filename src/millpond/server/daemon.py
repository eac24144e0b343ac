"""One worker process: uvicorn, the background loops, signals, drain, reload.

uvicorn's own signal handling is not used: SIGTERM and SIGINT stop accepting, let what runs finish within the drain
time, then close;
SIGHUP reads the configuration again.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import socket
import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from typing import Any, Protocol

import structlog
import uvicorn

from millpond.errors import ConfigError
from millpond.server.control import ControlServer
from millpond.server.protocol import PondProtocol

LET_GO_S = 10.0
SWITCH_S = 0.0005
"""How often connections that are closing are looked at."""
log = structlog.get_logger(__name__)


class Application(Protocol):
    """What the daemon runs."""

    async def started(self) -> None:
        """Start the background loops."""

    async def reload(self) -> None:
        """Read the configuration again; a mistake in it leaves everything as it was."""

    async def drained(self, drain_s: float) -> None:
        """Let what runs behind requests finish, then close."""


class _Server(uvicorn.Server):
    """uvicorn without its signal handling."""

    @contextlib.contextmanager
    def capture_signals(self) -> Generator[None, None, None]:
        """Leave the signals to us."""
        yield


class Daemon:
    """Serves one application on sockets that are already bound."""

    def __init__(
        self,
        application: Application,
        site: Any,
        sockets: list[socket.socket],
        *,
        drain_s: float,
        protocol: type[PondProtocol] = PondProtocol,
    ) -> None:
        self._application, self._sockets, self._drain_s = application, sockets, drain_s
        config = uvicorn.Config(
            site,
            http=protocol,
            loop="uvloop",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            proxy_headers=False,
            timeout_keep_alive=75,
            timeout_graceful_shutdown=max(int(drain_s), 1),
            h11_max_incomplete_event_size=64 * 1024,
            backlog=4096,
        )
        self._server = _Server(config)
        self._stopped_at: float | None = None
        self._reloads: set[asyncio.Task[None]] = set()

    async def run(self, control: ControlServer | None, ready: Callable[[], Awaitable[None]]) -> None:
        """Serve until a signal says stop.

        `control` is listened on by one worker only; `ready` is called once served.
        """
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self.stop)
        loop.add_signal_handler(signal.SIGHUP, self._reload)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGHUP})  # blocked since the start: see `main.run`
        _favour_the_loop()
        await self._application.started()
        if control is not None:
            await control.start()
        beside = [asyncio.create_task(self._announce(ready)), asyncio.create_task(self._let_go())]
        try:
            await self._server.serve(sockets=self._sockets)
        finally:
            for task in beside:
                task.cancel()
            if control is not None:
                await control.close()
            await self._application.drained(self._left_s())

    def _left_s(self) -> float:
        """Give what is left of the drain time for what runs behind requests; it began with the signal."""
        if self._server.force_exit:
            return 0.0
        since = 0.0 if self._stopped_at is None else asyncio.get_running_loop().time() - self._stopped_at
        return max(self._drain_s - since, 0.0)

    def stop(self) -> None:
        """Stop accepting and drain; a second time: at once."""
        self._stopped_at = self._stopped_at or asyncio.get_running_loop().time()
        if self._server.should_exit:
            self._server.force_exit = True
        self._server.should_exit = True

    async def _announce(self, ready: Callable[[], Awaitable[None]]) -> None:
        while not self._server.started:  # noqa: ASYNC110 - uvicorn tells by this flag only
            await asyncio.sleep(0.005)
        await ready()

    async def _let_go(self) -> None:
        """Look at all connections now and then for those that wait in vain to be closed."""
        while True:
            await asyncio.sleep(LET_GO_S)
            now = asyncio.get_running_loop().time()
            for connection in list(self._server.server_state.connections):
                if isinstance(connection, PondProtocol):
                    connection.let_go(now)

    def _reload(self) -> None:
        task = asyncio.ensure_future(self._application.reload())
        self._reloads.add(task)
        task.add_done_callback(self._reloads.discard)


def _favour_the_loop() -> None:
    """Let nothing hold up the event loop for long that shares its interpreter.

    A thread that runs Python (the catalog's writer, say) keeps the interpreter for a switch interval each time the loop
    has given it up, which it does at every send: 5 ms by default, and so a few hundred hits a second. And a full
    collection of cyclic garbage looks at all that the imports left, for a tenth of a second; what is frozen is passed
    over.
    """
    sys.setswitchinterval(SWITCH_S)
    gc.freeze()


def leave() -> None:
    """Make the end of this process short: call it last.

    An interpreter that ends looks through all there is for cycles, several times: with what a daemon imports that takes
    a second or more of a core, while its port is closed already. What is frozen is passed over; the kernel frees it.
    """
    gc.freeze()


def bind_all(places: Sequence[tuple[str, str, int]]) -> list[socket.socket]:
    """Bind several places, each with the key that it was configured by; all of them or none. Raises `ConfigError`."""
    bound: list[socket.socket] = []
    for key, host, port in places:
        try:
            bound.append(bind(host, port))
        except OSError as error:
            for sock in bound:
                sock.close()
            option = "--port" if "port" in key else "port"  # the command line has one for the pond's own only
            raise ConfigError(
                f"[server] {key}: can't listen on {host}:{port}: {error.strerror or error}; "
                f"stop what uses it, or choose another {option}"
            ) from error
    return bound


def bind(host: str, port: int) -> socket.socket:
    """Bind the listening socket. Raises `OSError` when the address is taken or not ours."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    sock = socket.socket(family, socket.SOCK_STREAM)
    try:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind((host, port))
        sock.listen(4096)
        sock.setblocking(False)
    except BaseException:
        sock.close()
        raise
    sock.set_inheritable(True)
    return sock
