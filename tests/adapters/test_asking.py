"""Questions to an app's URL: the status, whatever it is, or why there is none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable

import pytest

from millpond.adapters.asking import HttpAsker
from millpond.testing.pond import free_port

Answering = Callable[[str], Awaitable[str]]


@pytest.fixture
async def answering() -> AsyncIterator[Answering]:
    """Start servers that answer each request with the given text; gives the URL."""
    made: list[asyncio.Server] = []
    writers: list[asyncio.StreamWriter] = []

    async def start(text: str) -> str:
        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writers.append(writer)
            await reader.readuntil(b"\r\n\r\n")
            writer.write(text.encode())
            if text:
                writer.close()

        made.append(await asyncio.start_server(serve, "127.0.0.1", 0))
        return f"http://127.0.0.1:{made[-1].sockets[0].getsockname()[1]}/health"

    yield start
    for writer in writers:
        writer.close()
    for server in made:
        server.close()
    await asyncio.gather(*(writer.wait_closed() for writer in writers), return_exceptions=True)


@pytest.mark.parametrize("status", [200, 204, 301, 404, 503])
async def test_the_status_is_told_and_redirects_are_not_followed(answering: Answering, status: int):
    url = await answering(f"HTTP/1.1 {status} x\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\n\r\n")
    assert await HttpAsker().status(url, 30) == status


async def test_an_endless_body_is_not_read(answering: Answering):
    url = await answering("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n")
    assert await HttpAsker().status(url, 30) == 200


async def test_no_answer_is_told_as_what_it_is(answering: Answering):
    with pytest.raises(OSError, match="no answer within"):
        await HttpAsker().status(await answering(""), 0.2)
    with pytest.raises(OSError, match="connect"):
        await HttpAsker().status(f"http://127.0.0.1:{free_port()}/", 30)
    with pytest.raises(OSError, match=r"\w"):
        await HttpAsker().status(await answering("no HTTP at all\r\n\r\n"), 30)
