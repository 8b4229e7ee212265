"""The selection of features: patterns, names, node ids, and pytest's own options."""

import re
from typing import Any

import pytest

from tests.support.inner_pytest import FEATURES, Inner, shows
from testvibe_async.testing import Emulator, Fault


def reported(result: pytest.RunResult) -> list[str]:
    """Return the names of the features in the output, in order, each once."""
    found = (re.match(r"testvibe::(.+?) (PASSED|FAILED|SUB)", line) for line in result.outlines)
    return list(dict.fromkeys(each[1] for each in found if each))


def ran(service: Emulator) -> list[str]:
    """Return the features and configurations of all runs, as the node ids have them."""
    names = [(run.feature_name, run.config) for run in service.runs.values()]
    return sorted(
        f"{name}[{config}]" if config != "Default" else str(name) for name, config in names
    )


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        ([], [*FEATURES]),
        (["--testvibe-select=check*", "--testvibe-select=RETURNS"], ["Checkout", "Returns"]),
        (["--testvibe-select=!Log*"], ["Checkout", "Returns"]),
        (["-k", "Login and Mobile", "--testvibe-config=Mobile"], ["Login[Mobile]"]),
        (["testvibe::returns", "../../testvibe::Login"], ["Returns", "Login"]),
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
    assert reported(inner.features("-v", *arguments)) == expected
    assert ran(service) == sorted(expected)


@pytest.mark.parametrize(
    ("arguments", "outcomes", "runs"),
    [
        ([], {"failed": 1}, 0),
        (["--testvibe", "-m", "testvibe"], {"passed": 2, "failed": 2, "deselected": 1}, 3),
        (["--testvibe", "-m", "not testvibe"], {"failed": 1, "deselected": 3}, 0),
        (["testvibe::Login"], {"passed": 1}, 1),
        (["testvibe::"], {"passed": 2, "failed": 2}, 3),
        (["--testvibe-select=Login"], {"passed": 1, "failed": 1}, 1),
        (["--testvibe-select=Login", "--no-testvibe"], {"failed": 1}, 0),
        (["--testvibe-config=Mobile"], {"passed": 2, "failed": 3}, 3),
    ],
)
def test_features_and_other_tests_are_told_apart(
    inner: Inner, service: Emulator, arguments: list[str], outcomes: dict[str, int], runs: int
) -> None:
    """The marker selects features; node ids and what the command line selects need no --testvibe.

    A selection without an effect would be green unseen.
    """
    inner.pytester.makepyfile("def test_plain(): assert False")
    inner(*arguments).assert_outcomes(**outcomes)
    assert service.count("run_feature") == runs


@pytest.mark.parametrize(
    ("name", "shown", "options"),
    [
        ("Weird [x] :: y", "Weird (x) :: y", ()),
        ("New [beta]", "New [beta]", ()),
        ("Login v1.2 [beta]", "Login v1.2 [beta][Mobile]", ("--testvibe-config=Mobile",)),
    ],
)
def test_a_name_with_brackets_is_the_same_everywhere(
    inner: Inner, service: Emulator, name: str, shown: str, options: tuple[str, ...]
) -> None:
    """A node id is the same in every session, for any name, so that --lf finds it again.

    pytest adds a bracket to a name with brackets that does not end in one: it gets others.
    """
    service.add_feature(name)
    service.fail("list_features", Fault.edit(lambda rows: [rows[0], rows[-1]]))
    service.fail("run_feature", Fault.status(404), times=1, when=lambda r: name in str(r.feature))
    node_id = f"testvibe::{shown}".replace("[", "[[]")

    result = inner.features("-v", "--junitxml=report.xml", *options)
    shows(result, f"{node_id} FAILED *", f"FAILED {node_id} - *", passed=1, failed=1)
    assert shown.rsplit("::", maxsplit=1)[-1] in {each.get("name") for each in inner.report()}
    lines = [f"{node_id} PASSED *"]
    shows(inner.features("-v", "--lf", *options), *lines, passed=1, deselected=1)
    shows(inner("-v", f"testvibe::{shown}", *options), *lines, passed=1)
    assert len(service.runs) == 3


def test_features_of_one_name_are_told_apart(inner: Inner, service: Emulator) -> None:
    """Where several have a name, each is run by its id, and none is left out."""
    first = service.features["Login"]

    def rename(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**row, "name": row["name"].replace("Checkout", "Login")} for row in rows]

    service.fail("list_features", Fault.edit(rename))
    shows(inner.feature("Log*", "-v"), f"testvibe::Login ({first.id}) PASSED *", passed=2)
    assert ran(service) == ["Checkout", "Login"]


@pytest.mark.parametrize(
    ("name", "word"),
    [
        *(("a/b", "testvibe::{}"), ("Wait…", "testvibe::{}")),
        *(("{id}", "testvibe::{}"), ("{id}", "--testvibe-select={}*")),
    ],
)
def test_a_name_means_what_was_listed(
    inner: Inner, service: Emulator, name: str, word: str
) -> None:
    """A name that may lead to another feature, as the id of one, is looked up in the list."""
    name = name.format(id=service.features["Login"].id)
    service.add_feature(name)

    shows(inner.features("-v", word.format(name)), f"testvibe::{name} PASSED *", passed=1)
    assert ran(service) == [name]
    assert service.count("list_features") == 1


def test_without_a_list_a_node_id_is_a_name(inner: Inner, service: Emulator) -> None:
    """Where the service has no list of features, a plain node id names one."""
    service.fail("list_features", Fault.status(404))
    inner("testvibe::Login[Mobile]", "--testvibe-config=Mobile").assert_outcomes(passed=1)
    assert ran(service) == ["Login[Mobile]"]


@pytest.mark.parametrize(
    ("arguments", "body", "requested"),
    [
        (["--testvibe-select=Login", "--collect-only"], "", "get_feature"),
        (["--setup-plan"], "", "list_features"),
        ([], "import nothing_of_that_name", "list_features"),
    ],
    ids=["names are collected", "a plan", "a file that can't be collected"],
)
def test_without_a_test_nothing_is_dispatched(
    inner: Inner, service: Emulator, arguments: list[str], body: str, requested: str
) -> None:
    """Where pytest runs no test, nothing is sent but one request that resolves the names."""
    inner.pytester.makepyfile(body)
    inner.features(*arguments)
    assert [each.operation for each in service.requests] == [requested]


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["--testvibe-select=Chek*"], 0, "no feature matches 'Chek[*]': did you mean 'Checkout'*"),
        (["--testvibe-select=Chekout"], 0, "*no feature 'Chekout': did you mean 'Checkout'?*"),
        (["testvibe::Chekout"], 0, "no feature is *Chekout': did you mean '*Checkout'?*"),
        (["testvibe::Checkout[Moblie]"], 0, "no feature is '*Moblie[]]': did you *-config NAME"),
        (
            ["--testvibe-config=Mobile", "testvibe::Checkout[Firefox]"],
            0,
            "no feature is 'testvibe::Checkout[[]Firefox[]]': did you *; *--collect-only*",
        ),
        ([], 401, "the service says *401*"),
        ([], 404, "*name them*"),
        (["--testvibe-select=L*"], 404, "*name them*"),
    ],
    ids=str,
)
def test_a_choice_of_nothing_fails(
    inner: Inner, service: Emulator, arguments: list[str], status: int, said: str
) -> None:
    """What selects no feature is an error of the collection, in one sentence."""
    if status:
        service.fail("list_features", Fault.status(status))
    result = inner.features(*arguments)

    assert result.ret == pytest.ExitCode.INTERRUPTED
    shows(result, "*ERROR collecting testvibe*", said, errors=1)
    result.stdout.no_fnmatch_line("*Traceback*")
    assert service.count("run_feature") == 0
