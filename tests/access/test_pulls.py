"""Pull tokens: signed, short-lived, and no more than what was asked for."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest

from millpond.access.pulls import LIFETIME_S, PREFIX, PullTokens
from millpond.access.scopes import reading, writing
from millpond.errors import ConfigError
from millpond.testing.clock import FakeClock


@pytest.fixture
def pulls(clock: FakeClock) -> PullTokens:
    return PullTokens(b"k" * 32, clock)


def test_what_was_issued_is_read_until_it_expires(pulls, clock):
    secret = pulls.issue("abc", [reading("one"), writing("two")])
    grant = pulls.read(secret)
    assert (grant.token_id, grant.scopes) == ("abc", (reading("one"), writing("two")))
    clock.advance(LIFETIME_S - 1)
    assert pulls.read(secret)
    clock.advance(1)
    assert pulls.read(secret) is None


def test_no_bit_of_it_can_be_changed(pulls):
    secret = pulls.issue("", [reading("one")])
    for at in range(len(PREFIX), len(secret)):
        changed = secret[:at] + ("A" if secret[at] != "A" else "B") + secret[at + 1 :]
        grant = pulls.read(changed)
        # The last character of base64 has bits that say nothing; what is read is then what was signed.
        assert grant is None or (at == len(secret) - 1 and grant == pulls.read(secret)), at


def test_another_key_signs_another_token(pulls, clock):
    assert PullTokens(b"x" * 32, clock).read(pulls.issue("", [])) is None


NONE = ("", PREFIX, f"{PREFIX}.", f"{PREFIX}a.b", "mp_x", f"{PREFIX}é.x", PREFIX + "a" * 9000)


@pytest.mark.parametrize("secret", NONE)
def test_what_is_none(pulls, secret):
    assert pulls.read(secret) is None


@pytest.mark.parametrize("told", [[], {}, {"t": "", "s": ["fly:one"], "e": 9e12}, {"t": "", "s": 1, "e": 9e12}, "x"])
def test_what_another_version_signed_is_none(pulls, told):
    body = base64.urlsafe_b64encode(json.dumps(told).encode()).rstrip(b"=").decode()
    assert pulls.read(f"{PREFIX}{body}.{pulls._sign(body)}") is None


def test_the_key_is_private_and_the_same_for_all_workers_and_starts(tmp_path: Path, clock):
    path = tmp_path / "key"
    first = PullTokens.at(path, clock)
    assert path.stat().st_mode & 0o777 == 0o600
    assert PullTokens.at(path, clock).read(first.issue("a", [])).token_id == "a"
    path.write_text("short\n")
    with pytest.raises(ConfigError, match="remove the file"):
        PullTokens.at(path, clock)
