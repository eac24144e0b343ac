"""What requests were answered with, under their bytes."""

from __future__ import annotations

from pathlib import Path

from millpond.artifacts.hits import Hit, Hits
from millpond.server.recall import Order, Recall

SERVER = [(b"date", b"today")]


def order(*, keep_alive: bool = True) -> Order:
    hit = Hit(
        repository="r", path="a", digest="sha256:0", outcome="hit", file=Path("a"), size=10, tag=b'"t"', slot=0,
        stamp=0, fresh_until=9e9, lines=lambda now: b"age: %d\r\n" % now,
    )  # fmt: skip
    return Order(hit, Hits.tally(hit, ""), "", keep_alive=keep_alive)


def test_it_gives_what_was_noted_and_nothing_else():
    recall, one = Recall(), order()
    recall.note(b"GET /a", one)
    assert recall.get(b"GET /a") is one
    assert recall.get(b"GET /b") is None


def test_one_that_ends_the_connection_is_not_kept():
    recall = Recall()
    recall.note(b"GET /a", order(keep_alive=False))
    assert len(recall) == 0


def test_the_oldest_go_first():
    recall = Recall(max_requests=2)
    for name in (b"a", b"b", b"a", b"c"):
        recall.note(name, order())
    assert [name for name in (b"a", b"b", b"c") if recall.get(name)] == [b"a", b"c"]


def test_a_head_is_written_anew_each_second_and_when_the_servers_own_headers_change():
    one = order()
    one.body(206, b"content-range: bytes 2-4/10\r\n", 2, 5)
    head = one.head(7.1, SERVER)
    assert head == (
        b"HTTP/1.1 206 Partial Content\r\ndate: today\r\nage: 7\r\n"
        b"content-range: bytes 2-4/10\r\ncontent-length: 3\r\n\r\n"
    )
    assert one.head(7.9, SERVER) is head
    assert b"age: 8" in one.head(8.0, SERVER)
    assert b"date: tomorrow" in one.head(8.0, [(b"date", b"tomorrow")])


def test_the_last_answer_says_that_it_is_the_last():
    last = order(keep_alive=False)
    last.answer(304)
    assert last.head(1.0, []) == b"HTTP/1.1 304 Not Modified\r\nage: 1\r\nconnection: close\r\n\r\n"
