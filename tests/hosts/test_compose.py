"""What compose says is read by its grammar, whatever stands in it."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.composing import app
from tests.hosts.hostile import references

from millpond.hosts.apps import AppFailed, Wanted
from millpond.hosts.compose import config, read_config
from millpond.hosts.model import Completed
from millpond.hosts.references import parse_reference

SHOP = app("/srv/shop")


def read(document: object):
    return read_config(Completed(0, json.dumps(document)), SHOP)


@pytest.mark.parametrize("text", references())
def test_of_200_references_each_is_wanted_as_it_is_or_refused_with_its_service(text: str):
    try:
        sound = bool(parse_reference(text))
    except ValueError:
        sound = False
    if sound:
        assert read({"services": {"web": {"image": text}}}).wanted == (Wanted(text),)
        return
    with pytest.raises(AppFailed, match="shop: service web: its image ") as caught:
        read({"services": {"web": {"image": text}}})
    assert len(text) < 20 or text not in caught.value.text, "it may hold what a variable does"
    assert "\n" not in caught.value.text
    assert "\0" not in caught.value.text


BUILT = {"build": {"context": "."}}


@pytest.mark.parametrize(
    ("name", "service", "wrong"),
    [
        ("Web", BUILT, "is no image reference.*; name it by image:, in small letters"),
        ("web-", BUILT, "is no image reference.*; name it by image:"),
        ("web", BUILT | {"image": "--help", "pull_policy": "build"}, "its image is no image reference"),
        ("web", BUILT | {"image": ["x"], "pull_policy": "build"}, "its image is no image reference"),
        ("web", BUILT | {"image": "", "pull_policy": "build"}, "its image is no image reference"),
        ("web", BUILT | {"image": "a" * 64, "pull_policy": "build"}, "its image is an image's id"),
    ],
)
def test_what_is_only_built_has_a_sound_name_too(name: str, service: dict, wrong: str):
    with pytest.raises(AppFailed, match=f"service {name}: .*{wrong}"):
        read({"services": {name: service}})


def test_what_is_only_built_is_not_wanted():
    assert read({"services": {"web": BUILT, "own": BUILT | {"image": "own:1", "pull_policy": "build"}}}).wanted == ()


@pytest.mark.parametrize("name", ["-x", "--rm", "a b", "a\nb", "", "$(id)", "a/b", "é", "x" * 129, "'", "../a"])
def test_a_hostile_service_is_refused(name: str):
    with pytest.raises(AppFailed, match="is no service's name"):
        read({"services": {name: {"image": "web"}}})


KEYS = ("services", "image", "platform", "volumes", "secrets", "configs", "file", "type", "source", "a")
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=20,
)


@pytest.mark.heavy
@given(JSON)
@settings(deadline=None, max_examples=400)
def test_any_document_is_read_or_refused(document: object):
    try:
        found = read(document)
    except AppFailed:
        return
    assert all(parse_reference(one.reference) for one in found.wanted)


def test_a_secret_that_compose_could_not_read_is_not_repeated():
    said = 'failed to read .env: unexpected character " " in variable name near "PASS canary-secret\n"'
    with pytest.raises(AppFailed) as caught:
        read_config(Completed(1, "", said), SHOP)
    assert "canary" not in str(caught.value)
    assert "see it by `docker compose config -q` in /srv/shop on the pond's machine" in str(caught.value)


def test_a_path_that_is_told_holds_no_secret_of_the_document():
    service = {"image": "x", "environment": {"PW_TOKEN": "canary-1"}}
    volume = {"type": "bind", "source": "/srv/shop/canary-1/x"}
    document = {"services": {"web": service | {"volumes": [volume]}}}
    with pytest.raises(AppFailed, match="lies beside its files") as caught:
        read_config(Completed(0, json.dumps(document)), app("/srv/shop", in_place=False))
    assert "canary" not in str(caught.value)


def test_the_app_s_own_name_is_the_project_s():
    argv = config(("docker", "compose"), app("/srv/shop", files=("a.yml",), in_place=False))
    assert argv == (
        "docker", "compose", "-p", "shop", "--file=a.yml", "config", "--format", "json", "--no-path-resolution",
    )  # fmt: skip
