"""Task keys and branches, whatever a title is."""

from __future__ import annotations

import re
import shutil
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.delivery.naming import branch_name, check_prefix, parse_key, task_key

TITLES = [
    *["", " ", "-", "--help", "..", "a..b", "@{", "a@{b", "~", "^", ":", "?", "*", "[", "\\", "/", "//", "a/", ".lock"],
    *[
        "x.lock",
        "a b",
        "a\nb",
        "a\0b",
        "\x7f",
        "é",
        "日本語",
        "🙂",
        "../../etc",
        "$(id)",
        "`id`",
        ";id",
        "&&",
        "|",
        "'",
    ],
    *['"', "#12", "refs/heads/x", "HEAD", "-x", "a" * 5000, "é" * 5000, "A Big Title: with, signs!", "x" * 39 + "-y"],
]


def test_a_branch_tells_the_task_and_what_it_is_about():
    assert branch_name("SH-12", "Ship it, now!") == "feature/SH-12-ship-it-now"
    assert branch_name("SH-12", "Überprüfung") == "feature/SH-12-uberprufung"
    assert branch_name("SH-12", "日本語") == "feature/SH-12"


@settings(deadline=None)
@given(st.text())
def test_a_branch_has_only_harmless_letters(title: str):
    assert re.fullmatch(r"feature/SH-12(-[a-z0-9]+)*", branch_name("SH-12", title))


def test_git_takes_every_branch():
    if shutil.which("git") is None:
        pytest.skip("no git here")
    for title in TITLES:
        name = branch_name("SH-12", title)
        assert (
            subprocess.run(["git", "check-ref-format", "--branch", name], capture_output=True, check=False).returncode
            == 0
        )


def test_keys_are_read_back_and_nothing_else_is():
    assert parse_key(task_key("SH", 12)) == ("SH", 12)
    for text in ("SH", "SH-", "SH-0", "SH-01", "-12", "1A-2", "SH-12 ", "SH-1234567890", "SH-12\n", "\uff33H-1"):
        assert parse_key(text) is None


def test_a_prefix_is_letters_and_digits():
    assert check_prefix("SH2") == "SH2"
    for text in ("", "2S", "S-H", "a" * 13, "S H", "S\n"):
        with pytest.raises(ValueError, match="no prefix"):
            check_prefix(text)
