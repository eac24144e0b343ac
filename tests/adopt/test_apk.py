"""What is adopted from apk's package lists."""

from __future__ import annotations

import pytest

from millpond.adopt import Adopted, Pond, Skipped
from millpond.adopt.apk import adopt_apk, named, ours

LIST = "etc/apk/repositories"
POND = Pond.at("127.0.0.1", 8080)


def found(machine, *lines: str, **more):
    return adopt_apk(machine({LIST: "".join(f"{line}\n" for line in lines)}, **more))


def bases(adopted) -> dict[str, str]:
    return {one.repository: one.base_url for one in adopted if isinstance(one, Adopted)}


def test_one_repository_for_each_mirror(machine):
    made = found(
        machine,
        "http://a.example/pub/alpine/v3.20/main",
        "http://a.example/pub/alpine/v3.20/community",
        "@edge http://a.example/pub/alpine/edge/testing",
        "https://b.example/own/packages",
        "https://c.example/other/packages/",
    )
    assert bases(made) == {
        "alpine": "http://a.example/pub/alpine",
        "alpine-packages": "https://b.example/own/packages",
        "alpine-packages-2": "https://c.example/other/packages",
    }
    assert all(one.package == "alpine" and LIST in one.found_in for one in made)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("/media/sda1/apks", "folder of this machine"),
        ("file:///srv/apks", "folder of this machine"),
        ("ftp://x.example/alpine/v3.20/main", "not an http"),
        ("${mirror}/v3.20/main", "variable that is not set"),
    ],
)
def test_what_has_no_upstream_is_told_of(machine, line, why):
    alone = found(machine, line)
    assert isinstance(alone[0], Skipped)
    assert why in alone[0].reason
    beside = found(machine, line, "http://a.example/alpine/v3.20/main")
    assert any(why in note for note in beside[0].notes)


def test_without_apk_there_is_nothing(machine):
    assert adopt_apk(machine({})) == (Skipped("alpine", "there is no apk, or no mirror in its package lists"),)


def test_credentials_are_kept_apart_from_the_address(machine):
    (one,) = found(machine, "https://user:can%40ary@a.example/alpine/v3.20/main")
    assert (one.base_url, one.username, one.password) == ("https://a.example/alpine", "user", "can@ary")
    assert "can@ary" not in repr(one)


def test_a_list_that_points_at_this_pond_is_what_it_was_before(machine):
    made = found(
        machine, "http://127.0.0.1:8080/alpine/v3.20/main", "@t http://127.0.0.1:8080/alpine-x/y",
        earlier={LIST: "http://a.example/alpine/v3.20/main\n@t http://b.example/x/y\n"}, pond=POND,
    )  # fmt: skip
    assert bases(made) == {"alpine": "http://a.example/alpine", "alpine-y": "http://b.example/x/y"}


def test_a_list_that_points_at_this_pond_is_never_adopted(machine):
    lines = [
        "http://127.0.0.1:8080/alpine/v3.20/main",
        "http://localhost:8080/alpine/edge/main",
        "http://127.0.0.1:8080/a/b/c",
    ]
    assert isinstance(found(machine, *lines, pond=POND)[0], Skipped)


def test_a_place_below_the_pond_is_ours_and_its_neighbour_is_not(machine):
    here = machine({}, pond=Pond.at("127.0.0.1", 8080, public_url="https://p.example/pond"))
    assert ours(here, "http://127.0.0.1:8080/alpine/v3.20/main")
    assert ours(here, "https://p.example/pond/alpine/v3.20/main")
    assert not ours(here, "http://127.0.0.1:8081/alpine/v3.20/main")
    assert not ours(here, "https://p.example/other")
    assert not ours(here, "/media/cdrom/apks")


def test_names_are_plain():
    assert list(named(["http://a.example/x", "http://b.example/Ünï code", "http://c.example"])) == [
        "alpine", "alpine-n-code", "alpine-c.example",
    ]  # fmt: skip
