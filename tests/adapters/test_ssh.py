"""Hosts over a real sshd: one connection, words that arrive as they are, and every way in which it fails."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.adapters.test_processes import gone
from tests.sshd import Impossible, Sshd

from millpond.adapters.ssh import Connections, SshHost
from millpond.hosts.address import Address
from millpond.hosts.model import HostFailed, HostOptions, Kind, Limits
from millpond.testing.hosts import HostConformance

pytestmark = [pytest.mark.process, pytest.mark.timeout(300)]
Make = Callable[..., SshHost]


@pytest.fixture(scope="module")
def shared() -> Iterator[Sshd]:
    """One that no test changes."""
    try:
        with Sshd() as made:
            yield made
    except Impossible as reason:
        pytest.skip(str(reason))


@pytest.fixture
def sshd() -> Iterator[Sshd]:
    """One of the test's own."""
    try:
        with Sshd() as made:
            yield made
    except Impossible as reason:
        pytest.skip(str(reason))


@pytest.fixture
async def make(sockets: Path) -> AsyncIterator[Make]:
    """Make hosts; their connections are closed at the end, and nothing of them is left."""
    made: list[SshHost] = []
    connections = Connections(sockets)

    def host(options: HostOptions, **more: object) -> SshHost:
        made.append(SshHost(options, connections, **more))
        return made[-1]

    yield host
    for one in made:
        await one.close()
    assert not list(connections.folder.iterdir())


async def failure(host: SshHost, *argv: str, timeout_s: float = 60) -> HostFailed:
    with pytest.raises(HostFailed) as caught:
        await host.run(argv or ("true",), timeout_s=timeout_s)
    return caught.value


class TestSshHost(HostConformance):
    @pytest.fixture
    async def host(self, shared: Sshd, make: Make) -> SshHost:
        return make(shared.options())


@given(
    words=st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20), max_size=5)
)
@settings(max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_words_arrive_as_they_are(words: list[str], shared: Sshd, sockets: Path):
    host = SshHost(shared.options(), Connections(sockets))
    done = await host.run(["printf", "[%s]", "", *words], timeout_s=60)
    assert done.out == "[]" + "".join(f"[{word}]" for word in words)


async def test_many_commands_share_one_connection(sshd: Sshd, make: Make):
    host = make(sshd.options())
    done = await asyncio.gather(*(host.run(["echo", str(n)], timeout_s=60) for n in range(25)))
    assert [one.out for one in done] == [f"{n}\n" for n in range(25)]
    assert sshd.logins() == 1


async def test_no_more_sessions_than_allowed_are_open(sshd: Sshd, make: Make):
    host = make(sshd.options(limits=Limits(max_sessions=2, connect_timeout_s=20)))
    await asyncio.gather(*(host.run(["sleep", "0.1"], timeout_s=60) for _ in range(8)))
    events = [line for line in sshd.log().splitlines() if "Starting session" in line or "Close session" in line]
    now = most = 0
    for line in events:
        now += 1 if "Starting" in line else -1
        most = max(most, now)
    assert most == 2


async def test_the_command_s_own_255_is_its_own(shared: Sshd, make: Make):
    done = await make(shared.options()).run(["sh", "-c", "echo no >&2; exit 255"], timeout_s=60)
    assert (done.rc, done.err) == (255, "no\n")


async def test_the_time_out_ends_what_runs_there_too(shared: Sshd, make: Make, tmp_path: Path):
    pids = tmp_path / "pids"
    host = make(shared.options())
    script = f"echo $$ >{pids}; sleep 300 & echo $! >>{pids}; wait"
    assert (await failure(host, "sh", "-c", script, timeout_s=6)).reason == "timeout"
    for pid in pids.read_text().split():
        await gone(int(pid))
    assert (await host.run(["true"], timeout_s=60)).ok, "the connection is as good as before"


async def test_a_changed_host_key_is_refused_for_good(sshd: Sshd, make: Make):
    sshd.new_key("host_key")
    sshd.stop()
    sshd.start()
    for accept in (False, True):
        told = await failure(make(sshd.options(accept_new_keys=accept)))
        assert (told.reason, told.kind) == ("host-key", Kind.PERMANENT)
        assert "CHANGED" in told.told


async def test_an_unknown_host_key_is_refused_unless_new_ones_are_believed(sshd: Sshd, make: Make):
    (sshd.folder / "known_hosts").write_text("")
    assert (await failure(make(sshd.options()))).reason == "host-key"
    assert (await make(sshd.options(accept_new_keys=True)).run(["true"], timeout_s=60)).ok
    assert (sshd.folder / "known_hosts").read_text(), "and is known from now on"


async def test_a_wrong_key_is_denied(sshd: Sshd, make: Make):
    sshd.new_key("identity")
    told = await failure(make(sshd.options()))
    assert (told.reason, told.kind, told.rc) == ("denied", Kind.CREDENTIALS, 255)


async def test_nobody_listening_is_refused(sshd: Sshd, make: Make):
    sshd.stop()
    told = await failure(make(sshd.options()))
    assert (told.reason, told.kind) == ("refused", Kind.TRANSIENT)
    assert told.told.startswith("rc=255: ")


async def test_a_listener_that_says_nothing_is_a_time_out(make: Make):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        options = HostOptions(
            "web1", Address("127.0.0.1", "u", sock.getsockname()[1]), limits=Limits(connect_timeout_s=1)
        )
        told = await failure(make(options))
    assert (told.reason, told.kind) == ("timeout", Kind.TRANSIENT)
    assert told.told.startswith("timeout: ")


async def test_a_name_that_nobody_knows_is_told(make: Make):
    told = await failure(make(HostOptions("web1", Address("no-such-host.invalid"))))
    assert told.reason in {"unknown", "timeout"}


async def test_a_missing_ssh_is_told(make: Make, shared: Sshd):
    told = await failure(make(shared.options(), program="millpond-no-such-ssh"))
    assert (told.reason, told.rc) == ("no-ssh", 127)
    assert "openssh-client" in told.told


async def test_a_connection_that_broke_is_opened_again(sshd: Sshd, make: Make):
    host = make(sshd.options())
    assert (await host.run(["true"], timeout_s=60)).ok
    sshd.stop()
    sshd.start()
    for _ in range(2):  # the first may meet the dead one before ssh has noticed
        with contextlib.suppress(HostFailed):
            await host.run(["true"], timeout_s=60)
    assert (await host.run(["echo", "again"], timeout_s=60)).out == "again\n"


async def test_a_connection_that_breaks_amid_a_command_is_lost(sshd: Sshd, make: Make, tmp_path: Path):
    host = make(sshd.options())
    started = tmp_path / "started"
    task = asyncio.create_task(failure(host, "sh", "-c", f"touch {started}; sleep 60"))
    async with asyncio.timeout(60):
        while not started.exists():
            await asyncio.sleep(0.01)
    sshd.stop()
    told = await asyncio.wait_for(task, 60)
    assert (told.kind, told.rc) == (Kind.TRANSIENT, 255)


async def test_a_control_socket_that_is_dead_is_replaced(sshd: Sshd, sockets: Path):
    connections = Connections(sockets)
    path = connections.socket(sshd.options())
    with socket.socket(socket.AF_UNIX) as sock:
        sock.bind(str(path))
    host = SshHost(sshd.options(), connections)
    assert (await host.run(["echo", "x"], timeout_s=60)).out == "x\n"
    assert sshd.logins() == 1
    await host.close()
    assert not list(path.parent.iterdir())


async def test_closing_ends_the_connection(sshd: Sshd, sockets: Path):
    connections = Connections(sockets)
    host = SshHost(sshd.options(), connections)
    await host.run(["true"], timeout_s=60)
    (path,) = connections.folder.iterdir()
    pids = [int(p.name) for p in Path("/proc").iterdir() if p.name.isdigit() and str(path).encode() in _cmdline(p)]
    assert len(pids) == 1
    await host.close()
    await gone(pids[0])
    assert not path.exists()


def _cmdline(process: Path) -> bytes:
    try:
        return (process / "cmdline").read_bytes()
    except OSError:
        return b""


async def test_nothing_is_forwarded(sshd: Sshd, make: Make, monkeypatch, tmp_path: Path):
    agent = tmp_path / "agent"
    monkeypatch.setenv("SSH_AUTH_SOCK", str(agent))
    monkeypatch.setenv("DISPLAY", ":7")
    out = (await make(sshd.options()).run(["env"], timeout_s=60)).out
    assert "SSH_AUTH_SOCK" not in out
    assert "DISPLAY" not in out
    assert "SSH_TTY" not in out


async def test_a_command_too_long_for_a_shell_is_refused(shared: Sshd, make: Make):
    told = await failure(make(shared.options()), "printf", "x" * 200_000)
    assert told.kind is Kind.PERMANENT
    assert "standard input" in told.told


async def test_an_option_for_a_name_is_none(make: Make, tmp_path: Path):
    """The grammar refuses it; were it to get this far, it would still be only a name."""
    marker = tmp_path / "pwned"
    with pytest.raises(HostFailed):
        await make(HostOptions("x", Address(f"-oProxyCommand=touch {marker}"))).run(["true"], timeout_s=30)
    assert not marker.exists()


async def test_a_host_that_hangs_does_not_keep_the_others_waiting(shared: Sshd, make: Make):
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen()
        address = Address("127.0.0.1", "u", sock.getsockname()[1])
        hanging = make(HostOptions("hangs", address, limits=Limits(connect_timeout_s=30)))
        task = asyncio.create_task(failure(hanging))
        assert (await make(shared.options()).run(["true"], timeout_s=60)).ok
        assert not task.done()
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
