"""The fake Gitea has the real one's ways: webhooks once, statuses by page, merges that say why not."""

from __future__ import annotations

import hashlib
import hmac

import aiohttp

from millpond.testing.giteaserver import TOKEN, Fails, GiteaServer

REPO = "team/shop"


async def test_a_webhook_that_fails_is_lost():
    async with GiteaServer(hook_url="http://127.0.0.1:9/", hook_secret="s") as server:
        server.repo(REPO)
        server.push(REPO, "x", file="1")
        await server.delivered()
        assert (len(server.sent), server.failed_deliveries) == (1, 1)
        (sent,) = server.sent
        assert sent.headers["X-Gitea-Signature"] == hmac.new(b"s", sent.body, hashlib.sha256).hexdigest()


async def test_without_a_secret_the_headers_are_there_and_empty():
    async with GiteaServer() as server:
        server.repo(REPO)
        server.push(REPO, "x", file="1")
        assert server.sent[0].headers["X-Gitea-Signature"] == ""


async def test_its_answers():
    headers = {"Authorization": f"token {TOKEN}"}
    async with GiteaServer() as server, aiohttp.ClientSession(headers=headers) as session:
        repo = server.repo(REPO)
        sha = server.push(REPO, "x", file="1")
        base = f"{server.url}/api/v1/repos/{REPO}"

        async def asked(method: str, path: str, body: object = None) -> tuple[int, object]:
            async with session.request(method, f"{base}{path}", json=body) as reply:
                return reply.status, await reply.json() if await reply.read() else None

        assert await asked("GET", f"/commits/{sha}/status") == (200, None)
        status, made = await asked("POST", f"/statuses/{sha}", {"state": "failure", "context": "ci"})
        assert (status, made["status"]) == (201, "failure")  # type: ignore[index]
        assert (await asked("GET", f"/commits/{sha}/status"))[1]["state"] == "failure"  # type: ignore[index]
        pull = {"head": "x", "base": "main", "title": "t"}
        assert [(await asked("POST", "/pulls", pull))[0] for _ in range(2)] == [201, 409]
        assert (await asked("POST", "/pulls", {**pull, "head": "main"}))[0] == 422
        merge = {"Do": "merge", "head_commit_id": "0" * 40}
        assert await asked("POST", "/pulls/1/merge", merge) == (409, {"message": "head out of date"})
        assert (await asked("POST", "/pulls/1/merge", {**merge, "head_commit_id": sha}))[0] == 200
        assert (await asked("POST", "/pulls/1/merge", {**merge, "head_commit_id": sha}))[0] == 405
        assert sha in repo.history(repo.branches["main"])
        server.fail(Fails.ERROR)
        async with session.get(base) as reply:
            assert reply.status == 500
        async with session.get(base, headers={"Authorization": "token x"}) as reply:
            assert reply.status == 401
