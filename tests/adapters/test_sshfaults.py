"""What ssh says, and what that means."""

from __future__ import annotations

import pytest

from millpond.adapters.sshfaults import fault
from millpond.hosts.model import Kind

CHANGED = """@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
@    WARNING: REMOTE HOST IDENTIFICATION HAS CHANGED!     @
@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@@
IT IS POSSIBLE THAT SOMEONE IS DOING SOMETHING NASTY!
Host key verification failed.
"""


@pytest.mark.parametrize(
    ("said", "reason", "kind"),
    [
        ("ssh: connect to host h port 22: Connection refused\r\n", "refused", Kind.TRANSIENT),
        ("ssh: connect to host h port 22: Connection timed out\r\n", "timeout", Kind.TRANSIENT),
        (
            "Connection timed out during banner exchange\r\nConnection to ::1 port 1 timed out\r\n",
            "timeout",
            Kind.TRANSIENT,
        ),
        ("Timeout, server h not responding.\r\n", "timeout", Kind.TRANSIENT),
        ("ssh: Could not resolve hostname h: Name or service not known\r\n", "unknown", Kind.PERMANENT),
        ("ssh: Could not resolve hostname h: Temporary failure in name resolution\r\n", "unknown", Kind.TRANSIENT),
        ("ssh: connect to host h port 22: No route to host\r\n", "unreachable", Kind.TRANSIENT),
        ("deploy@h: Permission denied (publickey).\r\n", "denied", Kind.CREDENTIALS),
        (CHANGED, "host-key", Kind.PERMANENT),
        (
            "No RSA host key is known for h and you have requested strict checking.\r\nHost key verification failed.",
            "host-key",
            Kind.PERMANENT,
        ),
        ("kex_exchange_identification: Connection closed by remote host\r\n", "lost", Kind.TRANSIENT),
        ("client_loop: send disconnect: Broken pipe\r\n", "lost", Kind.TRANSIENT),
        ("command-line: line 0: Bad configuration option: x\r\n", "setup", Kind.PERMANENT),
        ("", "otherwise", Kind.TRANSIENT),
        ("something new\r\n", "otherwise", Kind.TRANSIENT),
    ],
)
def test_it_is_classed_by_its_words(said: str, reason: str, kind: Kind):
    found = fault("h", said, 255, "otherwise")
    assert (found.reason, found.kind, found.rc) == (reason, kind, 255)
    assert found.told.startswith("timeout: " if reason == "timeout" else "rc=255: ")
    assert "\n" not in found.told
    assert "\r" not in found.told


def test_of_a_changed_key_the_headline_is_told_and_what_to_do():
    assert "IDENTIFICATION HAS CHANGED" in fault("h", CHANGED, 255, "x").told
    assert "known_hosts" in fault("h", CHANGED, 255, "x").told
