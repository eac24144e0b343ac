"""Artifacts over HTTP: headers, types, conditions, ranges, and what a browser must not run."""

from __future__ import annotations

import hashlib

import pytest

from millpond.testing.behaviours import Chunked, Drop, reset, status, truncate

CONFIG = """
[repositories.files]
package = "generic"
base_url = "URL"
check_mutable_updates = true
[repositories.pinned]
package = "generic"
base_url = "URL"
immutable_patterns = ["^fixed/"]
mutable_patterns = ["^moving/"]
[repositories.local]
package = "generic"
type = "local"
"""
BODY = bytes(range(256)) * 40
TAG = f'"sha256:{hashlib.sha256(BODY).hexdigest()}"'
REMOTE = "/api/v1/remote"


@pytest.fixture
async def pond(open_pond, origin):
    origin.put("/a.bin", BODY, modified_at=1_000_000_000)
    return await open_pond(CONFIG.replace("URL", origin.url))


async def test_a_miss_says_remote_and_a_hit_says_cache(pond, origin):
    miss = await pond.get(f"{REMOTE}/files/a.bin")
    assert (miss.status, miss.body) == (200, BODY)
    assert miss.headers["x-artifact-source"] == "remote"
    assert miss.headers["cache-status"] == "millpond; fwd=uri-miss; fwd-status=200; stored"
    pond.clock.advance(7)
    hit = await pond.get(f"{REMOTE}/files/a.bin")
    assert hit.headers["x-artifact-source"] == "cache"
    assert hit.headers["cache-status"] == "millpond; hit; ttl=593"
    assert (hit.headers["age"], hit.headers["etag"]) == ("7", TAG)
    for got in (miss, hit):
        assert got.headers["x-artifact-size"] == str(len(BODY)) == got.headers["content-length"]
        assert got.headers["content-disposition"] == 'attachment; filename="a.bin"'
        assert got.headers["content-type"] == "application/octet-stream"
        assert got.headers["last-modified"] == "Sun, 09 Sep 2001 01:46:40 GMT"
        assert got.headers["accept-ranges"] == "bytes"
    assert origin.count("/a.bin") == 1


async def test_the_native_mount_gives_the_same_bytes_without_forcing_a_download(pond):
    got = await pond.get("/files/a.bin")
    assert got.body == BODY
    assert "content-disposition" not in got.headers


async def test_a_streamed_miss_of_unknown_length_leaves_the_size_out(pond, origin):
    origin.script("/a.bin", Chunked())
    got = await pond.get("/files/a.bin")
    assert got.body == BODY
    assert "x-artifact-size" not in got.headers
    assert (await pond.get("/files/a.bin")).headers["x-artifact-size"] == str(len(BODY))


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("x.rpm", "application/x-rpm"),
        ("repomd.xml", "application/xml"),
        ("x.deb", "application/vnd.debian.binary-package"),
        ("x.json", "application/json"),
        ("x.tar.gz", "application/gzip"),
        ("x.yaml", "application/yaml"),
        ("X.RPM", "application/x-rpm"),
        ("x", "application/octet-stream"),
        ("x.unheard-of", "application/octet-stream"),
    ],
)
async def test_on_the_contracts_urls_the_suffix_names_the_type_whatever_was_told(pond, name, kind):
    put = await pond.client.put(f"{REMOTE}/local/{name}", b"[]", **pond.admin, content_type="text/weird")
    assert put.status == 201
    assert (await pond.get(f"{REMOTE}/local/{name}")).headers["content-type"] == kind


async def test_on_the_native_mount_the_upstreams_type_holds(pond, origin):
    origin.put("/x.rpm", b"\xed\xab\xee\xdb", headers={"content-type": "application/x-odd"})
    assert (await pond.get("/files/x.rpm")).headers["content-type"] == "application/x-odd"
    assert (await pond.get(f"{REMOTE}/files/x.rpm")).headers["content-type"] == "application/x-rpm"


@pytest.mark.parametrize("warm", [False, True])
async def test_head_has_the_headers_of_get_and_no_body(pond, warm):
    if warm:
        await pond.get("/files/a.bin")
    head = await pond.client.head("/files/a.bin")
    assert (head.status, head.body, head.headers["content-length"]) == (200, b"", str(len(BODY)))
    await pond.landed()
    got = await pond.get("/files/a.bin")
    assert got.headers["x-artifact-source"] == "cache", "a cold HEAD has brought it"
    moving = {"cache-status", "x-artifact-source", "etag"}
    assert {k: v for k, v in head.headers.items() if k not in moving} == {
        k: v for k, v in got.headers.items() if k not in moving
    }


@pytest.mark.parametrize("warm", [False, True])
@pytest.mark.parametrize(
    ("asked", "begin", "end"),
    [("bytes=0-0", 0, 1), ("bytes=100-", 100, None), ("bytes=-7", -7, None), ("bytes=5-999999", 5, None)],
)
async def test_a_range_is_a_slice_of_the_whole_and_fetches_the_whole_once(pond, origin, warm, asked, begin, end):
    if warm:
        await pond.get("/files/a.bin")
    got = await pond.client.ask("GET", "/files/a.bin", {"range": asked})
    assert (got.status, got.body) == (206, BODY[begin:end])
    start = begin % len(BODY)
    assert got.headers["content-range"] == f"bytes {start}-{start + len(got.body) - 1}/{len(BODY)}"
    await pond.landed()
    assert (await pond.get("/files/a.bin")).body == BODY
    assert origin.count("/a.bin") == 1
    assert "range" not in origin.requests[0].headers


@pytest.mark.parametrize("asked", ["bytes=0-1,3-4", "items=0-1", "bytes=9-3", "bytes=a-b", "bytes=-"])
async def test_a_range_that_is_not_understood_gives_the_whole(pond, asked):
    got = await pond.client.ask("GET", "/files/a.bin", {"range": asked})
    assert (got.status, got.body) == (200, BODY)


async def test_a_range_beyond_the_end_is_416(pond):
    await pond.get("/files/a.bin")
    got = await pond.client.ask("GET", "/files/a.bin", {"range": f"bytes={len(BODY)}-"})
    assert (got.status, got.headers["content-range"], got.body) == (416, f"bytes */{len(BODY)}", b"")


async def test_if_range_gives_the_part_only_of_the_same_bytes(pond):
    await pond.get("/files/a.bin")
    ask = {"range": "bytes=0-9", "if-range": TAG}
    assert (await pond.client.ask("GET", "/files/a.bin", ask)).status == 206
    assert (await pond.client.ask("GET", "/files/a.bin", ask | {"if-range": '"other"'})).body == BODY
    assert (await pond.client.ask("GET", "/files/a.bin", ask | {"if-range": f"W/{TAG}"})).body == BODY


async def test_a_range_of_a_cold_body_of_unknown_length_waits_for_the_whole(pond, origin):
    origin.script("/a.bin", Chunked(500))
    got = await pond.client.ask("GET", "/files/a.bin", {"range": "bytes=-5"})
    assert (got.status, got.body) == (206, BODY[-5:])


async def test_a_range_of_a_body_of_unknown_length_that_breaks_off_is_a_502(pond, origin):
    origin.script("/a.bin", Chunked(1000, stop_after=5000))
    got = await pond.client.ask("GET", "/files/a.bin", {"range": "bytes=-5"})
    assert got.status == 502, "nothing was promised yet, so it can be said in words"
    assert got.json()["status"] == 502


@pytest.mark.parametrize("tags", [TAG, f"W/{TAG}", "*", f'"x", {TAG}'])
async def test_a_tag_that_stands_for_the_current_bytes_gives_304(pond, tags):
    await pond.get("/files/a.bin")
    got = await pond.get("/files/a.bin", if_none_match=tags)
    assert (got.status, got.body, got.headers["etag"]) == (304, b"", TAG)
    assert "content-length" not in got.headers


async def test_the_upstreams_own_strong_tag_is_good_too_and_an_old_one_is_not(pond, origin):
    theirs = f'"{hashlib.sha256(BODY).hexdigest()[:16]}"'
    await pond.get("/files/a.bin")
    assert (await pond.get("/files/a.bin", if_none_match=theirs)).status == 304
    origin.put("/a.bin", b"new")
    pond.clock.advance(601)
    got = await pond.get("/files/a.bin", if_none_match=f"{theirs}, {TAG}")
    assert (got.status, got.body) == (200, b"new")


async def test_a_date_gives_304_and_if_match_412(pond):
    await pond.get("/files/a.bin")
    assert (await pond.get("/files/a.bin", if_modified_since="Sun, 09 Sep 2001 01:46:40 GMT")).status == 304
    assert (await pond.get("/files/a.bin", if_modified_since="Sun, 09 Sep 2001 01:46:39 GMT")).status == 200
    assert (await pond.get("/files/a.bin", if_match='"other"')).status == 412
    assert (await pond.get("/files/a.bin", if_match=TAG)).status == 200


@pytest.mark.parametrize("code", [404, 410])
async def test_an_upstreams_404_or_410_is_handed_on_and_remembered_briefly(pond, origin, code):
    origin.put("/gone.bin", b"", status=code)
    got = await pond.get(f"{REMOTE}/files/gone.bin")
    assert got.status == code
    assert "no such object" in got.json()["detail"]
    again = await pond.get("/files/gone.bin")
    assert again.headers["cache-status"] == 'millpond; hit; ttl=30; detail="negative"'
    assert origin.count("/gone.bin") == 1
    pond.clock.advance(30)
    await pond.get("/files/gone.bin")
    assert origin.count("/gone.bin") == 2


@pytest.mark.parametrize("fault", [status(500), status(403), status(401), status(429), Drop(), Drop(rst=True)])
async def test_any_other_failure_without_a_copy_is_502_and_never_remembered(pond, origin, fault):
    origin.script("/a.bin", fault)
    got = await pond.get("/files/a.bin")
    assert got.status == 502
    problem = got.json()
    assert (problem["type"], problem["title"], problem["status"]) == ("about:blank", "Bad Gateway", 502)
    assert (problem["repository"], problem["path"]) == ("files", "a.bin")
    assert got.headers["cache-status"].startswith("millpond; fwd=uri-miss; detail=")
    assert (await pond.get("/files/a.bin")).body == BODY


async def test_an_upstreams_retry_after_reaches_the_client(pond, origin):
    origin.script("/a.bin", status(503, retry_after="17"))
    assert (await pond.get("/files/a.bin")).headers["retry-after"] == "17"
    assert (await pond.get("/files/a.bin")).headers["retry-after"] == "17", "the upstream is left alone for so long"
    pond.clock.advance(17)
    assert (await pond.get("/files/a.bin")).status == 200


@pytest.mark.parametrize("fault", [truncate(5000), reset(5000), Chunked(1000, stop_after=5000)])
async def test_a_body_that_breaks_off_is_a_broken_transfer_and_nothing_is_stored(pond, origin, fault):
    origin.script("/a.bin", fault)
    got = await pond.get("/files/a.bin")
    assert got.status == 502 or not got.complete
    assert BODY.startswith(got.body) or got.status == 502
    await pond.landed()
    assert await pond.app.catalog.find("files", "a.bin", "") is None
    assert (await pond.get("/files/a.bin")).body == BODY


async def test_the_patterns_refuse_with_403_and_ask_nobody(pond, origin):
    for prefix in ("", REMOTE):
        got = await pond.get(f"{prefix}/pinned/a.bin")
        assert got.status == 403
        assert "immutable_patterns" in got.json()["detail"]
    assert origin.requests == []
    origin.put("/moving/a.bin", b"m")
    assert (await pond.get("/pinned/moving/a.bin")).status == 200, "mutable paths need no immutable pattern"


@pytest.mark.parametrize(
    "kind", ["text/html", "text/html; charset=utf-8", "image/svg+xml", "application/xhtml+xml", "text/xml"]
)
async def test_what_a_browser_would_run_is_served_in_a_sandbox(pond, origin, kind):
    origin.put("/page.html", b"<html><script>alert(1)</script></html>", headers={"content-type": kind})
    for _ in range(2):
        got = await pond.get("/files/page.html")
        assert got.headers["content-security-policy"] == "default-src 'none'; sandbox"
        assert got.headers["x-content-type-options"] == "nosniff"


async def test_what_is_not_active_is_not_sniffed_either(pond):
    got = await pond.get("/files/a.bin")
    assert got.headers["x-content-type-options"] == "nosniff"
    assert "content-security-policy" not in got.headers


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("a%22b.bin", "attachment; filename=\"a_b.bin\"; filename*=UTF-8''a%22b.bin"),
        ("%C3%BC.bin", "attachment; filename=\"_.bin\"; filename*=UTF-8''%C3%BC.bin"),
        ("deep/er/x.bin", 'attachment; filename="x.bin"'),
    ],
)
async def test_a_file_name_cant_leave_its_quotes(pond, path, value):
    await pond.client.put(f"{REMOTE}/local/{path}", b"x", **pond.admin)
    got = await pond.get(f"{REMOTE}/local/{path}")
    assert got.headers["content-disposition"] == value


async def test_what_is_served_is_noted_with_its_digest_and_token(pond):
    token = (await pond.app.tokens.create("ci", ["read:*"]))[1]
    await pond.get("/files/a.bin")
    await pond.get("/files/a.bin", authorization=f"Bearer {token}")
    await pond.client.head("/files/a.bin")
    await pond.app.usage.flush()
    newest, oldest = await pond.app.usage.records()
    assert (newest.token, newest.outcome, newest.path, newest.size) == ("ci", "hit", "a.bin", len(BODY))
    assert (oldest.token, oldest.outcome) == ("", "miss")
    assert f'"{newest.digest}"' == f'"{oldest.digest}"' == TAG


async def test_a_stored_file_that_vanished_is_fetched_again(pond, origin):
    await pond.get("/files/a.bin")
    pond.app.store.path(TAG.strip('"')).unlink()
    assert (await pond.get("/files/a.bin")).body == BODY
    assert origin.count("/a.bin") == 2


async def test_a_local_file_that_vanished_is_told_and_not_hidden(pond):
    await pond.client.put(f"{REMOTE}/local/a", b"mine", **pond.admin)
    pond.app.store.path("sha256:" + hashlib.sha256(b"mine").hexdigest()).unlink()
    got = await pond.get("/local/a")
    assert got.status == 502
    assert "fsck" in got.json()["detail"]
