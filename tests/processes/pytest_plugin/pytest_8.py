"""The plugin with pytest 8, in an environment of its own, where only pytest and this are installed.

pytest --noconftest tests/processes/pytest_plugin/pytest_8.py
"""

import pytest

from testvibe_async.pytest_plugin import clients, session
from testvibe_async.testing import Emulator

pytest_plugins = ["pytester"]

LOADED = (clients, session)
"""Imported here once, so that not every pytest inside pytest imports them again."""


@pytest.fixture
def service(testvibe_emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Emulator:
    """Serve the shop, and set the environment variables for it."""
    monkeypatch.setenv("TESTVIBE_SERVER", testvibe_emulator.url)
    monkeypatch.setenv("TESTVIBE_API_KEY", testvibe_emulator.api_key)
    monkeypatch.setenv("TESTVIBE_PROJECT", testvibe_emulator.project_id)
    return testvibe_emulator


@pytest.mark.parametrize("argument", ["--testvibe", "testvibe::Checkout"])
def test_features_are_refused(pytester: pytest.Pytester, service: Emulator, argument: str) -> None:
    """Features as tests are refused with one sentence, and nothing is sent."""
    result = pytester.runpytest_inprocess(argument)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    (line,) = [line for line in result.errlines if line]
    assert line == (
        f"ERROR: features as tests need pytest 9, and this is pytest {pytest.__version__}; "
        "@pytest.mark.testvibe and the fixtures work with pytest 8"
    )
    assert service.requests == []


def test_marker_and_fixtures_work(pytester: pytest.Pytester, service: Emulator) -> None:
    """A test gets the run of its marker, or an emulator and a client; the file is read."""
    pytester.makeini(
        "[pytest]\ntestvibe_max_in_flight = 3\ntestvibe_poll_interval = 0.02\n"
        "testvibe_config = Mobile"
    )
    pytester.makepyfile(
        """
        import pytest

        @pytest.mark.testvibe("Checkout", config="Mobile")
        def test_it(testvibe_run):
            assert testvibe_run.is_finished
            assert testvibe_run.config == "Mobile"

        @pytest.fixture
        def anyio_backend():
            return "asyncio"

        @pytest.mark.anyio
        async def test_client(testvibe_client, testvibe_emulator):
            assert await (await testvibe_client.project().run_feature("Checkout"))

        def test_plain(testvibe_session_emulator):
            assert testvibe_session_emulator.features
        """
    )
    pytester.runpytest_inprocess("-W", "error").assert_outcomes(passed=3)
    assert len(service.runs) == 1
