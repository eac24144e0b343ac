"""A PostgreSQL on a socket of its own, synced as by default: Debian's package, run as an unprivileged user."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

USER = "nobody"
START_S = 60.0


def missing() -> str:
    """Say why there is none; empty: there is one."""
    if _program("initdb") is None or _program("postgres") is None:
        return "no PostgreSQL is installed"
    try:
        import psycopg  # noqa: F401 - only whether it is there
    except ImportError:
        return "psycopg is not installed (the extra `postgresql`)"
    return ""


def _program(name: str) -> Path | None:
    return max(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"), default=None)


@contextlib.contextmanager
def running() -> Iterator[str]:
    """Start it and give its URL. Raises `RuntimeError`."""
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has a limit
    account = pwd.getpwnam(USER)
    drop = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []} if os.geteuid() == 0 else {}
    if drop:
        os.chown(folder, account.pw_uid, account.pw_gid)
    env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
    make = [str(_program("initdb")), "-D", str(folder / "data"), "-U", "pond", "-A", "trust", "-E", "UTF8"]
    serve = [str(_program("postgres")), "-D", str(folder / "data"), "-k", str(folder), "-c", "listen_addresses="]
    try:
        made = subprocess.run(make, **drop, env=env, cwd=folder, capture_output=True, text=True, check=False)  # type: ignore[call-overload]
        if made.returncode:
            raise RuntimeError(f"initdb: {made.stderr[-300:]}")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(serve, **drop, env=env, cwd=folder, stdout=log, stderr=log)  # type: ignore[call-overload]
        try:
            _await(folder)
            yield f"postgresql://pond@/postgres?host={folder}"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(folder: Path) -> None:
    import psycopg

    end = time.monotonic() + START_S
    while time.monotonic() < end:
        with contextlib.suppress(psycopg.OperationalError):
            psycopg.connect(host=str(folder), user="pond", dbname="postgres").close()
            return
        time.sleep(0.05)
    raise RuntimeError((folder / "log").read_text()[-300:])
