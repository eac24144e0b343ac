"""The in-process client holds applications to the protocol."""

from __future__ import annotations

import pytest

from millpond.testing.asgi import AsgiClient


def answering(*messages):
    async def application(scope, receive, send):
        for message in messages:
            await send(message)

    return AsgiClient(application)


START = {"type": "http.response.start", "status": 200, "headers": [(b"Content-Length", b"2")]}


async def test_an_answer_is_read_whole():
    got = await answering(START, {"type": "http.response.body", "body": b"ab"}).get("/")
    assert (got.status, got.headers, got.body, got.complete) == (200, {"content-length": "2"}, b"ab", True)


async def test_an_answer_that_is_left_unfinished_is_a_broken_one():
    got = await answering(START, {"type": "http.response.body", "body": b"a", "more_body": True}).get("/")
    assert not got.complete
    assert (await answering().get("/")).status == 0


@pytest.mark.parametrize(
    "messages",
    [
        (START, START),
        ({"type": "http.response.body"},),
        (START, {"type": "http.response.body", "body": b"abc"}),
        (START, {"type": "http.response.body", "body": b"ab"}, {"type": "http.response.body"}),
    ],
)
async def test_what_breaks_the_protocol_is_refused(messages):
    with pytest.raises(AssertionError):
        await answering(*messages).get("/")


async def test_the_request_arrives_as_it_was_written():
    seen = {}

    async def application(scope, receive, send):
        seen.update(scope)
        seen["body"] = [await receive(), await receive()]

    await AsgiClient(application).put("/a%20b/c?x=1", [b"one", b"two"], if_match="*")
    assert (seen["raw_path"], seen["path"], seen["query_string"]) == (b"/a%20b/c", "/a b/c", b"x=1")
    assert (b"if-match", b"*") in seen["headers"]
    assert [message["body"] for message in seen["body"]] == [b"one", b"two"]
    assert [message["more_body"] for message in seen["body"]] == [True, False]


async def test_a_client_can_leave():
    async def application(scope, receive, send):
        await receive()
        await send(START)
        await send({"type": "http.response.body", "body": b"a", "more_body": True})
        assert (await receive())["type"] == "http.disconnect"

    assert (await AsgiClient(application).ask("GET", "/", leave_after=1)).body == b"a"
