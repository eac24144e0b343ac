"""More than 500 encodings of a path over real sockets: no fault of ours, nothing from elsewhere, or asked elsewhere."""

from __future__ import annotations

import re
import socket
from dataclasses import dataclass

import pytest
from tests.api.test_paths import HOSTILE
from tests.faults.traffic import admin, entries, fetch, upload
from tests.wheels import JSON_TYPE, Wheel, publish

from millpond.testing.behaviours import Fixed
from millpond.testing.pond import PondProcess
from millpond.testing.resources import Answer

pytestmark = pytest.mark.fault
SECRET = b"of another repository: nobody may have this here"
CANARY = b"whatever was asked upstream"
CONFIG = """
[repositories.pypi]
package = "pypi"
base_url = "{upstream}/base/simple"
trusted_origins = ["{upstream}"]
[repositories.open]
package = "generic"
base_url = "{upstream}/base/open"
[repositories.narrow]
package = "generic"
base_url = "{upstream}/base/narrow"
immutable_patterns = ["^public/"]
[repositories.kept]
package = "generic"
type = "local"
"""


@dataclass
class Wire:
    """A raw connection: what is written is what goes out."""

    pond: PondProcess
    sock: socket.socket | None = None

    def ask(self, target: bytes, method: bytes = b"GET") -> tuple[int, bytes]:
        """Send a request; gives status and body. The server may close the connection after it."""
        for fresh in (False, True):
            if fresh or self.sock is None:
                self.close()
                self.sock = socket.create_connection((self.pond.host, self.pond.port), timeout=60)
            try:
                self.sock.sendall(method + b" " + target + b" HTTP/1.1\r\nHost: pond.test\r\n\r\n")
                return self._read(bodiless=method == b"HEAD")
            except (ConnectionError, EOFError):
                if fresh:
                    raise
        raise AssertionError

    def _read(self, *, bodiless: bool = False) -> tuple[int, bytes]:
        assert self.sock is not None
        data = b""
        while b"\r\n\r\n" not in data:
            data += self._more()
        head, _, body = data.partition(b"\r\n\r\n")
        status = int(head.split(b" ", 2)[1])
        length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
        while len(body) < (int(length[1]) if length and not bodiless else 0):
            body += self._more()
        if length is None or b"\r\nconnection: close" in head.lower():
            self.close()
        return status, head + body

    def _more(self) -> bytes:
        assert self.sock is not None
        piece = self.sock.recv(65536)
        if not piece:
            self.close()
            raise EOFError
        return piece

    def close(self) -> None:
        if self.sock is not None:
            self.sock.close()
            self.sock = None


@pytest.fixture
def pond(make_pond, upstream):
    upstream.always("*", Fixed(Answer(200, {"content-type": "application/octet-stream"}, CANARY)))
    made = make_pond(CONFIG.format(upstream=upstream.url))
    for path in ("etc/passwd", "admin-token", "secret.bin", "simple/x"):
        assert upload(made, f"kept/{path}", SECRET).status == 201
    return made


@pytest.fixture
def wire(pond):
    made = Wire(pond)
    yield made
    made.close()


def check(wire: Wire, target: bytes, allowed: set[int]) -> str | None:
    """Say what is wrong with the answer; None: nothing."""
    status, answer = wire.ask(target)
    if status not in allowed:
        return f"{target!r}: {status}"
    leaks = [what for what in (SECRET, CANARY, b"root:", wire.pond.admin_token.encode()) if what in answer]
    return f"{target!r}: {leaks}" if leaks else None


@pytest.mark.parametrize("repository", ["pypi", "open", "narrow", "kept"])
@pytest.mark.parametrize("prefix", ["/", "/api/v1/remote/"])
def test_no_hostile_encoding_leads_anywhere(wire, upstream, repository, prefix):
    targets = {(prefix + path.replace("pypi", repository, 1)).encode("latin-1") for path in HOSTILE}
    assert len(targets) > 500
    wrong = [found for target in sorted(targets) if (found := check(wire, target, {400}))]
    assert wrong == []
    assert upstream.requests == []
    assert fetch(wire.pond, "/health").status == 200


def test_repositories_names_are_decoded_once_too(wire, upstream):
    climbs = [b"..", b"%2e%2e", b"%2E.", b"%252e%252e", b".%2e", b"%c0%ae", b"%2e%2e%2f", b"%5c..", b"\\.."]
    targets = [b"/" + b"/".join([climb] * deep) + tail for climb in climbs for deep in (1, 2, 5) for tail in
               (b"/etc/passwd", b"/admin-token", b"/kept/secret.bin", b"%2fkept%2fsecret.bin")]  # fmt: skip
    wrong = [found for target in targets if (found := check(wire, target, {400, 404}))]
    assert wrong == []
    assert upstream.requests == []


REQUEST_LINES = [
    b"http://elsewhere.test/kept/../admin-token",
    b"//kept//../admin-token",
    b"/pypi?../../admin-token",
    b"*",
    b"/\xff\xfe",
    b"/pypi/\xc3\x28",
    b"/pypi/simple/\x01/",
    b"/pypi/simple/%0d%0aX-Evil:%201/",
    b"/pypi/" + b"a/" * 5000,
    b"/open/" + b"%41" * 20_000,
    b"/narrow/public/" + b"x" * 9000,
    b"/pypi/simple/%F0%9F%92%A9/",
    b"/pypi/files/a/b/c",
    b"/pypi/files/a/%2e%2e%2f",
    b"/%70ypi/%2e%2e/x",
    b"/pypi%00/simple/",
    b"/pypi;a=b/simple/",
    b"/v2/../kept/secret.bin",
    b"/v2/pypi/../../kept/secret.bin",
    b"/api/v1/remote//kept/../secret.bin",
    b"/api/v1/../../kept/../admin-token",
]


@pytest.mark.parametrize("method", [b"GET", b"HEAD", b"OPTIONS", b"TRACE", b"PROPFIND"])
def test_odd_request_lines_are_no_fault_of_ours(wire, upstream, method):
    for target in REQUEST_LINES:
        try:
            status, answer = wire.ask(target, method)
        except (EOFError, ConnectionError):
            continue  # the server hung up on what is no HTTP
        assert 200 <= status < 500, f"{target[:60]!r}: {status}"
        assert SECRET not in answer
        assert b"\r\nx-evil" not in answer.lower()
    assert all(seen.path.startswith("/base/") for seen in upstream.requests)
    assert fetch(wire.pond, "/health").status == 200


NARROW = ["public/..%2fprivate", "public/%2e%2e/private", "public/../private", "./private", "private%2f..%2fpublic/",
          "private?/public/", "private%3f/public/", "Public/x", "%2fpublic/x", "private%23public/", "private;public/",
          "private%0apublic/", "x/public/"]  # fmt: skip


def test_only_the_path_that_was_allowed_is_asked_upstream(wire, upstream):
    for path in NARROW:
        status, answer = wire.ask(f"/narrow/{path}".encode())
        assert status in {400, 403, 404}, path
        assert CANARY not in answer
    assert upstream.requests == []
    for honest, place in {
        "public/a": "public/a",
        "public/%61%62c": "public/abc",
        "%70ublic/d": "public/d",
        "public/a%20b%2bc": "public/a%20b+c",
        "public/%c3%bc": "public/%C3%BC",
        "public/100%25": "public/100%25",
        "public/q%23f": "public/q%23f",
    }.items():
        status, answer = wire.ask(f"/narrow/{honest}".encode())
        assert (status, CANARY in answer) == (200, True), honest
        assert upstream.requests[-1].target == f"/base/narrow/{place}", honest
    assert len(entries(wire.pond, "narrow")) == 7


def test_spellings_of_one_project_are_one_path_upstream(pond, upstream):
    upstream.always("*", None)
    publish(upstream, upstream, Wheel("a-b", "1.0"), as_json=True)
    page = upstream._resources["/simple/a-b/"].body
    upstream.put("/base/simple/a-b/", page, headers={"content-type": JSON_TYPE})
    for spelling in ("A-B", "a_b", "a.b", "a--b", "%41_%42"):
        seen = fetch(pond, f"/pypi/simple/{spelling}/", headers={"Accept": JSON_TYPE})
        assert (seen.status, seen.headers.get("location", "").partition("/pypi/")[2]) == (301, "simple/a-b/")
    assert fetch(pond, "/pypi/simple/a-b/", headers={"Accept": JSON_TYPE}).status == 200
    assert {seen.path for seen in upstream.requests} == {"/base/simple/a-b/"}


def test_uploads_go_where_they_say_or_nowhere(pond):
    before = {path for path in pond.folder.rglob("*") if path.is_file() and "storage" not in path.parts}
    for path in HOSTILE[::7]:
        target = path.replace("pypi", "kept", 1)
        wire = Wire(pond)
        token = admin(pond)["Authorization"].encode()
        head = b"PUT /api/v1/remote/%b HTTP/1.1\r\nHost: p\r\nAuthorization: %b\r\nContent-Length: 4\r\n\r\nevil"
        wire.sock = socket.create_connection((pond.host, pond.port), timeout=60)
        wire.sock.sendall(head % (target.encode("latin-1"), token))
        assert wire._read()[0] == 400, target
        wire.close()
    after = {path for path in pond.folder.rglob("*") if path.is_file() and "storage" not in path.parts}
    assert {path.name for path in after - before} <= {"catalog.sqlite-wal", "catalog.sqlite-shm"}
    assert len(entries(pond, "kept")) == 4
