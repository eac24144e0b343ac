"""A host that does as the test says, and what every host must do. Shipped, so that other people's hosts can be tested.

`FakeHost` answers from a script: the first rule whose words a command begins with gives the answer, after its delay. It
records each command, and how many ran at once. `HostConformance` is what ssh, this machine and the fake are held to.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from millpond.hosts.model import Completed, HostFailed, Kind
from millpond.hosts.ports import Heard, Host
from millpond.testing.blobstore import expect

Answer: TypeAlias = Completed | HostFailed | str | Callable[["Asked"], "Completed | Awaitable[Completed]"]
"""A text is the output of a command that succeeds."""
NOT_FOUND = 127
FAILING = "echo out; echo err >&2; exit 7"
_NOT_ALL_OF_IT_S = 60


@dataclass(frozen=True, slots=True)
class Asked:
    """One command as a host got it."""

    argv: tuple[str, ...]
    stdin: bytes | None
    timeout_s: float


@dataclass(slots=True)
class _Rule:
    words: tuple[str, ...]
    answer: Answer
    delay_s: float
    times: int | None


@dataclass(slots=True)
class Crowd:
    """Counts how many commands run at once, over as many hosts as share it."""

    now: int = 0
    most: int = 0

    def enter(self) -> None:
        """One more."""
        self.now += 1
        self.most = max(self.most, self.now)

    def leave(self) -> None:
        """One less."""
        self.now -= 1


@dataclass(slots=True)
class FakeHost:
    """A `millpond.hosts.ports.Host` by script; unknown commands end with 127, as a shell has it."""

    name: str
    crowd: Crowd = field(default_factory=Crowd)
    asked: list[Asked] = field(default_factory=list)
    closed: bool = False
    _rules: list[_Rule] = field(default_factory=list)

    def on(self, *words: str, answer: Answer, delay_s: float = 0.0, times: int | None = None) -> FakeHost:
        """Answer commands that begin with these words; a later rule wins. `times`: only so often, then it is gone."""
        self._rules.insert(0, _Rule(words, answer, delay_s, times))
        return self

    @property
    def argvs(self) -> list[tuple[str, ...]]:
        """The commands so far."""
        return [one.argv for one in self.asked]

    async def run(
        self, argv: Sequence[str], *, timeout_s: float, stdin: bytes | None = None, heard: Heard | None = None
    ) -> Completed:
        """Answer; a delay longer than `timeout_s` is a time-out. Raises the rule's `HostFailed`."""
        check_argv(self.name, argv)
        asked = Asked(tuple(argv), stdin, timeout_s)
        self.asked.append(asked)
        self.crowd.enter()
        try:
            async with asyncio.timeout(timeout_s):
                done = await self._answer(asked)
        except TimeoutError:
            text = f"`{argv[0]}` did not end within {timeout_s:g} s and was ended"
            raise HostFailed(self.name, text, kind=Kind.TRANSIENT, reason="timeout") from None
        finally:
            self.crowd.leave()
        if heard is not None and done.out:
            heard(done.out.encode())
        return done

    async def _answer(self, asked: Asked) -> Completed:
        rule = next((rule for rule in self._rules if asked.argv[: len(rule.words)] == rule.words), None)
        if rule is None:
            return Completed(NOT_FOUND, "", f"{asked.argv[0]}: not found")
        if rule.times is not None:
            rule.times -= 1
            if rule.times <= 0:
                self._rules.remove(rule)
        await asyncio.sleep(rule.delay_s)
        return await _given(rule.answer, asked)

    async def close(self) -> None:
        """Note that it was closed."""
        self.closed = True


async def _given(answer: Answer, asked: Asked) -> Completed:
    match answer:
        case str():
            return Completed(0, answer)
        case Completed():
            return answer
        case HostFailed():
            raise answer
    done = answer(asked)
    return done if isinstance(done, Completed) else await done


def check_argv(host: str, argv: Sequence[str]) -> None:
    """Refuse what no program can be given: nothing at all, or a NUL byte. Raises `HostFailed`."""
    if not argv or any("\0" in word for word in argv):
        text = "a command needs a program, and no NUL byte"
        raise HostFailed(host, text, kind=Kind.PERMANENT, reason="unreadable")


def posix(name: str) -> FakeHost:
    """Make a fake that knows just enough of a POSIX machine for `HostConformance`."""
    made = FakeHost(name)
    made.on("printf", "%s\\n", answer=lambda asked: Completed(0, "".join(f"{word}\n" for word in asked.argv[2:])))
    made.on("cat", answer=lambda asked: Completed(0, (asked.stdin or b"").decode("utf-8", "replace")))
    made.on("sh", "-c", FAILING, answer=Completed(7, "out\n", "err\n"))
    made.on("sleep", answer=_slept)
    return made


async def _slept(asked: Asked) -> Completed:
    await asyncio.sleep(float(asked.argv[1]))
    return Completed(0)


HOSTILE = (
    "plain", "two words", " lead", "'", '"', "''", "a'b\"c", "$HOME", "$(id)", "`id`", ";id", "&& id", "| id", "> /x",
    "\n", "a\nb", "\t", "\\", "\\n", "*", "?", "[a]", "{a,b}", "~", "#no", "!1", "%s", "-n", "--", "--help", "", "é",
    "日本", "\x01\x7f", "a" * 5000, "=x", "\r", "$'\\n'", "\\'", "\\\n",
)  # fmt: skip
"""Words that a shell would read differently if it saw them bare."""


class HostConformance:
    """The suite: subclass it and give a fixture `host`."""

    async def test_it_tells_both_outputs_and_the_exit_code(self, host: Host) -> None:
        """An exit code is an answer."""
        done = await host.run(["sh", "-c", FAILING], timeout_s=30)
        expect(done == Completed(7, "out\n", "err\n"), f"not both outputs and the code: {done}")

    async def test_it_hands_words_on_byte_for_byte(self, host: Host) -> None:
        """Nothing in an argument means anything on the way."""
        done = await host.run(["printf", "%s\\n", *HOSTILE], timeout_s=30)
        expect(done.out == "".join(f"{word}\n" for word in HOSTILE), f"changed on the way: {done}")

    async def test_it_gives_what_there_is_to_read(self, host: Host) -> None:
        """`stdin` arrives whole, and ends."""
        given = b"line\n" * 20_000
        done = await host.run(["cat"], timeout_s=30, stdin=given)
        expect(done.out.encode() == given, "what was to be read is not what came back")

    async def test_it_gives_nothing_to_read_by_itself(self, host: Host) -> None:
        """Without `stdin` a reader is at its end at once."""
        expect((await host.run(["cat"], timeout_s=30)).out == "", "there must be nothing to read")

    async def test_what_is_not_there_is_127(self, host: Host) -> None:
        """A missing program is an answer too."""
        done = await host.run(["millpond-no-such-program"], timeout_s=30)
        expect(done.rc == NOT_FOUND, f"not {NOT_FOUND}: {done}")

    async def test_what_takes_too_long_is_ended(self, host: Host) -> None:
        """The time is over: it says so, in time."""
        began = asyncio.get_running_loop().time()
        told = await _failure(host, ["sleep", "90"], timeout_s=0.5)
        expect(told.reason == "timeout" and told.told.startswith("timeout: "), f"not a time-out: {told.told}")
        expect(asyncio.get_running_loop().time() - began < _NOT_ALL_OF_IT_S, "it waited for the command's own end")

    async def test_what_no_program_can_be_given_is_refused(self, host: Host) -> None:
        """No words, or a NUL byte."""
        for argv in ([], ["printf", "a\0b"]):
            told = await _failure(host, argv, timeout_s=30)
            expect(told.kind is Kind.PERMANENT, f"{argv!r} can't be passed on, ever")

    async def test_it_is_heard_while_it_runs(self, host: Host) -> None:
        """`heard` gets the same bytes."""
        pieces: list[bytes] = []
        await host.run(["printf", "%s\\n", "a", "b"], timeout_s=30, heard=pieces.append)
        expect(b"".join(pieces) == b"a\nb\n", f"heard: {pieces}")


async def _failure(host: Host, argv: Sequence[str], timeout_s: float) -> HostFailed:
    try:
        done = await host.run(argv, timeout_s=timeout_s)
    except HostFailed as error:
        return error
    raise AssertionError(f"{argv!r} must fail, and gave {done}")
