"""The selection of features: patterns, names, node ids, pytest's own options, and marks."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from testvibe_async.pytest_plugin import suite
from testvibe_async.pytest_plugin.features import reason_for
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from tests.support.inner_pytest import Inner
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
    """A star matches any text, a question mark any character, all else itself in any case."""
    assert (reason_for({pattern: "why"}, name) == "why") is expected


def collected(result: pytest.RunResult) -> list[str]:
    return [line for line in result.outlines if line.startswith("testvibe::")]


def test_nothing_is_dispatched_to_collect(inner: Inner, service: Emulator) -> None:
    """--collect-only lists the items in the service's order."""
    result = inner.features("--collect-only", "-q")

    assert collected(result) == ["testvibe::Login", "testvibe::Checkout", "testvibe::Returns"]
    assert result.ret == pytest.ExitCode.OK
    assert service.count("run_feature") == 0


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["--testvibe-select=*o*"], ["Login", "Checkout"]),
        (["--testvibe-select=check*", "--testvibe-select=RETURNS"], ["Checkout", "Returns"]),
        (["--testvibe-select=!Log*"], ["Checkout", "Returns"]),
        (["-k", "check"], ["Checkout"]),
        (["-k", "Login and Mobile", "--testvibe-config=Mobile"], ["Login[Mobile]"]),
        (["--deselect=testvibe::Login"], ["Checkout", "Returns"]),
        (["testvibe::returns", "testvibe::Login"], ["Returns", "Login"]),
        (["../../testvibe::Returns"], ["Returns"]),
        (["testvibe::Login[Mobile]", "--testvibe-config=Mobile"], ["Login[Mobile]"]),
    ],
)
def test_some_can_be_chosen(
    inner: Inner, service: Emulator, arguments: list[str], expected: list[str]
) -> None:
    """Patterns, exclusions, pytest's own expressions and node ids select features."""
    result = inner.features("-v", "-p", "no:cacheprovider", *arguments)

    assert {line.split()[0] for line in collected(result)} == {f"testvibe::{e}" for e in expected}
    assert service.count("run_feature") == len(expected)


def test_a_marker_selects_features_or_other_tests(inner: Inner, service: Emulator) -> None:
    """-m testvibe selects the features, and "not testvibe" all other tests."""
    inner.pytester.makepyfile("def test_plain(): pass")

    only = inner.features("-m", "testvibe")
    none = inner.features("-m", "not testvibe")

    only.assert_outcomes(passed=2, failed=2, deselected=1)
    none.assert_outcomes(passed=1, deselected=3)
    assert service.count("run_feature") == 3


def test_a_node_id_asks_for_features_by_itself(inner: Inner, service: Emulator) -> None:
    """The node id of a feature needs no --testvibe, and selects no other test."""
    inner.pytester.makepyfile("def test_plain(): assert False")

    result = inner("testvibe::Login", "--testvibe-poll-interval=0.02")

    result.assert_outcomes(passed=1)
    assert service.count("run_feature") == 1


def test_a_configuration_that_no_option_names(inner: Inner, service: Emulator) -> None:
    """A node id with one is no feature, and the one that may have been meant is asked for."""
    result = inner("testvibe::Checkout[Moblie]")

    result.stdout.fnmatch_lines(
        ["no feature is 'testvibe::Checkout[[]Moblie[]]': did you mean * --testvibe-config NAME"]
    )
    assert not service.runs


def test_the_collector_means_all_features(inner: Inner, service: Emulator) -> None:
    """The beginning of the node ids alone selects all features, without --testvibe."""
    inner("testvibe::", "--testvibe-poll-interval=0.02").assert_outcomes(passed=2, failed=2)
    assert service.count("run_feature") == 3


def test_names_with_brackets_are_names(inner: Inner, service: Emulator) -> None:
    """A node id is the same in every session, for any name, so that --lf finds it again."""
    service.add_feature("Login v1.2 [beta]")
    service.fail("run_feature", Fault.status(404), times=1, when=lambda r: "beta" in str(r.feature))
    mobile = ("-v", "--testvibe-config=Mobile", "--testvibe-select=Login*")

    first = inner.features(*mobile)
    again = inner.features(*mobile, "--lf")

    first.assert_outcomes(passed=1, failed=1)
    again.assert_outcomes(passed=1, deselected=1)
    again.stdout.fnmatch_lines(["testvibe::Login v1.2 [[]beta[]][[]Mobile[]] PASSED *"])


def test_a_name_of_digits_is_a_name(inner: Inner, service: Emulator) -> None:
    """The feature is run by its id, because the service would read the name as another id."""
    other = service.features["Login"]
    service.add_feature(str(other.id))

    result = inner.features("-v", "--testvibe-select=1*")

    result.stdout.fnmatch_lines([f"testvibe::{other.id} PASSED *"])
    assert [run.feature_name for run in service.runs.values()] == [str(other.id)]


def test_features_of_one_name_are_told_apart(inner: Inner, service: Emulator) -> None:
    """Where several have a name, each is run by its id, and none is left out."""
    first = service.features["Login"]

    def rename(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [
            {**row, "name": "Login" if row["name"] == "Checkout" else row["name"]} for row in rows
        ]

    service.fail("list_features", Fault.edit(rename))
    result = inner.features("-v", "--testvibe-select=Log*")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"testvibe::Login ({first.id}) PASSED *"])
    assert {run.feature_name for run in service.runs.values()} == {"Login", "Checkout"}


@pytest.mark.parametrize("name", ["a/b", "{id}", "Wait…"])
def test_a_node_id_means_what_was_listed(inner: Inner, service: Emulator, name: str) -> None:
    """A node id whose name may lead to another feature is looked up in the list."""
    name = name.format(id=service.features["Login"].id)
    service.add_feature(name)

    result = inner.features(f"testvibe::{name}")

    result.assert_outcomes(passed=1)
    assert [run.feature_name for run in service.runs.values()] == [name]
    assert service.count("list_features") == 1


class TestWithoutLists:
    """A service that has no list of features, which is an assumed route."""

    @pytest.fixture
    def service_options(self) -> dict[str, Any]:
        """Return options without lists."""
        return {"lists": False}

    def test_features_are_run_by_their_names(self, inner: Inner, service: Emulator) -> None:
        """If all features are named, the list is not needed."""
        result = inner.features("--testvibe-select=Login", "--testvibe-select=Checkout")

        result.assert_outcomes(passed=2)
        assert service.count("run_feature") == 2

    def test_node_ids_are_run_without_the_list(self, inner: Inner, service: Emulator) -> None:
        """If all features are given by node ids, the list is not needed."""
        configs = ("--testvibe-config=Mobile", "--testvibe-config=Firefox")
        result = inner.features("-v", *configs, "testvibe::Login[Firefox]", "--testvibe-select=C*")

        result.assert_outcomes(passed=1)
        assert [(run.feature_name, run.config) for run in service.runs.values()] == [
            ("Login", "Firefox")
        ]

    def test_names_alone_are_collected_without_the_service(
        self, inner: Inner, service: Emulator
    ) -> None:
        """Collecting features by full name sends no request."""
        result = inner.features("--testvibe-select=Login", "--collect-only", "-q")

        assert collected(result) == ["testvibe::Login"]
        assert service.requests == []

    @pytest.mark.parametrize("arguments", [[], ["--testvibe-select=L*"]])
    def test_all_else_says_what_to_do(
        self, inner: Inner, service: Emulator, arguments: list[str]
    ) -> None:
        """Patterns and "all" need the list: the collection fails, and says to name the features."""
        result = inner.features(*arguments)

        assert result.ret == pytest.ExitCode.INTERRUPTED
        result.stdout.fnmatch_lines(["*ERROR collecting testvibe*", "*name them*"])
        assert service.count("run_feature") == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--testvibe-select=Chek*"], "no feature matches 'Chek[*]': the project has 3, such as *"),
        (
            ["--testvibe-config=Mobile", "testvibe::Checkout[Firefox]"],
            "no feature is 'testvibe::Checkout[[]Firefox[]]': did you *; *--collect-only*",
        ),
    ],
)
def test_a_choice_of_nothing_fails(
    inner: Inner, service: Emulator, arguments: list[str], message: str
) -> None:
    """A pattern or a node id that matches no feature is an error in one sentence."""
    result = inner.features(*arguments)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines([message])
    assert service.count("run_feature") == 0


def test_a_service_that_refuses_fails_the_collection(inner: Inner, service: Emulator) -> None:
    """If the list is refused, nothing runs, and the error is shown without a traceback."""
    service.fail("list_features", Fault.status(401))

    result = inner.features()

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["the service says *401*", "GET http://*"])
    result.stdout.no_fnmatch_line("*Traceback*")


@pytest.mark.usefixtures("service")
def test_an_outage_at_the_start_is_waited_for(
    inner: Inner, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lists of features and of projects have the patience of polls."""
    patience: list[float | None] = []

    def note(call: Any) -> Any:
        def called(*arguments: Any, max_outage: float | None = None) -> Any:
            patience.append(max_outage)
            return call(*arguments, max_outage=max_outage)

        return called

    for name in ("select", "choose_project"):
        monkeypatch.setattr(suite, name, note(getattr(suite, name)))
    inner.features("--testvibe-project=Acme Shop", "--collect-only")

    assert patience == [suite.MAX_OUTAGE, suite.MAX_OUTAGE]


def test_nothing_is_dispatched_after_failed_collections(inner: Inner, service: Emulator) -> None:
    """If pytest runs no tests because of collection errors, no feature is dispatched."""
    inner.pytester.makepyfile("import nothing_of_that_name")

    result = inner.features()

    result.assert_outcomes(errors=1)
    assert service.count("run_feature") == 0


class TestMarks:
    """Lines in the configuration file that skip features, or expect them to fail."""

    def test_some_are_not_run(self, inner: Inner, service: Emulator) -> None:
        """A skipped feature is not dispatched, and the reason is reported."""
        inner.pytester.makeini(
            """
            [pytest]
            testvibe_skip =
                Check*: the shop is closed
                Login[Mobile]: no phone
            """
        )
        result = inner.features(
            "-rs", "--testvibe-config=Mobile", "--testvibe-config=Firefox", "-k", "not Returns"
        )

        result.assert_outcomes(passed=1, skipped=3)
        result.stdout.fnmatch_lines_random(
            ["SKIPPED [[]2[]] testvibe: the shop is closed", "SKIPPED [[]1[]] testvibe: no phone"]
        )
        assert [run.config for run in service.runs.values()] == ["Firefox"]

    def test_some_are_expected_to_fail(self, inner: Inner, service: Emulator) -> None:
        """They run, and neither their failure nor that of their tests fails the session."""
        inner.pytester.makeini("[pytest]\ntestvibe_xfail = Returns: the bank is closed")

        result = inner.features("-rx", "-v")

        result.assert_outcomes(passed=2, xfailed=2)
        assert result.ret == pytest.ExitCode.OK
        result.stdout.fnmatch_lines(["XFAIL testvibe::Returns - the bank is closed*"])
        assert len(service.runs) == 3

    def test_an_expected_failure_that_passes_is_reported(
        self, inner: Inner, service: Emulator
    ) -> None:
        """With strict_xfail it fails, as any other test does; its subtests keep their results."""
        inner.pytester.makeini(
            "[pytest]\nstrict_xfail = true\ntestvibe_xfail = Login: it was broken"
        )
        result = inner.features("--testvibe-select=Login")

        result.assert_outcomes(failed=1)
        result.stdout.fnmatch_lines(["*XPASS(strict)* it was broken"])
        assert len(service.runs) == 1

    def test_expectations_can_be_ignored(self, inner: Inner, service: Emulator) -> None:
        """--runxfail reports them as failures."""
        inner.pytester.makeini("[pytest]\ntestvibe_xfail = Returns: the bank is closed")

        result = inner.features("--runxfail", "--testvibe-select=Returns")

        result.assert_outcomes(failed=2)
        assert len(service.runs) == 1

    @pytest.mark.parametrize("option", ["testvibe_skip", "testvibe_xfail"])
    def test_a_reason_is_needed(self, inner: Inner, service: Emulator, option: str) -> None:
        """A line without a reason is an error in one sentence."""
        inner.pytester.makeini(f"[pytest]\n{option} = Login")

        result = inner.features()

        assert result.ret == pytest.ExitCode.USAGE_ERROR
        result.stderr.fnmatch_lines([f"ERROR: {option} takes lines of 'GLOB: REASON', not 'Login'"])
        assert service.requests == []
