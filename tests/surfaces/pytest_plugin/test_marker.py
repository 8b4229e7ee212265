"""Tests that ask for a run: `@pytest.mark.testvibe` and the fixture `testvibe_run`."""

import pytest

from tests.support.inner_pytest import Inner, end_together, endless, shows
from testvibe_async.testing import Emulator


@endless
def test_a_test_gets_its_run(inner: Inner, service: Emulator) -> None:
    """The fixture returns the finished run, passed or failed, which equal requests share.

    It works with any plugin that runs a test in an event loop.
    """
    end_together(service, 2)
    inner.pytester.makepyfile(
        """
        import asyncio, pytest

        @pytest.mark.asyncio
        @pytest.mark.testvibe("Login", config="Mobile", site_url="https://next.example")
        async def test_login(testvibe_run):
            await asyncio.sleep(0)
            assert testvibe_run.is_success
            assert testvibe_run.config == "Mobile"
            assert testvibe_run.site_url == "https://next.example"

        @pytest.mark.testvibe("Returns")
        class TestReturns:
            def test_it_fails(self, testvibe_run):
                assert not testvibe_run.is_success

            def test_it_says_why(self, testvibe_run):
                assert testvibe_run.failures[0].error == "no refund"
        """
    )
    inner.asynchronous("asyncio_mode=strict").assert_outcomes(passed=3)
    assert len(service.runs) == service.max_active_runs == 2


def test_features_and_tests_share_their_runs(inner: Inner, service: Emulator) -> None:
    """A test and a feature that ask for the same run share it."""
    inner.marked('"Login"', body="assert testvibe_run.is_success")
    site = "--testvibe-site-url=https://next.example"
    result = inner.features("--testvibe-select=Login", "--testvibe-select=Checkout", site)

    result.assert_outcomes(passed=3)
    assert {run.site_url for run in service.runs.values()} == {"https://next.example"}
    assert len(service.runs) == 2


@endless
def test_a_session_may_have_several_projects(
    inner: Inner, service: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A marker may name the project, which then needs no setting; features of one name are two."""
    monkeypatch.delenv("TESTVIBE_PROJECT")
    projects = [service.add_project("Blog"), service.add_project("Docs")]
    for project in projects:
        service.add_feature("Returns", project=project)
    end_together(service, 2)
    inner.marked(*(f'"Returns", project="{project.id}"' for project in projects))
    inner("--testvibe-artifacts=found").assert_outcomes(passed=2)

    assert {run.project.id for run in service.runs.values()} == {each.id for each in projects}
    assert service.max_active_runs == 2
    names = {f"Returns of {run.project.id} run {run_id}" for run_id, run in service.runs.items()}
    assert {path.name for path in (inner.pytester.path / "found").iterdir()} == names


@pytest.mark.parametrize("setting", ["TESTVIBE_PROJECT", "TESTVIBE_SERVER"])
def test_settings_are_needed(
    inner: Inner, service: Emulator, monkeypatch: pytest.MonkeyPatch, setting: str
) -> None:
    """Without server or project the session ends before the first test, with one sentence."""
    monkeypatch.delenv(setting)
    inner.marked('"Login"')
    result = inner()

    assert result.ret == pytest.ExitCode.USAGE_ERROR
    result.stderr.fnmatch_lines([f"ERROR: testvibe: no *: *set {setting}*"])
    assert service.requests == []


def test_what_is_not_run_is_not_dispatched(inner: Inner, service: Emulator) -> None:
    """Tests that are skipped, not selected, or only collected, dispatch no run.

    A marked test without the fixture would pass without a run: it is an error that says so.
    """
    marks = ["skip", "skipif(True, reason='x')", "xfail(run=False)", "skipif(True)"]
    tests = [
        "import pytest\npytestmark = pytest.mark.testvibe('Login')",
        *(
            f"@pytest.mark.{mark}\ndef test_{number}(testvibe_run): ..."
            for number, mark in enumerate([*marks, "skipif('True', reason='a text')"])
        ),
        "def test_not_selected(testvibe_run): ...",
        "def test_without_the_fixture(): ...",
        "@pytest.mark.skip\ndef test_skipped_without_the_fixture(): ...",
    ]
    inner.pytester.makepyfile("\n".join(tests))
    collected = inner("--collect-only", "-q")
    result = inner("-k", "not selected")

    assert "8 tests collected" in collected.outlines[-1]
    assert service.requests == []
    said = "@pytest.mark.testvibe needs the fixture testvibe_run: *"
    shows(result, said, skipped=4, xfailed=1, errors=2, deselected=1)


WRONG = {
    "@pytest.mark.filterwarnings('error')": "testvibe_run needs @pytest.mark.testvibe('a feature')",
    "@pytest.mark.testvibe": "@pytest.mark.testvibe(*) missing *'feature'*",
    "@pytest.mark.testvibe('a', 'b')": "@pytest.mark.testvibe(*) takes 2 *",
    "@pytest.mark.testvibe('a', config=['b'])": "@*(*) 'config' must be str*[[]'b'[]]*",
    "@pytest.mark.testvibe('a', confg='b')": "@pytest.mark.testvibe(*) got *'confg'*",
    "@pytest.mark.testvibe('Chekout')": "there is no feature 'Chekout': did you mean 'Checkout'?",
    "@pytest.mark.testvibe('a', site_url='shop.example')": "the site must be a URL *",
    "@pytest.mark.testvibe('a')\n@pytest.mark.testvibe('b')": "@*(*) twice: a test has one run",
}
"""What is said of each wrong marker, or none."""


def test_a_wrong_marker_is_reported(inner: Inner, service: Emulator) -> None:
    """A test with a wrong marker, or none, fails with one sentence; the others run."""
    tests = [f"{each}\ndef test_{n}(testvibe_run): ..." for n, each in enumerate(WRONG)]
    right = '@pytest.mark.testvibe("Login")\ndef test_right(testvibe_run): ...'
    inner.pytester.makepyfile("\n".join(["import pytest", *tests, right]))
    shows(inner(), *WRONG.values(), passed=1, errors=len(WRONG))
    assert len(service.runs) == 1
