"""Which digest an image gets, who pulls it, and what comes after a failure."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.hosts.hostile import references

from millpond.hosts.apps import Wanted
from millpond.hosts.commands import Docker, Unreadable
from millpond.hosts.model import Completed, Kind
from millpond.hosts.pulling import (
    MAX_TRIES,
    Facts,
    Here,
    Known,
    Loaded,
    Pulled,
    Then,
    Torn,
    Unknown,
    after,
    choose,
    fits,
    lacking,
    pinned,
    platforms,
    read_facts,
)
from millpond.hosts.references import canonical, parse_reference

A, B = ("sha256:" + letter * 64 for letter in "ab")
WEB = Wanted("web:1")
ONE = "sha256:" + "1" * 64
OWN, POND = "docker.io/library/web", "pond.lan:8080/hub/library/web"
TAG = "docker.io/library/web:1"
OLD = "old.pond.lan:80/hub/library/web"


def here(
    *digests: str, tag: str = TAG, id_: str = "sha256:" + "1" * 64, at: float = 0.0, platform: str = "linux/amd64"
):
    return Here(id_, frozenset({tag} if tag else ()), frozenset(digests), platform, at)


def facts(*images: Here, host: str = "h", platform: str = "linux/amd64") -> Facts:
    return Facts(host, platform, images)


NEITHER = facts()


@pytest.mark.parametrize(
    ("found", "choice"),
    [
        ([NEITHER, NEITHER], Unknown()),
        ([facts(here(f"{OWN}@{A}")), NEITHER], Known(A)),
        ([facts(here(f"{POND}@{A}")), NEITHER], Known(A)),
        ([facts(here(f"{OWN}@{A}", at=9)), facts(here(f"{OWN}@{B}", at=5))], Known(A)),
        ([facts(here(f"{OWN}@{A}", at=5)), facts(here(f"{OWN}@{B}", at=9))], Known(B)),
        ([facts(here(f"{OWN}@{B}", at=5)), facts(here(f"{OWN}@{A}", at=5))], Known(B)),
        ([facts(here(f"{OWN}@{A}", f"{OWN}@{B}")), facts(here(f"{POND}@{B}", at=9))], Known(B)),
        ([facts(here(f"{OLD}@{A}")), NEITHER], Known(A)),
        ([facts(here(f"{OLD}@{A}", f"{OWN}@{B}"))], Known(B)),
        ([facts(here(f"{OWN}@{A}", tag="docker.io/library/web:2"))], Unknown()),
        ([facts(here()), facts(here())], Loaded("sha256:" + "1" * 64)),
    ],
)
def test_a_digest_is_taken_from_what_hosts_have(found, choice):
    assert choose(WEB, POND, found) == choice


@pytest.mark.parametrize(
    "found",
    [
        [facts(here(), host="a"), facts(host="b")],
        [facts(here(), host="a"), facts(here(id_="sha256:" + "2" * 64), host="b")],
        [facts(here(), host="a"), facts(here(f"{OWN}@{A}"), host="b")],
    ],
)
def test_what_was_built_on_some_hosts_only_is_refused(found):
    choice = choose(WEB, POND, found)
    assert isinstance(choice, Torn)
    assert "web:1 was built or loaded on a" in choice.text


def test_a_refresh_asks_again_but_never_for_a_digest():
    found = [facts(here(f"{OWN}@{A}"))]
    assert choose(WEB, POND, found, refresh=True) == Unknown()
    assert choose(Wanted(f"web:1@{B}"), POND, found, refresh=True) == Known(B)
    assert choose(Wanted(f"web@{B}"), POND, [NEITHER]) == Known(B)


def test_another_platform_s_image_does_not_count():
    found = [facts(here(f"{OWN}@{A}", platform="linux/amd64"))]
    assert choose(Wanted("web:1", "linux/arm64"), POND, found) == Unknown()
    assert choose(Wanted("web:1", "linux/amd64"), POND, found) == Known(A)


@pytest.mark.parametrize(
    ("platform", "wanted", "fit"),
    [
        ("linux/arm64/v8", "linux/arm64", True), ("linux/arm64", "linux/arm64/v8", True),
        ("linux/arm/v7", "linux/arm/v6", False), ("linux/amd64", "", True),
        ("linux/amd64", "windows/amd64", False), ("linux/AMD64", "linux/amd64", True),
    ],
)  # fmt: skip
def test_platforms_fit(platform: str, wanted: str, fit: bool):
    assert fits(platform, wanted) is fit


def test_the_own_name_stays_where_all_hosts_have_it():
    mine, theirs = facts(here(f"{OWN}@{A}")), facts(here(f"{POND}@{A}"))
    assert pinned(WEB, A, POND, [mine, mine]).reference == f"web@{A}"
    assert pinned(WEB, A, POND, [mine, theirs]).reference == f"{POND}@{A}"
    old = facts(here(f"{OLD}@{A}"))
    assert pinned(WEB, A, POND, [old, old]).reference == f"{OLD}@{A}", "an earlier pond's name, and nothing is pulled"
    assert pinned(WEB, A, POND, [old, mine]).reference == f"{POND}@{A}"
    assert pinned(WEB, A, POND, [NEITHER]).reference == f"{POND}@{A}"
    pins = {WEB: pinned(WEB, A, POND, [mine, theirs])}
    assert [pin.digest for pin in lacking(pins, mine)] == [A]
    assert lacking(pins, theirs) == []


def test_one_reference_is_pulled_once_and_for_each_host_s_platform():
    pins = {one: pinned(one, A, POND, [NEITHER]) for one in (WEB, Wanted("docker.io/library/web:1"))}
    assert len(lacking(pins, NEITHER)) == 1
    pin = pins[WEB]
    assert platforms(pin, [facts(), facts(platform="linux/arm64"), facts()]) == ("linux/amd64", "linux/arm64")
    assert platforms(pinned(Wanted("web", "linux/s390x"), A, POND, []), [facts()]) == ("linux/s390x",)


LINE = json.dumps(
    {
        "id": "sha256:" + "1" * 64, "tags": ["web:1", "<none>:<none>"], "digests": [f"web@{A}"],
        "created": "2026-01-02T03:04:05.678Z", "os": "linux", "architecture": "amd64",
    }
)  # fmt: skip


def test_what_docker_tells_is_read():
    done = Completed(1, f"\n{LINE}\n", "Error: No such image: db:7\n")
    found = read_facts("h", "linux/amd64\n", done)
    assert found.find(WEB) == Here(
        "sha256:" + "1" * 64, frozenset({TAG}), frozenset({f"{OWN}@{A}"}), "linux/amd64", 1767323045.0
    )
    assert found.find(Wanted("db:7")) is None
    assert read_facts("h", "", Completed(0, "")).images == ()


@pytest.mark.parametrize(
    "done",
    [
        Completed(1, "", "Cannot connect to the Docker daemon at unix:///x. Is the docker daemon running?"),
        Completed(1, "", "Error: No such image: x\nCannot connect to the Docker daemon"),
        Completed(127, "", "docker: not found"),
        Completed(1, "", ""),
        Completed(0, "{"),
        Completed(0, "[]"),
        Completed(0, json.dumps({"id": "x", "tags": ["-x"], "digests": None})),
    ],
)
def test_an_engine_that_does_not_answer_is_no_missing_image(done: Completed):
    with pytest.raises(Unreadable):
        read_facts("h", "", done)


@pytest.mark.parametrize(
    ("failures", "then", "wait_s"),
    [
        ("permanent", Then.FAIL, 0), ("credentials", Then.FAIL, 0), ("transient permanent", Then.FAIL, 0),
        ("wait", Then.AGAIN, 15), ("wait wait", Then.AGAIN, 45), ("wait wait wait", Then.FAIL, 0),
        ("transient", Then.AGAIN, 1), ("transient transient transient", Then.AGAIN, 10),
        ("transient transient transient transient", Then.FAIL, 0),
        ("disk", Then.ROOM, 0), ("disk disk", Then.FAIL, 0), ("disk transient", Then.AGAIN, 1),
        ("corrupt", Then.DROP, 0), ("corrupt disk corrupt", Then.FAIL, 0),
    ],
)  # fmt: skip
def test_each_kind_of_failure_has_its_own_sequel(failures: str, then: Then, wait_s: float):
    assert after([Kind(one) for one in failures.split()]) == (then, wait_s)


def test_a_registry_s_wish_is_followed_in_bounds():
    assert after([Kind.WAIT], 30) == (Then.AGAIN, 30)
    assert after([Kind.WAIT], 3600) == (Then.FAIL, 0)


@given(st.lists(st.sampled_from(Kind), min_size=MAX_TRIES, max_size=20))
def test_it_ends(kinds: list[Kind]):
    assert after(kinds)[0] is Then.FAIL


def test_progress_is_told_in_bytes_of_layers():
    read = Pulled({f"sha256:{'a' * 64}": 100, f"sha256:{'b' * 64}": 50})
    assert read.hear(b"1: Pulling from x\naaaaaaaaaaaa: Pulling fs la") == 0
    assert read.hear(b"yer\naaaaaaaaaaaa: Download complete\r\nbbbbbbbbbbbb: Already exists\n") == 150
    assert read.hear(b"aaaaaaaaaaaa: Pull complete\n\xff\xfe: Pull complete\n" + b"x" * 200_000) == 150
    assert read.total == 150


@pytest.mark.parametrize("text", references())
def test_of_200_references_none_becomes_an_option_or_two_words(text: str):
    docker = Docker()
    try:
        argvs = [docker.pull(text), docker.named_images([text]), docker.tag(text, "x"), docker.tag("x", text)]
    except ValueError:
        with pytest.raises(ValueError, match="image"):
            docker.pull(text)
        return
    for argv in argvs:
        words = argv[argv.index("--") + 1 :]
        assert all(canonical(word) in {canonical(text), canonical("x")} for word in words)
        assert not any(word.startswith("-") or set(word) & set(" $;|&`'\"\n\0") for word in words)
    assert parse_reference(text).short == argvs[0][-1]
