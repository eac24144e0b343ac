"""What a release's document is, which release a rollback brings back, and what has to stay."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.errors import BadRequest
from millpond.hosts.apps import AppKind, AppOptions, Pinned, Resolved, Wanted
from millpond.hosts.release import (
    Release,
    State,
    after,
    needed,
    partial,
    platforms_of,
    previous,
    render,
    surplus,
    written,
)

DIGEST = "sha256:" + "a" * 64
WEB, ARM = Wanted("nginx:1.27"), Wanted("nginx:1.27", "linux/arm64")
APP = AppOptions("shop", "/srv/shop", ("web1",))
PINS = {WEB: Pinned(WEB, f"pond.lan:8080/hub/library/nginx@{DIGEST}", DIGEST), ARM: Pinned(ARM, DIGEST, DIGEST, True)}


def resolved(services: dict, **more: object) -> Resolved:
    wanted = {name: Wanted(one["image"], one.get("platform", "")) for name, one in services.items() if "image" in one}
    return Resolved({"name": "theirs", "services": services, **more}, tuple(wanted.values()), wanted)


def test_every_image_is_named_by_content_and_nothing_is_built_or_pulled():
    given = resolved(
        {
            "web": {"image": "nginx:1.27", "build": {"context": "."}, "pull_policy": "always", "profiles": ["x"],
                    "command": ["a$$b", "$${X}"], "environment": {"A": None, "N": "no", "P": "é\u2028\x7f😀"}},
            "arm": {"image": "nginx:1.27", "platform": "linux/arm64", "pull_policy": "build"},
        },
        volumes={"data": {"name": "shop_data"}},
    )  # fmt: skip
    made = render(APP, given, PINS)
    document = json.loads(made.document)
    assert document["name"] == "shop"
    assert document["services"]["web"] == {
        "image": PINS[WEB].reference,
        "pull_policy": "never",
        "command": ["a$$b", "$${X}"],
        "environment": {"A": None, "N": "no", "P": "é\u2028\x7f😀"},
    }
    assert document["services"]["arm"]["image"] == DIGEST
    assert document["volumes"] == {"data": {"name": "shop_data"}}
    assert made.images == {"web": PINS[WEB].reference, "arm": DIGEST}
    assert given.document["services"]["web"]["pull_policy"] == "always", "what was given stays as it was"


def test_a_stack_has_neither_a_name_nor_compose_s_own_keys():
    given = resolved({"web": {"image": "nginx:1.27", "command": ["$$A", {"b": "$$"}, 1]}}, version="3.8")
    made = render(replace(APP, kind=AppKind.SWARM), given, PINS)
    service = {"image": PINS[WEB].reference, "command": ["$$A", {"b": "$$"}, 1]}
    assert json.loads(made.document) == {"version": "3.8", "services": {"web": service}}


@pytest.mark.parametrize(
    ("services", "kind", "why"),
    [
        ({}, AppKind.COMPOSE, "no services"),
        ({"own": {"build": "."}}, AppKind.COMPOSE, "own is only built"),
        ({"web": {"image": "other:1"}}, AppKind.COMPOSE, "other:1 of the service web is not pinned"),
        ({"web": {"image": "nginx:1.27", "platform": "linux/arm64"}}, AppKind.SWARM, "a swarm can't run"),
    ],
)
def test_what_can_t_be_pinned_is_refused_by_name(services: dict, kind: AppKind, why: str):
    with pytest.raises(BadRequest, match=why):
        render(replace(APP, kind=kind), resolved(services), PINS)


@pytest.mark.parametrize(
    "document", [{"k" * 1001: 1}, {"a": [{"b" * 1001: 1}]}, {"a": float("inf")}, {"a": "x" * 5_000_000}]
)
def test_what_no_reader_would_take_is_refused(document: dict):
    with pytest.raises(BadRequest):
        written(document)


TEXT = st.text(max_size=20).filter(lambda text: not any(0xD800 <= ord(one) <= 0xDFFF for one in text))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | TEXT,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(TEXT.filter(lambda key: key != "<<"), inner, max_size=3)
    ),
    max_leaves=8,
)


@pytest.mark.heavy
@settings(deadline=None, max_examples=300)
@given(st.dictionaries(TEXT.filter(lambda key: key not in {"<<", "="}), VALUES, max_size=4))
def test_a_yaml_reader_finds_what_was_written(document: dict):
    assert yaml.safe_load(written(document)) == document
    assert json.loads(written(document)) == document


def release(number: int, state: State, content: str = "", **more: object) -> Release:
    times = {"activated_at": 1.0} if state in {State.ACTIVE, State.SUPERSEDED, State.ROLLED_BACK} else {}
    times |= {"began_at": 1.0} if state is not State.PREPARED else {}
    made = Release("shop", number, state, AppKind.COMPOSE, content or str(number), ("web1",), {"web": f"i{number}"})
    return replace(made, **times | more)


ACTIVE, SUPERSEDED, ROLLED_BACK, FAILED = State.ACTIVE, State.SUPERSEDED, State.ROLLED_BACK, State.FAILED
ONE, TWO = release(1, SUPERSEDED), release(2, SUPERSEDED)


@pytest.mark.parametrize(
    ("releases", "number"),
    [
        ([], None),
        ([release(1, ACTIVE)], None),
        ([release(1, FAILED)], None),
        ([ONE, release(2, ACTIVE)], 1),
        ([ONE, TWO, release(3, ACTIVE)], 2),
        # A part of a later release may be there: back to the active one.
        ([release(1, ACTIVE), release(2, FAILED)], 1),
        ([ONE, release(2, ACTIVE), release(3, State.INTERRUPTED)], 2),
        # ... but not where no host was changed.
        ([ONE, release(2, ACTIVE), release(3, State.INTERRUPTED, began_at=None)], 1),
        # The same content again is nothing to go back to.
        ([release(1, SUPERSEDED, "x"), release(2, ACTIVE, "x")], None),
        ([release(1, SUPERSEDED, "a"), release(2, SUPERSEDED, "x"), release(3, ACTIVE, "x")], 1),
        # A second rollback goes further back, and never to what was left.
        ([ONE, TWO, release(3, ROLLED_BACK), release(4, ACTIVE, "2", restores=2)], 1),
        ([ONE, release(2, ROLLED_BACK), release(3, SUPERSEDED, "1", restores=1), release(4, ACTIVE)], 3),
        # Nothing active any more: the latest that was.
        ([ONE, TWO, release(3, FAILED)], 2),
    ],
)
def test_what_a_rollback_brings_back(releases: list[Release], number: int | None):
    found = previous(releases)
    assert (found.number if found else None) == number


def test_what_was_active_is_superseded_or_left():
    assert after(release(2, ACTIVE), release(3, State.DEPLOYING)) is SUPERSEDED
    assert after(release(2, ACTIVE), release(3, State.DEPLOYING, restores=1)) is ROLLED_BACK
    assert after(release(1, ACTIVE), release(3, State.DEPLOYING, restores=1)) is SUPERSEDED, (
        "it was brought back itself"
    )


def test_what_is_kept_are_the_latest_and_never_the_current_the_previous_or_what_is_under_way():
    rows = [ONE, release(2, ACTIVE), *(release(number, FAILED) for number in range(3, 9)), release(9, State.PREPARED)]
    assert [one.number for one in needed(rows)] == [2, 1, 9], "failures leave what ran where it was"
    assert [one.number for one in surplus(rows, 2)] == [3, 4, 5, 6, 7]
    assert [one.number for one in surplus([*rows, release(10, FAILED)], 1)] == [3, 4, 5, 6, 7, 8]
    whole = [ONE, TWO, release(3, ACTIVE)]
    assert [one.number for one in surplus(whole, 1)] == [1]
    assert surplus(whole, 3) == ()


def test_a_part_is_of_a_later_release_than_the_active_one():
    assert partial([release(1, FAILED), release(2, ACTIVE)]) is None
    assert partial([release(1, ACTIVE), release(2, FAILED), release(3, FAILED)]).number == 3


def test_a_document_tells_the_platforms_of_its_images():
    services = {
        "a": {"image": "x@sha256:1", "platform": "linux/arm64"},
        "b": {"image": "y"},
        "c": {"image": "z", "platform": ""},
    }
    assert platforms_of(json.dumps({"services": services})) == {"x@sha256:1": "linux/arm64"}
