"""Whether two hosts belong to one owner: the same registrable domain, by the public suffix list that a library brings.

Reading the list takes a tenth of a second and some memory, so it is read when it is first asked for.
"""

from __future__ import annotations

import ipaddress
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from publicsuffixlist import PublicSuffixList


def same_site(one: str, other: str) -> bool:
    """Whether two hosts (names or addresses, lower case) are the same, or of the same registrable domain."""
    if one == other:
        return True
    if _is_address(one) or _is_address(other):
        return False
    ours = _suffixes().privatesuffix(one.rstrip("."))
    return ours is not None and ours == _suffixes().privatesuffix(other.rstrip("."))


def _is_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


@lru_cache(maxsize=1)
def _suffixes() -> PublicSuffixList:
    from publicsuffixlist import PublicSuffixList

    return PublicSuffixList()
