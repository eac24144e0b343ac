"""No secret of an app's files is shown."""

from __future__ import annotations

import json

import pytest

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
