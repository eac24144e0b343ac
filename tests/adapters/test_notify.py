"""Notifications: sent by a child, bounded in time, and never a reason to fail."""

from __future__ import annotations

import asyncio
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import structlog

from millpond.adapters.notify import AppriseNotifier, NoNotifier


@pytest.fixture
def service():
    """A service that takes JSON, and keeps what it got."""
    got: list[dict[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.append(json.loads(self.rfile.read(int(self.headers["content-length"]))))
            self.send_response(200 if "/good" in self.path else 500)
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"json://canary:hunter2@127.0.0.1:{server.server_port}", got
    server.shutdown()
    thread.join()
    server.server_close()


async def test_a_message_arrives(service):
    url, got = service
    await AppriseNotifier([f"{url}/good"]).notify("the title", "the body")
    assert [(one["title"], one["message"]) for one in got] == [("the title", "the body")]


async def test_what_is_not_taken_is_logged_without_the_secret_and_the_others_are_sent(service):
    url, got = service
    with structlog.testing.capture_logs() as logs:
        await AppriseNotifier([f"{url}/bad", "no-such-service://canary-token", f"{url}/good"]).notify("t", "b")
    assert len(got) == 2
    assert len(logs) == 1
    assert "number 1, 2 of [notify] urls" in logs[0]["failed"]
    assert "canary" not in str(logs)
    assert "hunter2" not in str(logs)


async def test_a_service_that_hangs_holds_nothing_up():
    callers: list[asyncio.StreamWriter] = []
    server = await asyncio.start_server(lambda _, writer: callers.append(writer), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    # The time runs while the child still imports what it needs: on a busy machine it calls within a longer one only.
    for timeout_s in (0.5, 4, 30):
        with structlog.testing.capture_logs() as logs:
            await AppriseNotifier([f"json://127.0.0.1:{port}/"], timeout_s=timeout_s).notify("t", "b")
        assert [one["event"] for one in logs] == ["a notification could not be sent in time"]
        if callers:
            break
    server.close()
    assert callers
    for writer in callers:
        writer.close()


async def test_nobody_to_tell_is_no_trouble():
    await AppriseNotifier([]).notify("t", "b")
    await NoNotifier().notify("t", "b")
