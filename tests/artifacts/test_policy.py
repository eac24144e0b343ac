"""Which paths are served, and which never change."""

from __future__ import annotations

import pytest

from millpond.artifacts.model import Target
from millpond.artifacts.policy import Refused, Rules, compile_patterns, judge

OPEN = Target("a/b.txt", "a/b.txt", mutable=True)


def rules(immutable: list[str], mutable: list[str], *, generic: bool) -> Rules:
    return Rules(compile_patterns(immutable), compile_patterns(mutable), everything_mutable=generic)


def test_without_patterns_everything_is_served_as_the_format_says():
    assert judge(OPEN, Rules()) == OPEN


def test_a_match_of_the_allow_list_is_immutable_in_generic():
    judged = judge(OPEN, rules(["^a/"], [], generic=True))
    assert judged == Target("a/b.txt", "a/b.txt", mutable=False)


def test_having_a_ttl_is_no_bypass_in_generic():
    assert isinstance(judge(OPEN, rules(["^x/"], [], generic=True)), Refused)


def test_a_mutable_pattern_serves_what_the_allow_list_does_not_match():
    assert judge(OPEN, rules(["^x/"], [r"\.txt$"], generic=True)) == OPEN


def test_a_format_s_own_mutable_paths_pass_the_allow_list():
    assert judge(OPEN, rules(["^x/"], [], generic=False)) == OPEN


def test_an_immutable_path_needs_a_match():
    fixed = Target("files/x", "", mutable=False)
    assert isinstance(judge(fixed, rules(["^y"], [], generic=False)), Refused)
    assert judge(fixed, rules(["files/"], [], generic=False)) == fixed


def test_a_pinned_path_is_immutable_and_has_its_digest():
    pinned = judge(OPEN, Rules(digests={"a/b.txt": "sha256:ab"}, everything_mutable=True))
    assert pinned == Target("a/b.txt", "a/b.txt", mutable=False, digest="sha256:ab")


@pytest.mark.parametrize("pattern", ["(?=x)", r"(a)\1", "(", "[z-a]"])
def test_a_pattern_that_re2_refuses_is_named(pattern: str):
    with pytest.raises(ValueError, match="look-ahead"):
        compile_patterns([pattern])


def test_patterns_are_searched_not_matched():
    assert not isinstance(judge(OPEN, rules(["b.txt"], [], generic=True)), Refused)
