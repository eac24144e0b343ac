"""A real registry (Debian's `docker-registry`) in a process of its own, with or without token authentication."""

from __future__ import annotations

import base64
import contextlib
import json
import re
import shutil
import subprocess
import threading
import time
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Self
from urllib.parse import parse_qs, urlsplit

from tests.images import Image

from millpond.testing.pond import free_port

START_S = 30.0
USER, PASSWORD = "robot", "canary-password"
_LINE = re.compile(r'"(GET|HEAD) (/v2/\S*) HTTP/1\.1" (\d{3})')
_CONFIG = """
version: 0.1
log: {{level: info}}
storage: {{filesystem: {{rootdirectory: {root}}}, delete: {{enabled: true}}}}
http: {{addr: "127.0.0.1:{port}"}}
"""
_TOKENS = """
auth: {{token: {{realm: "{realm}", service: test, issuer: test, rootcertbundle: {certificate}}}}}
"""


def program(name: str) -> str | None:
    """Find a program of a package that tests/install-tools.sh installs."""
    return shutil.which(name, path="/usr/bin:/usr/sbin:/bin:/sbin")


@dataclass
class Registry:
    """The registry; a context manager. `stop` and `start` take it away and bring it back at the same port."""

    folder: Path
    realm: Realm | None = None
    port: int = 0
    _process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self) -> Path:
        return self.folder / "registry.log"

    def start(self) -> None:
        file = self.folder / "config.yml"
        text = _CONFIG.format(root=self.folder / "store", port=self.port)
        if self.realm is not None:
            text += _TOKENS.format(realm=self.realm.url, certificate=self.realm.certificate)
        file.write_text(text)
        with self.log.open("ab") as log:
            argv = [program("docker-registry") or "docker-registry", "serve", str(file)]
            self._process = subprocess.Popen(argv, stdout=log, stderr=log, env={"OTEL_TRACES_EXPORTER": "none"})
        until = time.monotonic() + START_S
        while time.monotonic() < until and self._process.poll() is None:
            with contextlib.suppress(OSError):
                try:
                    urllib.request.urlopen(f"{self.url}/v2/", timeout=5).close()
                except urllib.error.HTTPError as error:
                    error.close()
                return
            time.sleep(0.05)
        raise AssertionError(f"the registry did not start:\n{self.log.read_text()}")

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait(30)
            self._process = None

    def push(self, image: Image, name: str, tag: str = "latest") -> None:
        """Put an image there, with all its platforms."""
        layout = image.write(self.folder / "layouts" / image.digest[7:19])
        credentials = [] if self.realm is None else ["--dest-creds", f"{USER}:{PASSWORD}"]
        argv = [program("skopeo") or "skopeo", "--insecure-policy", "copy", "--all", "--dest-tls-verify=false"]
        argv += [*credentials, f"oci:{layout}:latest", f"docker://127.0.0.1:{self.port}/{name}:{tag}"]
        done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=90)
        assert done.returncode == 0, done.stderr

    def asked(self) -> list[tuple[str, str]]:
        """Give method and path of what was asked and answered well, since `forget`."""
        found = _LINE.findall(self.log.read_text(errors="replace"))
        return [(method, path) for method, path, status in found if status in {"200", "206", "307"}]

    def forget(self) -> None:
        """Begin to count anew."""
        self.log.write_bytes(b"")


@dataclass
class Realm:
    """A token server for `Registry`: who shows user and password gets what is asked for, others only a refusal.

    Tokens are JSON Web Tokens (RFC 7519) signed with RS256 by `openssl`. `asked` has the Authorization of each request.
    """

    folder: Path
    asked: list[str] = field(default_factory=list)
    _server: ThreadingHTTPServer | None = None

    @property
    def certificate(self) -> Path:
        return self.folder / "certificate.pem"

    @property
    def url(self) -> str:
        assert self._server is not None
        return f"http://127.0.0.1:{self._server.server_port}/token"

    def __enter__(self) -> Self:
        self.folder.mkdir(parents=True, exist_ok=True)
        argv = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
        argv += ["-keyout", str(self._key), "-out", str(self.certificate)]
        subprocess.run(argv, capture_output=True, check=True, timeout=60)
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.shutdown()
        self._server.server_close()

    @property
    def _key(self) -> Path:
        return self.folder / "key.pem"

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        realm = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                shown = self.headers.get("Authorization", "")
                realm.asked.append(shown)
                right = shown == "Basic " + base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
                scopes = parse_qs(urlsplit(self.path).query).get("scope", [])
                body = json.dumps({"token": realm.token(scopes), "expires_in": 60} if right else {}).encode()
                self.send_response(200 if right else 401)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                """Say nothing."""

        return Handler

    def token(self, scopes: list[str]) -> str:
        """Sign a token for all that is asked for."""
        lines = [line for line in self.certificate.read_text().splitlines() if "-----" not in line]
        head = {"typ": "JWT", "alg": "RS256", "x5c": ["".join(lines)]}
        now = int(time.time())
        access = []
        for scope in " ".join(scopes).split():
            kind, name, actions = scope.split(":")
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        claims = {"iss": "test", "sub": USER, "aud": "test", "exp": now + 60, "nbf": now - 10, "iat": now, "jti": "1"}
        signed = ".".join(_text(json.dumps(part).encode()) for part in (head, claims | {"access": access}))
        argv = ["openssl", "dgst", "-sha256", "-sign", str(self._key)]
        done = subprocess.run(argv, input=signed.encode(), capture_output=True, check=True, timeout=30)
        return f"{signed}.{_text(done.stdout)}"


def _text(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


def needed(*names: str) -> Iterator[str]:
    """Name the programs that are missing, for a skip's reason."""
    for name in names:
        if program(name) is None:
            yield f"{name} is not installed (tests/install-tools.sh installs it where it can)"
