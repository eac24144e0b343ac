"""An entry file and its detached signature: fetched as a pair, of one moment, and replaced together or not at all.

A signature that belongs to other bytes makes a client refuse both, and only the client has the key. So the signature is
fetched between two looks at the file: when the second one finds the same bytes as the first, the two were there at the
same time. That there is no signature (404) is a state of the pair like any other.
"""

from __future__ import annotations

import hashlib

from millpond.artifacts import freshness, soundness
from millpond.artifacts.catalog import Beside
from millpond.artifacts.landing import Pond, Remote, public
from millpond.artifacts.model import Entry, Reply, Target
from millpond.artifacts.ports import UpstreamReply
from millpond.artifacts.spool import Spool
from millpond.errors import OutOfSpace, UpstreamUnreachable

CHUNK_BYTES = 64 * 1024
CHANGING = "changing"
NOT_FOUND, HIDDEN = 404, (401, 403)
"""Object stores that don't list their buckets hide that there is no signature beside a file that they gave."""


class Signatures:
    """Fetches the signatures of one remote repository's entry files."""

    def __init__(self, remote: Remote, pond: Pond) -> None:
        self._remote, self._pond = remote, pond

    async def fetch(self, signature: Target, file: Target, entry: Entry) -> Beside:
        """Fetch the signature that belongs to the bytes of `entry`, to be stored beside it.

        Raises `UpstreamUnreachable` (kind `CHANGING`: the file was another one afterwards), `OutOfSpace`.
        """
        found = await self._signature(signature)
        try:
            await self._same(file, entry)
        except BaseException:
            if found.spool is not None:
                found.spool.unlink(missing_ok=True)
            raise
        return found

    async def _signature(self, signature: Target) -> Beside:
        async with self._remote.upstream.request("GET", self._url(signature), {"Accept": signature.accept}) as reply:
            now = self._pond.clock.now()
            if reply.head.status in (*freshness.GONE, *HIDDEN):
                policy = self._remote.freshness
                return Beside(freshness.negative(signature, self._remote.name, NOT_FOUND, policy, now))
            if reply.head.status != freshness.OK:
                raise _refused(signature, reply.head, self._pond.clock.now())
            return await self._received(signature, reply)

    async def _received(self, signature: Target, reply: UpstreamReply) -> Beside:
        """Take a signature's bytes; they are small, and have a limit."""
        body = self._remote.format.expects(signature).body
        _reject(signature, soundness.unsound_head(body, reply.head, None))
        spool = Spool(self._pond.flights.spool, self._pond.room_bytes(), reply.head.length)
        verifier = soundness.Verifier()
        try:
            async for chunk in reply.chunks(CHUNK_BYTES):
                await spool.write(chunk, verifier)
                if body.max_bytes is not None and spool.written > body.max_bytes:
                    _reject(signature, f"it has more than {body.max_bytes} bytes")
            _reject(signature, soundness.unsound_start(body, spool.start_bytes(soundness.PROBE_BYTES), None))
            _reject(signature, soundness.unsound_end(body, spool.end_bytes(soundness.PROBE_BYTES)))
            if not spool.shared:
                raise OutOfSpace(f"there is no room for {signature.path}")
            return Beside(self._entry(signature, reply, spool.written, verifier.digest()), spool.keep())
        finally:
            spool.close()

    def _entry(self, signature: Target, reply: UpstreamReply, size: int, digest: str) -> Entry:
        now, headers = self._pond.clock.now(), reply.head.headers
        return Entry(
            repository=self._remote.name, path=signature.path, variant=signature.variant, status=200, digest=digest,
            size=size, content_type=headers.get("content-type", ""), content_encoding="",
            etag=headers.get("etag", ""), last_modified=headers.get("last-modified", ""),
            source_url=public(reply.head.url), stored_at=now, validated_at=now, checked_at=now, fresh_until=now,
        )  # fmt: skip

    async def _same(self, file: Target, entry: Entry) -> None:
        """Make sure that the upstream still has the file's bytes. Raises `UpstreamUnreachable`."""
        headers = {"Accept": file.accept} | freshness.validators(entry)
        async with self._remote.upstream.request("GET", self._url(file), headers) as reply:
            if reply.head.status == freshness.NOT_MODIFIED:
                return
            if reply.head.status != freshness.OK:
                raise _refused(file, reply.head, self._pond.clock.now())
            body, now = hashlib.sha256(), 0
            async for chunk in reply.chunks(CHUNK_BYTES):
                body.update(chunk)
                now += len(chunk)
                if now > entry.size:
                    break
        if f"sha256:{body.hexdigest()}" != entry.digest:
            raise UpstreamUnreachable(f"{file.path} was changed while its signature was fetched", kind=CHANGING)

    def _url(self, target: Target) -> str:
        return self._remote.upstream.base_url + target.upstream_path


def _reject(signature: Target, why: str | None) -> None:
    if why is not None:
        raise UpstreamUnreachable(f"the upstream's body is not {signature.path}: {why}", kind="unsound")


def _refused(target: Target, head: Reply, now: float) -> UpstreamUnreachable:
    told, wish_s = f"the upstream answered {head.status} for {target.path}", freshness.retry_after_s(head.headers, now)
    return UpstreamUnreachable(told, kind=f"status-{head.status}", retry_after_s=wish_s)
