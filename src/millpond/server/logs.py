"""Structured logs: JSON lines for machines, plain lines on a terminal.

Control characters are escaped, secrets redacted.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping
from typing import Any

import structlog

from millpond.errors import MillpondError

MASK = "********"
_SECRET_KEYS = re.compile(r"(?i)(authorization|password|passwd|secret|token|cookie|api[_-]?key)")
_IN_TEXT = (
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{8,}"), r"\1 ********"),
    (re.compile(r"(?i)(https?://)[^/\s'\"]+@"), r"\1********@"),
    (re.compile(r"\bmp_[A-Za-z0-9_-]{20,}"), "mp_********"),
    (re.compile(r"(?i)(https?://[^\s?'\"]+)\?[^\s'\"]+"), r"\1?********"),
)
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_TRACEBACKS = frozenset({"exception", "stack"})
_PLAIN = (bool, int, float, type(None))
Event = MutableMapping[str, Any]


def in_words(_logger: Any, _method: str, event: Event) -> Event:
    """Leave out the traceback of what can be mended from outside, such as a full disk: its words say what to do."""
    given = event.get("exc_info")
    error = sys.exc_info()[1] if given is True else given[1] if isinstance(given, tuple) else given
    if isinstance(error, MillpondError):
        del event["exc_info"]
        event.setdefault("error", str(error))
    return event


def redact(_logger: Any, _method: str, event: Event) -> Event:
    """Mask what may be a secret, by its key or by its look."""
    for key, value in event.items():
        event[key] = _traceback(value) if key in _TRACEBACKS else _value(key, value)
    return event


def _value(key: str, value: Any) -> Any:
    """Give a value as it may be logged, whatever it is made of."""
    if isinstance(value, _PLAIN):
        return value
    if _SECRET_KEYS.search(key) and key != "event":
        return MASK
    if isinstance(value, Mapping):
        return {clean(str(name)): _value(str(name), inner) for name, inner in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_value("", inner) for inner in value]
    return clean(value if isinstance(value, str) else repr(value))


def _traceback(value: Any) -> str:
    """Keep a traceback's lines, set in: an exception's own text can't look like a line of the log."""
    return "\n    ".join(clean(line) for line in str(value).split("\n"))


def clean(text: str) -> str:
    """Mask secrets in a text and escape its control characters, line ends among them (CVE-2020-7694)."""
    for pattern, masked in _IN_TEXT:
        text = pattern.sub(masked, text)
    return _CONTROL.sub(_escaped, text)


def _escaped(match: re.Match[str]) -> str:
    return match.group().encode("unicode_escape").decode()


def configure(log_format: str, level: str) -> None:
    """Set up logging for this process; everything goes to standard error."""
    terminal = sys.stderr.isatty()
    as_json = log_format == "json" or (log_format == "auto" and not terminal)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            in_words,
            structlog.processors.format_exc_info,
            redact,
            structlog.processors.JSONRenderer() if as_json else structlog.dev.ConsoleRenderer(colors=terminal),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, handlers=[_Bridge()], force=True)
    # A response that is broken off on purpose is no error of ours (api/sending.py).
    logging.getLogger("uvicorn.error").setLevel(logging.CRITICAL)


class _Bridge(logging.Handler):
    """Hands the standard library's records to structlog, so that they are redacted too."""

    def emit(self, record: logging.LogRecord) -> None:
        """Log one record."""
        logger = structlog.get_logger(record.name)
        logger.log(record.levelno, record.getMessage(), exc_info=record.exc_info)
