"""The first token: there from the first start, private at every moment, whole after a crash."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from millpond.access.admin import ensure_admin
from millpond.access.scopes import ADMINISTRATION
from millpond.access.tokens import Tokens
from millpond.adapters.stamps import MappedStamps
from millpond.db import Database
from millpond.errors import ConfigError
from millpond.testing.clock import FakeClock


@pytest.fixture
async def tokens(tmp_path: Path):
    db, stamps = Database.open(tmp_path / "catalog.sqlite", ballast_bytes=0), MappedStamps(tmp_path / "stamps")
    yield Tokens(db, FakeClock(), stamps)
    await db.close()
    stamps.close()


async def test_the_first_start_makes_it_and_tells_it_once(tokens: Tokens, tmp_path: Path):
    path = tmp_path / "admin-token"
    old = os.umask(0)
    try:
        secret = await ensure_admin(tokens, path)
    finally:
        os.umask(old)
    assert secret is not None
    assert path.read_text() == secret + "\n"
    assert path.stat().st_mode & 0o777 == 0o600
    principal = await tokens.check(secret)
    assert principal is not None
    assert principal.may(ADMINISTRATION)
    assert await ensure_admin(tokens, path) is None
    assert len(await tokens.list()) == 1


async def test_it_is_never_readable_by_others_and_never_half_there(tokens: Tokens, tmp_path: Path, monkeypatch):
    seen: list[tuple[int, str]] = []
    real = os.link

    def link(source: Path, target: Path) -> None:
        seen.append((source.stat().st_mode & 0o777, source.read_text()))
        real(source, target)

    monkeypatch.setattr(os, "link", link)
    secret = await ensure_admin(tokens, tmp_path / "admin-token")
    assert seen == [(0o600, f"{secret}\n")]


async def test_a_removed_file_does_not_make_a_second_admin(tokens: Tokens, tmp_path: Path):
    await ensure_admin(tokens, tmp_path / "admin-token")
    (tmp_path / "admin-token").unlink()
    assert await ensure_admin(tokens, tmp_path / "admin-token") is None
    assert not (tmp_path / "admin-token").exists()


async def test_a_lost_catalog_takes_the_token_in_again(tmp_path: Path):
    secret = "mp_" + "a" * 43
    (tmp_path / "admin-token").write_text(secret + "\n")
    db, stamps = Database.open(tmp_path / "new.sqlite", ballast_bytes=0), MappedStamps(tmp_path / "stamps")
    tokens = Tokens(db, FakeClock(), stamps)
    assert await ensure_admin(tokens, tmp_path / "admin-token") is None
    assert await tokens.check(secret) is not None
    assert (tmp_path / "admin-token").stat().st_mode & 0o777 == 0o600
    await db.close()
    stamps.close()


async def test_a_revoked_one_stays_revoked(tokens: Tokens, tmp_path: Path):
    secret = await ensure_admin(tokens, tmp_path / "admin-token")
    assert secret is not None
    await tokens.revoke("admin")
    assert await ensure_admin(tokens, tmp_path / "admin-token") is None
    assert await tokens.check(secret) is None


@pytest.mark.parametrize("content", ["", "hello", "mp_short", "mp_ " + "a" * 50])
async def test_a_file_without_a_token_is_a_mistake_that_is_named(tokens: Tokens, tmp_path: Path, content: str):
    (tmp_path / "admin-token").write_text(content)
    with pytest.raises(ConfigError, match="remove the file"):
        await ensure_admin(tokens, tmp_path / "admin-token")
