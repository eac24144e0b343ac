"""The faults that Millpond can name, each saying whose it is.

Expected outcomes are values (see `artifacts.model`); an exception is a fault. An error's text says in plain words what
happened and, where there is one, the next step.
"""

from __future__ import annotations

from dataclasses import dataclass


class MillpondError(Exception):
    """The root of every fault that we raise on purpose."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """One mistake in a configuration, in parts; an empty one is not known."""

    wrong: str
    file: str = ""
    """The file, variable or command line that it stands in."""
    key: str = ""
    """Its place, as it is written in the file: ``[server] port``."""
    meant: str = ""

    def __str__(self) -> str:
        """Write the line."""
        where = [part for part in (self.file, self.key) if part]
        return ": ".join([*where, self.wrong]) + (f"; {self.meant}" if self.meant else "")


class ConfigError(MillpondError):
    """The operator's configuration is wrong; nothing starts (exit code 2).

    `problems` has one line for each mistake: file, key, what is wrong, what was meant; `mistakes` has them in parts.
    """

    def __init__(self, *mistakes: Mistake | str) -> None:
        self.mistakes = tuple(Mistake(one) if isinstance(one, str) else one for one in mistakes)
        self.problems = tuple(str(one) for one in self.mistakes)
        super().__init__("\n".join(self.problems))


class BadRequest(MillpondError):
    """The caller's request can't be understood (HTTP 400)."""


class NotFound(MillpondError):
    """There is no such repository, artifact or thing (HTTP 404)."""


class Denied(MillpondError):
    """The caller may not (HTTP 401 when `authenticate`, else 403)."""

    def __init__(self, message: str, *, authenticate: bool = False) -> None:
        super().__init__(message)
        self.authenticate = authenticate


class NotAllowed(MillpondError):
    """Nothing of that kind is done at this address (HTTP 405)."""


class Conflict(MillpondError):
    """The request contradicts what is there (HTTP 409)."""


class TooLarge(MillpondError):
    """The caller's body exceeds a limit (HTTP 413)."""


class Stalled(MillpondError):
    """The caller stopped sending in the middle of its body (HTTP 408)."""


class UpstreamUnreachable(MillpondError):
    """The upstream gave no usable answer.

    `kind` is one word for metrics and `why`: connect, timeout, reset, truncated, tls, blocked (an address that may not
    be dialled), redirect, circuit (not asked: too many failures lately). `retry_after_s` is the upstream's own wish.
    """

    def __init__(self, message: str, *, kind: str, retry_after_s: float | None = None) -> None:
        super().__init__(message)
        self.kind = kind
        self.retry_after_s = retry_after_s


class DigestMismatch(MillpondError):
    """The upstream's bytes are not those that its index promises; they are never stored."""


class Busy(MillpondError):
    """Somebody else holds what we need: a live data directory, a lease."""


class OutOfSpace(MillpondError):
    """The disk has no room; what can pass through uncached does."""
