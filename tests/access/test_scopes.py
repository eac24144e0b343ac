"""What scopes allow, and what is said of those that are none."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.access.scopes import ADMINISTRATION, Scope, allows, parse, parse_all, reading, writing
from millpond.errors import BadRequest

NAMES = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._-]{0,20}", fullmatch=True)
SCOPES = st.one_of(
    st.just(ADMINISTRATION),
    st.builds(Scope, st.sampled_from(["read", "write"]), st.one_of(st.just("*"), NAMES)),
)


@given(SCOPES)
def test_a_scope_survives_being_written_down(scope: Scope):
    assert parse(str(scope)) == scope


@given(SCOPES, NAMES)
def test_admin_implies_everything_and_nothing_else_implies_admin(scope: Scope, name: str):
    assert ADMINISTRATION.implies(scope)
    assert scope.implies(ADMINISTRATION) == (scope == ADMINISTRATION)


@given(NAMES, NAMES)
def test_rights_belong_to_their_repository(one: str, other: str):
    assert writing(one).implies(reading(one))
    assert not reading(one).implies(writing(one))
    assert writing(one).implies(reading(other)) == (one == other)
    assert writing("*").implies(writing(other))
    assert reading("*").implies(reading(other))
    assert not reading("*").implies(writing(other))


@given(NAMES)
def test_one_repository_is_not_all_of_them(name: str):
    assert not reading(name).implies(reading("*"))


@given(st.lists(SCOPES), SCOPES)
def test_more_scopes_never_allow_less(held: list[Scope], need: Scope):
    assert allows([*held, need], need)
    assert allows(held, need) == any(scope.implies(need) for scope in held)


def test_no_scope_allows_nothing():
    assert not allows([], reading("pypi"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raed:pypi", "did you mean read:pypi?"),
        ("WRITE:pypi", "did you mean write:pypi?"),
        ("read", r"did you mean read:\*\?"),
        ("read:", r"did you mean read:\*\?"),
        ("admin:pypi", "takes no repository"),
        ("read:a/b", "can't be a repository's name"),
        ("read:../etc", "can't be a repository's name"),
        ("read:**", "can't be a repository's name"),
        ("read:é", "can't be a repository's name"),
        ("everything", "is no scope"),
        ("", "is no scope"),
    ],
)
def test_what_is_no_scope_is_refused_with_what_was_meant(text: str, said: str):
    with pytest.raises(BadRequest, match=said):
        parse(text)


def test_lists_are_read_in_every_spelling_without_doubles():
    assert parse_all(["read:a,write:b", "read:a  admin"]) == (reading("a"), writing("b"), ADMINISTRATION)
    with pytest.raises(BadRequest, match="at least one"):
        parse_all(["", " , "])


@given(st.text(max_size=40))
def test_nothing_but_the_grammar_is_accepted(text: str):
    try:
        scope = parse(text)
    except BadRequest:
        return
    assert str(scope) == text.strip()
