"""Questions to an app's own URL: one GET, its status, and nothing else. Implements `hosts.ports.Asker`.

The URL is the operator's, so it may be anywhere; where it points on to is not followed. No proxy, no cookies, no
credentials; of the body nothing is read.
"""

from __future__ import annotations

import aiohttp

from millpond import __version__


class HttpAsker:
    """Asks with a connection of its own each time, as a new client of the app would."""

    async def status(self, url: str, timeout_s: float) -> int:
        """Give the status. Raises `OSError`."""
        limits = aiohttp.ClientTimeout(total=timeout_s)
        headers = {"user-agent": f"millpond/{__version__} (health check)", "cache-control": "no-cache"}
        try:
            async with (
                aiohttp.ClientSession(timeout=limits, cookie_jar=aiohttp.DummyCookieJar()) as session,
                session.get(url, allow_redirects=False, headers=headers) as reply,
            ):
                return reply.status
        except TimeoutError as error:
            raise OSError(f"no answer within {timeout_s:.0f} s") from error
        except aiohttp.ClientError as error:
            raise OSError(str(error) or type(error).__name__) from error
