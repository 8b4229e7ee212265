"""A session fails over what breaks the contract, and over nothing else."""

from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

CONFTEST = """
    from tests.support.recorder import Recorder

    def pytest_configure(config):
        config.pluginmanager.register(Recorder())
"""

TESTS = """
    import asyncio
    from contextlib import suppress

    from testvibe_async import Client, RetryPolicy, VibeError
    from testvibe_async._core.wire import Endpoints
    from testvibe_async.testing import Emulator, Fault
    from testvibe_async.testing import api
    from testvibe_async.testing.answers import json_answer

    def with_client(use, fault=None):
        async def main():
            async with Emulator() as emulator:
                if fault is not None:
                    emulator.fail("get_project", fault)
                once = RetryPolicy(attempts=1)
                async with Client(emulator.url, api_key=emulator.api_key, retry=once) as client:
                    with suppress(VibeError):
                        await use(client, emulator.project_id)

        asyncio.run(main())

    def send(endpoint, **parts):
        def use(client, project):
            return client._transport.call(endpoint.request(project=project, **parts))

        return use

    def test_wrong_answer(monkeypatch):
        answer = lambda call: json_answer([{"id": 12, "name": None, "baseUrl": None}])
        monkeypatch.setitem(api.OPERATIONS, "list_projects", answer)
        with_client(lambda client, _: client.list_projects())

    def test_wrong_request():
        with_client(send(Endpoints.RUN_FEATURE, feature=12, body={"priority": "high"}))

    def test_forged_field():
        with_client(send(Endpoints.GET_PROJECT), Fault.edit(lambda document: {"id": 7}))

    def test_forged_after_a_wrong_request():
        with_client(send(Endpoints.GET_PROJECT, body={"a": 1}), Fault.status(503))

    def test_custom_request():
        query = {"archived": "true"}
        with_client(lambda client, _: client.request("GET", "/projects", query=query))
"""


def test_a_violation_fails_the_session(
    pytester: pytest.Pytester, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Tests that pass fail as a whole; the operation, the place and the test are named.

    No violation is an answer that a fault changes, nor a request by `Client.request`.
    """
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[3]))
    monkeypatch.setenv("PYTEST_DISABLE_PLUGIN_AUTOLOAD", "1")
    pytester.makeconftest(CONFTEST)
    pytester.makepyfile(test_inner=TESTS)

    result = pytester.runpytest_subprocess("-p", "xdist", "-n1")

    result.assert_outcomes(passed=5)
    assert result.ret == pytest.ExitCode.TESTS_FAILED
    result.stdout.fnmatch_lines_random(
        [
            'list_projects: answer 200: 12 is not * "string" at $[[]0[]].id (*::test_wrong_answer)',
            "run_feature: request body: *'priority' was unexpected* at $ (*::test_wrong_request)",
            "get_project: request body: none is taken* (*::test_forged_after_a_wrong_request)",
            "contract: 4 requests and 4 answers checked, 3 violations",
        ]
    )
