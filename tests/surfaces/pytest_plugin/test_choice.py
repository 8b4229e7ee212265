"""The selection of features: patterns, names, node ids, and pytest's own options."""

from __future__ import annotations

from typing import Any

import pytest

from tests.support.inner_pytest import FEATURES, Inner
from testvibe_async.pytest_plugin import suite
from testvibe_async.testing import Emulator, Fault

pytest_plugins = ["pytester"]

FAST = "--testvibe-poll-interval=0.02"

without_lists = pytest.mark.parametrize("service_options", [{"lists": False}], ids=["no lists"])
"""The mark of a test whose service has no list of features, which is an assumed route."""


def collected(result: pytest.RunResult) -> list[str]:
    """Return the names of the features in the output, each once."""
    lines = [line.split(" PASSED")[0] for line in result.outlines if line.startswith("testvibe::")]
    names = [line.split(" FAILED")[0].split(" SUB")[0] for line in lines]
    return list(dict.fromkeys(name.removeprefix("testvibe::") for name in names))


def ran(service: Emulator) -> list[tuple[str | None, str | None]]:
    return [(run.feature_name, run.config) for run in service.runs.values()]


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [*FEATURES]),
        (["--testvibe-select=*o*"], ["Login", "Checkout"]),
        (["--testvibe-select=check*", "--testvibe-select=RETURNS"], ["Checkout", "Returns"]),
        (["--testvibe-select=!Log*"], ["Checkout", "Returns"]),
        (["-k", "check"], ["Checkout"]),
        (["-k", "Login and Mobile", "--testvibe-config=Mobile"], ["Login[Mobile]"]),
        (["--deselect=testvibe::Login"], ["Checkout", "Returns"]),
        (["testvibe::returns", "testvibe::Login"], ["Returns", "Login"]),
        (["../../testvibe::Returns"], ["Returns"]),
        (["testvibe::Login[Mobile]", "--testvibe-config=Mobile"], ["Login[Mobile]"]),
        (
            ["--testvibe-config=Mobile", "--testvibe-config=Firefox", "--testvibe-select=Login"],
            ["Login[Mobile]", "Login[Firefox]"],
        ),
    ],
)
def test_some_can_be_chosen(
    inner: Inner, service: Emulator, arguments: list[str], expected: list[str]
) -> None:
    """Patterns, exclusions, pytest's own expressions and node ids select features, in order."""
    listed = inner.features("--collect-only", "-q", "-p", "no:cacheprovider", *arguments)

    assert collected(listed) == expected
    assert service.count("run_feature") == 0
    inner.features(*arguments)
    names = [f"{name}[{config}]" if config != "Default" else name for name, config in ran(service)]
    assert sorted(map(str, names)) == sorted(expected)


@pytest.mark.parametrize(
    ("arguments", "outcomes", "runs"),
    [
        (["--testvibe", "-m", "testvibe"], {"passed": 2, "failed": 2, "deselected": 1}, 3),
        (["--testvibe", "-m", "not testvibe"], {"failed": 1, "deselected": 3}, 0),
        (["testvibe::Login"], {"passed": 1}, 1),
        (["testvibe::"], {"passed": 2, "failed": 2}, 3),
    ],
)
def test_features_and_other_tests_are_told_apart(
    inner: Inner, service: Emulator, arguments: list[str], outcomes: dict[str, int], runs: int
) -> None:
    """The marker selects features; node ids need no --testvibe, and select no other test."""
    inner.pytester.makepyfile("def test_plain(): assert False")
    inner(*arguments, FAST).assert_outcomes(**outcomes)
    assert service.count("run_feature") == runs


def test_names_with_brackets_are_names(inner: Inner, service: Emulator) -> None:
    """A node id is the same in every session, for any name, so that --lf finds it again."""
    service.add_feature("Login v1.2 [beta]")
    service.fail("run_feature", Fault.status(404), times=1, when=lambda r: "beta" in str(r.feature))
    mobile = ("-v", "--testvibe-config=Mobile", "--testvibe-select=Login*")

    inner.features(*mobile).assert_outcomes(passed=1, failed=1)
    again = inner.features(*mobile, "--lf")
    again.assert_outcomes(passed=1, deselected=1)
    again.stdout.fnmatch_lines(["testvibe::Login v1.2 [[]beta[]][[]Mobile[]] PASSED *"])


def test_features_of_one_name_are_told_apart(inner: Inner, service: Emulator) -> None:
    """Where several have a name, each is run by its id, and none is left out."""
    first = service.features["Login"]

    def rename(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "name": row["name"].replace("Checkout", "Login")} for row in rows]

    service.fail("list_features", Fault.edit(rename))
    result = inner.features("-v", "--testvibe-select=Log*")

    result.assert_outcomes(passed=2)
    result.stdout.fnmatch_lines([f"testvibe::Login ({first.id}) PASSED *"])
    assert {name for name, _ in ran(service)} == {"Login", "Checkout"}


@pytest.mark.parametrize("name", ["a/b", "{id}", "Wait…"])
@pytest.mark.parametrize("word", ["testvibe::{name}", "--testvibe-select={name}*"])
def test_a_name_means_what_was_listed(
    inner: Inner, service: Emulator, name: str, word: str
) -> None:
    """A name that may lead to another feature, as the id of one, is looked up in the list."""
    name = name.format(id=service.features["Login"].id)
    service.add_feature(name)
    result = inner.features("-v", word.format(name=name))

    result.stdout.fnmatch_lines([f"testvibe::{name} PASSED *"])
    assert ran(service) == [(name, "Default")]
    assert service.count("list_features") == 1


@without_lists
@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (
            ["--testvibe-select=Login", "--testvibe-select=Checkout"],
            [("Login", "Default"), ("Checkout", "Default")],
        ),
        (
            [
                *("--testvibe-config=Mobile", "--testvibe-config=Firefox"),
                *("testvibe::Login[Firefox]", "--testvibe-select=C*"),
            ],
            [("Login", "Firefox")],
        ),
    ],
    ids=["names", "node ids"],
)
def test_names_need_no_list(
    inner: Inner, service: Emulator, arguments: list[str], expected: list[tuple[str, str]]
) -> None:
    """Features that are named, by options or node ids, are run by their names."""
    inner.features(*arguments).assert_outcomes(passed=len(expected))
    assert ran(service) == expected


def test_names_alone_are_collected_without_the_service(inner: Inner, service: Emulator) -> None:
    """Collecting features by full name sends no request."""
    result = inner.features("--testvibe-select=Login", "--collect-only", "-q")

    assert collected(result) == ["Login"]
    assert service.requests == []


@without_lists
@pytest.mark.parametrize("arguments", [[], ["--testvibe-select=L*"]])
def test_all_else_says_what_to_do(inner: Inner, service: Emulator, arguments: list[str]) -> None:
    """Patterns and "all" need the list: the collection fails, and says to name the features."""
    result = inner.features(*arguments)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(["*ERROR collecting testvibe*", "*name them*"])
    assert service.count("run_feature") == 0


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--testvibe-select=Chek*"], ["no feature matches 'Chek[*]': the project has 3, such *"]),
        (
            ["testvibe::Checkout[Moblie]"],
            ["no feature is 'testvibe::Checkout[[]Moblie[]]': did you *--testvibe-config NAME"],
        ),
        (
            ["--testvibe-config=Mobile", "testvibe::Checkout[Firefox]"],
            ["no feature is 'testvibe::Checkout[[]Firefox[]]': did you *; *--collect-only*"],
        ),
        (["401"], ["the service says *401*", "GET http://*"]),
    ],
    ids=["pattern", "another configuration", "configuration that is not chosen", "refused"],
)
def test_a_choice_of_nothing_fails(
    inner: Inner, service: Emulator, arguments: list[str], said: list[str]
) -> None:
    """What matches no feature, or is refused, is an error without a traceback; nothing runs."""
    if arguments == ["401"]:
        service.fail("list_features", Fault.status(int(arguments.pop())))
    result = inner.features(*arguments)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    result.stdout.fnmatch_lines(said)
    result.stdout.no_fnmatch_line("*Traceback*")
    assert service.count("run_feature") == 0


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

    inner.features().assert_outcomes(errors=1)
    assert service.count("run_feature") == 0
