"""Which features become items: patterns, names, node ids, pytest's own selections, and marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async.pytest_plugin.matching import is_exact, matches
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from tests.pytest_plugin.conftest import Inner
    from testvibe_async.testing import Emulator

pytest_plugins = ["pytester"]


@pytest.mark.parametrize(
    ("pattern", "name", "expected"),
    [
        ("Login", "Login", True),
        ("login", "LOGIN", True),
        ("Log", "Login", False),
        ("Log*", "Login", True),
        ("Log??", "Login", True),
        ("Log?", "Login", False),
        ("*[Mobile]", "Login[Mobile]", True),
        ("*[Mobile]", "Login[M]", False),
        ("a.c", "abc", False),
        ("a*", "a\nb", True),
    ],
)
def test_a_pattern_means_names(pattern: str, name: str, expected: bool) -> None:  # noqa: FBT001
    """A star is any text and a question mark any character; all else is itself, in any case."""
    assert matches(pattern, name) is expected


def test_a_pattern_without_wildcards_is_a_name() -> None:
    """Only stars and question marks make a pattern of a name."""
    assert is_exact("Login [beta]")
    assert not is_exact("Log*")
    assert not is_exact("Log??")


def collected(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.startswith("testvibe::")]


def test_nothing_is_dispatched_to_collect(inner: Inner, service: Emulator) -> None:
    """--collect-only lists the items that there would be, in the service's order."""
    result = inner.features("--collect-only", "-q")

    assert collected(result) == ["testvibe::Login", "testvibe::Checkout", "testvibe::Returns"]
    assert result.ret == pytest.ExitCode.OK
    assert service.count("run_feature") == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--testvibe-select=*o*"], ["Login", "Checkout"]),
        (["--testvibe-select=check*", "--testvibe-select=RETURNS"], ["Checkout", "Returns"]),
        (["-k", "check"], ["Checkout"]),
        (["-k", "Login and Mobile", "--testvibe-config=Mobile"], ["Login[Mobile]"]),
        (["--deselect=testvibe::Login"], ["Checkout", "Returns"]),
        (["testvibe::Returns", "testvibe::Login"], ["Returns", "Login"]),
        (["../../testvibe::Returns"], ["Returns"]),
        (["testvibe::Login[Mobile]", "--testvibe-config=Mobile"], ["Login[Mobile]"]),
    ],
)
def test_some_can_be_chosen(
    inner: Inner, service: Emulator, arguments: list[str], expected: list[str]
) -> None:
    """By patterns, by pytest's own expressions, and by node ids; the others are never run."""
    result = inner.features("-v", "-p", "no:cacheprovider", *arguments)

    assert {line.split()[0] for line in collected(result)} == {f"testvibe::{e}" for e in expected}
    assert service.count("run_feature") == len(expected)


def test_a_marker_tells_features_from_other_tests(inner: Inner, service: Emulator) -> None:
    """-m testvibe chooses the features, and "not testvibe" all else."""
    inner.pytester.makepyfile("def test_plain(): pass")

    only = inner.features("-m", "testvibe")
    none = inner.features("-m", "not testvibe")

    only.assert_outcomes(passed=2, failed=2, deselected=1)
    none.assert_outcomes(passed=1, deselected=3)
    assert service.count("run_feature") == 3


def test_a_node_id_asks_for_features_by_itself(inner: Inner, service: Emulator) -> None:
    """The id of a feature needs no --testvibe, and leaves all other tests out."""
    inner.pytester.makepyfile("def test_plain(): assert False")

    result = inner("testvibe::Login", "--testvibe-poll-interval=0.02")

    result.assert_outcomes(passed=1)
    assert service.count("run_feature") == 1


def test_names_with_brackets_are_names(inner: Inner, service: Emulator) -> None:
    """An id is the same in every session, whatever a name holds, so that --lf finds it again."""
    service.add_feature("Login v1.2 [beta]")
    service.fail("run_feature", Fault.status(404), times=1, when=lambda r: "beta" in str(r.feature))
    mobile = ("-v", "--testvibe-config=Mobile", "--testvibe-select=Login*")

    first = inner.features(*mobile)
    again = inner.features(*mobile, "--lf")

    first.assert_outcomes(passed=1, failed=1)
    again.assert_outcomes(passed=1, deselected=1)
    again.stdout.fnmatch_lines(["testvibe::Login v1.2 [[]beta[]][[]Mobile[]] PASSED *"])


def test_a_name_of_digits_is_a_name(inner: Inner, service: Emulator) -> None:
    """The service would take it for another feature's id, so it gets the feature's own."""
    other = service.features["Login"]
    service.add_feature(str(other.id))

    result = inner.features("-v", "--testvibe-select=1*")

    result.stdout.fnmatch_lines([f"testvibe::{other.id} PASSED *"])
    assert [run.feature_name for run in service.runs.values()] == [str(other.id)]


class TestWithoutLists:
    """A service that has no list of features, which is an assumed route."""

    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """One without."""
        return {"lists": False}

    def test_features_are_run_by_their_names(self, inner: Inner, service: Emulator) -> None:
        """Where all are named the list is not asked for."""
        result = inner.features("--testvibe-select=Login", "--testvibe-select=Checkout")

        result.assert_outcomes(passed=2)
        assert service.count("list_features") == 0

    def test_names_alone_are_collected_without_the_service(
        self, inner: Inner, service: Emulator
    ) -> None:
        """To collect what is named in full nothing is asked at all."""
        result = inner.features("--testvibe-select=Login", "--collect-only", "-q")

        assert collected(result) == ["testvibe::Login"]
        assert service.requests == []

    @pytest.mark.parametrize("arguments", [[], ["--testvibe-select=L*"]])
    def test_all_else_says_what_to_do(
        self, inner: Inner, service: Emulator, arguments: list[str]
    ) -> None:
        """Patterns and "all" need it: the collection fails, and tells to name the features."""
        result = inner.features(*arguments)

        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines(["*ERROR collecting testvibe*", "*name them*"])
        assert service.count("run_feature") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--testvibe-select=Chek*"], "--testvibe-select 'Chek*' means none of * 3 features"),
        (["testvibe::Chekout"], "no feature is 'testvibe::Chekout'; *--collect-only*"),
    ],
)
def test_a_choice_of_nothing_fails(
    inner: Inner, service: Emulator, arguments: list[str], message: str
) -> None:
    """What means no feature at all is a mistake, and told in a sentence."""
    result = inner.features(*arguments)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([message])
    assert service.count("run_feature") == 0


def test_a_service_that_refuses_fails_the_collection(inner: Inner, service: Emulator) -> None:
    """Without a list nothing is run, and the error is the service's, without a traceback."""
    service.fail("list_features", Fault.status(401))

    result = inner.features()

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["401 *", "to GET http://*"])
    result.stdout.no_fnmatch_line("*Traceback*")


def test_nothing_is_dispatched_after_failed_collections(inner: Inner, service: Emulator) -> None:
    """Where pytest does not run its tests, for some can't be collected, no features are run."""
    inner.pytester.makepyfile("import nothing_of_that_name")

    result = inner.features()

    result.assert_outcomes(errors=1)
    assert service.count("run_feature") == 0


class TestMarks:
    """Lines in the configuration file that skip features, or expect them to fail."""

    def test_some_are_not_run(self, inner: Inner, service: Emulator) -> None:
        """A feature that is to be skipped is not dispatched, and the reason is told."""
        inner.pytester.makeini(
            """
            [pytest]
            testvibe_skip =
                Check*: the shop is closed
                Login[Mobile]: no phone
            """
        )
        result = inner.features(
            "-rs", "--testvibe-config=Mobile", "--testvibe-config=Desktop", "-k", "not Returns"
        )

        result.assert_outcomes(passed=1, skipped=3)
        result.stdout.fnmatch_lines_random(
            ["SKIPPED [[]2[]] testvibe: the shop is closed", "SKIPPED [[]1[]] testvibe: no phone"]
        )
        assert [run.config for run in service.runs.values()] == ["Desktop"]

    def test_some_are_expected_to_fail(self, inner: Inner, service: Emulator) -> None:
        """They are run, and neither their failure nor that of their tests fails the session."""
        inner.pytester.makeini("[pytest]\ntestvibe_xfail = Returns: the bank is closed")

        result = inner.features("-rx", "-v")

        result.assert_outcomes(passed=2, xfailed=2)
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["XFAIL testvibe::Returns - the bank is closed*"])
        assert len(service.runs) == 3

    def test_an_expected_failure_that_passes_is_told(self, inner: Inner, service: Emulator) -> None:
        """With strict_xfail it fails, as with any other test; its tests stay what they are."""
        inner.pytester.makeini(
            "[pytest]\nstrict_xfail = true\ntestvibe_xfail = Login: it was broken"
        )
        result = inner.features("--testvibe-select=Login")

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*XPASS(strict)* it was broken"])
        assert len(service.runs) == 1

    def test_expectations_can_be_ignored(self, inner: Inner, service: Emulator) -> None:
        """--runxfail makes them failures."""
        inner.pytester.makeini("[pytest]\ntestvibe_xfail = Returns: the bank is closed")

        result = inner.features("--runxfail", "--testvibe-select=Returns")

        result.assert_outcomes(failed=2)
        assert len(service.runs) == 1

    @pytest.mark.parametrize("option", ["testvibe_skip", "testvibe_xfail"])
    def test_a_reason_is_needed(self, inner: Inner, service: Emulator, option: str) -> None:
        """A line without one is a mistake, and told in a sentence."""
        inner.pytester.makeini(f"[pytest]\n{option} = Login")

        result = inner.features()

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {option} takes lines of 'GLOB: REASON', not 'Login'"])
        assert service.requests == []
