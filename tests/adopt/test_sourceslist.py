"""apt's package lists in both forms, and the places of their addresses."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.adopt.sourceslist import files, parse, sources
from millpond.connect.lists import replaced
from millpond.errors import ConfigError

LIST, DEB822 = Path("sources.list"), Path("debian.sources")
ONE_LINE = """\
# deb http://commented.example/debian stable main
deb http://one.example/debian stable main contrib # and a comment
deb [arch=amd64 signed-by=/k.gpg] https://two.example/apt/ ./
deb-src\thttp://one.example/debian\tstable main
deb [ trusted=yes enabled=no ] http://off.example/x stable main
nonsense
"""
STANZAS = """\
Types: deb deb-src
# a comment: not a field
URIs: http://one.example/debian http://two.example/debian
  https://three.example/debian
Suites: stable
 stable-updates
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 URIs: http://never.example/

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: x
"""


def uris(file: Path, text: str) -> list[tuple[str, bool]]:
    return [(one.uri, one.enabled) for one in parse(file, text)]


def test_one_line_entries():
    assert uris(LIST, ONE_LINE) == [
        ("http://one.example/debian", True),
        ("https://two.example/apt/", True),
        ("http://one.example/debian", True),
        ("http://off.example/x", False),
    ]


def test_stanzas():
    assert uris(DEB822, STANZAS) == [
        ("http://one.example/debian", True),
        ("http://two.example/debian", True),
        ("https://three.example/debian", True),
        ("http://off.example/debian", False),
    ]


@pytest.mark.parametrize(("file", "text"), [(LIST, ONE_LINE), (DEB822, STANZAS)])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_only_the_addresses_are_replaced(file, text, end):
    text = text.replace("\n", end)
    found = list(parse(file, text))
    changes = {(one.start, one.end): f"http://pond.example/{number}/" for number, one in enumerate(found)}
    after = replaced(text, changes)
    assert [one.uri for one in parse(file, after)] == list(changes.values())
    for (_, uri), one in zip(changes.items(), found, strict=True):
        after = after.replace(uri, one.uri, 1)
    assert after == text


def test_the_files_that_apt_reads_in_its_order(machine, tmp_path):
    names = ("b.list", "a.sources", "not a name.list", "backup.list.save", "c.list~")
    made = machine({f"etc/apt/sources.list.d/{name}": "" for name in names})
    assert [path.name for path in files(made)] == ["sources.list", "a.sources", "b.list"]


def test_what_is_switched_off_is_passed_over(machine):
    made = machine({"etc/apt/sources.list": ONE_LINE, "etc/apt/sources.list.d/debian.sources": STANZAS})
    assert not [one for one in sources(made) if "off" in one.uri]


def test_a_file_that_can_t_be_read_is_named(machine, tmp_path):
    made = machine({"etc/apt/sources.list": ""})
    (tmp_path / "etc/apt/sources.list").write_bytes(b"deb \xff")
    with pytest.raises(ConfigError, match=r"sources\.list: cannot be read"):
        list(sources(made))


@settings(deadline=None)
@given(st.text(max_size=300), st.sampled_from([LIST, DEB822]))
def test_whatever_is_in_a_list_places_are_within_it(text, file):
    for one in parse(file, text):
        assert text[one.start : one.end] == one.uri
