"""The options: their sources, and the errors about wrong ones."""

import pytest

from tests.support.inner_pytest import Inner, shows
from testvibe_async.testing import Emulator, Fault


def test_all_options_may_stand_in_the_file(inner: Inner, service: Emulator) -> None:
    """pytest's file takes all options of the command line, also in strict mode.

    They take precedence over the environment, and over the project's own site.
    """
    project = service.add_project("Blog")
    service.add_feature("Returns", project=project)
    inner.pytester.makepyprojecttoml(
        f"""
        [tool.pytest]
        strict = true
        testvibe = true
        testvibe_project = "{project.id}"
        testvibe_select = ["Re*"]
        testvibe_config = ["Mobile"]
        testvibe_site_url = "https://next.example"
        testvibe_max_in_flight = 1
        testvibe_attempts = 2
        testvibe_timeout = 60.0
        testvibe_poll_interval = 0.02
        testvibe_artifacts = "found"
        """
    )
    inner().assert_outcomes(failed=2)

    places = {(run.project.id, run.config, run.site_url) for run in service.runs.values()}
    assert places == {(project.id, "Mobile", "https://next.example")}
    assert service.max_active_runs == 1
    assert len(service.runs) == 2
    assert list((inner.pytester.path / "found").iterdir())


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


def test_a_project_is_found_by_its_name(
    inner: Inner, service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A name will do for the session's project and for a marker's; it is looked up once."""
    monkeypatch.setenv("TESTVIBE_PROJECT", "acme shop")
    inner.marked(
        '"Login", project="Acme Shop", config="Mobile"', body="assert testvibe_run.is_success"
    )
    inner.feature("Login").assert_outcomes(passed=2)
    assert {run.config for run in service.runs.values()} == {"Default", "Mobile"}


@pytest.mark.parametrize("arguments", [[], ["--testvibe", "--testvibe-project=Acme Shopp"]])
def test_a_project_that_is_not_there_is_reported(
    inner: Inner, service: Emulator, arguments: list[str]
) -> None:
    """The name that may have been meant is asked for, also by a test with a marker alone."""
    inner.marked('"Login", project="Acme Shopp"')
    said = "*there is no project 'Acme Shopp': did you mean 'Acme Shop'?"
    inner(*arguments).stdout.fnmatch_lines([said])
    assert not service.runs


def test_a_configuration_is_one_that_is_listed(inner: Inner, service: Emulator) -> None:
    """One that the service does not list is refused; one in other letters is the one it lists."""
    said = "*there is no configuration 'Moblie': did you mean 'Mobile'?"
    shows(inner.features("--testvibe-config=Moblie"), said, errors=1)
    right = inner.feature("Login", "-v", "--testvibe-config=mobile")
    right.stdout.fnmatch_lines(["testvibe::Login[[]Mobile[]] PASSED *"])
    inner.marked('"Login", config="Moblie"')
    shows(inner(), said, errors=1)
    assert [run.config for run in service.runs.values()] == ["Mobile"]


def test_a_service_without_configurations_takes_any(inner: Inner, service: Emulator) -> None:
    """Where the service lists none, a configuration is left to it."""
    service.fail("list_configs", Fault.status(404))
    inner.feature("Login", "--testvibe-config=Moblie").assert_outcomes(passed=1)
