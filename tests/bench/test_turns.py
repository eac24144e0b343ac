from __future__ import annotations

import pytest

from bench.loads.turns import Turns, read

LINES = """\
 100.000000: syscalls:sys_enter_epoll_wait:
 100.010000:  syscalls:sys_exit_epoll_wait:
 100.011000: syscalls:sys_enter_epoll_wait:
 100.500000:  syscalls:sys_exit_epoll_pwait:
 100.530000: syscalls:sys_enter_epoll_pwait:
 100.530100:  syscalls:sys_exit_epoll_wait:
 100.530200: syscalls:sys_enter_epoll_wait:
 100.900000:  syscalls:sys_exit_epoll_wait:
"""


def test_a_turn_is_from_the_end_of_a_wait_to_the_beginning_of_the_next():
    found = read(LINES.splitlines())
    assert (found.count, found.long) == (3, 1)
    assert found.longest_s == pytest.approx(0.03)


def test_waiting_is_no_turn():
    assert read(LINES.splitlines()[:2]) == Turns(0, 0, 0.0)
    assert read([]) == Turns(0, 0, 0.0)
