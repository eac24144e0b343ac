"""Gitea, over HTTP: the conformance kit, its quirks one by one, and a counterpart that fails in every way."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import AsyncIterator
from typing import Any
from urllib.parse import urlencode

import pytest
import pytest_asyncio

from millpond.adapters.gitea import MAX_FILE, SETTLE_S, Gitea, GiteaOptions
from millpond.delivery.deciding.gates import Word, judge
from millpond.delivery.model import Budget, Evidence, Hint, Project, Spend, Task
from millpond.delivery.pipeline import GateRule, Stage
from millpond.delivery.ports import ForgeFailed, Merge
from millpond.errors import BadRequest, Denied
from millpond.testing.clock import FakeClock
from millpond.testing.forge import ForgeConformance
from millpond.testing.giteaserver import TOKEN, Fails, GiteaServer

SHOP = Project("shop", "p1", "team/shop", "SH")
BRANCH = "feature/SH-1-a-title"
SECRET = "a-webhook-secret"


def forge_of(server: GiteaServer, clock: FakeClock | None = None, **options: Any) -> Gitea:
    made = {"url": server.url, "token": TOKEN, "webhook_secret": SECRET, **options}
    return Gitea(GiteaOptions(**made), clock or FakeClock())


@pytest_asyncio.fixture
async def server() -> AsyncIterator[GiteaServer]:
    async with GiteaServer(hook_secret=SECRET) as server:
        server.repo(SHOP.repo)
        yield server


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


@pytest_asyncio.fixture
async def forge(server: GiteaServer, clock: FakeClock) -> AsyncIterator[Gitea]:
    forge = forge_of(server, clock)
    yield forge
    await forge.close()


def facts(told: Any, kind: str) -> dict[str, Any] | None:
    found: list[Evidence] = [one for one in told if one.kind == kind]
    return dict(found[0].facts) if found else None


class TestConformance(ForgeConformance):
    @pytest.fixture
    def project(self) -> Project:
        return SHOP

    @pytest.fixture
    def branch(self, server: GiteaServer) -> str:
        server.push(SHOP.repo, BRANCH, file="x")
        return BRANCH


async def test_what_is_told_of_a_branch(server: GiteaServer, forge: Gitea):
    review = "---\nverdict: approved\n---\n"
    sha = server.push(
        SHOP.repo, BRANCH, docs__review=review, docs__plain="x", large="---\na: b\n---\n" + "x" * MAX_FILE
    )
    told = await forge.observe(SHOP, BRANCH, ["docs/review", "docs/plain", "docs", "../x", "none", "large"])
    assert {one.sha for one in told} == {sha}
    assert facts(told, "statuses") == {"statuses": {}}
    assert facts(told, "base") == {"contained": True}
    assert facts(told, "mergeable") == {"mergeable": True}
    assert {one.facts["path"]: one.facts["present"] for one in told if one.kind == "file"} == {
        "docs/review": True, "docs/plain": True, "docs": False, "../x": False, "none": False, "large": True,
    }  # fmt: skip
    assert [one.facts for one in told if one.kind == "front-matter"] == [
        {"path": "docs/review", "fields": {"verdict": "approved"}}
    ]


async def test_a_commit_without_statuses_is_not_green(server: GiteaServer, forge: Gitea):
    sha = server.push(SHOP.repo, BRANCH, file="x")
    task = Task(1, "SH-1", "shop", "1", SHOP.repo, BRANCH, "testing", sha=sha)
    stage = Stage("testing", "command", gates=(GateRule("commit-status"),))

    async def word() -> Word:
        told = await forge.observe(SHOP, BRANCH, [])
        ((_, ruling),) = judge(task, stage, told, Budget(), Spend())
        return ruling.word

    assert await word() is Word.WAITING
    server.status(SHOP.repo, sha, "ci", "success")
    assert await word() is Word.PASSED
    server.status(SHOP.repo, sha, "lint", "pending")
    assert await word() is Word.WAITING
    server.status(SHOP.repo, sha, "lint", "error")
    assert await word() is Word.FAILED
    server.push(SHOP.repo, BRANCH, file="y")
    told = await forge.observe(SHOP, BRANCH, [])
    assert facts(told, "statuses") == {"statuses": {}}, "a push begins without any"


async def test_all_pages_of_statuses_are_read(server: GiteaServer, forge: Gitea):
    sha = server.push(SHOP.repo, BRANCH, file="x")
    server.page_size = 30
    for number in range(65):
        server.status(SHOP.repo, sha, f"ci-{number}", "failure" if number == 0 else "success")
    statuses = facts(await forge.observe(SHOP, BRANCH, []), "statuses")
    assert statuses is not None
    assert len(statuses["statuses"]) == 65
    assert statuses["statuses"]["ci-0"] == "failure"


async def test_conflicts_are_told_once_they_have_stood_for_a_while(server: GiteaServer, forge: Gitea, clock: FakeClock):
    sha = server.push(SHOP.repo, BRANCH, shared="mine")
    server.push(SHOP.repo, "main", shared="theirs")
    told = await forge.observe(SHOP, BRANCH, [])
    assert facts(told, "base") == {"contained": False}
    assert facts(told, "mergeable") is None, "it may be being found out"
    clock.advance(SETTLE_S + 1)
    found = facts(await forge.observe(SHOP, BRANCH, []), "mergeable")
    assert found is not None
    assert found["mergeable"] is False
    change = await forge.open_change(SHOP, BRANCH, "x")
    assert await forge.merge(SHOP, change.number, sha) is Merge.CONFLICT
    assert not await forge.contains(SHOP, "main", sha)


async def test_who_is_only_curious_opens_no_pull_request(server: GiteaServer, forge: Gitea):
    server.push(SHOP.repo, BRANCH, mine="x")
    server.push(SHOP.repo, "main", theirs="x")
    told = await forge.observe(SHOP, BRANCH, [], peek=True)
    assert {one.kind for one in told} == {"head", "statuses", "base"}
    assert server.repos[SHOP.repo].pulls == []
    await forge.observe(SHOP, BRANCH, [])
    (pull,) = server.repos[SHOP.repo].pulls
    pull["state"] = "closed"  # by a person
    assert facts(await forge.observe(SHOP, BRANCH, [], peek=True), "mergeable") is None
    assert len(server.repos[SHOP.repo].pulls) == 1


async def test_what_is_being_found_out_is_no_conflict(server: GiteaServer, forge: Gitea, clock: FakeClock):
    server.push(SHOP.repo, BRANCH, mine="x")
    server.push(SHOP.repo, "main", theirs="x")
    server.checking = 3
    assert facts(await forge.observe(SHOP, BRANCH, []), "mergeable") is None
    server.checking = 0
    clock.advance(SETTLE_S + 1)
    assert facts(await forge.observe(SHOP, BRANCH, []), "mergeable") == {"mergeable": True}


async def test_a_merge_that_is_too_early_is_tried_again(server: GiteaServer, forge: Gitea):
    sha = server.push(SHOP.repo, BRANCH, file="x")
    change = await forge.open_change(SHOP, BRANCH, "x")
    server.checking = 4
    assert await forge.merge(SHOP, change.number, sha) is Merge.LATER
    server.checking = 0
    assert await forge.merge(SHOP, change.number, sha) is Merge.MERGED
    assert await forge.contains(SHOP, "main", sha)


async def test_a_commit_follows_what_its_history_has_only(server: GiteaServer, forge: Gitea):
    first = server.push(SHOP.repo, BRANCH, file="1")
    second = server.push(SHOP.repo, BRANCH, file="2")
    other = server.push(SHOP.repo, "feature/other", file="3")
    assert await forge.follows(SHOP, second, first)
    assert not await forge.follows(SHOP, first, second)
    assert not await forge.follows(SHOP, second, other)
    with pytest.raises(ForgeFailed, match="is no commit"):
        await forge.follows(SHOP, "main", first)


@pytest.mark.parametrize("how", [Fails.ERROR, Fails.DROP, Fails.PAGE, Fails.LOST_PAGE])
@pytest.mark.parametrize("words", ["/git/commits/", "/compare/", ""])
async def test_an_outage_says_nothing_of_a_history(server: GiteaServer, forge: Gitea, how: Fails, words: str):
    first = server.push(SHOP.repo, BRANCH, file="1")
    second = server.push(SHOP.repo, BRANCH, file="2")
    server.fail(how, 9, words=words)
    with pytest.raises(ForgeFailed) as caught:
        await forge.follows(SHOP, second, first)
    assert not caught.value.permanent


async def test_a_conflict_that_only_says_try_again_ends(server: GiteaServer, forge: Gitea, clock: FakeClock):
    sha = server.push(SHOP.repo, BRANCH, shared="mine")
    server.push(SHOP.repo, "main", shared="theirs")
    change = await forge.open_change(SHOP, BRANCH, "x")
    assert await forge.merge(SHOP, change.number, sha) is Merge.LATER
    clock.advance(SETTLE_S + 1)
    assert await forge.merge(SHOP, change.number, sha) is Merge.CONFLICT


async def test_the_guard_is_sent_and_a_push_in_between_wins(server: GiteaServer, forge: Gitea):
    judged = server.push(SHOP.repo, BRANCH, file="1")
    change = await forge.open_change(SHOP, BRANCH, "x")

    def meanwhile(line: str) -> None:
        if line.startswith("POST") and line.endswith("/merge"):
            server.push(SHOP.repo, BRANCH, file="2")

    server.before = meanwhile
    assert await forge.merge(SHOP, change.number, judged) is Merge.MOVED
    server.before = None
    assert not await forge.contains(SHOP, "main", judged)
    assert await forge.merge(SHOP, change.number, judged) is Merge.MOVED


async def test_a_merge_whose_answer_was_lost_was_one(server: GiteaServer, forge: Gitea):
    sha = server.push(SHOP.repo, BRANCH, file="x")
    change = await forge.open_change(SHOP, BRANCH, "x")
    server.fail(Fails.ERROR, words="/merge", lost=True)
    with pytest.raises(ForgeFailed):
        await forge.merge(SHOP, change.number, sha)
    before = len(server.repos[SHOP.repo].parents)
    assert await forge.merge(SHOP, change.number, sha) is Merge.MERGED
    assert len(server.repos[SHOP.repo].parents) == before, "it is merged once"


async def test_a_merged_pull_request_does_not_stand_for_what_came_later(server: GiteaServer, forge: Gitea):
    first = server.push(SHOP.repo, BRANCH, file="1")
    change = await forge.open_change(SHOP, BRANCH, "x")
    assert await forge.merge(SHOP, change.number, first) is Merge.MERGED
    assert (await forge.open_change(SHOP, BRANCH, "x")).number == change.number
    second = server.push(SHOP.repo, BRANCH, file="2")
    assert await forge.merge(SHOP, change.number, second) is Merge.MOVED
    another = await forge.open_change(SHOP, BRANCH, "x")
    assert another.number != change.number
    assert (await forge.open_change(SHOP, BRANCH, "x")).number == another.number, "the oldest is not taken for it"
    assert await forge.merge(SHOP, another.number, second) is Merge.MERGED


async def test_a_merge_that_is_not_allowed_is_refused(server: GiteaServer, forge: Gitea):
    sha = server.push(SHOP.repo, BRANCH, file="x")
    change = await forge.open_change(SHOP, BRANCH, "x")
    server.refusing = "Not all required status checks successful"
    assert await forge.merge(SHOP, change.number, sha) is Merge.REFUSED
    server.repos[SHOP.repo].pulls[0]["state"] = "closed"
    assert await forge.merge(SHOP, change.number, sha) is Merge.REFUSED


async def test_what_is_asked_for_in_vain(server: GiteaServer, forge: Gitea):
    with pytest.raises(ForgeFailed, match="push it"):
        await forge.open_change(SHOP, "feature/none", "x")
    server.repos[SHOP.repo].branches["same"] = server.repos[SHOP.repo].branches["main"]
    with pytest.raises(ForgeFailed, match="nothing that main lacks"):
        await forge.open_change(SHOP, "same", "x")
    with pytest.raises(ForgeFailed, match="no pull request 7"):
        await forge.merge(SHOP, 7, "0" * 40)
    with pytest.raises(ForgeFailed, match="no commit"):
        await forge.contains(SHOP, "main", "main")
    with pytest.raises(ForgeFailed, match="no name for a branch"):
        await forge.observe(SHOP, "../../../user", [])
    assert not await forge.contains(SHOP, "main", "0" * 40)


async def test_a_repository_that_is_not_to_be_seen_is_not_a_branch_that_is_not_there(server: GiteaServer, forge: Gitea):
    with pytest.raises(ForgeFailed, match="no repository team/other") as caught:
        await forge.observe(Project("o", "", "team/other", "O"), BRANCH, [])
    assert not caught.value.permanent
    assert await forge.observe(SHOP, "feature/none", []) == []


@pytest.mark.parametrize("how", [Fails.ERROR, Fails.TOO_MANY, Fails.DROP, Fails.PAGE, Fails.LOST_PAGE])
@pytest.mark.parametrize("words", ["/branches/", "/status", "/compare/", "/contents/"])
async def test_an_outage_is_no_evidence(server: GiteaServer, forge: Gitea, how: Fails, words: str):
    server.push(SHOP.repo, BRANCH, file="x")
    server.fail(how, 5, words=words)
    with pytest.raises(ForgeFailed) as caught:
        await forge.observe(SHOP, BRANCH, ["file"])
    assert not caught.value.permanent


@pytest.mark.parametrize("words", ["/branches/", "/pulls", "/merge", "/compare/", ""])
async def test_a_proxy_s_404_ends_no_merge(server: GiteaServer, forge: Gitea, words: str):
    sha = server.push(SHOP.repo, BRANCH, file="x")
    change = await forge.open_change(SHOP, BRANCH, "x")
    for ask in (lambda: forge.open_change(SHOP, BRANCH, "x"), lambda: forge.merge(SHOP, change.number, sha)):
        server.fail(Fails.LOST_PAGE, 1, words=words)
        try:
            await ask()
        except ForgeFailed as failed:
            assert not failed.permanent  # noqa: PT017 - not each of them asks for all of it
        server.faults.clear()
    assert await forge.merge(SHOP, change.number, sha) is Merge.MERGED


async def test_a_server_that_can_not_compare_is_told_of(server: GiteaServer, forge: Gitea):
    server.push(SHOP.repo, BRANCH, file="x")
    server.fail(Fails.LOST_PAGE, 1, words="/compare/")
    with pytest.raises(ForgeFailed, match=r"version 1\.22 can"):
        await forge.observe(SHOP, BRANCH, [])


async def test_a_server_that_hangs_is_left_in_time(server: GiteaServer):
    forge = forge_of(server, timeout_s=2)
    server.fail(Fails.HANG)
    with pytest.raises(ForgeFailed, match=r"did not answer within 2 s"):
        await forge.observe(SHOP, BRANCH, [])
    await forge.close()


async def test_a_token_that_is_refused_may_be_mended(server: GiteaServer):
    forge = forge_of(server, token="wrong-7d1e")
    with pytest.raises(ForgeFailed, match="refuses the token") as caught:
        await forge.observe(SHOP, BRANCH, [])
    assert not caught.value.permanent
    assert "wrong-7d1e" not in str(caught.value)
    assert "wrong-7d1e" not in repr(GiteaOptions("http://g.example", "wrong-7d1e"))
    await forge.close()


@pytest.mark.parametrize("form", [False, True])
async def test_webhooks_say_where_to_look(server: GiteaServer, forge: Gitea, form: bool):
    server.form = form
    sha = server.push(SHOP.repo, BRANCH, file="x+ y&z=ü")
    server.status(SHOP.repo, sha, "ci", "success")
    await forge.open_change(SHOP, BRANCH, "x")
    hints = [forge.parse(one.headers, one.body) for one in server.sent]
    assert hints == [Hint(repo=SHOP.repo, branch=BRANCH), Hint(repo=SHOP.repo), Hint(repo=SHOP.repo, branch=BRANCH)]


def signed(body: bytes, secret: str = SECRET) -> str:
    return hmac.new(secret.encode(), body, hashlib.sha256).hexdigest()


BODY = json.dumps({"ref": "refs/heads/x", "repository": {"full_name": "team/shop"}}).encode()


@pytest.mark.parametrize(
    "headers",
    [
        {"X-Gitea-Signature": signed(BODY)},
        {"x-gitea-signature": signed(BODY).upper()},
        {"X-Forgejo-Signature": signed(BODY)},
        {"X-Hub-Signature-256": f"sha256={signed(BODY)}"},
        {"X-Gitea-Signature": signed(BODY), "X-Hub-Signature-256": f"sha256={signed(BODY)}"},
    ],
)
def test_either_signature_will_do(headers: dict[str, str]):
    forge = Gitea(GiteaOptions("http://g.example", "t", SECRET), FakeClock())
    assert forge.parse(headers, BODY) == Hint(repo="team/shop", branch="x")


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"X-Gitea-Signature": "", "X-Hub-Signature-256": ""},
        {"X-Gitea-Signature": "", "X-Hub-Signature-256": "sha256="},
        {"X-Gitea-Signature": signed(BODY, "other")},
        {"X-Gitea-Signature": signed(BODY, "")},
        {"X-Gitea-Signature": f"sha256={signed(BODY)}"},
        {"X-Hub-Signature-256": signed(BODY)},
        {"X-Gitea-Signature": signed(BODY), "X-Hub-Signature-256": "sha256=" + "0" * 64},
    ],
)
@pytest.mark.parametrize("secret", [SECRET, ""])
def test_others_will_not_and_without_a_secret_none_will(headers: dict[str, str], secret: str):
    forge = Gitea(GiteaOptions("http://g.example", "t", secret), FakeClock())
    with pytest.raises(Denied) as caught:
        forge.parse(headers, BODY)
    assert caught.value.authenticate


def test_an_empty_secret_is_no_secret():
    forge = Gitea(GiteaOptions("http://g.example", "t", ""), FakeClock())
    with pytest.raises(Denied, match="no secret"):
        forge.parse({"X-Gitea-Signature": signed(BODY, "")}, BODY)


@pytest.mark.parametrize("body", [b"", b"[]", b"{}", b'{"repository": "x"}', b'{"repository": {"full_name": 7}}'])
def test_a_signed_body_that_names_no_repository_is_a_bad_request(body: bytes):
    forge = Gitea(GiteaOptions("http://g.example", "t", SECRET), FakeClock())
    with pytest.raises(BadRequest):
        forge.parse({"X-Gitea-Signature": signed(body)}, body)


def test_of_a_form_the_json_is_signed():
    forge = Gitea(GiteaOptions("http://g.example", "t", SECRET), FakeClock())
    body = urlencode({"payload": BODY.decode()}).encode()
    kind = {"Content-Type": "application/x-www-form-urlencoded; charset=utf-8"}
    assert forge.parse({**kind, "X-Gitea-Signature": signed(BODY)}, body).repo == "team/shop"
    for unsigned in (body, b"payload=\xff"):
        with pytest.raises(Denied):
            forge.parse({**kind, "X-Gitea-Signature": signed(unsigned)}, unsigned)
