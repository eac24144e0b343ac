"""No secret and no control character gets into a log, whatever is logged and however."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from millpond.errors import OutOfSpace
from millpond.server.logs import clean, in_words, redact

CANARY = "canary-7f3a9c51d2e84b60"
TEXTS = {
    "bearer": f"authorization was Bearer {CANARY}",
    "basic": f"sent: Basic {CANARY}==",
    "lower case": f"bearer {CANARY}",
    "user information": f"GET https://user:{CANARY}@index.invalid/simple/",
    "a user alone": f"https://{CANARY}@index.invalid/",
    "an at sign in the password": f"http://user:{CANARY}@{CANARY}@index.invalid/",
    "upper case": f"HTTPS://user:{CANARY}@index.invalid/",
    "a query": f"302 to http://files.invalid/a.whl?signature={CANARY}&expires=1",
    "a token of ours": f"mp_{CANARY}",
}
KEYS = (
    "authorization",
    "Authorization",
    "password",
    "upstream_password",
    "secret",
    "token",
    "api_key",
    "apiKey",
    "cookie",
)


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_secret_in_a_text_is_masked(text: str):
    said = clean(text)
    assert CANARY not in said
    assert "********" in said


def test_what_is_around_a_secret_stays():
    assert clean("GET https://user:pass@index.invalid:8443/simple/six/ failed") == (
        "GET https://********@index.invalid:8443/simple/six/ failed"
    )
    assert clean("a plain text: 200 OK, 3 files, user@machine") == "a plain text: 200 OK, 3 files, user@machine"


@pytest.mark.parametrize("key", KEYS)
def test_a_value_under_a_secrets_name_is_masked(key: str):
    assert CANARY not in str(redact(None, "info", {"event": "asked", key: CANARY}))


@pytest.mark.parametrize(
    "value",
    [
        {"password": CANARY},
        {"headers": {"Authorization": CANARY}},
        [f"Bearer {CANARY}"],
        ({"url": f"http://u:{CANARY}@h/"},),
        ValueError(f"no answer from http://u:{CANARY}@h/"),
        f"Bearer {CANARY}".encode(),
    ],
    ids=repr,
)
def test_a_secret_inside_a_value_is_masked(value: object):
    assert CANARY not in repr(redact(None, "info", {"event": "asked", "value": value}))


def test_numbers_and_nothing_stay_what_they_are():
    event = {"event": "served", "status": 200, "seconds": 0.5, "stored": True, "why": None, "sizes": [1, 2]}
    assert redact(None, "info", dict(event)) == event


@pytest.mark.parametrize("character", ["\n", "\r", "\x00", "\x1b", "\x7f", "\x85", "\x9b", "\u2028", "\u2029"])
def test_control_characters_are_escaped(character: str):
    said = clean(f"path{character}[31m")
    assert character not in said
    assert said == f"path{character.encode('unicode_escape').decode()}[31m"


PROGRAM = """
import logging, sys
from millpond.server.logs import configure
configure(sys.argv[1], "info")
import structlog
log = structlog.get_logger("test")
log.info("asked\\nlevel=critical forged=1", path="simple/a\\nforged line", url="https://u:CANARY@h.invalid/?k=CANARY")
log.info("told", token="CANARY", headers={"authorization": "CANARY"})
logging.getLogger("library").warning("redirected to %s", "http://h.invalid/x?sig=CANARY\\nforged line")
try:
    raise ValueError("no answer: Bearer CANARY")
except ValueError:
    log.exception("failed", error="x")
    logging.getLogger("library").error("failed too", exc_info=True)
log.debug("too fine CANARY")
"""


def logged(form: str) -> str:
    """Give what a process of its own logs, as a daemon would."""
    argv = [sys.executable, "-c", PROGRAM.replace("CANARY", CANARY), form]
    done = subprocess.run(argv, capture_output=True, text=True, check=True, timeout=30)
    assert done.stdout == ""
    return done.stderr


def test_json_logs_are_a_document_a_line_without_secrets():
    said = logged("json")
    events = [json.loads(line) for line in said.splitlines()]
    assert [event["level"] for event in events] == ["info", "info", "warning", "error", "error"]
    assert CANARY not in said
    assert all(event["timestamp"].endswith("Z") for event in events)
    assert sum("ValueError" in event.get("exception", "") for event in events) == 2


def test_text_logs_have_no_forged_lines_and_no_secrets():
    said = logged("text")
    assert CANARY not in said
    assert not [line for line in said.splitlines() if line.startswith(("forged", "level=critical"))]
    assert said.count("ValueError") >= 2


def test_what_can_be_mended_from_outside_is_told_without_a_traceback():
    full = OutOfSpace("the disk is full")
    for given in (full, (type(full), full, full.__traceback__)):
        assert in_words(None, "error", {"event": "x", "exc_info": given}) == {"event": "x", "error": "the disk is full"}
    try:
        raise full
    except OutOfSpace:
        told = in_words(None, "error", {"event": "x", "error": "own words", "exc_info": True})
    assert told == {"event": "x", "error": "own words"}
    fault = {"event": "x", "exc_info": RuntimeError("broken")}
    assert in_words(None, "error", dict(fault)) == fault
    assert in_words(None, "info", {"event": "x"}) == {"event": "x"}
    assert in_words(None, "info", {"event": "x", "exc_info": None}) == {"event": "x", "exc_info": None}
