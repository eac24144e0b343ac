"""What ssh says when it fails, and what that means. It has one exit code (255) for everything."""

from __future__ import annotations

from collections.abc import Sequence

from millpond.hosts.commands import brief
from millpond.hosts.model import HostFailed, Kind

_SAID: Sequence[tuple[tuple[str, ...], str, Kind]] = (
    (
        ("identification has changed", "host key verification failed", "host key is known for", "revoked host key"),
        "host-key",
        Kind.PERMANENT,
    ),
    (
        ("permission denied", "too many authentication", "no supported authentication"),
        "denied",
        Kind.CREDENTIALS,
    ),
    (("temporary failure in name resolution",), "unknown", Kind.TRANSIENT),
    (("could not resolve hostname", "name or service not known"), "unknown", Kind.PERMANENT),
    (("timed out", "timeout", "not responding"), "timeout", Kind.TRANSIENT),
    (("connection refused",), "refused", Kind.TRANSIENT),
    (("no route to host", "network is unreachable"), "unreachable", Kind.TRANSIENT),
    (("bad configuration option", "unprotected private key", "bad owner or permissions"), "setup", Kind.PERMANENT),
    (
        ("connection closed", "connection reset", "broken pipe", "kex_exchange", "banner exchange", "disconnect"),
        "lost",
        Kind.TRANSIENT,
    ),
)
"""The first that fits."""
_NEXT = {
    "host-key": "compare the key with the host's own, then renew its line in known_hosts (ssh-keygen -R, ssh-keyscan)",
    "denied": "put the public key of identity_file into ~/.ssh/authorized_keys there",
}


def fault(host: str, said: str, rc: int, otherwise: str) -> HostFailed:
    """Make a fault of what ssh said; `otherwise` is the reason where nothing known was said."""
    low = said.lower()
    reason, kind = next(
        ((reason, kind) for words, reason, kind in _SAID if any(word in low for word in words)),
        (otherwise, Kind.TRANSIENT),
    )
    lines = [line for line in said.splitlines() if line.strip(" @\r")]
    told = brief(_telling(lines, reason)) or "ssh said nothing"
    hint = f"; {_NEXT[reason]}" if reason in _NEXT else ""
    return HostFailed(host, told + hint, kind=kind, reason=reason, rc=rc)


def _telling(lines: Sequence[str], reason: str) -> str:
    """Choose the line that says it: of a changed key's long warning the headline, else the last one."""
    if reason == "host-key":
        return next((line for line in lines if "changed" in line.lower() or "is known" in line.lower()), lines[-1])
    return lines[-1] if lines else ""
