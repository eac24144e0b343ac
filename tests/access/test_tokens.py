"""Tokens: shown once, kept hashed, known at once everywhere when they end."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from millpond.access import tokens as module
from millpond.access.scopes import reading, writing
from millpond.access.tokens import Tokens
from millpond.adapters.stamps import MappedStamps
from millpond.db import Database
from millpond.errors import BadRequest, Conflict, NotFound
from millpond.testing.clock import FakeClock


@pytest.fixture
def clock():
    return FakeClock()


@pytest.fixture
async def db(tmp_path: Path):
    opened = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0)
    yield opened
    await opened.close()


@pytest.fixture
def stamps(tmp_path: Path):
    opened = MappedStamps(tmp_path / "stamps")
    yield opened
    opened.close()


@pytest.fixture
def tokens(db: Database, clock: FakeClock, stamps: MappedStamps):
    return Tokens(db, clock, stamps)


async def test_a_secret_opens_what_its_scopes_say(tokens: Tokens):
    token, secret = await tokens.create("ci", ["write:releases"])
    assert secret.startswith("mp_")
    assert len(secret) >= 46
    principal = await tokens.check(secret)
    assert principal is not None
    assert (principal.id, principal.name) == (token.id, "ci")
    assert principal.may(writing("releases"))
    assert not principal.may(reading("pypi"))


async def test_secrets_are_not_kept(tokens: Tokens, db: Database, tmp_path: Path):
    _, secret = await tokens.create("ci", ["read:*"])
    await db.close()
    assert secret.encode() not in (tmp_path / "catalog.sqlite").read_bytes()
    assert secret not in repr(tokens.__dict__)


@pytest.mark.parametrize("wrong", ["", "mp_", "mp_" + "A" * 43, "x" * 10_000, "mp_é", "\udcff"])
async def test_other_secrets_open_nothing(tokens: Tokens, wrong: str):
    await tokens.create("ci", ["read:*"])
    assert await tokens.check(wrong) is None
    assert tokens.cached(wrong) is None


async def test_a_known_secret_is_checked_without_the_database(tokens: Tokens, db: Database):
    _, secret = await tokens.create("ci", ["read:*"])
    assert tokens.cached(secret) is None
    found = await tokens.check(secret)
    await tokens.check("mp_wrong")
    await db.close()
    assert await tokens.check(secret) == tokens.cached(secret) == found
    assert await tokens.check("mp_wrong") is None


async def test_a_wrong_secret_is_remembered_only_until_a_token_is_made(tokens: Tokens):
    secret = "mp_" + "s" * 43
    assert await tokens.check(secret) is None
    await tokens.enrol("late", ["read:*"], secret)
    assert await tokens.check(secret) is not None


async def test_revoking_holds_at_once_in_every_process(tokens: Tokens, db: Database, clock: FakeClock, tmp_path: Path):
    other_stamps = MappedStamps(tmp_path / "stamps")
    other = Tokens(db, clock, other_stamps)
    _, secret = await tokens.create("ci", ["admin"])
    assert await other.check(secret) is not None
    await tokens.revoke("ci")
    assert await other.check(secret) is None
    assert await tokens.check(secret) is None
    assert other.cached(secret) is None
    other_stamps.close()


async def test_what_a_dead_process_could_not_tell_is_found_out_in_a_minute(
    tokens: Tokens, db: Database, clock: FakeClock
):
    class Deaf:
        def stamp(self, _: str) -> int:
            return 0

        def touch(self, _: str) -> None:
            pass

    other = Tokens(db, clock, Deaf())
    _, secret = await tokens.create("ci", ["admin"])
    assert await other.check(secret) is not None
    await tokens.revoke("ci")
    clock.advance(module.MAX_AGE_S)
    assert await other.check(secret) is None


async def test_expiry_needs_nobody_to_look(tokens: Tokens, clock: FakeClock):
    _, secret = await tokens.create("ci", ["read:*"], clock.now() + 30)
    assert await tokens.check(secret) is not None
    clock.advance(30)
    assert await tokens.check(secret) is None
    assert tokens.cached(secret) is None
    await tokens.create("ci", ["read:*"])  # the name is free again


async def test_a_flood_of_wrong_secrets_pushes_no_right_one_out(tokens: Tokens, db: Database, monkeypatch):
    monkeypatch.setattr(module, "MAX_REMEMBERED", 4)
    _, secret = await tokens.create("ci", ["read:*"])
    await tokens.check(secret)
    for number in range(20):
        await tokens.check(f"mp_{number}")
    assert tokens.cached(secret) is not None
    assert len(tokens._wrong) == 4


async def test_names_are_taken_only_by_live_tokens(tokens: Tokens):
    first, _ = await tokens.create("ci", ["read:*"])
    with pytest.raises(Conflict, match="revoke it first"):
        await tokens.create("ci", ["read:*"])
    await tokens.revoke(first.id)
    second, _ = await tokens.create("ci", ["read:*"])
    assert {token.id for token in await tokens.list()} == {first.id, second.id}


@pytest.mark.parametrize(
    ("name", "scopes", "in_s"),
    [
        ("", ["admin"], 1),
        ("a\nb", ["admin"], 1),
        ("n" * 101, ["admin"], 1),
        ("a", [], 1),
        ("a", ["all"], 1),
        ("a", ["admin"], 0),
    ],
)
async def test_what_makes_no_token_is_refused(
    tokens: Tokens, clock: FakeClock, name: str, scopes: list[str], in_s: int
):
    with pytest.raises(BadRequest):
        await tokens.create(name, scopes, clock.now() + in_s)
    assert await tokens.list() == ()


async def test_what_is_not_there_cannot_be_revoked(tokens: Tokens):
    await tokens.create("ci", ["read:*"])
    await tokens.revoke("ci")
    with pytest.raises(NotFound, match="token ls"):
        await tokens.revoke("ci")


async def test_when_it_was_last_used_is_written_in_batches(tokens: Tokens, clock: FakeClock, tmp_path: Path):
    token, secret = await tokens.create("ci", ["read:*"])
    clock.advance(5)
    await tokens.check(secret)
    assert (await tokens.list())[0].last_used_at is None
    await tokens.flush()
    await tokens.flush()
    assert (await tokens.list())[0].last_used_at == clock.now()
    with closing(sqlite3.connect(tmp_path / "catalog.sqlite")) as connection:
        assert connection.execute("SELECT id FROM tokens").fetchall() == [(token.id,)]


async def test_a_forgotten_token_opens_nothing_and_leaves_no_record(tokens: Tokens, clock: FakeClock):
    _, first = await tokens.create("job:SH-1:7", ["read:*"], clock.now() + 10)
    _, second = await tokens.create("job:SH-2:8", ["read:*"], clock.now() + 10)
    _, other = await tokens.create("ci", ["read:*"], clock.now() + 10)
    assert await tokens.check(first) is not None
    assert await tokens.forget("job:SH-1:7", family="job:") == 1
    assert await tokens.check(first) is None
    assert await tokens.check(second) is not None
    clock.advance(11)
    assert await tokens.forget("job:SH-3:9", family="job:") == 1
    assert [one.name for one in await tokens.list()] == ["ci"]
    assert await tokens.forget("ci") == 1
    assert await tokens.check(other) is None
