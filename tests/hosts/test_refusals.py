"""Of what programs say against an app's files, what may be told; the texts are those of Docker Compose 2.40."""

from __future__ import annotations

import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.hosts.model import Completed
from millpond.hosts.refusals import UNTOLD, named, told

S = "s3cretvalue"
NO_VARIABLE = "a $ that begins no variable; write $$, or use single quotes"
SAID = [
    (
        f'failed to read /srv/it\'s/.env: line 2: unterminated quoted value "{S}',
        ".env, line 2: the closing quote is missing",
    ),
    (f'failed to read /srv/.env: Invalid template: "{S}${{value"', f".env: {NO_VARIABLE}"),
    (
        f'failed to read /srv/.env: line 1: unexpected character "@" in variable name "{S}-val p@ss=1"',
        ".env, line 1: unexpected character in a variable's name",
    ),
    (f"failed to read /srv/a.env: line 7: anything {S}", "a.env, line 7: not NAME=VALUE"),
    (
        f"invalid interpolation format for services.a.environment.A.\nYou may need to escape any $.\n{S}${{",
        f"services.a.environment.A: {NO_VARIABLE}",
    ),
    (f"invalid containerPort: {S}", "invalid containerPort"),
    (f"invalid hostPort: {S}", "invalid hostPort"),
    (
        f"decoding failed due to the following:\n\n'services[a].stop_grace_period' time: invalid duration \"{S}\"",
        "services[a].stop_grace_period: what it comes to can't be read",
    ),
    (
        f"error while interpolating services.a.read_only: failed to cast to expected type: invalid boolean: {S}",
        "services.a.read_only: what it comes to is of the wrong type",
    ),
    (
        f"error while interpolating services.a.environment.A: required variable Y is missing a value: need {S}",
        "services.a.environment.A: required variable Y is missing a value",
    ),
    (f"required variable {S} is missing a value: need {S}", "a required variable is missing a value"),
    (f'service "a" refers to undefined volume {S}: invalid compose project', "service a refers to an undefined volume"),
    (f'service "a" depends on undefined service "{S}": invalid', "service a depends on an undefined service"),
    (f"env file /srv/{S} not found: stat /srv/{S}: no such file or directory", "a file, an env_file, is not there"),
    (f"open /srv/{S}: no such file or directory", "a file: no such file or directory"),
    ("stat /srv/nope.yml: no such file or directory", "nope.yml: no such file or directory"),
    ("cat: nope.env: No such file or directory\n", "nope.env: No such file or directory"),
    (
        "validating /srv/compose.yml: services.a additional properties 'nonsense' not allowed",
        "compose.yml: services.a has a key that is not known: nonsense",
    ),
    (
        f"validating /srv/compose.yml: services additional properties 'PW={S}' not allowed",
        "compose.yml: services has a key that is not known",
    ),
    ("validating /srv/c.yml: services.a.image must be a string", "c.yml: services.a.image must be a string"),
    ("services.a additional properties 'nonsense' not allowed", "services.a has a key that is not known: nonsense"),
    ("services.a Additional property nonsense is not allowed", "services.a has a key that is not known: nonsense"),
    (f"{S} must be a number", UNTOLD),
    (
        "failed to parse /srv/compose.yml: yaml: line 1: did not find expected ',' or ']'",
        "compose.yml, line 1: did not find expected ',' or ']'",
    ),
    (
        f"failed to parse /srv/compose.yml: yaml: line 1: did not find expected ',' or ']'{S} {S}",
        "compose.yml, line 1: did not find expected ',' or ']'",
    ),
    (
        f"yaml: line 4: found character that cannot start any token {S}",
        "line 4: found character that cannot start any token",
    ),
    (
        "yaml: line 2: mapping values are not allowed in this context",
        "line 2: mapping values are not allowed in this context",
    ),
    (f"failed to parse /srv/compose.yml: yaml: unknown anchor '{S}' referenced", "an anchor is used that is not there"),
    (f"yaml: line 3: cannot unmarshal !!str `{S}` into int", "line 3: no YAML"),
    (
        'failed to parse /srv/c.yml: line 3: mapping key "a" already defined at line 2',
        "line 3: the same key for the second time",
    ),
    ('service "a" has neither an image nor a build context', "service a has neither an image nor a build context"),
    ("dependency cycle detected: a -> b -> a", "services depend on one another in a circle"),
    ("sh: 1: exec: docker: not found", "docker is not installed there"),
    (f'time="t" level=warning msg="The \\"{S}\\" open /x.yml: no such file or directory"\n{S}', UNTOLD),
    (S, UNTOLD),
    ("", UNTOLD),
]  # fmt: skip


@pytest.mark.parametrize(("said", "wanted"), SAID)
def test_the_kind_and_the_place_are_told_and_never_a_value(said: str, wanted: str):
    found = told(Completed(1, "", said))
    assert found == wanted
    assert S not in found


@given(st.lists(st.sampled_from([said for said, _ in SAID] + [S, f"'{S}'", "\n", ": ", "line 1: "]), max_size=4))
@settings(deadline=None)
def test_however_messages_are_put_together_no_value_is_told(said: list[str]):
    assert S not in told(Completed(1, "", "".join(said)))


@pytest.mark.parametrize(
    ("path", "name"),
    [("/srv/a b/compose.yml", "compose.yml"), (".env", ".env"), ("/x/.env.prod", ".env.prod"), ("a.env", "a.env"),
     (f"/srv/{S}", "a file"), (f"/{S}/x.yaml", "x.yaml"), ("", "a file"), ("a b.yml", "a file")],
)  # fmt: skip
def test_a_file_is_named_where_it_is_one(path: str, name: str):
    assert named(path) == name


def test_long_texts_are_read_in_little_time():
    long = "decoding failed" + " " * (16 * 1024)
    began = time.process_time()
    assert told(Completed(1, "", long)) == UNTOLD
    assert told(Completed(1, "", "decoding failed " * 1000)) == UNTOLD
    assert time.process_time() - began < 1.0
