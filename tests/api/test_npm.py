"""An npm repository as clients see it, without clients: both forms, parts, spellings, services, errors."""

from __future__ import annotations

import gzip
import json

import pytest
from tests.registries import ABBREVIATED_TYPE, NPM_ACCEPT, Package, Registry, config

from millpond.testing.behaviours import Hang, portal, status
from millpond.testing.upstream import FakeUpstream

ONE, TWO = Package("@scope/thing", "1.0.0", payload=b"1" * 5000), Package("@scope/thing", "2.0.0", payload=b"2" * 100)
MOUNT = "http://pond.test/npm"
TTL_S = 60
BULK, QUICK = "/npm/-/npm/v1/security/advisories/bulk", "/npm/-/npm/v1/security/audits/quick"
INSTALL = {"npm-command": "install", "content-type": "application/json"}


@pytest.fixture
async def elsewhere(clock):
    async with FakeUpstream(clock) as made:
        yield made


@pytest.fixture
def registry(origin, elsewhere):
    made = Registry(origin, elsewhere, native=False)
    made.add(ONE, TWO)
    return made


@pytest.fixture
async def pond(open_pond, registry):
    return await open_pond(config(registry, ttl_s=TTL_S))


def tarball(package: Package) -> str:
    return f"/npm/{package.name}/-/{package.filename}"


async def test_both_forms_are_one_path_with_tags_of_their_own(pond, registry):
    full = await pond.get("/npm/@scope/thing")
    short = await pond.get("/npm/@scope/thing", accept=NPM_ACCEPT)
    assert (full.status, short.status) == (200, 200)
    assert full.headers["content-type"] == "application/json"
    assert short.headers["content-type"] == ABBREVIATED_TYPE
    assert full.headers["etag"] != short.headers["etag"]
    assert full.headers["vary"] == short.headers["vary"] == "accept"
    assert "time" in full.json()
    assert "time" not in short.json()
    again = await pond.get("/npm/@scope/thing", accept=NPM_ACCEPT, if_none_match=short.headers["etag"])
    assert again.status == 304
    assert len(registry.asked("@scope/thing")) == 2


async def test_a_scoped_name_in_every_spelling_is_one_object(pond, registry):
    bodies = set()
    for path in ("@scope/thing", "@scope%2fthing", "@scope%2Fthing"):
        got = await pond.get(f"/npm/{path}", accept=NPM_ACCEPT)
        assert got.status == 200, got.body
        bodies.add(got.body)
    assert len(bodies) == 1
    assert len(registry.asked("@scope/thing")) == 1
    assert [request.path for request in registry.asked("@scope/thing")] == ["/registry/@scope%2fthing"]


@pytest.mark.parametrize("path", ["a%2fb", "@scope%2f..", "@scope%2f%2e%2e", "@scope%2fa%2fb", "@a%2f", "x/a%2f..%2fb"])
async def test_no_other_slash_may_be_escaped(pond, path):
    assert (await pond.get(f"/npm/{path}")).status == 400


async def test_elsewhere_an_escaped_slash_is_still_refused(open_pond, origin):
    pond = await open_pond(f'[repositories.files]\npackage = "generic"\nbase_url = "{origin.url}"\n')
    assert (await pond.get("/files/@scope%2fthing")).status == 400


async def test_a_tarball_is_found_through_the_packument_in_every_spelling(pond, registry):
    document = (await pond.get("/npm/@scope/thing", accept=NPM_ACCEPT)).json()
    url = document["versions"]["1.0.0"]["dist"]["tarball"]
    assert url == f"{MOUNT}/@scope/thing/-/thing-1.0.0.tgz"
    for path in (
        url.removeprefix("http://pond.test"),
        "/npm/files/@scope/thing/thing-1.0.0.tgz",
        "/npm/@scope%2fthing/-/thing-1.0.0.tgz",
        "/npm/@scope/thing/-/@scope/thing-1.0.0.tgz",
    ):
        assert (await pond.get(path)).body == ONE.body
        await pond.landed()
    assert registry.downloads(ONE) == 1


async def test_a_tarball_comes_without_the_packument_having_been_asked_for(pond, registry):
    assert (await pond.get(tarball(ONE))).body == ONE.body
    assert len(registry.asked("@scope/thing")) == 1


async def test_a_form_that_is_fresh_tells_where_the_tarballs_are(pond, registry):
    """Newer versions of npm ask for the full form: it need not be fetched in the other one too."""
    await pond.get("/npm/@scope/thing")
    assert (await pond.get(tarball(ONE))).body == ONE.body
    assert len(registry.asked("@scope/thing")) == 1
    registry.add(Package("@scope/thing", "3.0.0"))
    pond.clock.advance(11)
    assert (await pond.get("/npm/@scope/thing/-/thing-3.0.0.tgz")).status == 200, "one it does not know is looked for"


async def test_wrong_bytes_are_never_stored_and_never_complete(pond, registry):
    registry.files.put(registry.tarball_place(ONE), ONE.body[:-9] + bytes(9))
    got = await pond.get(tarball(ONE))
    assert got.status == 502 or not got.complete
    await pond.landed()
    assert not [entry for entry in await pond.app.catalog.entries("npm") if entry.path.endswith(".tgz")]


@pytest.mark.parametrize(("path", "version"), [("1.0.0", "1.0.0"), ("latest", "2.0.0"), ("2.0.0", "2.0.0")])
async def test_one_version_is_cut_out_of_the_packument(pond, registry, path, version):
    got = await pond.get(f"/npm/@scope/thing/{path}")
    assert got.json() == (await pond.get("/npm/@scope/thing")).json()["versions"][version]
    assert len(registry.asked("@scope/thing")) == 1


async def test_a_version_that_is_not_there_is_absent_and_the_packument_stays(pond, registry):
    got = await pond.get("/npm/@scope/thing/9.9.9")
    assert (got.status, list(got.json())) == (404, ["error"])
    assert "version 9.9.9" in got.json()["error"]
    assert (await pond.get("/npm/@scope/thing")).status == 200
    assert len(registry.asked("@scope/thing")) == 1


async def test_tags_change_with_the_packument_and_outlive_the_upstream(pond, registry, origin, clock):
    path = "/npm/-/package/@scope%2fthing/dist-tags"
    assert (await pond.get(path)).json() == {"latest": "2.0.0"}
    registry.add(Package("@scope/thing", "3.0.0"))
    assert (await pond.get(path)).json() == {"latest": "2.0.0"}, "as fresh as the packument"
    clock.advance(TTL_S + 1)
    assert (await pond.get(path)).json() == {"latest": "3.0.0"}
    await origin.cut()
    clock.advance(TTL_S + 1)
    stale = await pond.get(path)
    assert stale.json() == {"latest": "3.0.0"}
    assert "fwd=stale" in stale.headers["cache-status"]


async def test_the_full_form_stands_in_for_the_abbreviated_one(pond, registry, origin, clock):
    full = (await pond.get("/npm/@scope/thing")).json()
    await origin.cut()
    got = await pond.get("/npm/@scope/thing", accept=NPM_ACCEPT)
    assert (got.status, got.json()) == (200, full)
    assert got.headers["content-type"] == "application/json"
    assert (await pond.get(tarball(ONE))).body == ONE.body, "it tells where the tarballs are, too"
    clock.advance(11)
    missing = await pond.get("/npm/@scope/thing/-/thing-9.9.9.tgz")
    assert missing.status == 502, "a newer one might list it"


async def test_the_abbreviated_form_does_not_stand_in_for_the_full_one(pond, origin):
    assert (await pond.get("/npm/@scope/thing", accept=NPM_ACCEPT)).status == 200
    await origin.cut()
    assert (await pond.get("/npm/@scope/thing")).status == 502


async def test_a_registry_that_has_the_full_form_only(open_pond, origin, elsewhere):
    registry = Registry(origin, elsewhere, full_only=True)
    registry.add(ONE)
    pond = await open_pond(config(registry, ttl_s=TTL_S))
    got = await pond.get("/npm/@scope/thing", accept=NPM_ACCEPT)
    assert "time" in got.json()
    assert (await pond.get(tarball(ONE))).body == ONE.body


async def test_errors_are_told_as_npm_reads_them(pond, origin):
    absent = await pond.get("/npm/no-such-thing")
    assert (absent.status, absent.headers["content-type"]) == (404, "application/json")
    assert absent.json() == {"error": "the upstream has no such object"}
    nothing = await pond.get("/npm/a/b/c")
    assert (nothing.status, list(nothing.json())) == (404, ["error"])
    origin.always("*", status(500))
    assert list((await pond.get("/npm/other")).json()) == ["error"]


async def test_absence_is_remembered_for_a_while(pond, registry, clock):
    for _ in range(3):
        assert (await pond.get("/npm/no-such-thing", accept=NPM_ACCEPT)).status == 404
    assert len(registry.asked("no-such-thing")) == 1
    clock.advance(31)
    registry.add(Package("no-such-thing"))
    assert (await pond.get("/npm/no-such-thing", accept=NPM_ACCEPT)).status == 200


async def test_a_portals_page_is_no_packument_and_no_tarball(pond, registry, clock):
    good = (await pond.get("/npm/@scope/thing", accept=NPM_ACCEPT)).body
    registry.server.always("/registry/@scope%2fthing", portal())
    registry.files.always(registry.tarball_place(ONE), portal())
    clock.advance(TTL_S + 1)
    stale = await pond.get("/npm/@scope/thing", accept=NPM_ACCEPT)
    assert (stale.status, stale.body) == (200, good)
    assert (await pond.get(tarball(ONE))).status == 502


async def test_an_error_document_with_status_200_is_no_packument(pond, registry):
    registry.server.always("/registry/odd", status(200, body=b'{"error":"not_found"}'))
    assert (await pond.get("/npm/odd")).status == 502


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("PUT", "/npm/thing"),
        ("DELETE", "/npm/thing"),
        ("POST", "/npm/thing"),
        ("PUT", "/npm/-/package/thing/dist-tags/next"),
        ("GET", BULK),
    ],
)
async def test_what_a_cache_does_not_do_is_not_allowed(pond, origin, method, path):
    got = await pond.client.ask(method, path)
    assert (got.status, list(got.json())) == (405, ["error"])
    assert got.headers["allow"]
    assert origin.requests == []


# Services beside the artifacts.


async def test_an_audit_is_passed_on_as_it_came_without_the_clients_credentials(pond, origin):
    asked, answer = gzip.compress(b'{"x":["1.0.0"]}'), b'{"x":[{"id":1}]}'
    place, kind = "/registry/-/npm/v1/security/advisories/bulk", {"content-type": "application/json"}
    origin.always(place, status(200, headers=kind, body=answer))
    more = {"content-encoding": "gzip", "authorization": pond.admin["authorization"], "cookie": "secret=1"}
    got = await pond.client.ask("POST", BULK, INSTALL | more, asked)
    assert (got.status, got.body) == (200, answer)
    (request,) = origin.requests
    assert (request.method, request.body) == ("POST", asked)
    assert request.headers["content-encoding"] == "gzip"
    assert not {"authorization", "cookie", "npm-command"} & set(request.headers)
    assert await pond.app.catalog.entries("npm") == []
    await pond.client.ask("POST", BULK, INSTALL, asked)
    assert len(origin.requests) == 2, "nothing of it is stored"


async def test_the_upstreams_own_credentials_go_with_it(open_pond, registry, origin):
    pond = await open_pond(config(registry, ttl_s=TTL_S, more='password = "upstream-token"\n'))
    await pond.client.ask("POST", BULK, INSTALL | pond.admin, b"{}")
    assert origin.requests[0].headers["authorization"] == "Bearer upstream-token"


FAILURES = {
    "down": None,
    "500": status(500),
    "429": status(429),
    "401": status(401),
    "portal": portal(),
    "hang": Hang(),
    "redirect": status(302, headers={"location": "/x"}),
}


@pytest.mark.parametrize("failure", FAILURES)
async def test_in_an_outage_an_installs_audit_is_quiet_and_an_audit_is_told(open_pond, registry, origin, failure):
    pond = await open_pond(config(registry, ttl_s=TTL_S, more="patience_s = 0.5\n"))
    if FAILURES[failure] is None:
        await origin.cut()
    else:
        origin.always("*", FAILURES[failure])
    for path, empty in ((BULK, {}), (QUICK, {"actions": [], "advisories": {}, "muted": []})):
        quiet = await pond.client.ask("POST", path, INSTALL, b"{}")
        assert quiet.status == 200
        assert quiet.json() | empty == quiet.json()
        assert "fwd=bypass" in quiet.headers["cache-status"]
        for command in ({"npm-command": "audit"}, {}):
            told = await pond.client.ask("POST", path, command, b"{}")
            assert (told.status, list(told.json())) == (502, ["error"])


async def test_audits_that_fail_stop_no_installs(open_pond, registry, origin):
    pond = await open_pond(config(registry, ttl_s=TTL_S, more="circuit_failures = 2\n"))
    origin.always("/registry/-/npm/v1/security/advisories/bulk", status(500))
    for _ in range(5):
        await pond.client.ask("POST", BULK, {}, b"{}")
    assert len(origin.requests) == 2, "they have a circuit of their own"
    assert (await pond.get("/npm/@scope/thing")).status == 200


async def test_an_upstream_without_audits_says_so_itself(pond):
    got = await pond.client.ask("POST", BULK, INSTALL, b"{}")
    assert (got.status, list(got.json())) == (404, ["error"])


async def test_bodies_have_limits_both_ways(pond, origin, monkeypatch):
    from millpond.artifacts.formats.npm import services

    monkeypatch.setattr(services, "MAX_AUDIT_BYTES", 1000)
    monkeypatch.setattr(services, "MAX_ADVISORIES_BYTES", 100_000)
    for body in (b"x" * 1001, [b"x" * 600, b"x" * 600]):
        assert (await pond.client.ask("POST", BULK, INSTALL, body)).status == 413
    assert origin.requests == []
    large = b'{"a":"' + b"x" * 200_000
    place = "/registry/-/npm/v1/security/advisories/bulk"
    origin.always(place, status(200, body=large))
    assert (await pond.client.ask("POST", BULK, {}, b"{}")).status == 502
    origin.always(place, status(200, body=large[:90_000] + b'"}'))
    assert len((await pond.client.ask("POST", BULK, {}, b"{}")).body) == 90_002


async def test_a_search_is_passed_on_and_an_outage_of_it_is_told(pond, origin):
    origin.always("/registry/-/v1/search", status(200, body=b'{"objects":[]}'))
    got = await pond.get("/npm/-/v1/search?text=a%20b&size=20")
    assert got.json() == {"objects": []}
    assert origin.requests[0].query == "text=a%20b&size=20"
    await origin.cut()
    assert (await pond.get("/npm/-/v1/search?text=a")).status == 502


async def test_ping_is_the_ponds_own_and_there_are_no_accounts(pond, origin):
    assert (await pond.get("/npm/-/ping?write=true")).json() == {}
    assert (await pond.get("/npm/-/whoami")).status == 403
    for method, path in (("PUT", "/npm/-/user/org.couchdb.user:me"), ("POST", "/npm/-/v1/login")):
        got = await pond.client.ask(method, path, {}, b'{"password":"x"}')
        assert got.status == 405
        assert "token" in got.json()["error"]
    assert origin.requests == []


async def test_who_may_not_read_may_not_send_errands(open_pond, registry, origin):
    pond = await open_pond(config(registry, ttl_s=TTL_S).replace("[access]\n", '[access]\nanonymous = "none"\n'))
    got = await pond.client.ask("POST", BULK, INSTALL, b"{}")
    assert (got.status, list(got.json())) == (401, ["error"])
    assert origin.requests == []


async def test_keys_and_attestations_are_kept_for_an_outage(pond, origin):
    kind = {"content-type": "application/json"}
    origin.put("/registry/-/npm/v1/keys", json.dumps({"keys": []}).encode(), headers=kind)
    origin.put("/registry/-/npm/v1/attestations/@scope%2fthing@1.0.0", b'{"attestations":[]}', headers=kind)
    paths = ("/npm/-/npm/v1/keys", "/npm/-/npm/v1/attestations/@scope%2fthing@1.0.0")
    first = [(await pond.get(path)).body for path in paths]
    await origin.cut()
    pond.clock.advance(TTL_S + 1)
    assert [(await pond.get(path)).body for path in paths] == first
