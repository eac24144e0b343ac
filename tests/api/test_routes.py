"""The first look at a request: which repository, which method, who may, in the contract's order of checks."""

from __future__ import annotations

import json

import pytest

CONFIG = """
[repositories.remote]
package = "generic"
base_url = "URL"
[repositories.py]
package = "pypi"
base_url = "URL/simple"
[repositories.local]
package = "generic"
type = "local"
max_upload = "1KB"
"""
REMOTE = "/api/v1/remote"


@pytest.fixture
async def pond(open_pond, origin):
    origin.put("/a.bin", b"bytes")
    return await open_pond(CONFIG.replace("URL", origin.url))


@pytest.mark.parametrize(
    ("method", "path", "allow"),
    [
        ("POST", "/remote/a.bin", "GET, HEAD"),
        ("PUT", "/local/a.bin", "GET, HEAD"),
        ("DELETE", "/local/a.bin", "GET, HEAD"),
        ("HEAD", f"{REMOTE}/remote/a.bin", "GET"),
        ("POST", f"{REMOTE}/remote/a.bin", "GET"),
        ("PATCH", f"{REMOTE}/local/a.bin", "GET, HEAD, PUT, DELETE"),
    ],
)
async def test_a_method_that_does_not_fit_is_405_with_allow(pond, method, path, allow):
    got = await pond.client.ask(method, path)
    assert (got.status, got.headers["allow"]) == (405, allow)
    assert got.headers["content-type"] == "application/problem+json"
    assert pond.app.repositories  # it never came as far as the repository's content


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "POST"])
@pytest.mark.parametrize("path", ["/nope/a.bin", f"{REMOTE}/nope/a.bin"])
async def test_an_unknown_repository_is_404_for_every_method_and_before_any_other_check(pond, method, path):
    got = await pond.client.ask(method, path, {"authorization": "Bearer wrong"})
    assert got.status == 404
    if method != "HEAD":
        assert "no repository 'nope'" in got.json()["detail"]


@pytest.mark.parametrize("method", ["PUT", "DELETE"])
async def test_a_write_is_checked_in_order_existence_type_caller_request(pond, method):
    wrong = {"authorization": "Bearer wrong"}
    put = pond.client.ask
    assert (await put(method, f"{REMOTE}/nope/a.bin", wrong)).status == 404
    assert (await put(method, f"{REMOTE}/remote/a.bin", wrong)).status == 400, "its type comes before the caller"
    assert (await put(method, f"{REMOTE}/local/", wrong, b"x" * 2000)).status == 401, "the caller before the request"
    reader = (await pond.app.tokens.create("reader", ["read:*"]))[1]
    got = await put(method, f"{REMOTE}/local/", {"authorization": f"Bearer {reader}"}, b"x" * 2000)
    assert got.status == 403
    assert (await put(method, f"{REMOTE}/local/", pond.admin, b"x")).status == 400


async def test_an_upload_that_is_too_large_is_413(pond):
    got = await pond.client.put(f"{REMOTE}/local/a", b"x" * 1001, **pond.admin)
    assert (got.status, got.headers["connection"]) == (413, "close")
    got = await pond.client.put(f"{REMOTE}/local/a", [b"x" * 600, b"x" * 600], **pond.admin)
    assert got.status == 413, "also when its length was not told"
    assert (await pond.get("/local/a")).status == 404


@pytest.mark.parametrize("path", ["/v2/", "/v2"])
async def test_the_oci_root_says_what_it_speaks(pond, path):
    got = await pond.get(path)
    assert (got.status, got.body) == (200, b"{}")
    assert got.headers["docker-distribution-api-version"] == "registry/2.0"
    head = await pond.client.head(path)
    assert (head.status, head.body) == (200, b"")


async def test_the_oci_api_refuses_other_packages(pond):
    assert (await pond.get("/v2/nope/manifests/latest")).status == 404
    got = await pond.get("/v2/remote/manifests/latest")
    assert got.status == 400
    assert "no docker repository" in got.json()["errors"][0]["message"]


@pytest.mark.parametrize(
    "path",
    ["/remote/../local/a", "/remote/%2e%2e/a", "/remote/a%2fb", "/remote/a%00", "/remote//a", "/remote/%zz",
     "/remote/a%5cb", "/remote/%252e%252e/x", "/remote/" + "x" * 5000],
)  # fmt: skip
async def test_a_path_that_does_not_survive_the_round_trip_is_400(pond, origin, path):
    for prefix in ("", REMOTE):
        got = await pond.get(prefix + path)
        assert got.status == 400, path
        assert got.json()["title"] == "Bad Request"
    assert origin.requests == [], "it went no further"


@pytest.mark.parametrize("host", ["evil.example/x", "a b", 'x"><script>', "u@evil.example", "pond:99999999"])
async def test_a_host_header_that_is_none_is_refused(pond, host):
    assert (await pond.client.ask("GET", "/remote/a.bin", {"host": host})).status == 400


def page(name: str) -> bytes:
    files = [{"filename": name, "url": f"../../{name}", "hashes": {"sha256": "0" * 64}}]
    return json.dumps({"meta": {"api-version": "1.0"}, "name": "demo", "files": files}).encode()


async def test_one_clients_host_never_gets_into_anothers_links(pond, origin):
    kind = "application/vnd.pypi.simple.v1+json"
    name = "demo-1-py3-none-any.whl"
    origin.put("/simple/demo/", page(name), headers={"content-type": kind, "cache-control": "max-age=60"})
    for host in ("evil.example", "pond.test", "evil.example", "other.test:8080"):
        got = await pond.client.ask("GET", "/py/simple/demo/", {"host": host, "accept": kind})
        assert got.status == 200
        hosts = {"evil.example", "pond.test", "other.test:8080"} - {host}
        assert not [other for other in hosts if other.encode() in got.body]
        assert "accept" in got.headers["vary"].lower()
    assert origin.count("/simple/demo/") == 1, "one stored page serves all hosts"


async def test_a_configured_public_url_is_in_every_link_whatever_the_host(open_pond, origin):
    pond = await open_pond(f'[server]\npublic_url = "https://pond.lan"\n{CONFIG.replace("URL", origin.url)}')
    kind = "application/vnd.pypi.simple.v1+json"
    origin.put("/simple/demo/", page("demo-1-py3-none-any.whl"), headers={"content-type": kind})
    got = await pond.client.ask("GET", "/py/simple/demo/", {"host": "evil.example", "accept": kind})
    assert b"evil" not in got.body


async def test_forwarded_headers_of_strangers_are_ignored(pond, origin):
    kind = "application/vnd.pypi.simple.v1+json"
    origin.put("/simple/demo/", page("demo-1-py3-none-any.whl"), headers={"content-type": kind})
    headers = {"x-forwarded-host": "evil.example", "x-forwarded-proto": "https", "accept": kind}
    got = await pond.client.ask("GET", "/py/simple", headers)
    assert got.status == 301
    assert got.headers["location"] == "http://pond.test/py/simple/"
    assert b"evil" not in (await pond.client.ask("GET", "/py/simple/demo/", headers)).body


@pytest.mark.parametrize(
    ("path", "to"), [("/py/simple/Demo_X/", "/py/simple/demo-x/"), ("/py/simple/d", "/py/simple/d/")]
)
async def test_another_spelling_is_redirected_to_the_right_one(pond, path, to):
    got = await pond.get(path)
    assert (got.status, got.headers["location"]) == (301, f"http://pond.test{to}")
