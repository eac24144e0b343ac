"""One line of a page: its link, its date, its companions."""

from __future__ import annotations

from millpond.artifacts.formats.pypi.listing import Listed, members
from millpond.artifacts.model import Checksum, Member


def test_companions_lie_beside_their_file():
    member = Member("a.whl", "https://f.example/a.whl?sig=1", (Checksum("sha256", "aa"),), 12, 5.0)
    assert list(members(Listed(member, (Checksum("sha256", "bb"),), signed=True))) == [
        member,
        Member("a.whl.metadata", "https://f.example/a.whl.metadata?sig=1", (Checksum("sha256", "bb"),), None, 5.0),
        Member("a.whl.asc", "https://f.example/a.whl.asc?sig=1", (), None, 5.0),
    ]
    assert list(members(Listed(member))) == [member]
