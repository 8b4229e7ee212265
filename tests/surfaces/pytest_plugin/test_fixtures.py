"""The fixtures for tests of code that uses the service, with each plugin for such tests."""

import pytest

from tests.support.inner_pytest import Inner, shows
from testvibe_async.testing import Emulator

PLAIN = {
    "a test has an emulator of its own, and a session one that keeps its state": """
        def test_one(testvibe_emulator, testvibe_session_emulator, testvibe_emulator_options):
            testvibe_emulator.add_feature("Mine")
            testvibe_session_emulator.add_feature("Mine")
            assert testvibe_emulator_options == {"speed": 100.0}

        def test_another(testvibe_emulator, testvibe_session_emulator):
            assert "Mine" not in testvibe_emulator.features
            assert "Mine" in testvibe_session_emulator.features
    """,
    "overridden options are those of the emulators and the client": """
        import pytest
        from testvibe_async import Hooks
        from testvibe_async.testing import Scenario

        seen = []

        @pytest.fixture
        def testvibe_client_options():
            return {"hooks": Hooks(on_request=seen.append), "poll_interval": 0.01}

        @pytest.fixture
        def testvibe_emulator_options():
            return {"speed": 1000.0, "shop": False, "scenario": Scenario(failing_runs=1)}

        @pytest.fixture(scope="session")
        def testvibe_session_emulator_options():
            return {"shop": False}

        async def test_it(testvibe_emulator, testvibe_client):
            assert testvibe_emulator.features == {}
            testvibe_emulator.add_feature("Login")
            run = await (await testvibe_client.project().run_feature("Login"))
            assert run.status == "failed"
            assert "run_feature" in [event.operation for event in seen]

        def test_the_sessions(testvibe_session_emulator):
            assert testvibe_session_emulator.features == {}
    """,
    "a client that is used in another thread is closed there": """
        from anyio.from_thread import start_blocking_portal
        import pytest

        @pytest.fixture
        def portal():
            with start_blocking_portal() as portal:
                yield portal

        def test_it(portal, testvibe_client):
            assert portal.call(testvibe_client.list_projects)
    """,
    "no client is of the service or the routes that environment and settings file name": """
        import os

        async def test_client(testvibe_client, testvibe_emulator):
            assert await testvibe_client.project().list_runs() == []
            assert testvibe_client.server == testvibe_emulator.url

        async def test_client_alone(testvibe_client):
            assert testvibe_client.server != os.environ["TESTVIBE_SERVER"]

        async def test_shared(testvibe_shared_client, testvibe_session_emulator):
            assert testvibe_shared_client().server == testvibe_session_emulator.url
    """,
}


@pytest.mark.parametrize("rule", PLAIN)
def test_emulators_and_clients(inner: Inner, service: Emulator, rule: str) -> None:
    """The fixtures do what the rule says, and send nothing to the service of the settings."""
    inner.pytester.path.joinpath(".testvibe-async.toml").write_text(
        '[endpoints]\nlist_runs = "GET /projects/{project}/history"\n'
    )
    inner.pytester.makepyfile(PLAIN[rule])
    inner.asynchronous().assert_outcomes(passed=PLAIN[rule].count("def test_"))
    assert service.requests == []


ASYNC_TESTS = """
    import asyncio, gc, pytest, pytest_asyncio

    @pytest.fixture
    def anyio_backend():
        return "asyncio"

    {mark}
    async def test_run(testvibe_client, testvibe_emulator):
        operation = await testvibe_client.project().run_feature("Checkout")
        assert (await operation).is_finished
        assert testvibe_emulator.count("run_feature") == 1

    {mark}
    async def test_left_in_flight(testvibe_client):
        operation = await testvibe_client.project().run_feature("Checkout")
        waiting = asyncio.create_task(operation.wait())
        await asyncio.sleep(0.01)

    {mark}
    async def test_attached_only(testvibe_client):
        from testvibe_async import RunRef
        testvibe_client.attach(RunRef(server=testvibe_client.server, project="p", run_id=1))

    {mark}
    async def test_closed_by_the_test(testvibe_client):
        async with testvibe_client as client:
            await client.list_projects()

    {fixture}
    async def feature(testvibe_client, testvibe_emulator):
        project = testvibe_client.project()
        yield await project.create_feature("Mine", "Feature: Mine")
        await project.delete_feature("Mine")
        assert "Mine" not in testvibe_emulator.features

    {mark}
    async def test_used_in_a_teardown(feature, testvibe_client):
        assert (await testvibe_client.project().get_feature("Mine")).id == feature.id

    def test_unused(testvibe_client):
        assert testvibe_client.server.startswith("http://127.0.0.1:")

    def test_plain(testvibe_client):
        async def use():
            await testvibe_client.list_projects()
        asyncio.run(use())

    def test_nothing_is_left():
        gc.collect()
"""

SESSION = "(loop_scope='session')"
MODES = {
    "asyncio, auto": ("asyncio_mode=auto", "", "@pytest.fixture"),
    "asyncio, strict": ("asyncio_mode=strict", "@pytest.mark.asyncio", "@pytest_asyncio.fixture"),
    "one loop for all": (
        "asyncio_mode=auto",
        f"@pytest.mark.asyncio{SESSION}",
        f"@pytest_asyncio.fixture{SESSION}",
    ),
    "anyio": ("asyncio_mode=strict", "@pytest.mark.anyio", "@pytest.fixture"),
}
"""The option, the marks of asynchronous tests, and those of their fixtures."""


@pytest.mark.parametrize(("option", "mark", "fixture"), MODES.values(), ids=MODES)
def test_a_client_is_closed_with_its_loop(
    inner: Inner, option: str, mark: str, fixture: str
) -> None:
    """With any plugin, and with unfinished work, no test causes a warning about an open client.

    An asynchronous fixture can still use the client in its teardown.
    """
    inner.pytester.makepyfile(ASYNC_TESTS.format(mark=mark, fixture=fixture))
    inner.asynchronous(option).assert_outcomes(passed=8)


def test_the_configured_service_has_a_fixture_of_its_own(inner: Inner, service: Emulator) -> None:
    """testvibe_service_client is a client of what the settings name, with the chosen options."""
    inner.pytester.makepyfile(
        """
        import pytest

        @pytest.fixture
        def testvibe_client_options():
            return {"poll_interval": 0.02}

        async def test_it(testvibe_service_client):
            assert await (await testvibe_service_client.project().run_feature("Login"))
        """
    )
    inner.asynchronous().assert_outcomes(passed=1)
    assert len(service.runs) == 1


def test_the_configured_service_is_needed(inner: Inner) -> None:
    """Without settings a test of the real service is an error; no emulator stands in."""
    inner.pytester.makepyfile("def test_it(testvibe_service_client): ...")
    shows(inner(), "*no server: *", errors=1)


@pytest.mark.parametrize(("scope", "clients"), [("session", 1), ("function", 3)])
def test_a_loop_has_one_shared_client(inner: Inner, scope: str, clients: int) -> None:
    """There is one shared client for each event loop, with any scope of the loop."""
    inner.pytester.makepyfile(
        f"""
        import pytest

        seen = []

        @pytest.mark.asyncio(loop_scope="{scope}")
        @pytest.mark.parametrize("place", range(3))
        async def test_it(testvibe_shared_client, testvibe_session_emulator, place):
            client = testvibe_shared_client()
            assert client is testvibe_shared_client()
            assert client.server == testvibe_session_emulator.url
            await client.list_projects()
            seen.append(client)

        def test_they_were_as_many_as_loops():
            assert len(set(map(id, seen))) == {clients}

        def test_it_needs_a_loop(testvibe_shared_client):
            with pytest.raises(RuntimeError, match="no running event loop"):
                testvibe_shared_client()
        """
    )
    inner.asynchronous().assert_outcomes(passed=5)
