"""The options: their sources, and the errors about wrong ones."""

import pytest

from tests.support.inner_pytest import Inner
from testvibe_async.testing import Emulator, Fault


def test_the_command_line_goes_before_the_file(inner: Inner, service: Emulator) -> None:
    """The command line replaces lists, and undoes switches."""
    inner.pytester.makeini("[pytest]\ntestvibe = true\ntestvibe_select = Login")
    inner("--testvibe-select=Check*").assert_outcomes(passed=1)
    assert inner("--no-testvibe").ret == pytest.ExitCode.NO_TESTS_COLLECTED
    assert [run.feature_name for run in service.runs.values()] == ["Checkout"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("--testvibe-attempts=0", "testvibe-attempts must be 1 or more, not 0"),
        ("--testvibe-max-in-flight=0", "testvibe-max-in-flight must be 1 or more, not 0"),
        ("--testvibe-timeout=-1", "testvibe-timeout must be a number of seconds above 0, not -1"),
        ("--testvibe-timeout=inf", "testvibe-timeout must be a number of seconds *, not inf"),
        ("--testvibe-poll-interval=0", "testvibe-poll-interval must be a number *, not 0"),
        ("--testvibe-timeout=soon", "testvibe-timeout must be a number: *'soon'"),
        ("testvibe_max_in_flight = many", "*'many'"),
        ("TESTVIBE_SERVER=", "testvibe: no server: set TESTVIBE_SERVER, *"),
        ("TESTVIBE_API_KEY=tvb x", "testvibe: *the API key holds white space*"),
        ("TESTVIBE_PROJECT=", "testvibe: no project: pass --testvibe-project, *"),
        ("--testvibe-site-url=shop.example", "*the site must be a URL *"),
        ("[[quarantine]]", "testvibe: *quarantine*has no reason, no owner*"),
    ],
)
def test_a_wrong_value_is_reported(
    inner: Inner, service: Emulator, monkeypatch: pytest.MonkeyPatch, setting: str, message: str
) -> None:
    """It is an error in one sentence before tests are collected, and nothing is sent."""
    inner.pytester.path.joinpath("a.ini").touch()
    arguments = [setting] if setting.startswith("--") else []
    if setting.startswith("TESTVIBE"):
        monkeypatch.setenv(*setting.split("=", 1))
    elif setting.startswith("[["):
        inner.pytester.path.joinpath(".testvibe-async.toml").write_text(setting)
    elif not arguments:
        inner.pytester.makeini(f"[pytest]\n{setting}")
    result = inner("--testvibe", *arguments)

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: *{message}"])
    assert service.requests == []


def test_a_service_without_configurations_takes_any(inner: Inner, service: Emulator) -> None:
    """Where the service lists none, a configuration is left to it."""
    service.fail("list_configs", Fault.status(404))
    inner.feature("Login", "--testvibe-config=Moblie").assert_outcomes(passed=1)
