"""The child process that sends one notification; it alone imports apprise."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

OK, FAILED = 0, 1


def send(urls: Sequence[str], title: str, body: str) -> int:
    """Send a message to every service; gives the exit code. Which failed is told by number: a URL is a secret."""
    os.nice(10)
    from apprise import Apprise, NotifyFormat

    failed = []
    for number, url in enumerate(urls, 1):
        service = Apprise()
        if not service.add(url) or not service.notify(body=body, title=title, body_format=NotifyFormat.TEXT):
            failed.append(str(number))
    if failed:
        sys.stdout.write(f"number {', '.join(failed)} of [notify] urls\n")
    return FAILED if failed else OK
