"""Which paths a repository serves, and which of them never change. PURE.

Patterns are RE2, searched in the path after the repository's name (linear time, so that no operator's pattern can
stop the daemon).
`immutable_patterns` are an allow-list: a path that is neither mutable nor matched is refused. For `generic`, having
a TTL is no bypass:
only a match of `mutable_patterns` counts as mutable there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace

import re2

from millpond.artifacts.model import Digest, Target

Search = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Rules:
    """A repository's patterns, compiled.

    `everything_mutable` marks a package (generic) where being mutable is the default and therefore no reason to allow.
    `bind_mutable` marks one (docker) where the allow-list is for names, so that it holds for tags too.
    `digests` pins paths to the bytes that the operator expects.
    """

    immutable: tuple[Search, ...] = ()
    mutable: tuple[Search, ...] = ()
    everything_mutable: bool = False
    bind_mutable: bool = False
    digests: Mapping[str, Digest] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Refused:
    """The patterns refuse the path; `rule` says which, for people."""

    rule: str


def compile_patterns(patterns: Iterable[str]) -> tuple[Search, ...]:
    """Compile patterns to searches. Raises `ValueError` naming the pattern that RE2 refuses."""
    options = re2.Options()
    options.log_errors = False
    return tuple(_search(pattern, options) for pattern in patterns)


def _search(pattern: str, options: re2.Options) -> Search:
    try:
        compiled = re2.compile(pattern, options)
    except re2.error as error:
        raise ValueError(f"{pattern!r}: {_reason(error)} (RE2 has no look-ahead and no back-references)") from error
    return lambda path: compiled.search(path) is not None


def judge(target: Target, rules: Rules) -> Target | Refused:
    """Apply the patterns: give the target with its mutability settled, or the rule that refuses it."""
    listed_mutable = any(search(target.path) for search in rules.mutable)
    pinned = rules.digests.get(target.path)
    if listed_mutable and pinned is None:
        return replace(target, mutable=target.digest is None)
    matched = any(search(target.path) for search in rules.immutable)
    if rules.immutable and not matched and (rules.everything_mutable or rules.bind_mutable or not target.mutable):
        return Refused("no pattern of immutable_patterns or mutable_patterns matches this path")
    if pinned is not None:
        return replace(target, mutable=False, digest=pinned)
    if matched and rules.everything_mutable:
        return replace(target, mutable=False)
    return target


def _reason(error: Exception) -> str:
    text = error.args[0] if error.args else str(error)
    return text.decode("utf-8", "replace") if isinstance(text, bytes) else str(text)
