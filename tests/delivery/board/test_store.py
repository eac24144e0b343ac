"""The embedded board on both databases: people's writes nudge, numbers and revisions only grow, limits hold."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
import sqlalchemy as sa

from millpond.delivery.board.store import MAX_COMMENT, BoardStore, Draft, Filter
from millpond.delivery.board.tables import METADATA
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.model import Hint, Project
from millpond.errors import BadRequest, NotFound

SHOP = Project("shop", "", "team/shop", "SH")
OTHER = Project("other", "board-2", "team/other", "OT")


@pytest_asyncio.fixture
async def store(db: Any) -> AsyncIterator[BoardStore]:
    def empty(connection: sa.Connection) -> None:
        for table in METADATA.tables.values():
            connection.execute(sa.delete(table))

    await db.write(empty)
    yield BoardStore(db)


async def test_a_new_board_has_a_column_for_each_state(store: BoardStore):
    names = [one.name for one in await store.columns(SHOP)]
    assert names[0] == "Backlog"
    assert {"To Analyse", "Approved", "Needs Input", "Monitoring after Deploy", "Cancelled"} <= set(names)
    assert len(names) == len(set(names)) == 14


async def test_issues_are_numbered_for_each_project(store: BoardStore):
    for project, number in ((SHOP, 1), (SHOP, 2), (OTHER, 1)):
        card = await store.new(project, Draft(f"no {number}"), "ada")
        assert (card.issue.number, card.issue.id, card.issue.project) == (number, str(number), project.name)
        assert card.column == "Backlog"


async def test_eight_at_once_have_eight_numbers_and_eight_revisions(store: BoardStore):
    cards = await asyncio.gather(*(store.new(SHOP, Draft(f"i{n}", column="approved"), "ada") for n in range(8)))
    assert sorted(card.issue.number for card in cards) == list(range(1, 9))
    found, revision = await store.since(SHOP, {"approved"}, 0)
    assert (len(found), revision) == (8, 8)
    assert await store.since(SHOP, {"approved"}, 8) == ([], 8)


async def test_what_a_person_says_nudges_at_once_and_what_we_write_does_not(store: BoardStore, ledger: Ledger):
    woken: list[Hint] = []
    store.woken = woken.append
    await store.new(SHOP, Draft("x"), "ada")
    (one,) = await ledger.nudges.all()
    assert (one.project, one.issue, one.urgent, one.dirty) == ("shop", "1", True, 1)
    await store.shift(SHOP, 1, "in-progress")
    await store.tell(SHOP, 1, "began", "k1")
    assert (await ledger.nudges.all())[0].dirty == 1
    await store.move(SHOP, 1, "to analyse")
    await store.say(SHOP, 1, "/approve", "ada")
    await store.label(SHOP, 1, {"hotfix"})
    assert (await ledger.nudges.all())[0].dirty == 4
    assert woken == [Hint("shop", "1")] * 4


async def test_a_nudge_and_what_caused_it_are_one_transaction(store: BoardStore, ledger: Ledger):
    with pytest.raises(NotFound, match="no issue 7"):
        await store.move(SHOP, 7, "done")
    with pytest.raises(NotFound, match='no column "nowhere"; there are Backlog'):
        await store.new(SHOP, Draft("x", column="nowhere"), "ada")
    assert await ledger.nudges.all() == []
    assert await store.cards(SHOP) == []
    assert (await store.new(SHOP, Draft("x"), "ada")).issue.number == 1


async def test_comments_are_in_their_order_and_ours_are_known(store: BoardStore):
    await store.new(SHOP, Draft("x"), "ada")
    await store.say(SHOP, 1, "first", "ada")
    for _ in range(2):
        await store.tell(SHOP, 1, "second", "k")
    await store.say(SHOP, 1, "third", "bob")
    comments = (await store.show(SHOP, 1)).issue.comments
    assert [(one.text, one.author, one.ours) for one in comments] == [
        ("first", "ada", False),
        ("second", "millpond", True),
        ("third", "bob", False),
    ]
    places = [(one.at, one.id) for one in comments]
    assert places == sorted(places)


async def test_lists_are_filtered_and_paged(store: BoardStore):
    for n in range(5):
        await store.new(SHOP, Draft(f"i{n}", column="done" if n % 2 else ""), "ada")
    assert [card.issue.number for card in await store.cards(SHOP, Filter(("Done",)))] == [4, 2]
    assert [card.issue.number for card in await store.cards(SHOP, Filter(limit=2))] == [5, 4]
    assert [card.issue.number for card in await store.cards(SHOP, Filter(below=4, limit=2))] == [3, 2]


@pytest.mark.parametrize("title", ["", "   ", "x" * 256])
async def test_a_title_is_a_line(store: BoardStore, title: str):
    with pytest.raises(BadRequest, match="title is one line"):
        await store.new(SHOP, Draft(title), "ada")


async def test_texts_and_labels_have_limits(store: BoardStore):
    card = await store.new(SHOP, Draft("a\nb\x00", "d", frozenset({"after:SH-3"})), "ada")
    assert (card.issue.title, card.description, card.issue.labels) == ("a b", "d", {"after:SH-3"})
    for text in ("", " ", "x" * (MAX_COMMENT + 1)):
        with pytest.raises(BadRequest):
            await store.say(SHOP, 1, text, "ada")
    with pytest.raises(BadRequest, match="at most 50 labels"):
        await store.label(SHOP, 1, {str(n) for n in range(51)})


async def test_labels_are_added_and_taken_away_whatever_their_case(store: BoardStore):
    await store.new(SHOP, Draft("x", "", frozenset({"after:SH-3", "Bug"})), "ada")
    card = await store.label(SHOP, 1, ["hotfix"], ["AFTER:sh-3", "unknown"])
    assert card.issue.labels == {"Bug", "hotfix"}
    with pytest.raises(NotFound):
        await store.label(SHOP, 9, ["x"])


async def test_who_moved_an_issue_and_what_it_is_about_is_read_with_it(store: BoardStore):
    await store.new(SHOP, Draft("Shoes", "Both sizes"), "ada")
    (read,) = await store.issues(SHOP, [1])
    assert (read.moved_by, read.description) == ("ada", "Both sizes")
    await store.move(SHOP, 1, "To Analyse", "ben")
    await store.say(SHOP, 1, "hm", "cy")
    assert [one.moved_by for one in await store.issues(SHOP, [1])] == ["ben"]
    await store.shift(SHOP, 1, "in-progress")
    assert [one.moved_by for one in await store.issues(SHOP, [1])] == [""]
