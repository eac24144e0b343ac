"""What the model expects: the outcome of a request, by the contract and by what the upstream has and does."""

from __future__ import annotations

from dataclasses import replace

from tests.artifacts.modelled.things import (
    FAULTS,
    FILES,
    PAGES,
    POLICIES,
    Copy,
    Key,
    Result,
    Served,
)
from tests.artifacts.modelled.world import World

from millpond.artifacts.circuit import Wait
from millpond.testing import behaviours as b


class Expecting(World):
    """Says beforehand what a request must give, and what the upstream is asked."""

    def ask(self, key: Key) -> Result:
        """Ask upstream once, and take over what it says. `asked` collects what the upstream must have seen."""
        good = self.copies.get(key)
        good = good if good is not None and good.body is not None else None
        circuit = self.circuits[key.repository]
        ticket = circuit.admit(self.clock.monotonic())
        if isinstance(ticket, Wait):
            return self.failed(key, good, ticket.retry_after_s)
        if not self.up:
            circuit.failed(ticket, self.clock.monotonic(), 0.0)
            return self.failed(key, good, None)
        conditional = good is not None and POLICIES[key.repository].check and bool(good.etag or good.modified)
        self.asked.append((key.upstream, conditional))
        name = self.faults.get(key.upstream, "")
        _, nature, effect, wish = FAULTS.get(name, (None, "odd", "", None))
        if name == "hang":
            del self.faults[key.upstream]
        if nature == "early" and effect == "fails":
            circuit.failed(ticket, self.clock.monotonic(), 0.0, wish)
            return self.failed(key, good, wish)
        circuit.answered(ticket)
        if nature == "early":
            readable = name == "portal" and key.page and (good is None or not good.body.startswith(b"{"))
            if effect == "answers" or readable:  # a page that might be an index is read to its end
                circuit.succeeded(ticket)
            if readable:
                self.tally.fetched[key.repository] += len(b.portal().answer.body)
            return self.failed(key, good, wish)
        served = self.served.get(key.upstream)
        if served is None or served.status != 200:
            circuit.succeeded(ticket)
            gone = Copy(None, 404 if served is None else served.status, "", "", self.now, self.now, self.now + 30)
            self.note(key, gone)
            return Result(gone.status, "refused")
        if conditional and good is not None and self.unchanged(good, served):
            circuit.succeeded(ticket)
            return self.confirmed(key, good, served)
        return self.received(key, good, served, ticket)

    @staticmethod
    def unchanged(good: Copy, served: Served) -> bool:
        if good.etag:
            return good.etag.removeprefix("W/") == served.etag.removeprefix("W/") != ""
        return good.modified == served.modified != ""

    def failed(self, key: Key, good: Copy | None, wish: float | None, *, risky: bool = False) -> Result:
        if good is None:
            return Result(502, "refused", retry_after_s=wish, risky=risky)
        policy = POLICIES[key.repository]
        had_s = good.fresh_until - good.validated_at
        ttl_s = policy.ttl if policy.ttl is not None else min(had_s if had_s > 0 else 600, 86400)
        pause_s = max(ttl_s, min(wish or 0, 3600), 5)
        ahead = 0.0 if self.in_time(good, good.fresh_until) else max(good.fresh_until - self.now, 0.0)
        times = {"validated_at": good.validated_at - ahead, "fresh_until": good.fresh_until - ahead}
        kept = replace(good, **times, checked_at=self.now, retry_at=self.now + pause_s, failed=True)
        self.note(key, kept)
        return Result(200, "stale", kept)

    def confirmed(self, key: Key, good: Copy, served: Served) -> Result:
        validated_at, fresh_until, refresh_until, _ = self.caching(key, served)
        copy = Copy(
            good.body, 200, served.etag or good.etag, served.modified or good.modified,
            validated_at, self.now, fresh_until, refresh_until=refresh_until,
        )  # fmt: skip
        self.note(key, copy)
        return Result(200, "revalidated", copy)

    def received(self, key: Key, good: Copy | None, served: Served, ticket) -> Result:
        """A body comes: whole and right, or not."""
        name, circuit = self.faults.get(key.upstream, ""), self.circuits[key.repository]
        _, nature, effect, _ = FAULTS.get(name, (None, "odd", "", None))
        breaks = nature == "late" and (effect is None or effect < len(served.body))
        is_json = served.body.startswith(b"{")
        unsound = key.page and (is_json if key.variant == "html" else good and good.body.startswith(b"{") > is_json)
        if unsound:
            return self.failed(
                key, good, None
            )  # its type tells: neither JSON for HTML, nor a portal's page for an index
        if breaks:
            circuit.failed(ticket, self.clock.monotonic(), 0.0)
            return self.failed(key, good, None, risky=not key.page)
        circuit.succeeded(ticket)
        body = bytes(byte ^ 0x55 for byte in served.body) if nature == "wrong" else served.body
        if key.promised is not None and body != key.promised:
            return self.failed(key, good, None, risky=not key.page)
        self.tally.fetched[key.repository] += len(body)
        validated_at, fresh_until, refresh_until, storable = self.caching(key, served)
        copy = Copy(
            body, 200, served.etag, served.modified, validated_at, self.now, fresh_until, refresh_until=refresh_until
        )
        if storable:
            self.copies[key] = copy
        return Result(200, "miss", copy, streamed=(good is None and not key.page) or not storable)

    def request(self, key: Key) -> Result:
        """Say what a request for a key must give."""
        self.asked: list[tuple[str, bool]] = []
        state, copy = self.state(key), self.copies.get(key)
        if state == "gone":
            return Result(copy.status, "refused")
        if state == "fresh":
            return Result(200, "hit", copy)
        if state == "held":
            return Result(200, "stale", copy)
        if state == "refreshing":
            self.ask(key)
            return Result(200, "stale", copy)
        if key in FILES:
            return self.member(key)
        result = self.ask(key)
        return self.stand_in(key, result) if key.page and result.status == 502 else result

    def stand_in(self, key: Key, refused: Result) -> Result:
        """A page that can't be had is answered by the other representation, if that is stored and can be read."""
        other = self.copies.get(PAGES[key.variant == "json"])
        if other is None or other.body is None or (other.body.startswith(b"{") and key.variant == "html"):
            return refused
        return Result(200, "stale", other, stands_in=True)

    def member(self, key: Key) -> Result:
        """A file that is not here: its project's page is consulted, anew if it does not know the file."""
        number = FILES.index(key)
        found, refusal = self.index(force=False)
        if found is not None and number not in self.listings[found.body] and self.now - found.checked_at >= 10:
            found, refusal = self.index(force=True)
        if found is not None and number not in self.listings[found.body]:
            # Whether a newer page knows it, nobody can tell while there is none to be had.
            return Result(502 if found.failed else 404, "refused")
        return refusal or self.ask(key)

    def index(self, *, force: bool) -> tuple[Copy | None, Result | None]:
        page, other = PAGES[0], self.copies.get(PAGES[1])
        state, copy = self.state(page), self.copies.get(page)
        if force or state in {"none", "expired"}:
            result = self.ask(page)
            if result.status == 502 and other is not None and other.body is not None:
                return replace(other, failed=True), None
            if result.status != 200:
                return None, Result(result.status, "refused", retry_after_s=result.retry_after_s)
            copy = result.copy
        assert copy is not None
        return (None, Result(copy.status, "refused")) if state == "gone" and copy.body is None else (copy, None)

    # What came, against the model.
