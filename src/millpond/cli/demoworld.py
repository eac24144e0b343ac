"""What the demo plays with, all of it made here: a package index, a sample repository, an image, a daemon."""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import json
import os
import platform
import secrets
import shutil
import signal
import struct
import subprocess
import sys
import tarfile
import threading
import time
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from millpond.cli.ending import Ending
from millpond.errors import MillpondError

PACKAGE, VERSION = "pondweed", "1.0"
IMAGE = "millpond-demo"
COMMAND_S, START_S = 60.0, 60.0
SHOP = f'''"""A shop that greets."""

from {PACKAGE} import greeting

if __name__ == "__main__":
    print(greeting("whoever comes by"))
'''
TEST = f"""import unittest
from {PACKAGE} import greeting


class Greets(unittest.TestCase):
    def test_it_greets(self):
        self.assertEqual(greeting("ada"), "Hello, ada, from the pond.")
"""
_PACKAGE = 'def greeting(who):\n    return f"Hello, {who}, from the pond."\n'


class DemoFailed(MillpondError):
    """The demo can't go on; says why, and where to look."""


class Index:
    """A package index on loopback with one wheel, made by hand; `cut` takes it away."""

    def __init__(self, folder: Path) -> None:
        page = folder / "simple" / PACKAGE
        page.mkdir(parents=True)
        name = f"{PACKAGE}-{VERSION}-py3-none-any.whl"
        content = wheel()
        (page / name).write_bytes(content)
        digest = hashlib.sha256(content).hexdigest()
        (page / "index.html").write_text(f'<!DOCTYPE html><a href="{name}#sha256={digest}">{name}</a>\n')
        self.asked = 0
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), partial(_Quiet, self, directory=str(folder)))
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/simple/"

    def cut(self) -> None:
        """Take it away; done already is done."""
        if self._thread.is_alive():
            self._server.shutdown()
            self._server.server_close()
            self._thread.join(START_S)


class _Quiet(SimpleHTTPRequestHandler):
    """Counts, and says nothing."""

    def __init__(self, index: Index, *args: object, directory: str) -> None:
        self._index = index
        super().__init__(*args, directory=directory)  # type: ignore[arg-type]

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Count a request."""
        del format, args
        self._index.asked += 1


def wheel() -> bytes:
    """Write a wheel (PEP 427) by hand; it is the same at each time."""
    info = f"{PACKAGE}-{VERSION}.dist-info"
    files = {
        f"{PACKAGE}.py": _PACKAGE,
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {PACKAGE}\nVersion: {VERSION}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: millpond\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    lines = [f"{name},sha256={_hash(text.encode())},{len(text.encode())}\n" for name, text in files.items()]
    files[f"{info}/RECORD"] = "".join([*lines, f"{info}/RECORD,,\n"])
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2020, 1, 1, 0, 0, 0)), text)
    return out.getvalue()


def _hash(content: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(content).digest()).decode().rstrip("=")


@dataclass(frozen=True, slots=True)
class Programs:
    """Runs programs, none of which goes on when the demo is ended from outside."""

    ending: Ending

    def done(self, argv: Sequence[str], environ: Mapping[str, str] | None = None) -> str:
        """Run a program to its good end; gives what it said. Raises `DemoFailed`."""
        pipe = subprocess.PIPE
        try:
            with contextlib.ExitStack() as left:
                with self.ending.heeding(False):  # none is there that nobody knows of
                    process = left.enter_context(
                        subprocess.Popen(argv, stdout=pipe, stderr=pipe, text=True, env=environ)  # noqa: S603 - named here
                    )
                    left.callback(process.kill)
                said, wrong = process.communicate(timeout=COMMAND_S)
        except (OSError, subprocess.TimeoutExpired) as error:
            raise DemoFailed(f"{' '.join(argv[:2])} can't be run: {error}") from error
        if process.returncode:
            raise DemoFailed(f"{' '.join(argv)} failed with {process.returncode}: {wrong.strip()[:500]}")
        return said


def sample_repo(programs: Programs, folder: Path, remote: Path) -> None:
    """Push a first commit to a bare repository. Raises `DemoFailed`."""
    folder.mkdir()
    (folder / "shop.py").write_text(SHOP)
    (folder / "test_shop.py").write_text(TEST)
    (folder / "README.md").write_text("# A shop\n")
    who = {"GIT_AUTHOR_NAME": "Ada", "GIT_AUTHOR_EMAIL": "ada@shop.example"}
    who |= {"GIT_COMMITTER_NAME": "Ada", "GIT_COMMITTER_EMAIL": "ada@shop.example"}
    environ = {"PATH": os.environ.get("PATH", ""), "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **who}
    for words in (
        ("init", "-q", "-b", "main"),
        ("add", "."),
        ("commit", "-q", "-m", "A shop"),
        ("push", "-q", str(remote), "main"),
    ):
        programs.done(["git", "-C", str(folder), *words], environ)


def program() -> bytes | None:
    """Write the smallest Linux program that waits for ever, for this kind of processor; None: not known how."""
    code = {
        # again: mov eax, 34 (pause); syscall; jmp again
        "x86_64": (62, bytes.fromhex("b8220000000f05ebf7")),
        # again: x0..x3 = 0; x8 = 73 (ppoll); svc 0; b again
        "aarch64": (183, struct.pack("<7I", *range(0xD2800000, 0xD2800004), 0xD2800928, 0xD4000001, 0x17FFFFFA)),
    }.get(platform.machine())
    if code is None:
        return None
    machine, text = code
    base, size = 0x400000, 120 + len(code[1])
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, base + 120, 64, 0, 0, 64, 56, 1, 0, 0, 0)
    return head + struct.pack("<IIQQQQQQ", 1, 5, 0, base, base, size, size, 0x1000) + text


def engine_socket() -> str:
    """Say which socket the docker client is told to use; empty: its own default."""
    told = os.environ.get("DOCKER_HOST", "")
    return told if told.startswith("unix://") else ""


@dataclass(slots=True)
class Docker:
    """What the demo makes in the Docker Engine of this machine: an image from nothing, and one app of it."""

    programs: Programs
    app: str = field(default_factory=lambda: f"mpdemo{secrets.token_hex(3)}")

    @property
    def image(self) -> str:
        """The image's name, of this demo alone."""
        return f"{IMAGE}:{self.app}"

    @staticmethod
    def missing(programs: Programs) -> str:
        """Say why nothing can be deployed here; empty: it can."""
        if program() is None:
            return f"the demo has no program for {platform.machine()}"
        if shutil.which("docker") is None:
            return "there is no docker here"
        if os.environ.get("DOCKER_HOST") and not engine_socket():
            return "the Docker Engine is on another machine"
        try:
            programs.done(["docker", "version"])
        except DemoFailed:
            return "no Docker Engine answers here"
        for compose in (["docker", "compose", "version"], ["docker-compose", "version"]):
            with contextlib.suppress(DemoFailed):
                programs.done(compose)
                return ""
        return "there is no Docker Compose here"

    def make(self, folder: Path) -> None:
        """Make the image, and the app's compose file. Raises `DemoFailed`."""
        folder.mkdir()
        content = program() or b""
        with tarfile.open(folder / "image.tar", "w") as archive:
            entry = tarfile.TarInfo("wait")
            entry.size, entry.mode = len(content), 0o755
            archive.addfile(entry, io.BytesIO(content))
        entry_point = 'ENTRYPOINT ["/wait"]'
        self.programs.done(["docker", "import", "--change", entry_point, str(folder / "image.tar"), self.image])
        service = {"image": self.image, "network_mode": "none", "stop_grace_period": "1s"}
        (folder / "compose.yaml").write_text(json.dumps({"services": {"shop": service}}))

    def remove(self) -> None:
        """Take everything away again, whatever became of it."""
        label = f"label=com.docker.compose.project={self.app}"
        for kind, remove in (("container", ["rm", "--force", "--volumes"]), ("network", ["rm"])):
            with contextlib.suppress(DemoFailed):
                found = self.programs.done(
                    ["docker", kind, "ls", *(["--all"] if kind == "container" else []), "-q", "--filter", label]
                )
                if found.split():
                    self.programs.done(["docker", kind, *remove, *found.split()])
        with contextlib.suppress(DemoFailed):
            self.programs.done(["docker", "image", "rm", "--force", self.image])


class Daemon:
    """A daemon of its own on a free port; ends with the demo."""

    def __init__(self, folder: Path, ending: Ending) -> None:
        self._ending = ending
        self.config, self.data, self.log = folder / "millpond.toml", folder / "data", folder / "daemon.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, and wait until it serves. Raises `DemoFailed`."""
        argv = [sys.executable, "-m", "millpond", "serve", "--port", "0"]
        argv += ["--config", str(self.config), "--data", str(self.data)]
        null = subprocess.DEVNULL
        with self.log.open("ab") as log, self._ending.heeding(False):  # none is there that nobody knows of
            self._process = subprocess.Popen(argv, stdin=null, stdout=log, stderr=log, start_new_session=True)  # noqa: S603 - ourselves
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            if "Millpond serves at" in self.tail():
                return
            time.sleep(0.05)
        raise DemoFailed(f"the daemon did not start: {self.tail()}")

    def tail(self) -> str:
        """Give the end of its log."""
        with contextlib.suppress(OSError):
            return self.log.read_text(errors="replace")[-2000:]
        return ""

    def stop(self) -> None:
        """Stop it."""
        process, self._process = self._process, None
        if process is None:
            return
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(COMMAND_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(COMMAND_S)
