"""A service below a path of its host: every request goes there, and every ref names it."""

from pathlib import Path

import pytest

from tests.support.dialects import Dialect
from testvibe_async import Client, ConfigError, Ref, RunRef
from testvibe_async.testing import Emulator

PREFIX = "/tenants/acme"


@pytest.mark.service(middleware=Dialect(path_prefix=PREFIX))
@pytest.mark.parametrize("ending", ["", "/", "/api/v1/ops", "/api/v1/ops/"])
async def test_a_run_below_a_path(emulator: Emulator, ending: str, tmp_path: Path) -> None:
    """Below a path a run is dispatched, polled, attached to again, and its files are downloaded."""
    server, project = emulator.url, emulator.project_id
    async with Client(server + ending, api_key=emulator.api_key, project=project) as client:
        operation = await client.project().run_feature("Checkout")
        run = await operation
        files = await operation.download_artifacts(tmp_path)
        text = operation.ref.to_json()
        again = await client.attach(Ref.from_json(text))

    assert run.is_finished
    assert again == run
    assert files
    assert operation.ref.server == client.server == server
    assert server.endswith(PREFIX)
    assert emulator.count("run_feature") == 1
    assert emulator.count("get_run") > 1


async def test_a_ref_names_its_server_in_any_form(emulator: Emulator) -> None:
    """A ref whose server is written in another way is one of the client's server all the same."""
    async with Client(emulator.url, api_key=emulator.api_key, project="p") as client:
        usual = client.attach(RunRef(server=emulator.url, project="p", run_id=1))
        other = client.attach(RunRef(server=f"{emulator.url}/api/v1/ops/", project="p", run_id=1))
        assert other == usual
        assert other.ref.server == emulator.url
        with pytest.raises(ConfigError, match=r"the server of run 1: the server must look"):
            client.attach(RunRef(server="nonsense", project="p", run_id=1))
        with pytest.raises(ConfigError, match="and this client's is"):
            client.attach(RunRef(server=f"{emulator.url}/elsewhere", project="p", run_id=1))
