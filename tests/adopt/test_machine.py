"""What is the pond's own, what can be an upstream, what is shown."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from millpond.adopt.machine import Machine, Pond, run_tool, shown, split_credentials, unfit, without_credentials

HERE = Pond.at("127.0.0.1", 8080)
OPEN = Pond.at("0.0.0.0", 8080, public_url="https://pond.lan/cache/", names=["Box", "box.lan"])


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8080/pypi/simple/",
        "http://127.0.0.1:8080/pypi/simple",
        "http://localhost:8080/python/simple/",
        "http://[::1]:8080/pypi/simple/",
        "http://me:secret@LOCALHOST:8080/pypi/simple/",
        "http://127.9.9.9:8080/pypi/simple/",
        "http://0.0.0.0:8080/pypi/simple/",
    ],
)
def test_a_pond_on_loopback_knows_its_own_urls(url):
    assert HERE.owns(url, "/simple")


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1:8081/pypi/simple/",
        "http://127.0.0.1:8080/simple/",
        "http://127.0.0.1:8080/a/b/simple/",
        "http://127.0.0.1:8080/pypi/",
        "http://127.0.0.1/pypi/simple/",
        "http://10.0.0.1:8080/pypi/simple/",
        "http://other.example/pypi/simple/",
        "http://127.0.0.1:99999/pypi/simple/",
        "file:///pypi/simple/",
    ],
)
def test_another_service_is_not_taken_for_the_pond(url):
    assert not HERE.owns(url, "/simple")


@pytest.mark.parametrize(
    "url",
    [
        "http://box:8080/pypi/simple/",
        "http://box.lan:8080/pypi/simple",
        "http://localhost:8080/pypi/simple/",
        "https://pond.lan/cache/pypi/simple/",
        "https://me:secret@pond.lan/cache/pypi/simple/",
    ],
)
def test_a_pond_that_listens_everywhere_knows_its_names_and_its_public_url(url):
    assert OPEN.owns(url, "/simple")


@pytest.mark.parametrize("url", ["https://pond.lan/pypi/simple/", "https://pond.lan/cache.b/pypi/simple/"])
def test_what_only_looks_like_the_public_url_is_not_the_pond(url):
    assert not OPEN.owns(url, "/simple")


def test_a_default_port_counts():
    assert Pond.at("10.0.0.1", 80).owns("http://10.0.0.1/pypi/simple/", "/simple")


def test_a_url_that_connect_has_written_is_the_ponds_wherever_it_listens_now():
    assert Pond.at("::1", 9, written=["http://x:1/pypi/simple/"]).owns("http://x:1/pypi/simple", "/simple")


def test_credentials_are_split_off_and_decoded():
    url, user, password = split_credentials("https://a%40b:p%2Fw@h.example:444/simple/")
    assert (url, user, password) == ("https://h.example:444/simple/", "a@b", "p/w")
    assert split_credentials("https://token@h.example/")[1:] == ("token", "")


def test_what_is_shown_has_neither_credentials_nor_query():
    assert shown("https://a:canary@h.example/x?token=canary#canary") == "https://h.example/x"
    assert without_credentials("https://a:b@c@h.example/@x") == "https://h.example/@x"


@pytest.mark.parametrize("url", ["https://h/simple", "http://h:81/simple/", "http://[::1]/x", "HTTPS://h/x"])
def test_an_http_url_can_be_an_upstream(url):
    assert unfit(url) is None


@pytest.mark.parametrize(
    "url",
    [
        "file:///srv/wheels",
        "/srv/wheels",
        "../wheels",
        "ftp://h/x",
        "http:///x",
        "http://h:0/",
        "http://h:x/",
        "https://h/?a=b",
        "https://h/#x",
        "https://h/a b",
        "https://h\\@evil/",
        "http://[::1",
        "",
    ],
)
def test_what_is_no_http_url_cannot(url):
    assert unfit(url) is not None


def test_xdg_folders_are_absolute_or_the_defaults():
    machine = Machine({"XDG_CONFIG_HOME": "rel", "XDG_CONFIG_DIRS": "rel:/a:/b"}, Path("/h"), run_tool, Path("/r"))
    assert machine.config_home() == Path("/h/.config")
    assert machine.config_dirs() == [Path("/a"), Path("/b")]
    assert Machine({}, Path("/h"), run_tool, Path("/r")).config_dirs() == [Path("/r/etc/xdg")]


def test_a_tool_that_is_missing_or_fails_has_said_nothing():
    assert run_tool([sys.executable, "-c", "print('x')"]) == "x\n"
    assert run_tool([sys.executable, "-c", "print('x'); raise SystemExit(1)"]) is None
    assert run_tool(["/no/such/tool"]) is None
