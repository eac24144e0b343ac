"""Whether a pond answers at an address."""

from __future__ import annotations

import http.server
import threading

import pytest

from millpond.app.reaching import missing
from millpond.testing.pond import free_port

HEALTHY = b'{"status": "healthy", "version": "1"}'
CHALLENGE = {"WWW-Authenticate": 'Basic realm="millpond"'}


@pytest.fixture
def answering():
    """Serve one answer, on loopback; gives its address."""
    servers = []

    def serve(status, body=b"", headers=None):
        class Answer(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                self.send_response(status if self.path == "/health" else 404)
                for name, value in {"Content-Length": str(len(body)), **(headers or {})}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        server = http.server.HTTPServer(("127.0.0.1", 0), Answer)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}/"

    yield serve
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.mark.parametrize(("status", "body", "headers"), [(200, HEALTHY, {}), (401, b"", CHALLENGE)])
def test_a_pond_answers_whether_it_wants_a_token_or_not(answering, status, body, headers, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    assert missing(answering(status, body, headers)) is None


@pytest.mark.parametrize(
    ("status", "body"), [(200, b"<html>"), (200, b"[]"), (200, b'{"status": "healthy"}'), (404, b""), (401, b"")]
)
def test_something_else_is_no_pond(answering, status, body):
    assert "something else" in (missing(answering(status, body)) or "")


def test_nobody_there_and_no_address_have_a_reason():
    assert "refused" in (missing(f"http://127.0.0.1:{free_port()}") or "")
    assert missing("nowhere") is not None
