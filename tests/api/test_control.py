"""The control API: the contract's status pages, the flush, and upkeep by who may."""

from __future__ import annotations

import pytest

from millpond import __version__

CONFIG = """
[repositories.files]
package = "generic"
base_url = "URL"
username = "robot"
password = "hunter2-canary"
[repositories.other]
package = "generic"
base_url = "URL/other"
[repositories.local]
package = "generic"
type = "local"
"""
REMOTE = "/api/v1/remote"


@pytest.fixture
async def pond(open_pond, origin):
    origin.put("/a.bin", b"a" * 100)
    origin.put("/other/a.bin", b"a" * 100)
    origin.put("/other/b.bin", b"b" * 10)
    return await open_pond(CONFIG.replace("URL", origin.url))


async def test_the_root_tells_the_version_and_every_repository(pond):
    got = await pond.get("/")
    assert got.status == 200
    assert got.headers["content-type"] == "application/json"
    assert got.json() == {"version": __version__, "remotes": ["files", "other", "local"]}


async def test_health_is_healthy(pond):
    got = await pond.get("/health")
    assert (got.status, got.json()["status"]) == (200, "healthy")


async def test_metrics_are_prometheus_text_or_json_when_asked_for(pond):
    await pond.get("/files/a.bin")
    await pond.get("/files/a.bin")
    text = await pond.get("/metrics")
    assert text.headers["content-type"].startswith("text/plain")
    assert b'millpond_cache_hits_total{repository="files"} 1.0' in text.body
    for got in (await pond.get("/metrics?format=json"), await pond.get("/metrics", accept="application/json")):
        assert got.headers["content-type"] == "application/json"
        values = got.json()
        assert values['millpond_cache_hits_total{repository="files"}'] == 1
        assert values['millpond_cache_misses_total{repository="files"}'] == 1
        assert values['millpond_served_bytes_total{outcome="hit",repository="files"}'] == 100
        assert values['millpond_fetched_bytes_total{repository="files"}'] == 100


async def test_config_shows_every_repository_and_no_secret(pond):
    got = await pond.get("/config")
    assert got.status == 200
    remotes = got.json()["remotes"]
    kinds = {name: (settings["package"], settings["type"]) for name, settings in remotes.items()}
    assert kinds == {"files": ("generic", "remote"), "other": ("generic", "remote"), "local": ("generic", "local")}
    assert b"hunter2" not in got.body
    assert remotes["files"]["password"] == "********"


async def test_a_flush_tells_what_it_dropped_in_the_old_and_the_new_words(pond, origin):
    for path in ("/files/a.bin", "/other/a.bin", "/other/b.bin", "/other/gone"):
        await pond.get(path)
    await pond.client.put(f"{REMOTE}/local/mine", b"b" * 10, **pond.admin)
    got = await pond.client.put("/cache/flush?remote=other", **pond.admin)
    # b's bytes are an upload's too, and a's are another repository's: no stored object goes.
    flushed = {"entries": 2, "objects": 0, "bytes": 0, "redis_keys": 3, "s3_objects": 0}
    assert (got.status, got.json()) == (200, {"remote": "other", "flushed": flushed})
    got = await pond.client.put("/cache/flush", **pond.admin)
    flushed = {"entries": 1, "objects": 1, "bytes": 100, "redis_keys": 1, "s3_objects": 1}
    assert got.json() == {"remote": None, "flushed": flushed}
    assert (await pond.get("/local/mine")).body == b"b" * 10, "what is local is never flushed"
    before = origin.count("/a.bin")
    assert (await pond.get("/files/a.bin")).headers["x-artifact-source"] == "remote"
    assert origin.count("/a.bin") == before + 1


async def test_counters_survive_a_flush(pond):
    await pond.get("/files/a.bin")
    await pond.client.put("/cache/flush", **pond.admin)
    assert (await pond.get("/metrics?format=json")).json()['millpond_cache_misses_total{repository="files"}'] == 1


async def test_a_flush_checks_the_name_first_and_then_the_caller(pond):
    assert (await pond.client.put("/cache/flush?remote=nope")).status == 404
    got = await pond.client.put("/cache/flush?remote=files")
    assert (got.status, "www-authenticate" in got.headers) == (401, True)
    writer = (await pond.app.tokens.create("writer", ["write:*"]))[1]
    got = await pond.client.put("/cache/flush", authorization=f"Bearer {writer}")
    assert got.status == 403, "writing is not administration"
    assert "admin" in got.json()["detail"]


async def test_flushing_a_local_repository_drops_nothing(pond):
    await pond.client.put(f"{REMOTE}/local/mine", b"x", **pond.admin)
    got = await pond.client.put("/cache/flush?remote=local", **pond.admin)
    assert got.json()["flushed"]["entries"] == 0
    assert (await pond.get("/local/mine")).status == 200


@pytest.mark.parametrize(
    ("method", "path"),
    [("POST", "/api/v1/gc"), ("POST", "/api/v1/reload"), ("GET", "/api/v1/tokens"), ("POST", "/api/v1/tokens"),
     ("DELETE", "/api/v1/tokens/x"), ("PUT", "/cache/flush")],
)  # fmt: skip
async def test_whatever_changes_something_takes_an_admin(pond, method, path):
    assert (await pond.client.ask(method, path)).status == 401
    reader = (await pond.app.tokens.create("reader", ["read:*", "write:*"]))[1]
    got = await pond.client.ask(method, path, {"authorization": f"Bearer {reader}"})
    assert (got.status, got.headers["content-type"]) == (403, "application/problem+json")


async def test_a_collection_reports_what_it_did(pond):
    await pond.get("/files/gone")
    pond.clock.advance(31)
    got = await pond.client.ask("POST", "/api/v1/gc?dry_run=true", pond.admin)
    assert (got.status, got.json()["dry_run"], got.json()["negatives"]) == (200, True, 1)
    got = await pond.client.ask("POST", "/api/v1/gc", pond.admin)
    assert got.json()["negatives"] == 1
    assert (await pond.client.ask("POST", "/api/v1/gc", pond.admin)).json()["negatives"] == 0


async def test_repositories_are_listed_and_shown(pond):
    await pond.get("/files/a.bin")
    got = (await pond.get("/api/v1/repositories")).json()
    assert [(row["name"], row["entries"]) for row in got["repositories"]] == [("files", 1), ("other", 0), ("local", 0)]
    shown = (await pond.get("/api/v1/repositories/files")).json()
    assert [(entry["path"], entry["size"], entry["state"]) for entry in shown["entries"]] == [("a.bin", 100, "good")]
    assert shown["upstream"]["state"] == "closed"
    assert "hunter2" not in str(shown)
    assert (await pond.get("/api/v1/repositories/nope")).status == 404
    assert (await pond.get("/api/v1/repositories/files?limit=0")).status == 422


async def test_why_explains_each_state(pond, origin):
    async def why(ref: str) -> str:
        return (await pond.get(f"/api/v1/why?ref={ref}")).json()["verdict"]

    assert (await why("files/a.bin")).startswith("not here")
    await pond.get("/files/a.bin")
    assert await why("http://pond.test/files/a.bin") == "fresh: for 600 s more"
    pond.clock.advance(601)
    assert (await why("files/a.bin")).startswith("expired")
    await origin.cut()
    await pond.get("/files/a.bin")
    assert "connection refused" in await why("files/a.bin")
    await origin.restore()
    await pond.get("/other/gone")
    assert (await why("other/gone")).startswith("absent (404): the upstream said so")
    assert (await why("local/x")).startswith("absent (404)")
    assert (await pond.get("/api/v1/why?ref=nope/x")).status == 404


async def test_usage_tells_who_got_what(pond):
    await pond.get("/files/a.bin")
    got = (await pond.get("/api/v1/usage?artifact=files/a.bin")).json()
    assert [(use["repository"], use["path"], use["outcome"]) for use in got] == [("files", "a.bin", "miss")]
    assert got[0]["at"].endswith("Z")


async def test_the_api_describes_itself(pond):
    got = (await pond.get("/api/v1/openapi.json")).json()
    assert {"/", "/health", "/metrics", "/config", "/cache/flush", "/api/v1/gc"} <= set(got["paths"])


ARTIFACT = "/api/v1/remote/{repository}/{path}"


async def test_so_are_the_artifacts_urls_with_their_answers(pond):
    paths = (await pond.get("/api/v1/openapi.json")).json()["paths"]
    assert set(paths["/{repository}/{path}"]) == {"parameters", "get", "head", "post"}
    assert set(paths[ARTIFACT]) == {"parameters", "get", "head", "put", "delete"}
    answers = {method: set(paths[ARTIFACT][method]["responses"]) for method in ("get", "put", "delete")}
    assert {"200", "206", "304", "404", "502"} <= answers["get"]
    assert {"200", "201", "400", "401", "403", "404", "408", "409", "413", "507"} <= answers["put"]
    assert {"204", "400", "404"} <= answers["delete"]


@pytest.mark.parametrize(
    ("method", "path", "admin"),
    [("GET", "files/a.bin", False), ("GET", "files/gone", False), ("HEAD", "files/a.bin", False),
     ("HEAD", "local/x", False), ("PUT", "local/x", True), ("PUT", "local/x", False), ("PUT", "files/x", True),
     ("DELETE", "local/x", True), ("DELETE", "nope/x", True)],
)  # fmt: skip
async def test_each_answer_of_theirs_is_a_described_one(pond, method, path, admin):
    described = (await pond.get("/api/v1/openapi.json")).json()["paths"][ARTIFACT][method.lower()]["responses"]
    got = await pond.client.ask(method, f"{REMOTE}/{path}", pond.admin if admin else {})
    assert str(got.status) in described
    assert got.headers.get("content-type") in {None, *described[str(got.status)].get("content", ())} or method == "HEAD"


@pytest.mark.parametrize("path", ["/", "/health", "/metrics", "/config", "/api/v1/repositories", "/api/v1/tokens"])
async def test_head_is_get_without_a_body(pond, path):
    got, head = await pond.get(path, **pond.admin), await pond.client.head(path, **pond.admin)
    assert (head.status, head.body) == (200, b"")
    assert head.headers["content-type"] == got.headers["content-type"]
    assert "head" in (await pond.get("/api/v1/openapi.json")).json()["paths"][path]


async def test_head_tells_of_what_is_not_there_or_not_allowed_too(pond):
    assert (await pond.client.head("/api/v1/nope")).status == 404
    assert (await pond.client.head("/api/v1/tokens")).status == 401


async def test_tokens_are_made_listed_and_revoked_over_http(pond):
    body = b'{"name": "ci", "scopes": ["read:files"], "expires": "1h"}'
    json_type = {"content-type": "application/json"}
    made = await pond.client.ask("POST", "/api/v1/tokens", pond.admin | json_type, body)
    assert made.status == 201
    secret = made.json()["token"]
    listed = await pond.get("/api/v1/tokens", **pond.admin)
    assert {row["name"]: row["state"] for row in listed.json()} == {"ci": "good", "admin": "good"}
    assert secret.encode() not in listed.body, "a secret is told once"
    pond.clock.advance(3601)
    assert {r["name"]: r["state"] for r in (await pond.get("/api/v1/tokens", **pond.admin)).json()}["ci"] == "expired"
    assert (await pond.client.delete("/api/v1/tokens/ci", **pond.admin)).json()["state"] == "revoked"
    assert (await pond.client.delete("/api/v1/tokens/ci", **pond.admin)).status == 404
    wrong = b'{"name": "x", "scopes": ["reed:files"]}'
    got = await pond.client.ask("POST", "/api/v1/tokens", pond.admin | json_type, wrong)
    assert got.status == 400
    assert "did you mean read:files?" in got.json()["detail"]
