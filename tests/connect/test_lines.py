"""Taking a change back out of a file that others have changed since."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from millpond.connect.lines import revert

WAS = "[global]\nindex-url = old\ntimeout = 3\n"
WROTE = "[global]\nindex-url = new\ntimeout = 3\n"


def test_an_untouched_file_goes_back_whole():
    assert revert(WAS, WROTE, WROTE) == WAS


def test_other_peoples_lines_stay():
    assert (
        revert(WAS, WROTE, "# mine\n" + WROTE.replace("3", "4") + "[x]\n")
        == "# mine\n" + WAS.replace("3", "4") + "[x]\n"
    )


def test_an_added_line_goes_and_the_rest_stays():
    assert revert("a\n", "a\nours\nb = 1\n", "z\na\nours\nb = 1\nc\n") == "z\na\nc\n"


def test_a_changed_line_of_ours_is_left_to_the_user():
    assert revert(WAS, WROTE, WROTE.replace("new", "newer")) is None


def test_two_equal_lines_of_ours_both_go_back():
    was, wrote = "[a]\nx = 1\n[b]\nx = 2\n", "[a]\nx = 9\n[b]\nx = 9\n"
    assert revert(was, wrote, "# mine\n" + wrote) == "# mine\n" + was


def test_a_line_of_ours_with_others_between_is_left_to_the_user():
    assert revert("a\n", "a\nb\nc\n", "a\nb\nx\nc\n") is None


LINES = st.lists(st.sampled_from("abcd"), max_size=8)


def text(*lines):
    return "".join(f"{line}\n" for line in lines)


@given(LINES, LINES, st.integers(0, 8))
def test_what_was_put_in_comes_out_again_whatever_was_appended(lines, more, at):
    after = text(*lines[:at], "ours", *lines[at:])
    assert revert(text(*lines), after, after + text(*more)) == text(*lines, *more)


@given(LINES, LINES, LINES, st.integers(0, 8))
def test_never_anything_but_our_lines_is_taken_out(lines, head, tail, at):
    after = text(*lines[:at], "ours", "and ours", *lines[at:])
    assert revert(text(*lines), after, text(*head) + after + text(*tail)) in {None, text(*head, *lines, *tail)}


@given(LINES, LINES)
def test_an_untouched_file_goes_back_whole_whatever_was_done_to_it(before, after):
    assert revert(text(*before), text(*after), text(*after)) == text(*before)
