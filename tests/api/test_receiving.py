"""Uploads that are refused early, and uploads that stop."""

from __future__ import annotations

import asyncio
import http.client
import json
import socket

import pytest

from millpond.api import receiving
from millpond.api.receiving import LINGER_BYTES, Incoming

CONFIG = """
[repositories.local]
package = "generic"
type = "local"
max_upload = "300KB"
"""
URL = "/api/v1/remote/local/dir/a.bin"
BODY = bytes(900_000)


def pieces(*, count: int = 1 << 20, size: int = 65_536):
    """Give an ASGI `receive` of many pieces, and the list of those that were taken."""
    taken = []

    async def receive():
        taken.append(size)
        return {"type": "http.request", "body": bytes(size), "more_body": len(taken) < count}

    return receive, taken


async def test_no_more_than_a_bounded_part_of_what_nobody_wants_is_read(monkeypatch):
    monkeypatch.setattr(receiving, "LINGER_S", 0.1)
    receive, taken = pieces()
    await Incoming(receive).linger(expects=False)
    assert sum(taken) == LINGER_BYTES


async def test_a_body_that_ends_is_read_to_its_end_and_not_beyond():
    receive, taken = pieces(count=3)
    incoming = Incoming(receive)
    await incoming()
    await incoming.linger(expects=True)
    await incoming.linger(expects=False)
    assert len(taken) == 3


async def test_a_client_that_asked_first_is_not_waited_for():
    receive, taken = pieces()
    await Incoming(receive).linger(expects=True)
    assert taken == []


async def test_one_that_says_nothing_is_waited_for_no_longer_than_the_time(monkeypatch):
    monkeypatch.setattr(receiving, "LINGER_S", 0.05)
    async with asyncio.timeout(30):
        await Incoming(asyncio.Event().wait).linger(expects=False)


@pytest.mark.process
@pytest.mark.parametrize(
    ("path", "token", "status"), [(URL, True, 413), (URL, False, 401), ("/api/v1/remote/nope/a", True, 404)]
)
def test_who_sends_all_before_it_reads_is_told_the_reason(make_pond, path, token, status):
    pond = make_pond(CONFIG)
    head = f"PUT {path} HTTP/1.1\r\nHost: pond.test\r\nContent-Length: {len(BODY)}\r\n"
    head += f"Authorization: Bearer {pond.admin_token}\r\n\r\n" if token else "\r\n"
    with socket.create_connection((pond.host, pond.port), 30) as client:
        client.sendall(head.encode())
        assert client.recv(1, socket.MSG_PEEK), "the answer is there before the body"
        client.sendall(BODY)
        answer = http.client.HTTPResponse(client)
        answer.begin()
        assert (answer.status, answer.headers["connection"]) == (status, "close")
        assert json.loads(answer.read())["detail"]
        assert client.recv(1) == b"", "an end, no reset"


@pytest.fixture
async def pond(open_pond):
    return await open_pond(CONFIG)


async def stalled(pond, headers, first):
    """Begin an upload and say no more; gives the answer's messages."""
    messages, silent = [{"type": "http.request", "body": first, "more_body": True}], asyncio.Event()

    async def receive():
        if messages:
            return messages.pop()
        await silent.wait()
        raise AssertionError("nobody says anything")

    answers = []

    async def send(message):
        answers.append(message)

    async with asyncio.timeout(30):
        await pond.client.application(pond.client._scope("PUT", URL, headers, b""), receive, send)
    return answers


FORM = b'--XyZ\r\nContent-Disposition: form-data; name="file"; filename="a"\r\n\r\nhalf'


@pytest.mark.parametrize(
    ("kind", "first"), [("application/x-tar", b"half"), ("multipart/form-data; boundary=XyZ", FORM)]
)
async def test_an_upload_that_stops_is_ended_and_nothing_of_it_is_left(pond, monkeypatch, kind, first):
    monkeypatch.setattr(receiving, "IDLE_S", 0.05)
    monkeypatch.setattr(receiving, "LINGER_S", 0.05)
    start, body, *_ = await stalled(pond, pond.admin | {"content-type": kind}, first)
    assert start["status"] == 408
    assert (b"connection", b"close") in start["headers"]
    assert "upload again" in json.loads(body["body"])["detail"]
    assert list((pond.app.data / "spool").iterdir()) == []
    assert (await pond.get(URL)).status == 404
    assert (await pond.client.put(URL, b"whole", **pond.admin)).status == 201, "its place is free"
