"""An app's .env, read as compose reads it."""

from __future__ import annotations

import subprocess
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tests.composing import compose

from millpond.hosts.dotenv import MAX_BYTES, Wrong, missing, read

GOOD = """# a comment
A=1
B="x $A y"
C='lit $A'
D=un quoted # comment
E=a#b
F="$$A \\$A"
G=${A:-d}${NO:-d e}
export H=5
I = spaced
  LED=5
J="multi
line"
K=$$A
L="tab\\tnl\\nq\\"b\\\\e"
N=
O='it'  # c
P=x"y"z
Q=${NO-}${A:+alt}${N:+none}${N-unset}${N:-empty}
LIST=compose.yml
LIST="$LIST:more.yml"
U=é日本
#Z=9
V=#c
"""


def test_it_is_read_as_compose_reads_it(tmp_path: Path):
    (tmp_path / ".env").write_text(GOOD)
    (tmp_path / "compose.yml").write_text("services: {}")
    argv = [compose(), "-f", "compose.yml", "config", "--environment"]
    done = subprocess.run(
        argv, cwd=tmp_path, env={"PATH": "/nowhere"}, capture_output=True, text=True, check=True, timeout=60
    )
    found = read(GOOD, {})
    for name, value in found.items():
        assert f"\n{name}={value}\n" in f"\n{done.stdout}\n", (name, value, done.stdout)
    assert len(found) == 20


def test_an_append_and_what_is_set_over_it():
    assert read('F=a.yml\nF="$F:b.yml"\n', {})["F"] == "a.yml:b.yml"
    over = read("V=1\nI=app:$V\n", {"V": "2", "W": "3"})
    assert over == {"V": "2", "I": "app:2", "W": "3"}
    assert read("\ufeffA=1\r\nB=2\r\n", {}) == {"A": "1", "B": "2"}


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("A=1\nB\n", "line 2: not NAME=VALUE"),
        ("1A=5", "line 1: not NAME=VALUE"),
        ("A-B=5", "line 1: not NAME=VALUE"),
        ("A: 5", "line 1: not NAME=VALUE"),
        ("=x", "line 1: not NAME=VALUE"),
        ("A=$B", "line 1: the value of A uses a variable that is not set; a $ in a value: use single quotes"),
        ('F="$F:b.yml"', "line 1: the value of F uses"),
        ("\n\nA=${B:?please}", "line 3: the value of A uses"),
        ("B=\nA=${B:?}", "line 2: the value of A uses"),
        ("A=${B:-${C}}", "line 1: a $ that begins no variable"),
        ("A=$", "line 1: a $ that begins no variable"),
        ("A=$(id)", "line 1: a $ that begins no variable"),
        ("A=${B:-x", "line 1: a $ that begins no variable"),
        ("A=a\\$B", "line 1: a backslash does not"),
        ("A='x", "line 1: the closing quote is missing"),
        ('A="x\\"', "line 1: the closing quote is missing"),
        ("A='it\\'s'", "line 1: a quote within single quotes"),
        ('A="x"y', "line 1: something stands behind"),
        ('A="\\x"', "begins no escape"),
        ("A=\0", "line 1: A has a NUL byte"),
        ("A=" + "x" * 70_000, "line 1: A has a NUL byte, or more than"),
        ("#" * (MAX_BYTES + 1), "longer than"),
    ],
)
def test_what_surprises_is_refused_with_its_line(text: str, wrong: str):
    with pytest.raises(Wrong) as caught:
        read(text, {})
    assert wrong in str(caught.value)


BOMB = "A=" + "x" * 60_000 + "\n"


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        (f"{BOMB}B={'$A' * 90_000}\n", "line 2: B has a NUL byte, or more than"),
        (f'{BOMB}B="{"$A" * 90_000}"\n', "line 2: B has a NUL byte, or more than"),
        (BOMB + "B=$A\n" * 30_000, "line 18: the values up to here have more than"),
    ],
)
def test_what_would_grow_beyond_all_bounds_is_refused_while_it_grows(text: str, wrong: str):
    tracemalloc.start()
    try:
        with pytest.raises(Wrong) as caught:
            read(text, {})
        assert tracemalloc.get_traced_memory()[1] < 16 << 20
    finally:
        tracemalloc.stop()
    assert wrong in str(caught.value)


class Counting(str):
    """Counts how many characters its lines are counted in."""

    __slots__ = ()
    counted = 0

    def replace(self, *_: object) -> Counting:
        return self

    def removeprefix(self, *_: object) -> Counting:
        return self

    def count(self, sub: str, start: int = 0, end: int | None = None) -> int:
        Counting.counted += (len(self) if end is None else end) - start
        return super().count(sub, start, end)


def test_lines_are_counted_once():
    text = Counting("A=1\n" * 5000 + "B\n")
    with pytest.raises(Wrong, match="line 5001"):
        read(text, {})
    assert 0 < Counting.counted <= len(text)


@given(st.text(max_size=200) | st.text("AB=$'\"\\{}:-?+#\n \t", max_size=60))
@settings(deadline=None, max_examples=500)
def test_any_text_is_read_or_refused(text: str):
    try:
        found = read(text, {"A": "1"})
    except Wrong:
        return
    assert all("\0" not in value for value in found.values())


@pytest.mark.parametrize(
    ("scalar", "names"),
    [
        ("x:$V", ["V"]),
        ("x:${V}", ["V"]),
        ("${V:-1}${W-}${X:+a}${Y+b}", []),
        ("${V:?no}${W?}", ["V", "W"]),
        ("$$V $${V} $$$V", ["V"]),
        ("$A ${A}", []),
        ("cost 5$", []),
    ],
)
def test_variables_that_a_file_needs_are_found(scalar: str, names: list[str]):
    assert missing(scalar, {"A": ""}) == names
