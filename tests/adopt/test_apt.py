"""What is adopted from apt's package lists."""

from __future__ import annotations

import pytest

from millpond.adopt import Adopted, Pond, Skipped
from millpond.adopt.apt import adopt_apt, logins, named

SOURCES = "etc/apt/sources.list"


def found(machine, *lines: str, **more):
    files = {SOURCES: "".join(f"{line}\n" for line in lines)} | more.pop("files", {})
    return adopt_apt(machine(files, **more))


def bases(adopted) -> dict[str, str]:
    return {one.repository: one.base_url for one in adopted if isinstance(one, Adopted)}


def test_one_repository_for_each_address(machine):
    made = found(
        machine,
        "deb http://a.example/debian stable main",
        "deb-src http://a.example/debian/ stable main",
        "deb http://a.example/debian stable-updates main",
        "deb https://b.example/debian-security stable-security main",
        "deb http://c.example/debian ./",
        "deb http://d.example stable main",
    )
    assert bases(made) == {
        "debian": "http://a.example/debian",
        "debian-security": "https://b.example/debian-security",
        "debian-2": "http://c.example/debian",
        "d.example": "http://d.example",
    }
    assert all(one.package == "debian" and SOURCES in one.found_in for one in made)


def test_both_forms_and_where_it_was_found(machine):
    text = "Types: deb\nURIs: http://a.example/debian\nSuites: stable\nComponents: main\n"
    made = found(machine, "deb http://a.example/debian stable main", files={"etc/apt/sources.list.d/x.sources": text})
    assert len(made) == 1
    assert SOURCES in made[0].found_in
    assert "x.sources" in made[0].found_in


@pytest.mark.parametrize(
    ("uri", "why"),
    [
        ("file:/srv/debian", "folder of this machine"),
        ("copy:/srv/debian", "folder of this machine"),
        ("cdrom:[Debian]/", "disc"),
        ("mirror+http://m.example/list", "list of mirrors"),
        ("mirror://m.example/list", "list of mirrors"),
        ("tor+http://x.example/debian", "Tor"),
        ("ftp://x.example/debian", "not an http"),
    ],
)
def test_what_has_no_upstream_is_told_of(machine, uri, why):
    alone = found(machine, f"deb {uri} stable main")
    assert isinstance(alone[0], Skipped)
    assert why in alone[0].reason
    beside = found(machine, f"deb {uri} stable main", "deb http://a.example/debian stable main")
    assert any(why in note for note in beside[0].notes)


def test_without_apt_there_is_nothing(machine):
    assert adopt_apt(machine({})) == (Skipped("debian", "there is no apt, or no archive in its package lists"),)


def test_credentials_belong_to_the_machine_they_are_written_for(machine):
    auth = "# a comment\nmachine b.example/debian login me password canary\n"
    auth += "machine http://c.example\nlogin you\npassword p\n"
    made = found(
        machine,
        "deb https://user:pass%40word@a.example/debian stable main",
        "deb https://b.example/debian stable main",
        "deb http://b.example/debian-plain stable main",
        "deb http://c.example/other stable main",
        files={"etc/apt/auth.conf.d/x.conf": auth},
    )
    assert [(one.username, one.password) for one in made] == [
        ("user", "pass@word"), ("me", "canary"), ("", ""), ("you", "p"),
    ]  # fmt: skip
    assert "canary" not in repr(made)


def test_entries_of_auth_conf_may_say_anything():
    assert logins("login x password y") is not None
    (one,) = logins("machine m.example login machine password login")
    assert (one.username, one.password) == ("machine", "login")


@pytest.mark.parametrize(
    "text",
    [
        'Acquire::http::Proxy "http://user:canary@proxy.example:3128";',
        'Acquire { http { Proxy "http://proxy.example:3128"; }; };',
    ],
)
def test_a_proxy_before_apt_is_told_of(machine, text):
    made = found(machine, "deb http://a.example/debian stable main", files={"etc/apt/apt.conf.d/90proxy": text})
    assert any("proxy.example" in note for note in made[0].notes)
    assert "canary" not in str(made[0].notes)


@pytest.mark.parametrize("text", ['// Acquire::http::Proxy "http://p.example";', 'Acquire::http::Proxy "DIRECT";', ""])
def test_no_proxy_is_no_note(machine, text):
    made = found(machine, "deb http://a.example/debian stable main", files={"etc/apt/apt.conf": text})
    assert made[0].notes == ()


def test_a_list_that_points_at_this_pond_is_what_it_was_before(machine):
    before = "deb http://a.example/debian stable main\n"
    made = found(
        machine, "deb http://127.0.0.1:8080/debian/ stable main", earlier={SOURCES: before},
        pond=Pond.at("127.0.0.1", 8080),
    )  # fmt: skip
    assert bases(made) == {"debian": "http://a.example/debian"}


def test_a_list_that_points_at_this_pond_is_never_adopted(machine):
    made = found(machine, "deb http://127.0.0.1:8080/debian/ stable main", pond=Pond.at("127.0.0.1", 8080))
    assert isinstance(made[0], Skipped)


def test_names_that_mean_something_else_are_not_taken():
    names = named(dict.fromkeys(["http://a.example/api", "http://b.example/api/", "http://c.example/Ünï code"]))
    assert list(names.values())[:2] == ["apt-api", "apt-api-2"]
    assert all(name.isascii() for name in names.values())
