"""A service below a path of its host: every request goes there, and every ref names it."""

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from yarl import URL

from testvibe_async import Client, ConfigError, Ref, RunRef
from testvibe_async.testing import Emulator

PREFIX = "/tenants/acme"


@asynccontextmanager
async def below(prefix: str, emulator: Emulator) -> AsyncGenerator[str]:
    """Serve an emulator below a path, and return the address; all other paths are not found."""
    async with aiohttp.ClientSession(skip_auto_headers=["Accept"]) as session:

        async def forward(request: web.Request) -> web.Response:
            path = request.raw_path.removeprefix(prefix)
            url = URL(emulator.url + path, encoded=True)
            headers = {"Authorization": request.headers["Authorization"]}
            body = await request.json() if request.body_exists else None
            async with session.request(request.method, url, json=body, headers=headers) as answer:
                return web.Response(
                    status=answer.status, body=await answer.read(), content_type=answer.content_type
                )

        proxy = web.Application()
        proxy.router.add_route("*", prefix + "/api/v1/ops/{rest:.*}", forward)
        runner = web.AppRunner(proxy)
        await runner.setup()
        try:
            site = web.TCPSite(runner, "127.0.0.1", 0)
            await site.start()
            port = runner.addresses[0][1]
            yield f"http://127.0.0.1:{port}{prefix}"
        finally:
            await runner.cleanup()


@pytest.mark.parametrize("ending", ["", "/", "/api/v1/ops", "/api/v1/ops/"])
async def test_a_run_below_a_path(emulator: Emulator, ending: str, tmp_path: Path) -> None:
    """Below a path a run is dispatched, polled, attached to again, and its files are downloaded."""
    async with (
        below(PREFIX, emulator) as server,
        Client(server + ending, api_key=emulator.api_key, project=emulator.project_id) as client,
    ):
        operation = await client.project().run_feature("Checkout")
        run = await operation
        files = await operation.download_artifacts(tmp_path)
        text = operation.ref.to_json()
        again = await client.attach(Ref.from_json(text))

    assert run.is_finished
    assert again == run
    assert files
    assert operation.ref.server == client.server == server
    assert emulator.count("run_feature") == 1
    assert emulator.count("get_run") > 1


async def test_a_ref_names_its_server_in_any_form(emulator: Emulator) -> None:
    """A ref whose server is written in another way is one of the client's server all the same."""
    async with Client(emulator.url, api_key=emulator.api_key, project="p") as client:
        usual = client.attach(RunRef(server=emulator.url, project="p", run_id=1))
        other = client.attach(RunRef(server=f"{emulator.url}/api/v1/ops/", project="p", run_id=1))
        assert other == usual
        assert other.ref.server == emulator.url
        with pytest.raises(ConfigError, match=r"the server of run 1: the server must be"):
            client.attach(RunRef(server="nonsense", project="p", run_id=1))
        with pytest.raises(ConfigError, match="and this client's is"):
            client.attach(RunRef(server=f"{emulator.url}/elsewhere", project="p", run_id=1))
