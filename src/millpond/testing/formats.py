"""The conformance suite that every format must pass, ours and other people's.

Derive a class from `FormatSuite`, give it the format and some samples, and let the test runner find it: its methods are
plain functions with `assert`, so that no test framework is needed here.
"""
# ruff: noqa: S101 - assert is what a test is made of

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import ClassVar

from millpond.artifacts.formats.base import Described, Format, Rewrites
from millpond.artifacts.model import Absent, Links, Member, Moved, Target

MOUNT = "http://pond.example:8080/repo"
CHUNK_SIZES = (1, 2, 3, 7, 61, 1024)
HOSTILE_PATHS = (
    "", "/", "//", "///", ".", "..", "../", "../../etc/passwd", "a/../../b", "a/./b", "a//b", "./a", "a/..",
    "simple/..", "simple/../x/", "simple//", "files/..", "files/../x/y", "files/x/..", "files/x/../y", "files//x",
    "simple/%2e%2e/", "simple/a%2fb/", "a\\b", "..\\a", "a\x00b", "a\nb", "a\r\nHost: b", "\x7f", "a?b", "a#b", "?",
    "#", "http://other.example/a", "//other.example/a", "@other.example", ":80/a", "simple/http:", "files/http:/x",
    "-rf",
    "simple/-rf/", "files/x/-rf", "files/x/.hidden.whl", "a b", "%", "%zz", "\u202e", "\ud800", "\U0001f600", "é/ü",
    "simple/é/", "a" * 5000, "/".join("a" * 500),
)  # fmt: skip
GARBAGE = (b"", b"   \n", b"\x00\xff\xfe" * 100, b"this is plain text", b"null", b"[", b"404 page not found\n" * 50)
_HOSTILE_ACCEPTS = ("", "*/*", ",,;q=", "text/html;q=nan", "a/b;q=" + "9" * 400, "\x00", ";" * 2000, "a," * 5000)


@dataclass(frozen=True, slots=True)
class Sample:
    """A document that the format rewrites or reads, as an upstream sends it.

    `path` and `accept` are a client's; `foreign` are byte strings of the upstream's own (its hosts) that must not be
    left in the rewritten document; `members` are names that it lists.
    """

    path: str
    content_type: str
    body: bytes
    source: str
    accept: str = ""
    foreign: tuple[bytes, ...] = ()
    members: tuple[str, ...] = ()


class FormatSuite:
    """What holds for every format. `paths` are some that it serves."""

    format: ClassVar[Format]
    paths: ClassVar[Sequence[str]]
    samples: ClassVar[Sequence[Sample]] = ()

    def test_it_has_a_name_and_a_time_for_which_its_paths_are_fresh(self) -> None:
        """The name is a key of the configuration, and part of other keys."""
        assert self.format.name.isidentifier()
        assert self.format.name == self.format.name.lower()
        assert 0 < self.format.default_ttl_s <= 86400  # noqa: PLR2004 - a day

    def test_it_serves_its_paths(self) -> None:
        """Each of the paths is a target."""
        assert self.paths
        assert all(isinstance(self.format.resolve(path, "", ""), Target) for path in self.paths)

    def test_a_target_is_found_again_by_its_own_path(self) -> None:
        """A target's path is the key in the catalog: it names that target (of a part: its document) and no other."""
        for target in self._targets():
            if "?" not in target.path:
                again = self.format.resolve(target.path, "", target.accept)
                assert again == target.whole, target.path

    def test_a_moved_path_leads_to_a_target_at_once(self) -> None:
        """No client is sent round in circles."""
        for path in (*HOSTILE_PATHS, *self.paths, *(path.rstrip("/") for path in self.paths)):
            found = self.format.resolve(path, "", "")
            if isinstance(found, Moved):
                assert isinstance(self.format.resolve(found.path, "", ""), Target), path

    def test_no_path_leads_out_of_the_upstream(self) -> None:
        """Whatever a client asks, what goes upstream lies below the base URL, and is one line of plain ASCII."""
        for target in self._targets():
            assert target.upstream_path.isascii(), target
            assert target.upstream_path.isprintable(), target
            assert " " not in target.upstream_path, target
            assert not target.upstream_path.startswith("/"), target
            segments = target.upstream_path.partition("?")[0].split("/")
            assert not {".", "..", "%2e", "%2e%2e"} & {segment.lower() for segment in segments}, target

    def test_a_refused_path_says_why(self) -> None:
        """The reason goes to people: it is one line."""
        refused = [self.format.resolve(path, "", "") for path in HOSTILE_PATHS]
        reasons = [one.reason for one in refused if isinstance(one, Absent)]
        assert reasons
        assert all(reason and "\n" not in reason and "\r" not in reason for reason in reasons)

    def test_no_accept_header_and_no_query_is_a_fault(self) -> None:
        """What a client sends is read or passed over."""
        for accept in _HOSTILE_ACCEPTS:
            for query in ("", "format", "format=", "&&&=", "a=%zz", "x" * 5000):
                assert isinstance(self.format.resolve(self.paths[0], query, accept), Target | Moved | Absent)

    def test_an_index_is_a_target_of_the_same_format(self) -> None:
        """What a member is looked up in can itself be asked for, and has a limit."""
        for target in self._targets():
            expectation = self.format.expects(target)
            if expectation.index is None:
                continue
            assert expectation.member
            assert isinstance(self.format, Described)
            assert self.format.resolve(expectation.index.path, "", expectation.index.accept) == expectation.index

    def test_a_rewritten_document_has_a_limit(self) -> None:
        """It is answered only when it is whole."""
        rewritten = [target for target in self._targets() if target.rewritten]
        assert not rewritten or isinstance(self.format, Rewrites)
        assert all(self.format.expects(target).body.max_bytes for target in rewritten)

    def test_a_part_is_of_a_rewritten_document(self) -> None:
        """A part is what the format's `Rewrites` makes of the document."""
        assert all(target.rewritten for target in self._targets() if target.part)

    def test_it_can_be_sent_to_another_process(self) -> None:
        """Large documents are rewritten and read in the process pool."""
        assert type(pickle.loads(pickle.dumps(self.format))) is type(self.format)  # noqa: S301 - made here

    def test_samples_resolve(self) -> None:
        """Each sample's path is served; one for each ability that the format has."""
        assert self.samples or not isinstance(self.format, Rewrites | Described)
        assert all(self._target(sample) for sample in self.samples)

    def test_rewriting_does_not_depend_on_the_chunks(self) -> None:
        """Any cut gives the same bytes."""
        for sample in self._samples(Rewrites):
            whole = self._rewritten(sample, [sample.body])
            for size in CHUNK_SIZES:
                assert self._rewritten(sample, _cut(sample.body, size)) == whole, (sample.path, size)

    def test_no_link_leads_past_the_pond(self) -> None:
        """Nothing of the upstream's own addresses is left."""
        for sample in self._samples(Rewrites):
            rewritten = self._rewritten(sample, [sample.body])
            assert not [text for text in sample.foreign if text in rewritten], sample.path

    def test_a_document_cut_off_is_refused_or_is_the_beginning_of_the_whole(self) -> None:
        """Nothing is made up at the end of a document."""
        for sample in self._samples(Rewrites):
            whole = self._rewritten(sample, [sample.body])
            for at in range(0, len(sample.body), max(len(sample.body) // 200, 1)):
                try:
                    assert whole.startswith(self._rewritten(sample, [sample.body[:at]])), (sample.path, at)
                except ValueError:
                    continue

    def test_members_do_not_depend_on_the_chunks(self) -> None:
        """Any cut gives the same members."""
        for sample in self._samples(Described):
            whole = self._members(sample, [sample.body])
            names = [member.name for member in whole]
            assert not set(sample.members) - set(names), sample.path
            for size in CHUNK_SIZES:
                assert self._members(sample, _cut(sample.body, size)) == whole, (sample.path, size)

    def test_garbage_is_refused(self) -> None:
        """What can't be read raises `ValueError`, and nothing else."""
        for sample in self.samples:
            for garbage in (*GARBAGE, sample.body[: len(sample.body) // 2] + b"\x00\xff\xfe{<"):
                if isinstance(self.format, Rewrites) and self._target(sample).rewritten:
                    assert _refuses(self._rewritten, sample, garbage), garbage[:40]
                if isinstance(self.format, Described) and sample.members:
                    assert _refuses(self._members, sample, garbage), garbage[:40]

    # What the tests are made of.

    def _targets(self) -> Iterator[Target]:
        paths = (*self.paths, *HOSTILE_PATHS, *(sample.path for sample in self.samples))
        for path in paths:
            for query in ("", "a=b", "a b\r\n/../\u202e"):
                found = self.format.resolve(path, query, "")
                if isinstance(found, Target):
                    yield found

    def _samples(self, ability: type[object]) -> Iterator[Sample]:
        if isinstance(self.format, ability):
            yield from (one for one in self.samples if ability is not Rewrites or self._target(one).rewritten)

    def _target(self, sample: Sample) -> Target:
        found = self.format.resolve(sample.path, "", sample.accept)
        assert isinstance(found, Target), sample.path
        return found

    def _rewritten(self, sample: Sample, chunks: Iterable[bytes]) -> bytes:
        assert isinstance(self.format, Rewrites)
        rewriter = self.format.rewriter(self._target(sample), sample.content_type, Links(MOUNT, sample.source))
        return b"".join([*map(rewriter.feed, chunks), rewriter.close()])

    def _members(self, sample: Sample, chunks: Iterable[bytes]) -> list[Member]:
        assert isinstance(self.format, Described)
        return list(self.format.members(self._target(sample), sample.content_type, sample.source, chunks))


def _cut(body: bytes, size: int) -> list[bytes]:
    return [body[at : at + size] for at in range(0, len(body), size)]


def _refuses(read: Callable[[Sample, Iterable[bytes]], object], sample: Sample, body: bytes) -> bool:
    try:
        read(sample, [body])
    except ValueError:
        return True
    return False
