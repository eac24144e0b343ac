"""A real sshd on loopback, without any privilege: its own host key, its own list of keys, a port of its own.

Needs Debian's openssh-server (the program only). As root the daemon wants its folder for privilege separation; it is
made if the package did not.
"""

from __future__ import annotations

import contextlib
import getpass
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path
from typing import Self

from millpond.hosts.address import Address
from millpond.hosts.model import HostOptions, Limits
from millpond.testing.pond import free_port

START_S = 30.0
CONFIG = """\
Port {port}
ListenAddress 127.0.0.1
HostKey {folder}/host_key
AuthorizedKeysFile {folder}/authorized_keys
PidFile none
UsePAM no
StrictModes no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin prohibit-password
LogLevel VERBOSE
AcceptEnv none
{environ}
"""


class Impossible(Exception):
    """Why no sshd runs here."""


class Sshd:
    """A context manager; `options` are those of a host behind it. `path`: where its commands are found."""

    def __init__(self, path: str = "") -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="mp-sshd"))
        self.port = free_port()
        # A home of its own: deploys of one user on one host wait for one another there, and tests run side by side.
        self._environ = f"SetEnv HOME={self.folder}" + (f" PATH={path}" if path else "")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin")
        if program is None or shutil.which("ssh") is None or shutil.which("ssh-keygen") is None:
            raise Impossible("ssh or sshd is not installed (Debian: openssh-client, openssh-server)")
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        self.new_key("host_key")
        self.new_key("identity")
        shutil.copy(self.folder / "identity.pub", self.folder / "authorized_keys")
        self.know()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def new_key(self, name: str) -> None:
        """Make a key, in the place of one that was there."""
        for path in (self.folder / name, self.folder / f"{name}.pub"):
            path.unlink(missing_ok=True)
        argv = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(self.folder / name)]
        subprocess.run(argv, check=True, timeout=60)

    def know(self) -> None:
        """Write the host's key into the file of known ones."""
        key = (self.folder / "host_key.pub").read_text()
        (self.folder / "known_hosts").write_text(f"[127.0.0.1]:{self.port} {key}")

    def start(self) -> None:
        program = shutil.which("sshd", path="/usr/sbin:/usr/local/sbin:/usr/bin") or "sshd"
        config = self.folder / "sshd_config"
        config.write_text(CONFIG.format(port=self.port, folder=self.folder, environ=self._environ))
        with (self.folder / "log").open("ab") as log:
            argv = [program, "-D", "-e", "-f", str(config)]
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, start_new_session=True)
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise Impossible(f"no sshd starts on this machine: {self.log()[-1000:]}")

    def stop(self) -> None:
        """Stop it, with the connections that it serves."""
        process, self._process = self._process, None
        if process is not None:
            children = _children(process.pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(30)
            for child in children:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(child, signal.SIGKILL)

    def log(self) -> str:
        """Give what it logged."""
        return (self.folder / "log").read_text(errors="replace")

    def logins(self) -> int:
        """Count the connections that logged in."""
        return self.log().count("Accepted publickey")

    def options(self, name: str = "web1", **changes: object) -> HostOptions:
        """Give the options of a host behind it."""
        settings: dict[str, object] = {
            "address": Address("127.0.0.1", getpass.getuser(), self.port),
            "identity_file": str(self.folder / "identity"),
            "known_hosts": str(self.folder / "known_hosts"),
            "limits": Limits(connect_timeout_s=20.0),
        }
        return HostOptions(name, **(settings | changes))  # type: ignore[arg-type]

    def toml(self, name: str = "web1") -> str:
        """Write the host's table of a configuration."""
        return (
            f'[hosts.{name}]\nssh = "{getpass.getuser()}@127.0.0.1:{self.port}"\n'
            f'identity_file = "{self.folder}/identity"\nknown_hosts = "{self.folder}/known_hosts"\n'
        )


def _children(pid: int) -> list[int]:
    """List the processes below one."""
    found: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            found += [int(word) for word in task.read_text().split()]
    return found + [below for child in found for below in _children(child)]
