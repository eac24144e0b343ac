"""What clients do: the model's rules of requests."""

from __future__ import annotations

import asyncio

from hypothesis import strategies as st
from hypothesis.stateful import rule
from tests.artifacts.modelled.checking import Checking
from tests.artifacts.modelled.things import (
    FILES,
    GENERIC,
    HTML_TYPE,
    JSON_TYPE,
    PAGES,
    Key,
    done,
)

from millpond.testing.asgi import Answered


class Clients(Checking):
    """Asks for things, alone, in herds, or leaving early."""

    def get(self, key: Key, method: str, asked: dict[str, str]) -> None:
        done["steps"] += 1
        if key.page:
            asked = asked | {"accept": JSON_TYPE if key.variant == "json" else HTML_TYPE}
        want = self.request(key)
        if want.how == "miss" and not self.caching_allows(key, want):
            # Who wants no body, or a part of it, leaves early, and what is not to be stored is fetched no further then.
            method, asked = "GET", {name: value for name, value in asked.items() if name == "accept"}
        contract = method == "GET" and self.version % 3 == 0
        url = (
            f"/api/v1/remote/{key.repository}/{key.path}"
            if contract and not key.page
            else f"/{key.repository}/{key.path}"
        )

        async def ask() -> Answered:
            got = await self.client.ask(method, url, asked)
            await self.settled()
            return got

        self.check(key, method, asked, self.run(ask()), want)

    def condition(self, key: Key, kind: str, value: int) -> dict[str, str]:
        known = self.tags.get(key, [])
        copy = self.copies.get(key)
        tags = [*known[-3:], '"nobody\'s"', *([copy.etag] if copy and copy.etag else [])]
        tag = tags[value % len(tags)]
        if kind == "if-none-match":
            return {kind: tag} if tag else {}
        if kind == "if-range":
            dated = copy is not None and copy.modified and value % 2
            return {"range": f"bytes={value}-", "if-range": copy.modified if dated else tag}
        if kind == "range":
            return {"range": f"bytes={value}-{value + 700}" if value % 2 else f"bytes=-{value + 1}"}
        return {}

    requests = st.sampled_from(["", "", "", "if-none-match", "range", "if-range"])
    methods = st.sampled_from(["GET", "GET", "GET", "HEAD"])
    values = st.integers(0, 700)

    @rule(key=st.sampled_from(GENERIC), method=methods, kind=requests, value=values)
    def get_a_generic_file(self, key, method, kind, value) -> None:
        self.get(key, method, self.condition(key, kind, value))

    @rule(key=st.sampled_from(GENERIC))
    def get_a_generic_file_again(self, key) -> None:
        self.get(key, "GET", {})

    @rule(key=st.sampled_from(PAGES), method=methods, kind=st.sampled_from(["", "", "if-none-match"]), value=values)
    def get_a_page(self, key, method, kind, value) -> None:
        self.get(key, method, self.condition(key, kind, value))

    @rule(key=st.sampled_from(FILES), method=methods, kind=requests, value=values)
    def get_a_package(self, key, method, kind, value) -> None:
        self.get(key, method, self.condition(key, kind, value))

    @rule(path=st.sampled_from(["other.bin", "moving", "fixe/d"]))
    def get_what_the_patterns_refuse(self, path) -> None:
        done["steps"] += 1
        got = self.run(self.client.get(f"/ruled/{path}"))
        assert got.status == 403
        assert self.seen() == []
        self.tally.errors["ruled", 403] += 1

    @rule(key=st.sampled_from(GENERIC), clients=st.integers(2, 6))
    def a_herd_comes(self, key, clients) -> None:
        """Many clients of one object: the upstream is asked as for one, when that ends well."""
        done["steps"] += 1
        before = self.state(key)
        want = self.request(key)

        async def ask() -> list[Answered]:
            got = await asyncio.gather(*(self.client.get(f"/{key.repository}/{key.path}") for _ in range(clients)))
            await self.settled()
            return got

        alone = before == "refreshing" or want.status != 200 or want.risky  # then who comes later may see another state
        if want.how in {"miss", "revalidated"} and want.copy.fresh_until <= self.now:
            alone = True  # stale at once (`no-cache`): whoever looks after the flight has ended asks again, rightly
        if alone or (want.how == "miss" and not self.caching_allows(key, want)):
            self.check(key, "GET", {}, self.run(self.one(key)), want)
            return
        answers = self.run(ask())
        self.last = f"{clients} clients of {key}: {[got.headers['cache-status'] for got in answers]}; wanted {want}"
        seen = self.seen()
        assert seen == self.asked, f"one flight, not {seen}: {self.last}"
        for got in answers:
            assert (got.status, got.complete) == (200, True)
            assert got.body == want.copy.body
            how = {"hit": "hit", "stale": "stale"}.get(want.how)
            status = got.headers["cache-status"]
            how = how or (
                "miss" if "fwd-status=200" in status else "revalidated" if "fwd-status=304" in status else "hit"
            )
            self.tally.requests[key.repository, how] += 1
            self.tally.sent[key.repository, how] += len(got.body)
            self.noted += 1

    async def one(self, key: Key) -> Answered:
        got = await self.client.get(f"/{key.repository}/{key.path}")
        await self.settled()
        return got

    @rule(key=st.sampled_from(GENERIC))
    def a_client_leaves_at_the_first_byte(self, key) -> None:
        """What it started lands all the same."""
        done["steps"] += 1
        want = self.request(key)
        if want.how == "miss" and not self.caching_allows(key, want):
            self.check(
                key, "GET", {}, self.run(self.one(key)), want
            )  # what passes by unstored ends with its last client
            return

        async def ask() -> Answered:
            got = await self.client.ask("GET", f"/{key.repository}/{key.path}", leave_after=0)
            await self.settled()
            return got

        got = self.run(ask())
        if got.complete or got.status == 502 or want.risky:
            self.check(key, "GET", {}, got, want)
            return
        self.last = f"left {key}: {got.status} {got.headers}, {len(got.body)} bytes; wanted {want}"
        assert self.seen() == self.asked
        assert want.copy.body.startswith(got.body)
