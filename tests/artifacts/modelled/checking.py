"""Whether an answer is what the model expects: status, head, bytes, and what the upstream was asked."""

from __future__ import annotations

import hashlib
import re
from urllib.parse import urljoin

from tests.artifacts.modelled.expecting import Expecting
from tests.artifacts.modelled.things import (
    JSON_TYPE,
    PAGES,
    SLACK_S,
    Copy,
    Key,
    Result,
    filename,
    wheel,
)

from millpond.testing.asgi import Answered


class Checking(Expecting):
    """Compares answers."""

    def check(self, key: Key, method: str, asked: dict[str, str], got: Answered, want: Result) -> None:
        seen = self.seen()
        self.last = f"{method} {key} {asked}: {got.status} {got.headers}, complete: {got.complete}; wanted {want}"
        assert seen == self.asked, f"asked upstream {seen}, not {self.asked}"
        name = key.repository
        if want.risky:
            if got.status == 502:
                self.tally.errors[name, 502] += 1
                return
            assert got.status in {200, 206, 304, 416}, got.status
            if method == "GET" and got.status in {200, 206}:
                assert not got.complete, "a bad body was given as a whole one"
                assert got.body in self.prefixes(key, asked), "bytes that the upstream never had"
            elif method == "HEAD" and got.status == 200:
                self.tally.requests[name, "miss"] += 1
            return
        assert got.complete, f"broke off: {got}"
        if want.status != 200:
            assert got.status == want.status, (got.status, got.body[:200], got.headers, want)
            assert got.headers["content-type"] == "application/problem+json"
            if want.retry_after_s is not None:
                assert int(got.headers["retry-after"]) == max(-int(-want.retry_after_s // 1), 1)
            self.tally.errors[name, want.status] += 1
            return
        assert got.status in {200, 206, 304, 416}, f"{got.status} {got.body!r} instead of {want}"
        assert want.copy is not None
        upstream = PAGES[key.variant == "json"].upstream if want.stands_in else key.upstream
        assert want.copy.body in self.history[upstream], "the model itself went wrong"
        self.check_head(key, got, want)
        self.check_body(key, method, asked, got, want)

    def prefixes(self, key: Key, asked: dict[str, str]) -> list[bytes]:
        """What may have been seen of a body that broke off: the beginning of what the upstream has (or of a range)."""
        body = self.served[key.upstream].body
        match = re.fullmatch(r"bytes=(\d+)-\d*", asked.get("range", ""))
        starts = {0, int(match[1]) if match else 0}
        return [body[start:end] for start in starts for end in {0, *range(start, min(len(body), start + 6000))}]

    def check_head(self, key: Key, got: Answered, want: Result) -> None:
        copy, headers = want.copy, got.headers
        age = int(max(self.now - copy.validated_at, 0))
        assert headers["age"] == str(age), (headers, age)
        status = headers["cache-status"]
        assert headers["x-artifact-source"] == ("remote" if want.how == "miss" else "cache")
        starts = {
            "hit": "millpond; hit",
            "miss": "millpond; fwd=",
            "revalidated": "millpond; fwd=stale; fwd-status=304",
        }
        assert status.startswith(starts.get(want.how, "millpond; ")), status
        if want.how == "stale" and not want.stands_in:
            assert copy.fresh_until <= self.now or copy.checked_at > self.now + SLACK_S or copy.failed
            assert not copy.failed or "detail=" in status, status
        if want.how in {"hit", "stale"} and key.mutable and not want.streamed:
            assert f"ttl={int(copy.fresh_until - self.now)}" in status, status
        if want.how == "miss" and not want.streamed:
            assert "stored" in status
        if not self.caching_allows(key, want):
            assert "stored" not in status, status

    def caching_allows(self, key: Key, want: Result) -> bool:
        return want.how != "miss" or self.caching(key, self.served[key.upstream])[3]

    def check_body(self, key: Key, method: str, asked: dict[str, str], got: Answered, want: Result) -> None:
        copy, name = want.copy, key.repository
        tag = got.headers.get("etag", "")
        stands = {f'"sha256:{hashlib.sha256(copy.body).hexdigest()}"'} if not want.streamed or key.promised else set()
        stands |= {copy.etag} if copy.etag and not copy.etag.startswith("W/") else set()
        if key.page:
            stands = {tag}  # it names what was made from the bytes: `check_page` holds it to that
        assert not tag or tag in stands, f"the tag {tag} stands for other bytes than {stands}"
        if asked.get("if-none-match", "") in stands and asked.get("if-none-match"):
            assert got.status == 304, got.status
            self.tally.requests[name, want.how] += 1
            return
        assert got.status != 304, "304 for a tag that does not stand for the current bytes"
        body = self.check_page(key, method, got, copy) if key.page else copy.body
        expected = self.region(asked, got, body, copy, stands) if method == "GET" and not key.page else (200, body)
        assert got.status == expected[0], (got.status, expected[0], asked)
        self.tally.requests[name, want.how] += 1
        if got.status == 416:
            return
        if method == "HEAD":
            assert key.page or int(got.headers.get("content-length", len(body))) == len(body)
        else:
            assert got.body == expected[1], f"{len(got.body)} wrong bytes instead of {len(expected[1])}"
        self.tally.sent[name, want.how] += len(got.body)
        self.noted += method == "GET"
        self.tags.setdefault(key, []).append(tag)

    def region(self, asked: dict[str, str], got: Answered, body: bytes, copy: Copy, stands: set[str]):
        """Give status and bytes that the request's Range and If-Range lead to."""
        match = re.fullmatch(r"bytes=(\d*)-(\d*)", asked.get("range", ""))
        condition = asked.get("if-range", "")
        if match is None or (condition and condition not in stands and condition != copy.modified):
            return 200, body
        first, last = match.groups()
        start = int(first) if first else max(len(body) - int(last), 0)
        end = min(int(last) + 1, len(body)) if first and last else len(body)
        if start >= end:
            assert got.headers["content-range"] == f"bytes */{len(body)}"
            return 416, b""
        assert got.headers.get("content-range") == f"bytes {start}-{end - 1}/{len(body)}"
        return 206, body[start:end]

    def check_page(self, key: Key, method: str, got: Answered, copy: Copy) -> bytes:
        """A served page lists what the upstream's own did, with links that lead back here."""
        if method == "HEAD":
            return b""
        listing = self.listings[copy.body]
        base = f"http://pond.test/py/{key.path}"
        if got.headers["content-type"].startswith("text/html"):
            links = re.findall(r'<a [^>]*href="([^"#]+)#sha256=([0-9a-f]{64})"[^>]*>([^<]+)</a>', got.body.decode())
        else:
            links = [(f["url"], f["hashes"]["sha256"], f["filename"]) for f in got.json()["files"]]
        found = [(urljoin(base, url).partition("#")[0], digest, name) for url, digest, name in links]
        mount = "http://pond.test/py/files/demo/"
        assert found == [(mount + filename(n), hashlib.sha256(wheel(n)).hexdigest(), filename(n)) for n in listing]
        if tag := got.headers.get("etag", ""):
            assert self.pages.setdefault(tag, got.body) == got.body, "one tag for two pages"
        return got.body

    def seen(self) -> list[tuple[str, bool]]:
        """Give what the upstream was asked since the last time."""
        found = []
        for request in self.upstream.requests:
            if not request.headers.get("user-agent", "").startswith("millpond/"):
                continue  # another program of this machine knocked at a port that it had given up
            path = request.path
            if path.startswith("/simple/"):
                path += "json" if JSON_TYPE in request.headers["accept"] else "html"
            assert request.method == "GET"
            one = (path, "if-none-match" in request.headers or "if-modified-since" in request.headers)
            if found[-1:] == [one] and self.faults.get(path, "").startswith("drop"):
                continue  # a pooled connection that died without an answer: the request is sent anew on another one
            found.append(one)
        self.upstream.requests.clear()
        return found
