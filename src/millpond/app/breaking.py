"""The circuit breaker of the jobs, asked of the ledger."""

from __future__ import annotations

from typing import Any

from millpond.config.delivery import DeliveryConfig
from millpond.delivery.breaker import COUNTED, Circuit, Limits, judge
from millpond.delivery.ledger.ledger import Ledger
from millpond.delivery.ledger.showing import Showing


class Breaker:
    """Says whether jobs may start."""

    def __init__(self, options: DeliveryConfig, showing: Showing, ledger: Ledger) -> None:
        self._enabled, self._showing, self._ledger = options.resilience, showing, ledger
        self._limits = Limits(options.circuit_failures, options.circuit_open_s, options.circuit_max_open_s)

    async def circuit(self) -> Circuit:
        """Say how the circuit stands."""
        if not self._enabled:
            return Circuit()
        ended = await self._showing.ended(COUNTED, limit=self._limits.failures + 20)
        if len(ended) < self._limits.failures:
            return Circuit()
        return judge(ended, await self._showing.active(COUNTED), await self._ledger.now(), self._limits)

    async def paused(self) -> tuple[float, str]:
        """Say until when no job starts, and why; 0: they do."""
        circuit = await self.circuit()
        return circuit.until, circuit.reason

    async def status(self) -> dict[str, Any]:
        """Tell it for ``/queue``."""
        circuit = await self.circuit()
        return {
            "enabled": self._enabled,
            "state": str(circuit.state),
            "failures": circuit.failures,
            "paused_until": circuit.until or None,
            "reason": circuit.reason or None,
            "threshold": self._limits.failures,
            "open_s": self._limits.open_s,
            "max_open_s": self._limits.most_s,
        }
