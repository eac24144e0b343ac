from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from millpond.artifacts.circuit import Circuit, Limits, Ticket, Wait, fails, retry_after_s

LIMITS = Limits(failures=3, open_s=10.0, max_open_s=60.0)


def ticket(circuit: Circuit, now: float) -> Ticket:
    admitted = circuit.admit(now)
    assert isinstance(admitted, Ticket), admitted
    return admitted


def fail(circuit: Circuit, now: float, times: int = 1) -> None:
    for _ in range(times):
        circuit.failed(ticket(circuit, now), now, 0.0)


def opened(now: float = 0.0) -> Circuit:
    circuit = Circuit(LIMITS)
    fail(circuit, now, 3)
    return circuit


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (200, False),
        (304, False),
        (401, False),
        (403, False),
        (404, False),
        (410, False),
        (429, True),
        (500, True),
        (503, True),
    ],
)
def test_only_5xx_and_429_are_failures(status: int, expected: bool) -> None:
    assert fails(status) is expected


def test_it_opens_after_so_many_failures_in_a_row() -> None:
    circuit = Circuit(LIMITS)
    fail(circuit, 0.0, 2)
    assert circuit.state == "closed"
    fail(circuit, 0.0)
    assert circuit.state == "open"
    assert circuit.admit(4.0) == Wait(6.0)


def test_a_success_between_starts_the_count_again() -> None:
    circuit = Circuit(LIMITS)
    fail(circuit, 0.0, 2)
    circuit.succeeded(ticket(circuit, 0.0))
    fail(circuit, 0.0, 2)
    assert (circuit.state, circuit.failures) == ("closed", 2)


def test_a_head_alone_does_not_clear_the_count() -> None:
    circuit = Circuit(LIMITS)
    for _ in range(3):
        one = ticket(circuit, 0.0)
        circuit.answered(one)
        circuit.failed(one, 0.0, 0.0)
    assert circuit.state == "open"


def test_after_the_pause_exactly_one_probe_passes() -> None:
    circuit = opened()
    assert ticket(circuit, 10.0).probe
    assert isinstance(circuit.admit(10.0), Wait)
    assert circuit.state == "half-open"


def test_a_good_probe_closes() -> None:
    circuit = opened()
    circuit.succeeded(ticket(circuit, 10.0))
    assert (circuit.state, circuit.failures) == ("closed", 0)
    assert not ticket(circuit, 10.0).probe


def test_a_probes_head_lets_the_others_in_while_its_body_is_read() -> None:
    circuit = opened()
    probe = ticket(circuit, 10.0)
    circuit.answered(probe)
    assert circuit.state == "closed"
    assert not ticket(circuit, 10.0).probe
    circuit.succeeded(probe)
    assert circuit.failures == 0


def test_a_probe_whose_body_is_cut_off_opens_again_for_twice_as_long() -> None:
    circuit = opened()
    probe = ticket(circuit, 10.0)
    circuit.answered(probe)
    circuit.failed(probe, 11.0, 0.0)
    assert circuit.admit(11.0) == Wait(20.0)


def test_the_pause_doubles_up_to_the_limit_and_is_reset_by_a_success() -> None:
    circuit, now, pauses = opened(), 0.0, []
    for _ in range(5):
        now = circuit.open_until
        fail(circuit, now)
        pauses.append(circuit.open_until - now)
    assert pauses == [20.0, 40.0, 60.0, 60.0, 60.0]
    circuit.succeeded(ticket(circuit, circuit.open_until))
    fail(circuit, 1000.0, 3)
    assert circuit.open_until == 1010.0


def test_jitter_lengthens_the_pause_by_a_quarter_at_most() -> None:
    circuit = Circuit(Limits(failures=1, open_s=10.0))
    circuit.failed(ticket(circuit, 0.0), 0.0, 1.0)
    assert circuit.open_until == 12.5


def test_an_abandoned_probe_gives_its_place_to_the_next() -> None:
    circuit = opened()
    circuit.abandoned(ticket(circuit, 10.0))
    assert ticket(circuit, 10.0).probe


def test_late_failures_of_earlier_requests_do_not_lengthen_the_pause() -> None:
    circuit = Circuit(LIMITS)
    tickets = [ticket(circuit, 0.0) for _ in range(50)]
    for one in tickets:
        circuit.failed(one, 1.0, 0.0)
    assert circuit.open_until == 11.0


def test_a_late_success_of_an_earlier_request_does_not_close_it() -> None:
    circuit = Circuit(LIMITS)
    early = ticket(circuit, 0.0)
    fail(circuit, 0.0, 3)
    circuit.succeeded(early)
    assert circuit.state == "open"


def test_the_upstreams_own_wish_opens_it_at_once() -> None:
    circuit = Circuit(LIMITS)
    circuit.failed(ticket(circuit, 5.0), 5.0, 0.0, retry_after_s=30.0)
    assert circuit.state == "open"
    assert circuit.open_until == 35.0


def test_a_wish_is_obeyed_up_to_three_times_the_longest_pause() -> None:
    circuit = Circuit(LIMITS)
    circuit.failed(ticket(circuit, 0.0), 0.0, 0.0, retry_after_s=86400.0)
    assert circuit.open_until == 180.0


def test_a_wish_of_zero_is_just_a_failure() -> None:
    circuit = Circuit(LIMITS)
    circuit.failed(ticket(circuit, 0.0), 0.0, 0.0, retry_after_s=0.0)
    assert (circuit.state, circuit.failures) == ("closed", 1)


def test_a_late_wish_prolongs_the_pause_and_never_shortens_it() -> None:
    circuit = Circuit(LIMITS)
    early = [ticket(circuit, 0.0) for _ in range(2)]
    fail(circuit, 0.0, 3)
    circuit.failed(early[0], 0.0, 0.0, retry_after_s=40.0)
    assert circuit.open_until == 40.0
    circuit.failed(early[1], 0.0, 0.0, retry_after_s=1.0)
    assert circuit.open_until == 40.0


def test_retry_after_is_seconds_or_a_date() -> None:
    assert retry_after_s({"retry-after": "120"}, 0.0) == 120.0
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 1445412470.0) == 10.0
    assert retry_after_s({"retry-after": "Wed, 21 Oct 2015 07:28:00 GMT"}, 1445499999.0) == 0.0
    assert retry_after_s({"retry-after": "soon"}, 0.0) is None
    assert retry_after_s({}, 0.0) is None


WHAT = st.sampled_from(["ask", "head", "whole", "fail", "drop", "wish"])
EVENTS = st.lists(st.tuples(WHAT, st.floats(0, 40)), max_size=60)


@given(EVENTS)
def test_whatever_happens_it_lets_somebody_through_again(events: list[tuple[str, float]]) -> None:
    """No sequence of outcomes wedges it: once all tickets are done, a request passes after the longest pause."""
    circuit, now, tickets = Circuit(LIMITS), 0.0, list[Ticket]()
    for event, step in events:
        now += step
        if event == "ask":
            admitted = circuit.admit(now)
            tickets += [admitted] if isinstance(admitted, Ticket) else []
        elif event == "head" and tickets:
            circuit.answered(tickets[0])
        elif tickets:
            one = tickets.pop(0)
            if event == "whole":
                circuit.succeeded(one)
            elif event == "drop":
                circuit.abandoned(one)
            else:
                circuit.failed(one, now, 0.5, retry_after_s=step if event == "wish" else None)
    for one in tickets:
        circuit.abandoned(one)
    longest_s = LIMITS.max_open_s * 3
    assert circuit.open_until <= now + longest_s
    assert isinstance(circuit.admit(now + longest_s), Ticket)
