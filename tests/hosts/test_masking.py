"""No secret of an app's files is shown."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.hosts.masking import MASK, Mask, is_secret, masked, shown

CANARY = "canary-5f3a"
DOCUMENT = {
    "services": {
        "web": {
            "environment": {"DB_PASSWORD": CANARY, "URL": f"https://user:{CANARY}@db.example/x", "MODE": "plain-mode"},
            "command": ["run", f"--api-key={CANARY}", "--mode=x"],
            "labels": {"x.token": CANARY},
            "build": {"args": [f"NPM_TOKEN={CANARY}"]},
        }
    },
    "configs": {"c": {"content": f"a={CANARY}"}},
}


def test_a_document_is_shown_without_its_secrets():
    text = json.dumps(masked(DOCUMENT))
    assert CANARY not in text
    assert "plain-mode" in text
    assert f"https://user:{MASK}@db.example/x" in text


def test_what_programs_say_is_masked_as_a_shell_and_as_compose_have_it():
    assert Mask({"PIN_SECRET": 4711001})("it is 4711001") == f"it is {MASK}"
    mask = Mask({"environment": {"A_SECRET": "a$$b-canary"}}, {"TOKEN": "tok-canary"}, DOCUMENT)
    said = mask(f"could not log in with {CANARY}: a$b-canary, a$$b-canary, tok-canary; see http://u:pw@x.example/")
    assert "canary" not in said
    assert "pw" not in said
    assert said.startswith("could not log in with ")


COMMANDS = {
    "an option, then a word": {"command": ["serve", "--token", CANARY]},
    "with one dash": {"command": ["serve", "-password", CANARY]},
    "in a string": {"command": f"serve --db-password {CANARY} -v"},
    "in a string, quoted": {"command": f'serve --db-password "{CANARY} x" -v'},
    "a header": {
        "healthcheck": {"test": ["CMD-SHELL", f"curl -H 'Authorization: Bearer {CANARY}' localhost || exit 1"]}
    },
    "a word of a list": {"test": ["CMD", "curl", "-H", f"X-Api-Key: {CANARY}"]},
    "JSON in a variable": {"environment": {"SETTINGS": json.dumps({"a": 1, "password": CANARY})}},
    "a variable before a command": {"entrypoint": ["sh", "-c", f"exec env PGPASSWORD={CANARY} psql"]},
    "a password with an at in a URL": {"environment": {"URL": f"amqp://me:p@ss{CANARY}@mq.example/"}},
    "words with spaces": {"environment": [f"DB_PASSWORD=a b {CANARY}"]},
}


@pytest.mark.parametrize("service", COMMANDS.values(), ids=COMMANDS)
def test_a_secret_behind_its_name_is_masked_wherever_it_is_written(service: dict):
    document = {"services": {"web": service}}
    assert CANARY not in json.dumps(masked(document))
    assert MASK in json.dumps(masked(document))
    whole = next(
        secret for secret in (f"a b {CANARY}", f"{CANARY} x", f"p@ss{CANARY}", CANARY) if secret in str(service)
    )
    assert Mask(document)(f"no: {whole}!") == f"no: {MASK}!"


def test_what_names_no_secret_stays_open():
    plain = {"command": ["serve", "--port", "80", "--token-ttl=5", "a: b"], "x": "postgres://db.example:5432/shop"}
    assert masked(plain) == plain | {"command": ["serve", "--port", "80", f"--token-ttl={MASK}", "a: b"]}


PEM = "-----BEGIN PRIVATE KEY-----\nMIIEcanary1\n  MIIEcanary2\n-----END PRIVATE KEY-----\n"


def test_each_line_of_a_secret_is_one():
    mask = Mask({"environment": {"TLS_KEY": PEM}, "configs": {"c": {"content": "mode=x\ndb_password = 'canary3'\n"}}})
    for line in ("MIIEcanary1", "MIIEcanary2", "canary3", PEM):
        assert "canary" not in mask(f"can't use {line}!")


def test_a_line_is_masked_before_it_is_cut():
    mask = Mask({"DB_PASSWORD": f"{CANARY}-and-much-more"})
    for before in (290, 299, 4795):
        assert "cana" not in mask.brief("x" * before + f"{CANARY}-and-much-more, and so on" * 2)
    assert mask.brief("a\nb") == "a b"
    assert len(mask.brief("y" * 100_000)) < 310


def test_secrets_that_overlap_leave_nothing():
    mask = Mask({"A_KEY": "canary-12", "B_KEY": "12-canary", "C_KEY": "canary"})
    assert mask("<canary-12-canary>") == f"<{MASK}>"


@given(st.lists(st.text("ab$\n ", min_size=4, max_size=8), max_size=6), st.text("ab$\n ", max_size=40))
@settings(deadline=None)
def test_no_secret_is_left_in_any_text(secrets: list[str], text: str):
    found = Mask({f"KEY_{number}_TOKEN": one for number, one in enumerate(secrets)})(text)
    assert not any(one in found for one in secrets)


def test_45_000_secrets_are_no_burden():
    many = {f"PASSWORD_{number}": f"value-{number:06}" for number in range(45_000)}
    mask = Mask(many)
    assert mask("value-000007 or value-044999") == f"{MASK} or {MASK}"
    began = time.process_time()
    assert MASK in mask.brief("value-00 value-000007" * 200)
    assert time.process_time() - began < 1.0


def test_short_values_and_no_secrets_at_all_change_nothing():
    assert Mask({"PASSWORD": "on"})("it is on") == "it is on"
    assert Mask()("a text") == "a text"


def test_what_was_set_is_shown_by_its_name():
    assert shown({"VERSION": "1.2", "DB_PASSWORD": CANARY, "URL": "a://b:c@d"}) == {
        "VERSION": "1.2", "DB_PASSWORD": MASK, "URL": f"a://b:{MASK}@d",
    }  # fmt: skip


@pytest.mark.parametrize(
    "name", ["PASSWORD", "db_pass", "GITHUB_TOKEN", "apiKey", "SECRET_KEY_BASE", "DATABASE_DSN", "KEY"]
)
def test_names_of_secrets(name: str):
    assert is_secret(name)


@pytest.mark.parametrize("name", ["VERSION", "TAG", "image", "PORT", "source", "monkey", "keyboard"])
def test_names_of_others(name: str):
    assert not is_secret(name)


@pytest.mark.parametrize(
    ("secrets", "text"),
    [
        ([f"{'a' * n}b" for n in range(4, 2004)], "a" * 4800),
        (["a" * n for n in range(4, 2004)], "a" * 4800),
        ([f"canary-{n:0>{n}}" for n in range(4, 2004)], "canary-0000" * 450),
    ],
)
def test_many_secrets_that_begin_alike_are_found_in_little_time(secrets: list[str], text: str):
    mask = Mask({"TOKENS": secrets})
    began = time.process_time()
    assert mask.brief(text)
    assert time.process_time() - began < 2.0


@given(st.lists(st.text("ab", min_size=4, max_size=8), max_size=8), st.text("ab", max_size=30))
@settings(deadline=None)
def test_the_longest_secret_at_each_place_is_found(secrets: list[str], text: str):
    hidden = {
        place
        for one in secrets
        for at in range(len(text))
        if text.startswith(one, at)
        for place in range(at, at + len(one))
    }
    wanted = "".join(
        MASK if place in hidden and place - 1 not in hidden else "" if place in hidden else letter
        for place, letter in enumerate(text)
    )
    said = Mask({"TOKENS": secrets})(text)
    assert said.replace(MASK, "") == wanted.replace(MASK, "")
