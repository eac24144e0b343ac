"""The contract's sentences about states, by values."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from millpond.delivery.board.board import (
    ALIASES,
    NAMES,
    PEOPLES,
    VERDICTS,
    WAITING,
    Board,
    board,
    names,
)
from millpond.delivery.model import Input, Key, State


def columns(*called: str) -> list[State]:
    return [State(f"id-{name.lower().replace(' ', '-')}", name, "started") for name in called]


PLAIN = board(columns("Backlog", "In Progress", "Approved", "Rejected", "Done"), NAMES, {})
FULL = board(columns("Backlog", *NAMES.values()), NAMES, {})


def test_every_key_has_the_contracts_name_and_a_board_with_all_of_them_uses_each():
    assert {key: FULL.resolve(key) for key in Key} == {
        key: f"id-{name.lower().replace(' ', '-')}" for key, name in NAMES.items()
    }
    assert NAMES[Key.MONITORING] == "Monitoring after Deploy"


@pytest.mark.parametrize("name", ["in progress", "IN PROGRESS", "In  Progress ", "iN pRoGrEsS"])
def test_names_match_whatever_their_case(name: str):
    assert board(columns(name), NAMES, {}).resolve(Key.IN_PROGRESS)


def test_of_two_columns_with_one_name_the_one_written_exactly_so_is_it():
    twins = [State("loud", "DONE"), State("exact", "Done"), State("again", "Done")]
    assert board(twins, NAMES, {}).resolve(Key.DONE) == "exact"
    assert board(twins[:1], NAMES, {}).resolve(Key.DONE) == "loud"


def test_a_plain_board_falls_back_to_base_states_of_its_own():
    progress, done = "id-in-progress", "id-done"
    assert {key: PLAIN.resolve(key) for key in ALIASES} == {
        Key.TO_ANALYSE: progress,
        Key.ANALYSIS: progress,
        Key.CODE_REVIEW: progress,
        Key.AWAITING_DEPLOY: progress,
        Key.DEPLOYING: progress,
        Key.MONITORING: done,
    }
    assert PLAIN.resolve(Key.BLOCKED) is None
    assert PLAIN.writable(Key.CODE_REVIEW) == progress
    assert PLAIN.writable(Key.BLOCKED) is None


def test_defaults_are_read_where_the_board_gives_nothing_and_never_written():
    lacking = board(columns("In Progress"), NAMES, {Key.BLOCKED: "default-blocked", Key.TO_ANALYSE: "default-start"})
    assert lacking.resolve(Key.BLOCKED) == "default-blocked"
    assert lacking.writable(Key.BLOCKED) is None
    assert lacking.resolve(Key.TO_ANALYSE) == "id-in-progress"  # the same project's alias goes before
    never = Board(defaults={Key.IN_PROGRESS: "d", Key.APPROVED: "a"})
    assert (never.resolve(Key.IN_PROGRESS), never.resolve(Key.CODE_REVIEW)) == ("d", "d")
    assert never.verdict("a") is True
    assert [never.writable(key) for key in Key] == [None] * len(Key)
    assert never.groups == {}


def test_what_people_move_an_issue_to_is_never_written():
    assert [FULL.writable(key) for key in PEOPLES] == [None] * len(PEOPLES)
    assert FULL.writable(Key.CANCELLED) == "id-cancelled"


def test_a_start_is_read_through_the_alias_and_a_resume_is_not():
    assert FULL.starts("id-to-analyse")
    assert FULL.resumes("id-to-analyse")
    assert not FULL.starts("id-in-progress")
    assert PLAIN.starts("id-in-progress")
    assert not PLAIN.resumes("id-in-progress")
    assert not FULL.starts("")


def test_verdicts_are_read_by_column():
    assert (FULL.verdict("id-approved"), FULL.verdict("id-rejected"), FULL.verdict("id-done")) == (True, False, None)
    assert FULL.takes_verdicts
    assert not board(columns("In Progress", "Approved", "Done"), NAMES, {}).takes_verdicts


def test_what_a_column_says_is_told_by_kind():
    assert FULL.said("id-to-analyse") == {Input.START}
    assert FULL.said("id-approved") == {Input.VERDICT}
    assert FULL.said("id-in-progress") == set()
    assert PLAIN.said("id-in-progress") == {Input.START}


def test_the_reconciler_looks_for_inputs_and_aliases_never_widen_what_it_skips():
    assert FULL.wanted == {"id-to-analyse", "id-approved", "id-rejected"}
    assert FULL.skipped == {f"id-{NAMES[key].lower().replace(' ', '-')}" for key in WAITING}
    assert PLAIN.wanted == {"id-in-progress", "id-approved", "id-rejected"}
    assert PLAIN.skipped == set()


def test_a_group_of_cancelled_issues_counts_as_cancelled():
    found = board([State("dup", "Duplicate", "cancelled"), State("wip", "In Progress", "started")], NAMES, {})
    assert found.cancels("dup")
    assert not found.cancels("wip")
    assert not found.cancels("")
    assert found.groups == {"dup": "cancelled", "wip": "started"}


def test_names_are_configurable_and_a_mistake_says_what_is_meant():
    called = names({"code_review": "Peer Review", "needs_input": "Peer Review"})
    assert board(columns("peer review"), called, {}).resolve(Key.CODE_REVIEW) == "id-peer-review"
    with pytest.raises(ValueError, match="no state; write one of to_analyse"):
        names({"reviewing": "Review"})
    with pytest.raises(ValueError, match="are both"):
        names({"approved": "done"})
    with pytest.raises(ValueError, match="empty"):
        names({"done": "  "})
    with pytest.raises(ValueError, match="longer"):
        names({"done": "x" * 256})


@settings(deadline=None)
@given(st.lists(st.builds(State, st.text(max_size=3), st.sampled_from([*NAMES.values(), "x", "done"]))))
def test_whatever_the_board_is_nothing_raises_and_only_its_own_ids_are_written(states: list[State]):
    found = board(states, NAMES, dict.fromkeys(Key, "default"))
    ids = {state.id for state in states}
    for key in Key:
        assert found.resolve(key)
        assert found.writable(key) in ids | {None}
    assert not found.wanted & found.skipped
    assert all(found.verdict(found.resolve(key) or "") is not None for key in VERDICTS)
