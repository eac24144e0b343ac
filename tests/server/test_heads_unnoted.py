"""A HEAD is no use of an artifact, whichever way it is answered."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.fault
CONFIG = '[repositories.files]\npackage = "generic"\nbase_url = "URL"\n'


@pytest.mark.parametrize("size", [5, 100_000])
def test_only_gets_are_noted_as_uses(make_pond, upstream, size):
    upstream.put("/a.bin", b"x" * size)
    pond = make_pond(CONFIG.replace("URL", upstream.url))
    for method in ("HEAD", "GET", "GET", "HEAD", "HEAD", "GET"):
        assert pond.get("/files/a.bin", method=method).status == 200
    uses = pond.get("/api/v1/usage?artifact=files/a.bin").json()
    assert (sum(use["count"] for use in uses), sum(use["size"] for use in uses)) == (3, 3 * size)
