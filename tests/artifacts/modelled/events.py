"""What happens beside the requests: the upstream, time, operators, uploads; and what must hold after each step."""

from __future__ import annotations

import hashlib

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, rule
from tests.artifacts.modelled.clients import Clients
from tests.artifacts.modelled.things import (
    CACHING,
    FAULTS,
    FILES,
    GENERIC,
    LONG,
    MAX_STORE,
    PAGES,
    PINNED,
    REMOTES,
    FullOnly,
    Served,
    content,
    done,
)

from millpond.artifacts import rows


class Events(Clients):
    """Changes the world, and looks whether everything still adds up."""

    @rule(
        key=st.sampled_from(GENERIC), number=st.integers(0, 11), caching=st.sampled_from(sorted(CACHING)),
        etag=st.sampled_from(["strong", "weak", ""]), modified=st.sampled_from(["yes", ""]),
        age=st.sampled_from([0, 0, 20]), expires=st.sampled_from([None, None, -50, 100]),
    )  # fmt: skip
    def upstream_changes(self, key, number, caching, etag, modified, age, expires) -> None:
        done["steps"] += 1
        body = PINNED if key.promised is not None and number > 1 else content(key.path, number)
        at = None if expires is None else self.now + expires
        copy = self.copies.get(key)
        if caching == "no-store" and copy is not None and copy.refresh_until:
            caching = "no-cache"  # refreshed behind, it would be left after its first bytes: test_good_copies.py
        self.offer(key, Served(body, 200, etag, modified, caching, age, at))

    @rule(
        key=st.sampled_from(PAGES), listing=st.sets(st.integers(0, 3)), caching=st.sampled_from(sorted(CACHING)),
        etag=st.sampled_from(["strong", "weak", ""]), form=st.sampled_from(["json", "json", "html"]),
    )  # fmt: skip
    def an_index_changes(self, key, listing, caching, etag, form) -> None:
        done["steps"] += 1
        form = "html" if key.variant == "html" and form == "html" else form
        self.offer_page(key, tuple(sorted(listing)), form, Served(b"", 200, etag, "yes", caching))

    @rule(key=st.sampled_from([*GENERIC, *PAGES, *FILES]), status=st.sampled_from([404, 410]))
    def upstream_removes(self, key, status) -> None:
        done["steps"] += 1
        if status == 404:
            self.upstream.remove(key.upstream)
            self.served.pop(key.upstream, None)
        else:
            self.offer(key, Served(b"gone", 410))

    @rule(key=st.sampled_from(FILES))
    def a_package_comes_back(self, key) -> None:
        done["steps"] += 1
        self.offer(key, Served(key.promised or b"", 200, "strong", "yes"))

    @rule(
        key=st.sampled_from([*GENERIC, *PAGES, *FILES]), fault=st.sampled_from(sorted(FAULTS)), rarely=st.integers(0, 9)
    )
    def upstream_breaks(self, key, fault, rarely) -> None:
        done["steps"] += 1
        behaviour, nature, _, _ = FAULTS[fault]
        if (nature == "wrong" and key.promised is None) or (fault == "hang" and (rarely or not LONG)):
            return
        self.heal(key.upstream)
        self.faults[key.upstream] = fault
        played = FullOnly(behaviour) if nature in {"late", "wrong", "odd"} else behaviour
        if fault == "hang":
            self.upstream.script(key.upstream, played)
        else:
            self.upstream.always(key.upstream, played)

    def heal(self, path: str) -> None:
        self.faults.pop(path, None)
        self.upstream.always(path, None)
        self.upstream._scripts.pop(path, None)

    @rule(keys=st.sets(st.sampled_from([*GENERIC, *PAGES, *FILES]), max_size=9))
    def upstream_is_mended(self, keys) -> None:
        done["steps"] += 1
        for key in keys:
            self.heal(key.upstream)

    @rule(comes_back=st.booleans())
    def upstream_is_cut_or_restored(self, comes_back) -> None:
        done["steps"] += 1
        if comes_back and not self.up:
            self.run(self.upstream.restore())
        elif not comes_back and self.up:
            self.run(self.upstream.cut())
        self.up = comes_back

    # The rules: time, and the operator.

    @rule(seconds=st.sampled_from([1, 4, 9, 11, 29, 31, 59, 61, 119, 299, 601, 3601, 90_000]))
    def time_passes(self, seconds) -> None:
        done["steps"] += 1
        self.clock.advance(seconds)

    @rule(seconds=st.sampled_from([-86_400, -3_600, -61, -30, 86_400]))
    def the_clock_is_set(self, seconds) -> None:
        done["steps"] += 1
        self.clock.jump(seconds)

    @rule(name=st.sampled_from([None, "keep", *REMOTES]))
    def the_cache_is_flushed(self, name) -> None:
        done["steps"] += 1
        self.sync_negatives()
        query = f"?remote={name}" if name else ""
        got = self.run(self.client.put(f"/cache/flush{query}", authorization=f"Bearer {self.token}"))
        gone = {key: copy for key, copy in self.copies.items() if name in {None, key.repository}}
        kept = {copy.body for key, copy in self.copies.items() if key not in gone} | {x for x, _ in self.local.values()}
        freed = {copy.body for copy in gone.values() if copy.body is not None} - kept
        entries = sum(copy.body is not None for copy in gone.values())
        self.copies = {key: copy for key, copy in self.copies.items() if key not in gone}
        want = {"entries": entries, "objects": len(freed), "bytes": sum(map(len, freed))}
        want |= {"redis_keys": len(gone), "s3_objects": len(freed)}
        assert got.json() == {"remote": name, "flushed": want}

    def sync_negatives(self) -> None:
        """Nobody may tell whether an absence that is over is still written down."""
        over = [key for key, copy in self.copies.items() if copy.body is None and copy.fresh_until < self.now]
        if over:
            self.run(self.client.ask("POST", "/api/v1/gc", {"authorization": f"Bearer {self.token}"}))
            self.collected()
        for key in over:
            self.copies.pop(key, None)

    @rule()
    def the_store_is_collected(self) -> None:
        done["steps"] += 1
        got = self.run(self.client.ask("POST", "/api/v1/gc", {"authorization": f"Bearer {self.token}"}))
        assert got.status == 200, got.body
        self.collected()

    def collected(self) -> None:
        """What was evicted may be gone, and only if there was too much; nothing else may."""
        there = self.entries()
        missing = [
            k for k, c in self.copies.items() if c.body is not None and (k.repository, k.path, k.variant) not in there
        ]
        if missing:
            done["evictions"] += 1
            assert self.total > MAX_STORE * 0.95, f"evicted at {self.total} bytes"
        for key in missing:
            del self.copies[key]
        uploads = {body for body, _ in self.local.values()}
        if self._stored > MAX_STORE * 0.95:
            assert all(copy.body in uploads for copy in self.copies.values() if copy.body is not None), (
                "too much is kept"
            )
        over = [key for key, copy in self.copies.items() if copy.body is None and copy.fresh_until < self.now]
        for key in over:
            del self.copies[key]

    def entries(self) -> dict[tuple[str, str, str], object]:
        def read(connection):
            found = [e for name in self.app.repositories for e in rows.listed(connection, name, "", ("", ""), 1000)]
            return found, rows.stored(connection)[1]

        found, self._stored = self.run(self.app.catalog.db.read(read))
        return {(e.repository, e.path, e.variant): e for e in found}

    @rule(rarely=st.integers(0, 3))
    def the_daemon_restarts(self, rarely) -> None:
        done["steps"] += 1
        if rarely:
            return
        self.run(self.app.close())
        self.run(self.open())

    # The rules: uploads.

    places = st.sampled_from([(repository, path) for repository in ("keep", "loose") for path in ("x.bin", "y.bin")])

    @rule(place=places, number=st.integers(0, 11))
    def an_upload_comes(self, place, number) -> None:
        done["steps"] += 1
        body = content("a.bin", number)  # the same bytes that remotes have: blobs are shared, rights are not
        url = f"/api/v1/remote/{place[0]}/{place[1]}"
        got = self.run(self.client.put(url, body, authorization=f"Bearer {self.token}"))
        there = self.local.get(place)
        if there is not None and there[0] == body:
            assert got.status == 200
        elif there is not None and place[0] == "keep":
            assert got.status == 409
        else:
            assert got.status == 201, got.body
            self.local[place] = (body, self.now)
            digest = f"sha256:{hashlib.sha256(body).hexdigest()}"
            assert got.json() == {"path": place[1], "digest": digest, "size": len(body)}

    @rule(place=places)
    def an_upload_is_deleted(self, place) -> None:
        done["steps"] += 1
        got = self.run(
            self.client.delete(f"/api/v1/remote/{place[0]}/{place[1]}", authorization=f"Bearer {self.token}")
        )
        assert got.status == (204 if self.local.pop(place, None) else 404)

    @rule(place=places, method=Clients.methods)
    def an_upload_is_got(self, place, method) -> None:
        done["steps"] += 1
        got = self.run(self.client.ask(method, f"/{place[0]}/{place[1]}"))
        there = self.local.get(place)
        if there is None:
            assert got.status == 404
            self.tally.errors[place[0], 404] += 1
            return
        assert (got.status, got.headers["x-artifact-source"]) == (200, "local")
        assert got.headers["content-length"] == str(len(there[0]))
        assert got.headers["age"] == str(int(max(self.now - there[1], 0)))
        assert got.body == (there[0] if method == "GET" else b"")
        self.tally.requests[place[0], "local"] += 1
        self.tally.sent[place[0], "local"] += len(got.body)
        self.noted += method == "GET"

    # What holds after every step.

    @property
    def total(self) -> int:
        """The bytes that the store held at most since the last step, by the model."""
        return self._total

    @initialize()
    def begin(self) -> None:
        self._total = 0

    @invariant()
    def nothing_good_is_lost(self) -> None:
        there = self.entries()
        for key, copy in self.copies.items():
            entry = there.get((key.repository, key.path, key.variant))
            if copy.body is None:
                continue
            assert entry is not None, f"{key} is lost"
            assert entry.digest == f"sha256:{hashlib.sha256(copy.body).hexdigest()}", f"{key} has other bytes"
            assert self.app.store.stat(entry.digest).size == len(copy.body)
        for (name, path), (body, _) in self.local.items():
            entry = there[name, path, ""]
            assert self.app.store.path(entry.digest).read_bytes() == body
        known = {(k.repository, k.path, k.variant) for k in self.copies} | {(*place, "") for place in self.local}
        assert set(there) <= known, f"stored, but it should not be: {set(there) - known}"
        assert not list((self.folder / "data" / "spool").iterdir()), "a flight left something behind"
        self._total = self._stored

    @invariant()
    def the_counters_add_up(self) -> None:
        values = self.app.metrics.values()
        for (name, how), count in self.tally.requests.items():
            labels = f'{{outcome="{how}",repository="{name}"}}'
            counted = values[f"millpond_requests_total{labels}"]
            assert counted == count, f"{name} {how}: {counted} counted, not {count}; the last: {self.last}"
            assert values.get(f"millpond_served_bytes_total{labels}", 0) == self.tally.sent[name, how]
        for (name, status), count in self.tally.errors.items():
            labels = f'{{repository="{name}",status="{status}"}}'
            assert values[f"millpond_errors_total{labels}"] == count, (name, status)
        for name in REMOTES:
            label = f'{{repository="{name}"}}'
            ours = {how: n for (repository, how), n in self.tally.requests.items() if repository == name}
            assert values.get(f"millpond_cache_misses_total{label}", 0) == ours.get("miss", 0), (name, ours)
            assert values.get(f"millpond_cache_hits_total{label}", 0) == sum(ours.values()) - ours.get("miss", 0)
            assert values.get(f"millpond_fetched_bytes_total{label}", 0) == self.tally.fetched[name], name

    @invariant()
    def the_circuits_stand_as_they_should(self) -> None:
        for name in REMOTES:
            assert self.app.repositories[name].remote.upstream.status()["state"] == self.circuits[name].state, name

    def audit(self) -> None:
        """Every complete answer with a body was noted."""

        async def count() -> int:
            await self.app.usage.flush()
            return len(await self.app.usage.records(limit=10_000))

        assert self.run(count()) >= self.noted
