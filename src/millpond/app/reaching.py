"""Whether a pond answers at an address: asked before a client is pointed there, which would else find nobody."""

from __future__ import annotations

import http.client
import json
import urllib.error
import urllib.request
from typing import IO, Any
from urllib.parse import urlsplit

from millpond.adopt.machine import is_loopback

TIMEOUT_S = 3.0
MAX_BYTES = 64 * 1024
_REALM = "millpond"
_WITHOUT_TOKEN = 401


def missing(url: str, timeout_s: float = TIMEOUT_S) -> str | None:
    """Say why no pond answers at an address (its own, without a path to a repository); None: one does.

    One that shows its health only to who has a token counts. `timeout_s` holds for each step of the exchange.
    """
    proxies = urllib.request.ProxyHandler({} if is_loopback(urlsplit(url).hostname or "") else None)
    opener = urllib.request.build_opener(proxies)
    try:
        with opener.open(f"{url.rstrip('/')}/health", timeout=timeout_s) as answer:
            return None if _is_health(answer) else "something else answers there"
    except urllib.error.HTTPError as error:
        with error:
            challenge = error.headers.get("www-authenticate", "")
            if error.code == _WITHOUT_TOKEN and f'realm="{_REALM}"' in challenge:
                return None
            return f"something else answers there, with {error.code}"
    except urllib.error.URLError as error:
        return str(getattr(error.reason, "strerror", None) or error.reason)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return str(error) or type(error).__name__


def _is_health(answer: IO[bytes]) -> bool:
    try:
        told: Any = json.loads(answer.read(MAX_BYTES))
    except ValueError:
        return False
    return isinstance(told, dict) and told.get("status") == "healthy" and "version" in told
