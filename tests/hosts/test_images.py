"""Which images nothing needs: whatever could be needed stays."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.hosts.commands import Unreadable
from millpond.hosts.images import names_of, read_image, read_time, unneeded
from millpond.hosts.model import Image

NOW = 2_000_000_000.0
D1, D2 = ("sha256:" + digit * 64 for digit in "12")


def image(
    number: int, *tags: str, digests: tuple[str, ...] = (), tagged_at: float = 0.0, created_at: float = 0.0
) -> Image:
    return Image(f"sha256:{number:064x}", tags, digests, 10, created_at, tagged_at)


def left(images: list[Image], used: tuple[str, ...] = (), roots: tuple[str, ...] = (), age_s: float = 0.0) -> list[str]:
    return [one.id for one in unneeded(images, set(used), roots, now=NOW, min_age_s=age_s)]


def test_the_oldest_goes_first():
    new, old = image(1, "a:1", created_at=50.0), image(2, "b:1", created_at=5.0)
    assert left([new, old]) == [old.id, new.id]


def test_what_a_container_uses_stays_with_all_its_names():
    one = image(1, "a:1", "b:2")
    assert left([one], used=(one.id,)) == []


@pytest.mark.parametrize(
    "root",
    [
        "app",
        "app:latest",
        "docker.io/library/app:latest",
        f"docker.io/library/app@{D1}",
        f"app@{D1}",
        D1,
        "0" * 63 + "1",
        "sha256:" + "0" * 63 + "1",
    ],
)
def test_a_root_means_it_however_it_is_spelled(root: str):
    assert left([image(1, "app:latest", digests=(f"app@{D1}",))], roots=(root,)) == []


def test_another_root_does_not():
    one = image(1, "app:1", digests=(f"app@{D1}",))
    assert left([one], roots=("app", "app:2", D2, "other:1", f"app@{D2}")) == [one.id]


def test_a_root_that_can_t_be_read_keeps_everything():
    with pytest.raises(ValueError, match="no image reference"):
        left([image(1, "a:1")], roots=("Not A Reference",))


def test_what_came_lately_stays_and_so_does_what_came_later_than_now():
    young, ahead, old = (image(n, f"a:{n}", tagged_at=NOW + at) for n, at in ((1, -10), (2, 500), (3, -100)))
    assert left([young, ahead, old], age_s=60) == [old.id]


def test_without_a_name_or_with_one_that_can_t_be_read_it_is_not_chosen():
    assert left([image(1), image(2, "Bad Name")]) == []


def test_pulled_by_digest_only_it_is_a_named_one():
    one = image(1, digests=(f"r.example/app@{D1}",))
    assert left([one]) == [one.id]
    assert left([one], roots=(D1,)) == []
    assert not one.dangling


def test_names_are_taken_away_tags_first():
    one = image(1, "a:1", digests=(f"a@{D1}", f"b@{D1}"))
    assert names_of(one) == ("a:1", f"b@{D1}"), "with its last tag a's digests go too"


@given(st.lists(st.integers(0, 30), unique=True, max_size=20), st.sets(st.integers(0, 30)), st.sets(st.integers(0, 30)))
def test_nothing_used_or_rooted_is_ever_chosen(numbers: list[int], used: set[int], roots: set[int]):
    images = [image(n, f"app:{n}") for n in numbers]
    chosen = left(images, tuple(image(n).id for n in used), tuple(f"app:{n}" for n in roots))
    assert set(chosen) == {image(n).id for n in set(numbers) - used - roots}


def test_a_line_of_docker_s_is_read():
    line = {
        "id": D1,
        "tags": ["a:1", "<none>:<none>"],
        "digests": None,
        "size": 12,
        "created": "2024-05-01T10:00:00.123456789Z",
        "tagged": "0001-01-01T00:00:00Z",
    }
    assert read_image(json.dumps(line)) == Image(D1, ("a:1",), (), 12, 1714557600.0, 0.0)
    assert read_time("2024-05-01T12:00:00.1+02:00") == 1714557600.0


@pytest.mark.parametrize(
    "line",
    [
        "",
        "{}",
        "[]",
        "5",
        '{"id": "--help", "tags": [], "digests": [], "size": 1, "created": "", "tagged": ""}',
        '{"id": 5, "tags": [], "digests": [], "size": 1, "created": "", "tagged": ""}',
        "[" * 100_000,
        '{"id": "x", "tags": "a", "digests": [], "size": 1, "created": "soon", "tagged": ""}',
    ],
)
def test_what_is_no_image_is_told(line: str):
    with pytest.raises(Unreadable):
        read_image(line)
