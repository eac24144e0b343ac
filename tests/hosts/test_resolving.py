"""What an app's files come to, asked of the real compose and the real docker client."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from tests.composing import HERE, app, compose, put_compose, put_docker
from tests.sshd import Impossible, Sshd

from millpond.adapters.localhost import LocalHost
from millpond.adapters.ssh import Connections, SshHost
from millpond.hosts.apps import AppFailed, AppKind, Resolved, Wanted
from millpond.hosts.model import Completed, HostFailed, Kind, Limits
from millpond.hosts.resolving import _Machine, resolve
from millpond.testing.hosts import FakeHost

pytestmark = pytest.mark.process

CANARY = "canary-secret"
SET = f"P={CANARY}\n"


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalHost:
    put_compose(tmp_path / "bin", monkeypatch)
    return LocalHost(HERE)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    made = tmp_path / "it's the app's"
    made.mkdir()
    return made


def write(folder: Path, **files: str) -> Path:
    for name, text in files.items():
        path = folder / {"env": ".env", "compose": "compose.yml"}.get(name, name.replace("_", "."))
        path.write_text(text)
    return folder


async def refused(here: LocalHost, folder: Path, **options: object) -> str:
    with pytest.raises(AppFailed) as caught:
        await resolve(here, app(folder, **options))
    assert "canary" not in str(caught.value)
    return caught.value.text


async def test_files_are_merged_and_filled_in_as_the_env_says(here: LocalHost, folder: Path, monkeypatch):
    monkeypatch.setenv("VERSION", "of-the-daemon")
    monkeypatch.setenv("COMPOSE_FILE", "nowhere.yml")
    write(
        folder,
        env="VERSION=1.27\nCOMPOSE_FILE=a.yml\nCOMPOSE_FILE=$COMPOSE_FILE:more.yml\nCOMPOSE_PROJECT_NAME=theirs\n"
        "COMPOSE_PROFILES=debug\n",
        a_yml="name: another\nservices:\n  web: {image: 'nginx:${VERSION}', env_file: [web.env], "
        "platform: linux/arm64}\n"
        "  job: {image: 'nginx:${VERSION}', profiles: [night]}\n"
        "  bug: {image: 'gdb:${V2:-9}', profiles: [debug]}\n"
        "  own: {build: .}\n  both: {build: ., image: 'built:1'}\n"
        "  only: {build: ., image: 'x:1', pull_policy: build}\n",
        more_yml="include: [inc.yml]\nservices:\n  web: {command: 'a $$5'}\n"
        "  ext: {extends: {file: base.yml, service: b}}\n",
        inc_yml="services: {inc: {image: 'inc:1', pull_policy: always}}",
        base_yml="services: {b: {image: 'base:1'}}",
        web_env=f"PASSWORD={CANARY}\n",
    )
    found = await resolve(here, app(folder))
    assert found.services == {
        "web": Wanted("nginx:1.27", "linux/arm64"),
        "bug": Wanted("gdb:9"),
        "both": Wanted("built:1"),
        "inc": Wanted("inc:1"),
        "ext": Wanted("base:1"),
    }
    assert set(found.wanted) == set(found.services.values())
    assert found.document["name"] == "shop"
    assert found.document["services"]["web"]["command"] == ["a", "$$5"]
    assert found.document["services"]["web"]["environment"] == {"PASSWORD": CANARY}
    assert CANARY not in repr(found)


async def test_an_env_that_lies_apart_other_separators_profiles_and_files(here: LocalHost, folder: Path):
    (folder / "envs").mkdir()
    (folder / "envs/my.env").write_text("V=7\nCOMPOSE_PATH_SEPARATOR=,\nCOMPOSE_FILE=a.yml,b.yml\n")
    write(
        folder,
        a_yml="services: {a: {image: 'a:$V'}}",
        b_yml="services: {b: {image: 'b:$V'}, p: {image: p, profiles: [on]}}",
    )
    assert set((await resolve(here, app(folder, env_file="envs/my.env"))).services) == {"a", "b"}
    some = app(folder, env_file="envs/my.env", files=("b.yml",), profiles=("on",))
    assert set((await resolve(here, some)).services) == {"b", "p"}


async def test_what_is_set_for_one_release_wins_over_the_env(here: LocalHost, folder: Path):
    write(folder, env="V=1\nI=app:$V\n", compose="services: {a: {image: '$I'}, b: {image: 'b:$V'}}")
    hostile = "2'; touch /tmp/x; '"
    found = await resolve(here, app(folder), over={"V": "2"})
    assert [one.reference for one in found.wanted] == ["app:2", "b:2"]
    with pytest.raises(AppFailed, match="no image reference"):
        await resolve(here, app(folder), over={"V": hostile})
    for name in ("A B", "", "-x", "PATH", "LD_PRELOAD", "DOCKER_HOST", "1A", "A=B", "A\n"):
        with pytest.raises(AppFailed, match="can't be set"):
            await resolve(here, app(folder), over={name: "x"})


@pytest.mark.parametrize(
    ("env", "compose", "wrong"),
    [
        ("", "services: {a: {image: 'x:${VERSION}'}}", "not set: VERSION; set it in .env, or give it a default"),
        ("", "services: {a: {image: x, environment: {A: $B, C: $D}}}", "not set: B, D;"),
        (f"V=pa${CANARY.partition('-')[0]}", "services: {a: {image: x}}", "a $ in a value: use single quotes"),
        (f"P=pa${{{CANARY.partition('-')[0]}:?x}}", "services: {a: {image: x}}", "required variable is missing"),
        ("V=$W", "services: {a: {image: 'x:$X', command: $Y}}", "not set: X, Y;"),
        ("", "services: {a: {image: '${V:?the tag}'}}", "services.a.image: required variable V is missing a value"),
        ("COMPOSE_FILE=nope.yml", "", "nope.yml: no such file"),
        ("", "services: [", "did not find expected node content"),
        ("", "services: {a: {image: --help}}", "service a: its image is no image reference; write one such as"),
        ("", "services: {a: {image: 'a b'}}", "service a: its image is no image reference"),
        ("", "services: {a: {image: '" + "a" * 64 + "'}}", "is an image's id, not its name"),
        (
            "",
            "services: {a: {image: x, platform: '--all'}}",
            "service a: its platform is none; write one such as linux/arm64",
        ),
        ("", "services: {a: {image: ''}}", "neither an image nor a build context"),
        ("", "services: {-x: {image: x}}", "'-x' is no service's name"),
        (
            "",
            "services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {environment: HOME}}",
            "secret s: its value is a variable",
        ),
        ("", "services: {a: {image: x, volumes: [{type: image, source: i, target: /i}]}}", "a volume that is an image"),
        (f"A B={CANARY}\n", "services: {a: {image: x}}", "compose refuses its files"),
        (f'P="{CANARY}\n', "services: {a: {image: x}}", ".env, line 2: the closing quote is missing"),
        (f"P={CANARY}${{x\n", "services: {a: {image: x}}", ".env: a $ that begins no variable"),
        (f"{CANARY} p@ss=1\n", "services: {a: {image: x}}", ".env, line 1: unexpected character"),
        ("", f"services: {{a: {{image: x, environment: {{A: '{CANARY}${{'}}}}}}", "services.a.environment.A"),
        (SET, "services: {a: {image: x, ports: ['80:${P}']}}", "invalid containerPort"),
        (SET, "services: {a: {image: x, stop_grace_period: '${P}'}}", "services[a].stop_grace_period"),
        (SET, "services: {a: {image: x, mem_limit: '${P}'}}", "services[a].mem_limit"),
        (SET, "services: {a: {image: x, command: '${Y:?need $P}'}}", "required variable Y is missing a value"),
        (SET, "services: {a: {image: x, env_file: '${P}'}}", "an env_file, is not there"),
        (
            SET,
            "services: {a: {image: 'x:a ${P}'}}",
            "service a: its image is no image reference: what follows the colon",
        ),
        (SET, "services: {a: {image: x, platform: 'a ${P}'}}", "service a: its platform is none"),
        (SET, "services: {a: {image: x, gpus: '${P}'}}", "compose refuses its files"),
    ],
)
async def test_what_is_wrong_is_told_clearly(here: LocalHost, folder: Path, env: str, compose: str, wrong: str):
    write(folder, env=env, compose=compose)
    assert wrong in await refused(here, folder)


async def test_an_older_compose_names_nothing_that_is_not_set():
    host = FakeHost("there")
    host.on("docker", "compose", "version", answer="2.20.0\n")
    warned = 'time="t" level=warning msg="The \\"canary\\" variable is not set. Defaulting to a blank string."'
    host.on("sh", "-c", answer=lambda asked: Completed("--variables" in asked.argv, "{}", warned))
    with pytest.raises(AppFailed, match="uses a variable that is not set; a \\$ in a value") as caught:
        await resolve(host, app(Path("/srv/shop"), on="there"))
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("said", ['"a\ufffd"', '"a\\ufffd"'])
async def test_what_is_not_utf_8_is_refused(here: LocalHost, folder: Path, said: str):
    write(folder, compose="services: {a: {image: x, environment: {A: '$A'}}}")
    (folder / ".env").write_bytes(b"A=caf\xe9\n")
    assert "not text in UTF-8" in await refused(here, folder)
    (folder / ".env").write_text(r"A='a\ufffd'", "utf-8")
    assert (await resolve(here, app(folder))).document["services"]["a"]["environment"] == {"A": r"a\ufffd"}
    host = FakeHost("there").on("docker", "compose", "version", answer="2.40.3\n")
    host.on("sh", "-c", answer=f'{{"services": {{"a": {{"image": "x", "command": [{said}]}}}}}}')
    with pytest.raises(AppFailed, match="not text in UTF-8"):
        await resolve(host, app(folder, on="there"))


async def test_a_folder_or_a_program_that_is_not_there_is_told(here: LocalHost, folder: Path, tmp_path, monkeypatch):
    assert "there is no folder" in await refused(here, folder / "not")
    assert "can't be" not in await refused(here, folder), "no file at all is compose's own refusal"
    assert "standard input" in await refused(here, folder, files=("-",))
    (tmp_path / "bin/docker-compose").unlink()
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/bin")
    assert "there is no Docker Compose on the pond's machine; install" in await refused(here, folder)


async def test_nothing_at_all_is_no_mistake(here: LocalHost, folder: Path):
    write(folder, compose="services: {}")
    assert (await resolve(here, app(folder))).wanted == ()


ELSEWHERE = "services: {a: {image: x, volumes: [%s]}}"


@pytest.mark.parametrize(
    ("volume", "there"),
    [
        ("'./conf:/c'", "c"), ("'../up:/c'", "c"), ("{type: bind, source: r, target: /r}", "r"), ("'./canary:/c'", "c"),
        ("'/etc/x:/x'", ""), ("'data:/data'", ""), ("'~/x:/x'", ""),
    ],
)  # fmt: skip
async def test_what_lies_beside_the_files_is_not_on_other_hosts(here: LocalHost, folder: Path, volume: str, there: str):
    write(folder, compose=ELSEWHERE % volume + "\nvolumes: {data: {}}")
    if there:
        told = await refused(here, folder, in_place=False, hosts=("web1",))
        assert f"service a: what is mounted at /{there} lies beside its files on the pond's machine" in told
    else:
        await resolve(here, app(folder, in_place=False))
    await resolve(here, app(folder))


async def test_a_secret_s_file_beside_them_neither(here: LocalHost, folder: Path):
    write(folder, compose="services: {a: {image: x, secrets: [s]}}\nsecrets: {s: {file: ./s.txt}}")
    assert "secret s: its file lies beside" in await refused(here, folder, in_place=False)


def hostile(name: str) -> str:
    return json.dumps({"services": {name: {"image": name}}})


@pytest.mark.parametrize("name", ["$(id)", "`id`", "a;b", "--rm", "a\nb", "../x", "a b", "'", "x" * 300])
async def test_hostile_names_reach_no_command(here: LocalHost, folder: Path, name: str):
    write(folder, compose=hostile(name.replace("$", "$$")))
    with pytest.raises(AppFailed):
        await resolve(here, app(folder))


async def test_a_folder_on_a_host_is_resolved_there_over_ssh(folder: Path, tmp_path: Path, sockets: Path):
    (tmp_path / "there").mkdir()
    (tmp_path / "there/docker-compose").symlink_to(compose())
    write(folder, env="V=1\nPW='a b'\n", compose="services: {a: {image: 'a:$V', environment: {PW: '$PW', X: '$X'}}}")
    try:
        with Sshd(f"{tmp_path}/there:/usr/bin:/bin") as sshd:
            host = SshHost(sshd.options(), Connections(sockets))
            found = await resolve(host, app(folder, on="web1"), over={"X": "it's $5"})
            await host.close()
    except Impossible as reason:
        pytest.skip(str(reason))
    assert found.wanted == (Wanted("a:1"),)
    assert found.document["services"]["a"]["environment"] == {"PW": "a b", "X": "it's $$5"}


# A stack.


@pytest.fixture
def docker(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> LocalHost:
    put_docker(tmp_path / "bin", monkeypatch)
    return LocalHost(HERE)


STACK = {"kind": AppKind.SWARM}


async def test_a_stack_is_resolved_by_its_env(docker: LocalHost, folder: Path, monkeypatch):
    monkeypatch.setenv("VERSION", "of-the-daemon")
    write(
        folder,
        env=f"VERSION=1\nPW='{CANARY}$x'\nCOMPOSE_FILE=a.yml\nCOMPOSE_FILE=\"$COMPOSE_FILE:b.yml\"\n",
        a_yml="version: '3.8'\nx-c: &c {replicas: 2}\nservices:\n  web: {image: 'nginx:$VERSION', deploy: *c, "
        "environment: ['A=co$$t', 'PW=${PW}', 'D=${D:-}'], env_file: [w.env], volumes: ['data:/data']}\n"
        "volumes: {data: {}}\n",
        b_yml="version: '3.8'\nservices: {two: {image: 'two@sha256:" + "a" * 64 + "'}}",
        w_env="E=$5\n",
    )
    found = await resolve(docker, app(folder, **STACK))
    assert found.services == {"web": Wanted("nginx:1"), "two": Wanted("two@sha256:" + "a" * 64)}
    web = found.document["services"]["web"]
    assert web["environment"] == {"A": "co$$t", "PW": f"{CANARY}$$x", "D": "", "E": "$$5"}
    assert web["deploy"]["replicas"] == 2
    assert "env_file" not in web
    assert json.loads(json.dumps(found.document)) == found.document
    assert CANARY not in repr(found)


async def test_a_usual_name_is_found(docker: LocalHost, folder: Path):
    write(folder, **{"docker-stack_yml": "version: '3.8'\nservices: {a: {image: 'a:$V'}}"})
    found = await resolve(docker, app(folder, **STACK), over={"V": "5"})
    assert found.wanted == (Wanted("a:5"),)


@pytest.mark.parametrize(
    ("env", "compose", "wrong"),
    [
        ("", "services: {a: {image: 'x:$V'}}", "not set: V"),
        ("LD_PRELOAD=x\n", "services: {a: {image: 'x:$LD_PRELOAD'}}", "LD_PRELOAD would act on docker itself"),
        ("DOCKER_TAG=1.2\n", "services: {a: {image: 'x:${DOCKER_TAG:-latest}'}}", "DOCKER_TAG would act on docker"),
        ("HTTP_PROXY=x\n", "services: {a: {image: x, command: '$$B ${A:-${HTTP_PROXY}}'}}", "HTTP_PROXY would act on"),
        ("X=1\nV=pa$canary\n", "services: {a: {image: x}}", ".env: line 2: the value of V uses a variable that is not"),
        ("X=canary\nCOMPOSE_FILE=$X\n", "", "a file of COMPOSE_FILE can't be read"),
        ("A B\n", "services: {a: {image: x}}", ".env: line 1: not NAME=VALUE"),
        ("COMPOSE_FILE=nope.yml\n", "", "nope.yml can't be read on the pond's machine"),
        ("COMPOSE_FILE=-\n", "", "standard input"),
        ("COMPOSE_FILE=--help\n", "", "a file of COMPOSE_FILE can't be read"),
        ("", "services: [", "compose.yml is no YAML: line 3"),
        ("", "services: {a: {build: .}}", "service a has no image, and a stack builds none"),
        ("", "services: {a: {image: --help}}", "service a: its image is no image reference"),
        ("", "services: {a: {image: x, nonsense: 5}}", "nonsense"),
        (SET, "services: {a: {image: 'x:a $P'}}", "service a: its image is no image reference: what follows"),
        (SET, "services: {a: {image: x, ports: ['80:${P}']}}", "docker refuses its files"),
        (SET, "services: {a: {image: x, stop_grace_period: '${P}'}}", "docker refuses its files"),
        (SET, "services: {a: {image: x, command: '${Y:?need $P}'}}", "not set: Y"),
        (f'P="{CANARY}\n', "services: {a: {image: x}}", ".env: line 1: the closing quote is missing"),
        (f'P="{CANARY}\\x"\n', "services: {a: {image: x}}", ".env: line 1: a backslash begins no escape"),
        (f"API_TOKEN={CANARY}.yml\nCOMPOSE_FILE=$API_TOKEN\n", "", "can't be read"),
    ],
)
async def test_what_is_wrong_with_a_stack_is_told_clearly(
    docker: LocalHost, folder: Path, env: str, compose: str, wrong: str
):
    write(folder, env=env, compose=f"version: '3.8'\n{compose}")
    assert wrong in await refused(docker, folder, **STACK)


async def test_without_any_file_a_stack_is_refused(docker: LocalHost, folder: Path):
    assert "no stack file in" in await refused(docker, folder, **STACK)
    assert "x.env can't be read" in await refused(docker, folder, env_file="x.env", **STACK)


# By script.


async def test_words_are_arguments_and_values_come_by_standard_input():
    host = FakeHost("there")
    host.on("docker", "compose", "version", answer="2.40.3\n")
    host.on("sh", "-c", answer=json.dumps({"services": {"a": {"image": "x"}}}))
    hostile = app("/srv/$(id)", files=("--help", "a b"), env_file="-x", profiles=("p",), on="there")
    found = await resolve(host, hostile, over={"PW": f"{CANARY}' $(id)"})
    assert isinstance(found, Resolved)
    asked = host.asked[-1]
    assert asked.argv[3] == "sh"
    assert asked.argv[5:7] == ("sh", "/srv/$(id)")
    assert asked.argv[7:] == (
        "docker", "compose", "-p", "shop", "--env-file=-x", "--file=--help", "--file=a b", "--profile=p", "config",
        "--format", "json",
    )  # fmt: skip
    assert not any(CANARY in word for word in asked.argv)
    assert asked.stdin == f"PW='{CANARY}'\"'\"' $(id)'\n".encode()


SHELLS = [path for name in ("dash", "bash", "busybox", "ksh", "mksh") if (path := shutil.which(name))]
OWN = ("UID", "EUID", "PPID", "OPTIND", "RANDOM", "SECONDS", "LINENO", "GROUPS", "FUNCNAME", "DIRSTACK", "TMOUT", "_")


@pytest.mark.parametrize("shell", SHELLS)
async def test_names_that_shells_have_for_themselves_hold_what_they_are_set_to(shell: str, tmp_path: Path, monkeypatch):
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/sh").symlink_to(shell)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    machine = _Machine(LocalHost(HERE), app(tmp_path), Limits(), {})
    over = dict.fromkeys(OWN, "x 7") | {"PASSWORD": f"a'b $x\n{CANARY}"}
    done = await machine.run(("env", "-0"), over)
    assert done.ok, done
    found = dict(one.partition("=")[::2] for one in done.out.split("\0"))
    assert over.items() <= found.items()


async def test_no_other_variable_is_a_word_of_a_command():
    host = FakeHost("there").on("sh", answer="{}").on("docker", "compose", answer="2.40.3")
    await resolve(host, app("/srv"), over={"UID": "1000", "OPTIND_X": CANARY, "PW": CANARY})
    assert "UID=1000" in host.asked[-1].argv
    assert not any(CANARY in word for word in host.asked[-1].argv)


async def test_the_machine_s_own_patience_counts():
    host = FakeHost("there").on("sh", answer="{}").on("docker", "compose", answer="2.40.3")
    await resolve(host, app("/srv"), limits=Limits(command_timeout_s=7.0))
    assert {one.timeout_s for one in host.asked} == {7.0}


async def test_a_stack_s_file_that_is_no_utf_8_is_refused():
    host = FakeHost("there").on("sh", answer="A=caf\ufffd\n")
    with pytest.raises(AppFailed, match=r"\.env is not text in UTF-8"):
        await resolve(host, app("/srv", **STACK))


@pytest.mark.parametrize("name", ["ENVIRONMENT", "HOMEPAGE", "PATH_PREFIX", "TMPDIR_2", "GOGC_X", "UID"])
async def test_a_name_that_only_begins_as_one_that_programs_need_can_be_set(name: str):
    host = FakeHost("there").on("sh", answer="{}").on("docker", "compose", answer="2.40.3")
    await resolve(host, app("/srv"), over={name: "1"})


async def test_what_is_no_document_is_refused():
    for answer, wrong in (
        ("{", "no JSON"),
        ("[]", "no document"),
        ('{"services": []}', "no document"),
        ("", "compose refuses its files"),
        (Completed(0, "{}", "", truncated=True), "more than"),
        (
            Completed(1, "", "boom"),
            "compose refuses its files: its words may repeat a secret.* see it by `docker compose",
        ),
        (json.dumps({"services": {f"s{n}": {"image": f"i{n}"} for n in range(201)}}), "more than 200 images"),
        (json.dumps({"services": {f"s{n}": {"image": "i"} for n in range(501)}}), "no document of at most 500"),
        (json.dumps({"services": {"a": {"image": 5}}}), "no image reference"),
        (json.dumps({"services": {"a": 5}}), "no service"),
    ):
        host = FakeHost("there").on("docker", "compose", answer="2.1.0").on("sh", answer=answer)
        with pytest.raises(AppFailed, match=wrong):
            await resolve(host, app("/srv"))


async def test_an_old_compose_and_a_host_that_fails_are_told():
    host = FakeHost("there").on("docker-compose", "version", answer="1.29.2\n")
    with pytest.raises(AppFailed, match=r"on the host there: Docker Compose 1\.29\.2 is too old"):
        await resolve(host, replace(app("/srv"), on="there"))
    host.on("docker", answer=HostFailed("there", "gone", kind=Kind.TRANSIENT, reason="lost"))
    with pytest.raises(HostFailed):
        await resolve(host, app("/srv"))


ALIASES = "services:\n  a: &a {image: x}\n  b: *a\n"


async def test_yaml_with_aliases_is_refused_in_docker_s_answer():
    host = FakeHost("there").on("sh", answer=lambda asked: Completed(0, ALIASES if "stack" in asked.argv else ""))
    with pytest.raises(AppFailed, match="aliases"):
        await resolve(host, app("/srv", files=("a.yml",), **STACK))
