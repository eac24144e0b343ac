"""A job's own token and client settings, in an open application."""

from __future__ import annotations

import base64
import json
import stat
from pathlib import Path

import pytest
from tests.delivery.steps.given import job_of, work_of

from millpond.app.jobs import JobPonds, family_of, token_name
from millpond.errors import NotFound

CONFIG = """
[server]
host = "127.0.0.1"
port = 18080
[access]
anonymous = "none"
[repositories.pypi]
package = "pypi"
base_url = "http://127.0.0.1:9/simple"
[repositories.npm]
package = "npm"
base_url = "http://127.0.0.1:9"
[repositories.things]
package = "generic"
type = "local"
"""
WORK = work_of(job_of(7))


async def test_clients_are_pointed_at_the_pond_and_the_token_is_in_files_of_the_home_alone(open_pond, tmp_path: Path):
    pond = await open_pond(CONFIG)
    given = await JobPonds(pond.app).open(WORK, tmp_path)
    secret, basic = given.secrets
    assert base64.b64decode(basic).decode() == f"job:{secret}"
    assert given.variables["PIP_INDEX_URL"] == "http://127.0.0.1:18080/pypi/simple/"
    assert given.variables["UV_DEFAULT_INDEX"] == f"http://job:{secret}@127.0.0.1:18080/pypi/simple/"
    assert given.variables["npm_config_registry"] == "http://127.0.0.1:18080/npm/"
    npmrc = (tmp_path / ".npmrc").read_text()
    assert npmrc == f"registry=http://127.0.0.1:18080/npm/\n//127.0.0.1:18080/npm/:_authToken={secret}\n"
    assert (tmp_path / ".netrc").read_text() == f"machine 127.0.0.1 login job password {secret}\n"
    assert json.loads((tmp_path / ".docker/config.json").read_text())["auths"]["127.0.0.1:18080"]
    files = [file for file in tmp_path.rglob("*") if file.is_file() and "data" not in file.parts]
    assert {stat.S_IMODE(file.stat().st_mode) for file in files if file.suffix != ".toml"} == {0o600}
    assert secret not in repr(given)
    assert [name for name, value in given.variables.items() if secret in value] == ["UV_DEFAULT_INDEX"]


async def test_it_may_read_and_no_more_and_only_while_the_job_lasts(open_pond, tmp_path: Path):
    pond = await open_pond(CONFIG)
    ponds = JobPonds(pond.app)
    secret, _ = (await ponds.open(WORK, tmp_path)).secrets
    bearer = {"authorization": f"Bearer {secret}"}
    assert (await pond.get("/things/x", **bearer)).status == 404
    assert (await pond.client.put("/api/v1/remote/things/x", b"x", **bearer)).status == 403
    pond.clock.advance(WORK.job.timeout_s + 3601)
    assert (await pond.get("/things/x", **bearer)).status == 401
    secret, _ = (await ponds.open(WORK, tmp_path)).secrets
    await ponds.close(WORK)
    await ponds.close(WORK)
    assert (await pond.get("/things/x", authorization=f"Bearer {secret}")).status == 401


async def test_what_a_job_draws_is_on_record_as_its_task_s(open_pond, tmp_path: Path):
    pond = await open_pond(CONFIG)
    await pond.client.put("/api/v1/remote/things/a", b"a", **pond.admin)
    secret, _ = (await JobPonds(pond.app).open(WORK, tmp_path)).secrets
    assert (await pond.get("/things/a", authorization=f"Bearer {secret}")).status == 200
    await pond.get("/things/a", **pond.admin)
    usage = pond.app.operations["usage"]
    found = await usage(lambda *_: None, task="SH-1")
    assert [(one["path"], one["token"]) for one in found] == [("a", "job:SH-1:7")]
    for other in ("SH-", "SH_1"):
        with pytest.raises(NotFound, match=f"no task '{other}'"):
            await usage(lambda *_: None, task=other)


def test_names_of_one_task_do_not_begin_another_s():
    assert token_name(WORK) == "job:SH-1:7"
    assert not token_name(work_of(job_of(7), key="SH-12")).startswith(family_of("SH-1"))
