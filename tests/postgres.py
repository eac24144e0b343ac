"""A real PostgreSQL on a socket of its own: Debian's package, run as an unprivileged user, gone with the test.

It listens on no network address; its data lie in the test's folder and are not synced (the tests kill clients, not it).
"""

from __future__ import annotations

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

USER = "nobody"
START_S = 60


def binary(name: str) -> str | None:
    """Find one of the server's programs, which Debian keeps out of PATH."""
    found = sorted(Path("/usr/lib/postgresql").glob(f"*/bin/{name}"))
    return str(found[-1]) if found else shutil.which(name)


@contextmanager
def running() -> Iterator[str]:
    """Start a server and give its URL; skips where there is none."""
    initdb, server = binary("initdb"), binary("postgres")
    if initdb is None or server is None:
        pytest.skip("no PostgreSQL here: tests/install-tools.sh installs Debian's")
    pytest.importorskip("psycopg", reason="no psycopg here: it comes with the extra `postgresql`")
    if not Path("/dev/null").stat().st_mode & 0o002:
        pytest.skip("initdb runs as an unprivileged user, and /dev/null is not writable for it here (chmod 666)")
    folder = Path(tempfile.mkdtemp(prefix="pg"))  # short: a socket's path has a limit
    try:
        drop = {}
        if os.geteuid() == 0:  # PostgreSQL refuses to run as root
            account = pwd.getpwnam(USER)
            os.chown(folder, account.pw_uid, account.pw_gid)
            drop = {"user": account.pw_uid, "group": account.pw_gid, "extra_groups": []}
        data = folder / "data"
        env = {"PATH": "/usr/bin:/bin", "LC_ALL": "C.UTF-8"}
        made = subprocess.run(
            [initdb, "-D", str(data), "-U", "pond", "-A", "trust", "--no-sync", "-E", "UTF8"],
            **drop, env=env, cwd=folder, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert made.returncode == 0, made.stderr
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                [server, "-D", str(data), "-k", str(folder), "-c", "listen_addresses=", "-c", "fsync=off"],
                **drop, env=env, cwd=folder, stdout=log, stderr=log,
            )  # fmt: skip
        try:
            _await(process, folder)
            yield f"postgresql://pond@/postgres?host={folder}"
        finally:
            process.send_signal(signal.SIGINT)  # "fast": clients are let go
            process.wait(60)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _await(process: subprocess.Popen[bytes], folder: Path) -> None:
    import psycopg

    end = time.monotonic() + START_S
    while time.monotonic() < end and process.poll() is None:
        try:
            psycopg.connect(host=str(folder), user="pond", dbname="postgres").close()
        except psycopg.OperationalError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError((folder / "log").read_text())
