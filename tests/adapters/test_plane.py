"""Plane, over HTTP: the conformance kit, its quirks one by one, and a counterpart that fails in every way."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from millpond.adapters.httpjson import Answer
from millpond.adapters.plane import Plane, PlaneOptions
from millpond.adapters.planeitems import MAX_HTML, MAX_TEXT, marked_up, plain, when
from millpond.adapters.planepeople import People
from millpond.clock import SystemClock
from millpond.delivery.board.verdicts import said_in
from millpond.delivery.model import Hint, Project
from millpond.delivery.ports import TrackerFailed
from millpond.delivery.ratebudget import RateBudget
from millpond.delivery.rates import Rate
from millpond.errors import BadRequest, ConfigError, Denied
from millpond.testing.clock import FakeClock
from millpond.testing.planeserver import KEY, USER, WORKSPACE, Fails, PlaneServer
from millpond.testing.tracker import TrackerConformance

SHOP = Project("shop", "558f5588-a276-4507-b8e6-750cd8a49596", "team/shop", "SH")
COLUMNS = (("Backlog", "backlog"), ("In Progress", "started"), ("Approved", "started"), ("Done", "completed"))
SECRET = "a-webhook-secret"
RECORDED = Path(__file__).parent.parent / "recorded" / "plane"


def tracker_of(server: PlaneServer, **options: Any) -> Plane:
    budget = options.pop("budget", None)
    made = {"url": server.url, "workspace": WORKSPACE, "token": KEY, "webhook_secret": SECRET, **options}
    return Plane(PlaneOptions(**made), SystemClock(), budget=budget)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[PlaneServer]:
    async with PlaneServer(hook_secret=SECRET) as server:
        yield server


@pytest.fixture
def columns(server: PlaneServer) -> dict[str, str]:
    return server.project(SHOP.tracker_project, COLUMNS)


@pytest_asyncio.fixture
async def tracker(server: PlaneServer, columns: dict[str, str]) -> AsyncIterator[Plane]:
    tracker = tracker_of(server)
    yield tracker
    await tracker.close()


def fill(server: PlaneServer, columns: dict[str, str], count: int, state: str = "Approved") -> list[str]:
    made = [server.add(SHOP.tracker_project, f"Issue {n}", columns[state], tell=False) for n in range(count)]
    return [str(one["id"]) for one in made]


class TestConformance(TrackerConformance):
    @pytest.fixture
    def project(self) -> Project:
        return SHOP

    @pytest.fixture
    def issue(self, server: PlaneServer, columns: dict[str, str]) -> str:
        return fill(server, columns, 1)[0]


async def test_columns_have_their_groups(tracker: Plane):
    assert [(one.name, one.group) for one in await tracker.states(SHOP)] == list(COLUMNS)


async def test_the_pages_are_read_to_the_end_and_the_states_are_filtered_here(
    server: PlaneServer, tracker: Plane, columns: dict[str, str]
):
    there = fill(server, columns, 205)
    fill(server, columns, 30, "Done")
    listing = await tracker.changed(SHOP, frozenset({columns["Approved"]}), 0.0)
    assert {one.id for one in listing.issues} == set(there)
    assert listing.complete
    assert len([line for line in server.requests if "/work-items/?" in line]) == 3
    assert all("state=" not in line for line in server.requests)


async def test_a_poll_reads_one_page_as_a_rule(server: PlaneServer, tracker: Plane, columns: dict[str, str]):
    ids = fill(server, columns, 250)
    first = await tracker.changed(SHOP, frozenset({columns["Done"]}), 0.0)
    assert first.issues == ()
    server.requests.clear()
    server.place(SHOP.tracker_project, ids[7], columns["Done"])
    second = await tracker.changed(SHOP, frozenset({columns["Done"]}), first.mark)
    assert [one.id for one in second.issues] == [ids[7]]
    assert second.mark > first.mark
    assert len(server.requests) == 1


async def test_a_change_without_a_new_time_stamp_is_found_by_a_full_listing_only(
    server: PlaneServer, tracker: Plane, columns: dict[str, str]
):
    ids = fill(server, columns, 3, "Backlog")
    done = frozenset({columns["Done"]})
    mark = (await tracker.changed(SHOP, done, 0.0)).mark
    server.quietly(SHOP.tracker_project, ids[0], columns["Done"])
    assert (await tracker.changed(SHOP, done, mark)).issues == ()
    assert [one.id for one in (await tracker.changed(SHOP, done, 0.0)).issues] == [ids[0]]


async def test_items_that_come_twice_count_once(server: PlaneServer, tracker: Plane, columns: dict[str, str]):
    """While we read the pages somebody changes an issue: all others move down by one."""
    ids = fill(server, columns, 150)

    def meanwhile(line: str) -> None:
        if "cursor=100%3A1%3A0" in line:
            server.place(SHOP.tracker_project, ids[0], columns["Done"])

    server.before = meanwhile
    listing = await tracker.changed(SHOP, frozenset({columns["Approved"]}), 0.0)
    found = [one.id for one in listing.issues]
    assert len(found) == len(set(found)) == 149
    assert listing.complete


async def test_what_vanished_between_two_pages_makes_the_listing_incomplete(
    server: PlaneServer, tracker: Plane, columns: dict[str, str]
):
    """An issue is archived: the first one of the second page moves to the first page, and is never seen."""
    ids = fill(server, columns, 150)

    def meanwhile(line: str) -> None:
        if "cursor=100%3A1%3A0" in line:
            server.projects[SHOP.tracker_project]["items"][-1]["archived_at"] = "2026-11-21"

    server.before = meanwhile
    listing = await tracker.changed(SHOP, frozenset({columns["Approved"]}), 0.0)
    assert not listing.complete
    assert {one.id for one in listing.issues} < set(ids)


async def test_one_item_that_cannot_be_read_holds_up_no_other(
    server: PlaneServer, tracker: Plane, columns: dict[str, str]
):
    ids = fill(server, columns, 3)
    server.projects[SHOP.tracker_project]["items"][1]["sequence_id"] = None
    listing = await tracker.changed(SHOP, frozenset({columns["Approved"]}), 0.0)
    assert {one.id for one in listing.issues} == {ids[0], ids[2]}
    assert (listing.unread, listing.complete) == ({ids[1]}, True)
    server.projects[SHOP.tracker_project]["items"][1]["id"] = None
    listing = await tracker.changed(SHOP, frozenset({columns["Approved"]}), 0.0)
    assert (listing.unread, listing.complete) == (set(), False)


@pytest.mark.parametrize("how", [Fails.ERROR, Fails.TOO_MANY, Fails.DROP, Fails.PAGE, Fails.LOST_PAGE])
@pytest.mark.parametrize("words", ["/work-items/?", "cursor="])
async def test_an_outage_on_any_page_is_never_no_work(
    server: PlaneServer, tracker: Plane, columns: dict[str, str], how: Fails, words: str
):
    fill(server, columns, 150)
    await tracker.changed(SHOP, frozenset(), 0.0)  # from here on it is known what this server calls them
    server.fail(how, 5, words=words)
    with pytest.raises(TrackerFailed) as caught:
        await tracker.changed(SHOP, frozenset({columns["Approved"]}), 0.0)
    assert not caught.value.permanent


async def test_a_server_that_hangs_is_left_in_time(server: PlaneServer, columns: dict[str, str]):
    tracker = tracker_of(server, timeout_s=2)
    server.fail(Fails.HANG)
    with pytest.raises(TrackerFailed, match=r"did not answer within 2 s"):
        await tracker.states(SHOP)
    assert len(await tracker.states(SHOP)) == 4
    await tracker.close()


@pytest.mark.parametrize(("told", "after_s"), [("21", 21.0), (None, None), ("soon", None)])
async def test_too_many_requests_say_when_to_come_again(
    server: PlaneServer, columns: dict[str, str], told: str | None, after_s: float | None
):
    budget = RateBudget(Rate(60.0), SystemClock().monotonic)
    tracker = tracker_of(server, budget=budget)
    server.fail(Fails.TOO_MANY, after=told)
    with pytest.raises(TrackerFailed) as caught:
        await tracker.states(SHOP)
    assert caught.value.after_s == after_s
    closed_s = budget.status()["closed_s"]
    assert (after_s or 60.0) - 5 < closed_s <= (after_s or 60.0)
    budget.refused(600.0)
    with pytest.raises(TrackerFailed, match="budget is spent") as spent:
        await tracker.changed(SHOP, frozenset(), 0.0)
    assert spent.value.after_s is not None
    assert spent.value.after_s > 590
    await tracker.close()


async def test_what_plane_says_is_left_is_believed(server: PlaneServer, columns: dict[str, str]):
    server.limit_per_minute = 4
    budget = RateBudget(Rate(60.0), SystemClock().monotonic)
    tracker = tracker_of(server, budget=budget)
    await tracker.states(SHOP)
    assert budget.status()["left"] == pytest.approx(3, abs=0.5)
    await tracker.close()


@pytest.mark.parametrize("key", ["", "plane_api_wrong"])
async def test_a_key_that_is_refused_may_be_mended(server: PlaneServer, columns: dict[str, str], key: str):
    tracker = tracker_of(server, token=key)
    with pytest.raises(TrackerFailed, match="refuses the token") as caught:
        await tracker.move(SHOP, "x", "y")
    assert not caught.value.permanent, "a write must wait for the right key, and not be dropped"
    assert key not in str(caught.value) or not key
    await tracker.close()


async def test_an_older_server_has_issues(server: PlaneServer):
    async with PlaneServer(older=True) as older:
        columns = older.project(SHOP.tracker_project, COLUMNS)
        tracker = tracker_of(older)
        issue = older.add(SHOP.tracker_project, "x", columns["Backlog"])["id"]
        assert [one.id for one in (await tracker.changed(SHOP, frozenset({columns["Backlog"]}), 0.0)).issues] == [issue]
        await tracker.move(SHOP, issue, columns["Done"])
        (found,) = await tracker.get(SHOP, [issue])
        assert found.state == columns["Done"]
        assert len([line for line in older.requests if "work-items" in line]) == 1, "the name is learnt once"
        await tracker.close()


@pytest.mark.parametrize("older", [False, True])
async def test_a_proxy_s_404_teaches_no_name(older: bool):
    async with PlaneServer(older=older) as server:
        columns = server.project(SHOP.tracker_project, COLUMNS)
        tracker = tracker_of(server)
        (issue,) = fill(server, columns, 1)
        server.fail(Fails.LOST_PAGE, words="/work-items/")
        assert len(await tracker.get(SHOP, [issue])) == 1  # under its older name, which every server has
        server.requests.clear()
        assert len(await tracker.get(SHOP, [issue])) == 1
        names = {"issues" if "/issues/" in line else "work-items" for line in server.requests}
        assert names == {"issues" if older else "work-items"}
        await tracker.close()


async def test_a_server_so_old_that_its_own_404_is_a_page_is_read_all_the_same(columns: dict[str, str]):
    async with PlaneServer(older=True) as older:
        columns = older.project(SHOP.tracker_project, COLUMNS)
        tracker = tracker_of(older)
        (issue,) = fill(older, columns, 1)
        older.fail(Fails.LOST_PAGE, 1000, words="/work-items/")
        assert len(await tracker.get(SHOP, [issue])) == 1
        with pytest.raises(TrackerFailed, match="404"):
            await tracker.get(SHOP, ["gone"])  # that the second 404 is Plane's own, says nothing of the first name
        await tracker.close()


async def test_an_issue_is_gone_only_if_plane_says_so(server: PlaneServer, tracker: Plane, columns: dict[str, str]):
    (issue,) = fill(server, columns, 1)
    assert len(await tracker.get(SHOP, [issue])) == 1
    for how in (Fails.PAGE, Fails.LOST_PAGE):
        server.fail(how, words=issue)
        with pytest.raises(TrackerFailed):
            await tracker.get(SHOP, [issue])
    server.projects[SHOP.tracker_project]["items"].clear()
    assert await tracker.get(SHOP, [issue]) == []


async def test_a_state_may_be_an_id_or_an_object(server: PlaneServer, tracker: Plane, columns: dict[str, str]):
    (issue,) = fill(server, columns, 1)
    server.projects[SHOP.tracker_project]["items"][0]["state"] = {"id": columns["Done"], "name": "Done"}
    (found,) = await tracker.get(SHOP, [issue])
    assert found.state == columns["Done"]


async def test_the_description_is_read_as_text(server: PlaneServer, tracker: Plane, columns: dict[str, str]):
    (issue,) = fill(server, columns, 1)
    server.projects[SHOP.tracker_project]["items"][0]["description_html"] = "<p>1 &lt; 2</p><p>please</p>"
    (found,) = await tracker.get(SHOP, [issue])
    assert found.description == "1 < 2\n\nplease"


async def test_labels_are_read_by_name_and_asked_for_once(server: PlaneServer, tracker: Plane, columns: dict[str, str]):
    label = server.label(SHOP.tracker_project, "hotfix")
    issue = server.add(SHOP.tracker_project, "x", columns["Approved"], labels=[label])["id"]
    for _ in range(2):
        (found,) = await tracker.get(SHOP, [issue])
        assert found.labels == {"hotfix"}
    assert len([line for line in server.requests if "/labels/" in line]) == 1


async def test_a_comment_whose_answer_was_lost_is_not_written_twice(
    server: PlaneServer, tracker: Plane, columns: dict[str, str]
):
    (issue,) = fill(server, columns, 1)
    server.fail(Fails.ERROR, words="comments", lost=True)
    with pytest.raises(TrackerFailed):
        await tracker.comment(SHOP, issue, "began <b>\nnow", "7:1:move")
    await tracker.comment(SHOP, issue, "began <b>\nnow", "7:1:move")
    server.say(SHOP.tracker_project, issue, "/approve")
    (found,) = await tracker.get(SHOP, [issue])
    assert [(one.text, one.ours) for one in found.comments] == [("began <b>\n\nnow", True), ("/approve", False)]


async def test_an_issue_that_is_gone_takes_no_write(server: PlaneServer, tracker: Plane, columns: dict[str, str]):
    for write in (tracker.comment(SHOP, "gone", "x", "k"), tracker.move(SHOP, "gone", columns["Done"])):
        with pytest.raises(TrackerFailed) as caught:
            await write
        assert caught.value.permanent


@pytest.mark.parametrize("known", [False, True])
async def test_no_write_is_dropped_for_a_proxy_s_404(
    server: PlaneServer, tracker: Plane, columns: dict[str, str], known: bool
):
    (issue,) = fill(server, columns, 1)
    if known:
        await tracker.get(SHOP, [issue])
    writes = (lambda: tracker.comment(SHOP, issue, "x", "k"), lambda: tracker.move(SHOP, issue, columns["Done"]))
    for write in writes:
        server.fail(Fails.LOST_PAGE, 2)
        with pytest.raises(TrackerFailed) as caught:
            await write()
        assert not caught.value.permanent
        server.faults.clear()
        await write()


async def test_an_answer_has_a_limit(server: PlaneServer, columns: dict[str, str]):
    tracker = tracker_of(server)
    object.__setattr__(tracker._api.options, "max_bytes", 1000)
    with pytest.raises(TrackerFailed, match="more than 1000 bytes"):
        await tracker.states(SHOP)
    await tracker.close()


async def test_large_answers_are_parsed_elsewhere(server: PlaneServer, columns: dict[str, str]):
    parsed: list[int] = []

    async def large(text: bytes) -> Any:
        parsed.append(len(text))
        return json.loads(text)

    options = PlaneOptions(server.url, WORKSPACE, KEY)
    tracker = Plane(options, SystemClock(), large=large)
    issue = server.add(SHOP.tracker_project, "x", columns["Approved"])
    issue["description_html"] = "x" * 100_000
    assert (await tracker.get(SHOP, [issue["id"]]))[0].id == issue["id"]
    assert [size > 64 << 10 for size in parsed] == [True]
    await tracker.changed(SHOP, frozenset({columns["Approved"]}), 0.0)
    assert len(parsed) == 1, "a listing asks for no descriptions"
    await tracker.close()


async def test_redirects_are_not_followed(server: PlaneServer, columns: dict[str, str]):
    from aiohttp import web

    def away(_: web.Request) -> web.Response:
        return web.Response(status=302, headers={"Location": server.url})

    server.allowed = away  # type: ignore[method-assign]
    tracker = tracker_of(server)
    with pytest.raises(TrackerFailed, match="leads elsewhere"):
        await tracker.states(SHOP)
    assert len(server.requests) == 1
    await tracker.close()


async def test_nobody_there():
    tracker = Plane(PlaneOptions("http://127.0.0.1:9", WORKSPACE, KEY), SystemClock())
    with pytest.raises(TrackerFailed, match="can't be reached") as caught:
        await tracker.states(SHOP)
    assert str(caught.value).endswith("can't be reached: no connection: connection refused")
    assert KEY not in str(caught.value)
    await tracker.close()


def test_an_address_that_is_none_stops_the_start():
    with pytest.raises(ConfigError, match="Plane"):
        Plane(PlaneOptions("plane.lan", WORKSPACE, KEY), SystemClock())


def test_secrets_are_not_in_a_representation():
    assert "s3cret" not in repr(PlaneOptions("http://p.example", "w", "s3cret-key", "s3cret-hook"))


@pytest.mark.parametrize("name", [path.name for path in sorted(RECORDED.glob("webhook-*.json"))])
def test_recorded_webhooks_are_verified_as_they_were_sent(name: str):
    recorded = json.loads((RECORDED / name).read_text())
    tracker = Plane(PlaneOptions("http://p.example", "w", "k", recorded["secret"]), SystemClock())
    body, headers = recorded["raw_body"].encode(), recorded["headers"]
    data = json.loads(body)["data"]
    issue = data["issue"] if "comment" in name else data["id"]
    assert tracker.parse(headers, body) == Hint(project=data["project"], issue=issue)
    assert tracker.parse({key.lower(): value for key, value in headers.items()}, body).issue == issue
    for wrong in (
        {**headers, "X-Plane-Signature": "0" * 64},
        {**headers, "X-Plane-Signature": ""},
        {**headers, "X-Plane-Signature": "sha256=" + headers["X-Plane-Signature"]},
        {**headers, "X-Plane-Signature": "\u0661" * 64},
        {key: value for key, value in headers.items() if key != "X-Plane-Signature"},
    ):
        with pytest.raises(Denied):
            tracker.parse(wrong, body)
    with pytest.raises(Denied):
        tracker.parse(headers, body + b" ")
    without = Plane(PlaneOptions("http://p.example", "w", "k"), SystemClock())
    with pytest.raises(Denied, match="no secret"):
        without.parse(headers, body)


async def test_both_ways_of_naming_events_are_read(server: PlaneServer, tracker: Plane, columns: dict[str, str]):
    for server.event_style in ("old", "new"):
        server.sent.clear()
        issue = server.add(SHOP.tracker_project, "x", columns["Backlog"])["id"]
        server.say(SHOP.tracker_project, issue, "hello")
        server.place(SHOP.tracker_project, issue, columns["Done"], name="y")
        hints = [tracker.parse(one.headers, one.body) for one in server.sent]
        assert hints == [Hint(SHOP.tracker_project, issue)] * 4, "one for each field"
        assert len({one.headers["X-Plane-Delivery"] for one in server.sent}) == 4


@pytest.mark.parametrize("body", [b"", b"[]", b"null", b"\xff", b"[" * 100_000])
def test_a_signed_body_that_is_no_object_is_a_bad_request(body: bytes):
    import hashlib
    import hmac

    tracker = Plane(PlaneOptions("http://p.example", "w", "k", "s"), SystemClock())
    signature = hmac.new(b"s", body, hashlib.sha256).hexdigest()
    with pytest.raises(BadRequest):
        tracker.parse({"X-Plane-Signature": signature}, body)


@pytest.mark.parametrize(
    ("markup", "text"),
    [
        ("<p>/approve</p>", "/approve"),
        ("<p>a<br>/reject</p><ul><li>b</li></ul>", "a\n/reject\n\n- b"),
        ("<p>1 &lt; 2 &amp; 3</p>", "1 < 2 & 3"),
        ("<script>/approve</script><p>x</p>", "x"),
        ("plain", "plain"),
        ("", ""),
        ("<p>un<b>clos", "unclos"),
    ],
)
def test_comments_are_read_as_text(markup: str, text: str):
    assert plain(markup) == text


@pytest.mark.parametrize("filler", ["a" * (MAX_TEXT - 10), "&amp;" * (MAX_HTML // 5 - 6)])
def test_a_text_that_is_cut_off_says_so_and_never_less_than_it_did(filler: str):
    for text in ("/approve not yet, and I'll say why: " + "x" * MAX_HTML, f"{filler}</p><p>/approve, not yet"):
        read = plain(f"<p>{text}</p>")
        assert len(read) <= MAX_TEXT
        assert read.endswith("\N{HORIZONTAL ELLIPSIS}")
        said = said_in(read)
        assert said is None or said.approved is None


async def test_no_comment_freezes_its_issue_or_holds_the_event_loop(
    server: PlaneServer, tracker: Plane, columns: dict[str, str]
):
    (issue,) = fill(server, columns, 1)
    for text in ("see <![ here", "<a " * 70_000, "<!--" * 50_000, "/approve"):
        server.say(SHOP.tracker_project, issue, text)
    async with asyncio.timeout(60):
        (found,) = await tracker.get(SHOP, [issue])
    assert [one.text[:8] for one in found.comments] == ["see", "<a <a <a", "<!--<!--", "/approve"]


def test_what_is_written_reads_the_same():
    assert plain(marked_up("a <b> & c\nd")) == "a <b> & c\n\nd"
    assert marked_up("") == "<p></p>"


@pytest.mark.parametrize("value", [None, 7, "", "yesterday", "2026-11-21T10:19:11"])
def test_a_time_that_is_none_is_not_guessed(value: Any):
    assert when(value) is None
    assert when("2026-11-21T10:19:11.231550Z") == pytest.approx(1795256351.23155)


async def test_names_of_people_are_asked_for_once_an_hour_and_read_with_care(
    server: PlaneServer, columns: dict[str, str]
):
    clock = FakeClock()
    tracker = Plane(PlaneOptions(server.url, WORKSPACE, KEY, SECRET), clock)
    (one,) = fill(server, columns, 1)
    server.say(SHOP.tracker_project, one, "hello")

    async def name() -> str:
        (issue,) = await tracker.get(SHOP, [one])
        assert issue.comments[0].author == USER
        return issue.comments[0].name or issue.comments[0].author

    def asked() -> int:
        return len([line for line in server.requests if "/members/" in line])

    server.people = {USER: "  Ada\u202e\tExample\n" + "x" * 200, "somebody": "Ben"}
    assert await name() == ("Ada Example " + "x" * 200)[:80]
    server.people[USER] = "Eve"
    assert (await name()).startswith("Ada")
    assert asked() == 1
    clock.advance(3601)
    assert await name() == "Eve"
    server.people = {}
    clock.advance(3601)
    assert await name() == USER  # who has left is asked for again sooner, and not at each look
    clock.advance(299)
    assert (await name(), asked()) == (USER, 3)
    clock.advance(2)
    assert (await name(), asked()) == (USER, 4)
    await tracker.close()


@pytest.mark.parametrize("body", [{"results": 3}, [3, {"id": 4, "display_name": "x"}, {"id": "a"}], "no", None])
async def test_an_answer_about_people_that_can_not_be_read_names_nobody(body: Any):
    class Said:
        async def ask(self, *_: Any, **__: Any) -> Answer:
            return Answer(200, body, {})

    assert await People(Said(), FakeClock().monotonic).named("p", frozenset({"a"})) == {}  # type: ignore[arg-type]
