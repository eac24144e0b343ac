"""apk's package lists, old and new forms, and where their addresses stand."""

from __future__ import annotations

from pathlib import Path

import pytest

from millpond.adopt.apkrepositories import files, parse, sources
from millpond.connect.lists import replaced
from millpond.errors import ConfigError

FILE = Path("/etc/apk/repositories")


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("http://a.example/alpine/v3.20/main", [("http://a.example/alpine/v3.20/main", "")]),
        ("@edge http://a.example/alpine/edge/main", [("http://a.example/alpine/edge/main", "edge")]),
        ("v2 @t http://a.example/x", [("http://a.example/x", "t")]),
        ("v3 http://a.example/alpine/v3.23 main community", [("http://a.example/alpine/v3.23", "")]),
        ("ndx http://a.example/x/APKINDEX.tar.gz", [("http://a.example/x/APKINDEX.tar.gz", "")]),
        ("  http://a.example/x  ", [("http://a.example/x", "")]),
        ("/media/sda1/apks", [("/media/sda1/apks", "")]),
        ("#http://a.example/x", []),
        ("# a comment", []),
        ("", []),
        ("set -default m=http://a.example", []),
    ],
)
def test_a_line(line, expected):
    assert [(one.url, one.tag) for one in parse(FILE, line + "\n")] == expected


@pytest.mark.parametrize(
    ("url", "base", "rest"),
    [
        ("http://a.example/alpine/v3.20/main", "http://a.example/alpine", "/v3.20/main"),
        ("http://a.example/alpine/edge/testing/", "http://a.example/alpine", "/edge/testing"),
        ("http://a.example/alpine/latest-stable/main", "http://a.example/alpine", "/latest-stable/main"),
        ("http://a.example/alpine/v3.23", "http://a.example/alpine", "/v3.23"),
        ("http://a.example/edge/alpine/v3.20/main/x86_64/APKINDEX.tar.gz", "http://a.example/edge/alpine", None),
        ("http://a.example/v3.20/main", "http://a.example", "/v3.20/main"),
        ("http://a.example/packages/", "http://a.example/packages", ""),
        ("http://a.example/x/APKINDEX.tar.gz", "http://a.example/x", "/APKINDEX.tar.gz"),
        ("http://a.example/v8/packages", "http://a.example", "/v8/packages"),
    ],
)
def test_what_a_mirror_s_branches_have_in_common(url, base, rest):
    [one] = parse(FILE, url)
    if rest is None:
        assert one.base + one.rest == url
    else:
        assert (one.base, one.rest) == (base, rest)


def test_variables_are_filled_in_and_the_place_is_that_of_the_written_word():
    text = "set m=http://a.example/alpine\nset -default m=http://no.example\n@x ${m}/v3.20/main\n${none}/y\n"
    one, other = parse(FILE, text)
    assert (one.url, one.written, text[one.start : one.end]) == (
        "http://a.example/alpine/v3.20/main", "${m}/v3.20/main", "${m}/v3.20/main",
    )  # fmt: skip
    assert other.url == "${none}/y"
    changed = replaced(text, {(one.start, one.end): "http://pond.example/alpine/v3.20/main"})
    assert changed == text.replace("${m}/v3.20/main", "http://pond.example/alpine/v3.20/main")


def test_the_machine_s_own_list_wins_over_the_distribution_s_of_that_name(machine):
    made = machine({
        "etc/apk/repositories": "http://a.example/1\r\nhttp://a.example/2",
        "etc/apk/repositories.d/b.list": "${m}/b\n",
        "lib/apk/repositories.d/b.list": "http://a.example/never\n",
        "lib/apk/repositories.d/a.list": "set m=http://late.example\nhttp://a.example/a\n",
        "etc/apk/repositories.d/notes.txt": "http://a.example/never\n",
    })  # fmt: skip
    assert [path.name for path in files(made)] == ["repositories", "b.list", "a.list"]
    assert [one.url for one in sources(made)] == [
        "http://a.example/1", "http://a.example/2", "${m}/b", "http://a.example/a",
    ]  # fmt: skip


def test_a_list_that_is_no_text_says_so(machine, tmp_path):
    made = machine({"etc/apk/repositories": ""})
    (tmp_path / "etc/apk/repositories").write_bytes(b"\xff\xfe")
    with pytest.raises(ConfigError, match="not UTF-8"):
        list(sources(made))
