"""Uploads over HTTP: multipart as the old clients send it, raw as curl does, whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib

import pytest

CONFIG = """
[repositories.local]
package = "generic"
type = "local"
max_upload = "300KB"
[repositories.loose]
package = "generic"
type = "local"
allow_overwrite = true
[repositories.picky]
package = "generic"
type = "local"
immutable_patterns = ["[.]rpm$"]
"""
URL = "/api/v1/remote/local/dir/a.bin"


@pytest.fixture
async def pond(open_pond):
    return await open_pond(CONFIG)


def digest(body: bytes) -> str:
    return "sha256:" + hashlib.sha256(body).hexdigest()


def form(body: bytes, name: str = "file", boundary: str = "XyZ") -> bytes:
    head = f'--{boundary}\r\nContent-Disposition: form-data; name="{name}"; filename="a.bin"\r\n\r\n'.encode()
    return head + body + f"\r\n--{boundary}--\r\n".encode()


FORM = {"content-type": "multipart/form-data; boundary=XyZ"}


async def test_new_is_201_the_same_again_200_and_other_bytes_409(pond):
    got = await pond.client.put(URL, b"one", **pond.admin)
    told = {"path": "dir/a.bin", "digest": digest(b"one"), "size": 3}
    assert (got.status, got.json()) == (201, told)
    got = await pond.client.put(URL, b"one", **pond.admin)
    assert (got.status, got.json()) == (200, told)
    got = await pond.client.put(URL, b"two", **pond.admin)
    assert got.status == 409
    assert "other bytes" in got.json()["detail"]
    assert (await pond.get(URL)).body == b"one"


async def test_a_repository_that_allows_it_takes_other_bytes(pond):
    url = URL.replace("local", "loose")
    assert (await pond.client.put(url, b"one", **pond.admin)).status == 201
    assert (await pond.client.put(url, b"two", **pond.admin)).status == 201
    assert (await pond.get(url)).body == b"two"


@pytest.mark.parametrize("body", [b"", b"x", b"\r\n--XyZ", b"line\r\n--Xy\r\n" * 2000, bytes(250_000)])
@pytest.mark.parametrize("size", [1, 7, 65_536])
async def test_multipart_and_raw_give_the_same_bytes_however_they_are_cut(pond, body, size):
    if size == 1 and len(body) > 1000:
        size = 333
    whole = form(body, boundary="bOuNd")
    kind = {"content-type": 'multipart/form-data; boundary="bOuNd"'}
    pieces = [whole[at : at + size] for at in range(0, len(whole), size)]
    got = await pond.client.ask("PUT", URL, pond.admin | kind, pieces)
    assert (got.status, got.json()["digest"]) == (201, digest(body))
    assert (await pond.client.put(URL, body, **pond.admin)).status == 200, "the same bytes, raw"


@pytest.mark.parametrize(
    ("body", "kind", "why"),
    [
        (form(b"x", name="data"), FORM["content-type"], "named 'file'"),
        (form(b"x")[:-6], FORM["content-type"], "too early"),
        (b"no form at all", FORM["content-type"], "broken multipart"),
        (form(b"x"), "multipart/form-data", "boundary"),
        (form(b"x")[:-9] + b"\r\n" + form(b"y"), FORM["content-type"], "it has 2"),
    ],
)
async def test_a_broken_form_is_400_and_leaves_nothing(pond, body, kind, why):
    got = await pond.client.ask("PUT", URL, pond.admin | {"content-type": kind}, body)
    assert got.status == 400
    assert why in got.json()["detail"]
    assert (await pond.get(URL)).status == 404
    assert list((pond.app.data / "spool").iterdir()) == []


async def test_a_form_with_too_many_fields_is_refused(pond):
    part = b'--XyZ\r\nContent-Disposition: form-data; name="x"\r\n\r\n\r\n'
    got = await pond.client.ask("PUT", URL, pond.admin | FORM, part * 40 + form(b"x"))
    assert got.status == 400


async def test_an_upload_whose_client_leaves_is_nothing(pond):
    sent = []

    async def receive():
        sent.append(1)
        return (
            {"type": "http.request", "body": b"half", "more_body": True}
            if len(sent) == 1
            else {"type": "http.disconnect"}
        )

    answers = []

    async def send(message):
        answers.append(message)

    scope = pond.client._scope("PUT", URL, pond.admin, b"")
    await pond.client.application(scope, receive, send)
    assert answers[0]["status"] == 400
    assert (await pond.get(URL)).status == 404


async def test_fewer_bytes_than_announced_are_refused(pond):
    got = await pond.client.ask("PUT", URL, pond.admin | {"content-length": "10"}, [b"half"])
    assert got.status == 400
    assert "10 bytes were announced, 4 came" in got.json()["detail"]
    assert (await pond.get(URL)).status == 404


async def test_delete_is_204_then_404(pond):
    await pond.client.put(URL, b"x", **pond.admin)
    got = await pond.client.delete(URL, **pond.admin)
    assert (got.status, got.body) == (204, b"")
    assert (await pond.client.delete(URL, **pond.admin)).status == 404
    assert (await pond.get(URL)).status == 404


@pytest.mark.parametrize("path", ["", "dir/"])
async def test_a_folder_is_no_place_for_a_file(pond, path):
    assert (await pond.client.put(f"/api/v1/remote/local/{path}", b"x", **pond.admin)).status == 400


async def test_the_patterns_hold_for_uploads_too(pond):
    got = await pond.client.put("/api/v1/remote/picky/a.txt", b"x", **pond.admin)
    assert got.status == 403
    assert (await pond.client.put("/api/v1/remote/picky/a.rpm", b"x", **pond.admin)).status == 201


async def test_eight_uploads_of_one_name_at_once_give_one_winner(pond):
    bodies = [b"%d" % number for number in range(8)]
    answers = await asyncio.gather(*(pond.client.put(URL, body, **pond.admin) for body in bodies))
    assert sorted(got.status for got in answers) == [201] + [409] * 7
    winner = next(body for body, got in zip(bodies, answers, strict=True) if got.status == 201)
    assert (await pond.get(URL)).body == winner


async def test_an_upload_is_there_for_another_worker_at_once(open_pond):
    one, two = await open_pond(CONFIG), await open_pond(CONFIG)
    assert (await two.get(URL)).status == 404
    await one.client.put(URL, b"x", **one.admin)
    assert (await two.get(URL)).body == b"x"
    await two.client.delete(URL, **two.admin)
    assert (await one.get(URL)).status == 404
