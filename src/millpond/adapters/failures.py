"""What a failed request is called, in words of our own: aiohttp's may quote the URL, and name addresses twice."""

from __future__ import annotations

import os
import ssl

import aiohttp


class Lost(aiohttp.ClientError):
    """A connection that ended before the answer began; raised in place of what aiohttp would retry by itself."""


# What a failure is called; the first that fits.
_REASONS: tuple[tuple[type[Exception], str, str], ...] = (
    (aiohttp.ClientConnectorCertificateError, "tls", "its certificate is refused: {system}; check SSL_CERT_FILE"),
    (aiohttp.ClientSSLError, "tls", "no TLS connection can be made"),
    (ssl.SSLError, "tls", "no TLS connection can be made"),
    (aiohttp.ConnectionTimeoutError, "timeout", "no connection within {connect_s}"),
    (aiohttp.ClientConnectorDNSError, "connect", "its name can't be resolved"),
    (aiohttp.ClientProxyConnectionError, "connect", "the proxy can't be reached: {system}"),
    (aiohttp.ClientConnectorError, "connect", "no connection: {system}"),
    (aiohttp.ClientHttpProxyError, "connect", "the proxy answered {status}"),
    (Lost, "reset", "it closed the connection without an answer"),
    (TimeoutError, "timeout", "no answer within {read_s}"),
    (aiohttp.ClientResponseError, "unsound", "its answer is no HTTP"),
    (OSError, "connect", "no connection: {system}"),
)


def named(error: Exception, *, connect_s: float, read_s: float) -> tuple[str, str]:
    """Give a failure's kind and what to say of it; the limits (seconds) that a time-out met."""
    facts = {
        "connect_s": f"{connect_s:g} s",
        "read_s": f"{read_s:g} s",
        "status": error.status if isinstance(error, aiohttp.ClientResponseError) else 0,
        "system": _system_text(error),
    }
    for kinds, kind, text in _REASONS:
        if isinstance(error, kinds):
            return kind, text.format_map(facts)
    return "connect", f"it can't be asked ({type(error).__name__})"


def _system_text(error: Exception) -> str:
    """Give the system's own words for an error, without the address that asyncio adds."""
    match error:
        case aiohttp.ClientConnectorCertificateError(certificate_error=ssl.SSLCertVerificationError() as refused):
            return refused.verify_message
        case aiohttp.ClientConnectorError(os_error=OSError() as cause):
            error = cause
    number = error.errno if isinstance(error, OSError) else None
    return os.strerror(number).lower() if number and number > 0 else "the connection failed"
