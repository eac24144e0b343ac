"""A name service that says what the test wants: tests ask no DNS, and names can change their mind."""

from __future__ import annotations

import socket
from collections.abc import Sequence

from aiohttp.abc import AbstractResolver, ResolveResult


class FakeResolver(AbstractResolver):
    """Resolves `names` (a final dot does not matter); `asked` lists what was asked. Other names do not exist."""

    def __init__(self, names: dict[str, Sequence[str]] | None = None) -> None:
        self.names: dict[str, Sequence[str]] = names or {}
        self.asked: list[str] = []

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        """Give the addresses of a name. Raises `OSError` for names that do not exist."""
        self.asked.append(host)
        addresses = self.names.get(host.rstrip(".").lower())
        if not addresses:
            raise OSError(socket.EAI_NONAME, "Name or service not known")
        return [self._result(host, port, family, address) for address in addresses]

    async def close(self) -> None:
        """Nothing is open."""

    @staticmethod
    def _result(host: str, port: int, family: socket.AddressFamily, address: str) -> ResolveResult:
        kind = family or (socket.AF_INET6 if ":" in address else socket.AF_INET)
        return {"hostname": host, "host": address, "port": port, "family": kind, "proto": 0, "flags": 0}
