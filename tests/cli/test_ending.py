"""The text, document and exit code of a command that waited."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from testvibe_async import (
    BatchItem,
    CaseResult,
    ConfigError,
    DispatchUnknownError,
    FeatureNotGeneratedError,
    FeatureStatus,
    ForbiddenError,
    Generation,
    GenerationInProgressError,
    GenerationLog,
    GenerationRef,
    NotSentError,
    ObservationError,
    OperationNotFoundError,
    Run,
    RunRef,
    RunStatus,
    SectionLog,
    ServerError,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async._wire import serialize
from testvibe_async.cli.ending import Ending

if TYPE_CHECKING:
    from testvibe_async.cli.exits import ExitCode

Item = BatchItem[Run | Generation]

RUN = RunRef(server="http://s", project="p", run_id=214, feature_id=12)
GENERATION = GenerationRef(server="http://s", project="p", request_id="r", feature_id=12)
CASE = CaseResult("Pays", "failed", error="Error: no button")


def refused(kind: type[ForbiddenError] = ForbiddenError, message: str = "No.") -> VibeError:
    return kind(message, status=403, method="POST", url="http://s")


def unsent() -> NotSentError:
    return NotSentError("refused", method="POST", url="http://s")


def item(feature: str = "Checkout", **values: Any) -> Item:
    return BatchItem(feature=feature, **values)


def ran(status: str, *tests: CaseResult, **values: Any) -> Item:
    run = Run(214, RunStatus(status), 12, "Checkout", tests=tests)
    return item(ref=RUN, outcome=run, **values)


def generated(status: str) -> Item:
    return item(ref=GENERATION, outcome=Generation(12, "Checkout", FeatureStatus(status), "r"))


def timed_out() -> Item:
    return item(ref=RUN, error=WaitTimeoutError(ref=RUN, status="running", elapsed=5))


def ending(*items: Item, **values: Any) -> Ending:
    return evolve(Ending(items=items, seconds=95.0), **values)


PASSED, FAILED = ran("passed"), ran("failed", CASE)


@pytest.mark.parametrize(
    ("items", "code"),
    [
        ([], 0),
        ([PASSED, generated("generated")], 0),
        ([PASSED, FAILED], 1),
        ([generated("failed")], 1),
        ([generated("cancelled")], 1),
        ([FAILED, timed_out()], 4),
        ([FAILED, timed_out(), item(error=refused())], 3),
        ([timed_out(), item(error=refused()), item(error=unsent())], 5),
        ([item(error=ServerError("x", status=500, method="GET", url="u"))], 5),
        ([item(error=ConfigError("wrong"))], 2),
        ([PASSED, item(error=ConfigError("wrong")), timed_out()], 2),
        ([item(error=ConfigError("wrong")), item(error=refused())], 3),
        ([item(error=VibeError("unheard of")), item(error=unsent())], 70),
        ([FAILED, item()], 1),
        ([PASSED, item()], 4),
    ],
)
def test_exit_code_is_of_what_is_known_least(items: list[Item], code: ExitCode) -> None:
    """Unreachable takes precedence over refused, that over in flight, and that over failed."""
    assert ending(*items).exit_code == code
    assert ending(*reversed(items)).exit_code == code


@pytest.mark.parametrize(
    ("items", "code"),
    [([item(ref=RUN)], 0), ([item(ref=RUN), item(error=refused())], 3)],
)
def test_exit_code_without_waiting(items: list[Item], code: ExitCode) -> None:
    """Operations in flight do not change the exit code of a command that does not wait."""
    assert ending(*items, is_waited_for=False).exit_code == code
    assert ending(*items).exit_code in {3, 4}


def test_line_adds_it_all_up() -> None:
    """The line counts in the service's own words, success first."""
    many = [
        item(),
        FAILED,
        item(error=refused()),
        item(error=unsent()),
        PASSED,
        PASSED,
        timed_out(),
        generated("generated"),
    ]
    assert ending(*many).line == (
        "8 in 1:35: 2 passed, 1 generated, 1 failed, 2 errors, 1 in flight, 1 skipped"
    )
    assert ending().counts == "nothing to do"


def lost(feature: str = "Checkout", what: str = "run") -> DispatchUnknownError:
    url = f"http://s/api/v1/ops/projects/p/features/x/{what}"
    return DispatchUnknownError("lost", method="POST", url=url, project="p", feature=feature)


def test_flaky_is_a_success_of_its_own() -> None:
    """What passed after a failure is counted apart from what passed, and the exit code is 0."""
    flaky = ran("passed", earlier=(FAILED.outcome,))
    assert ending(flaky, PASSED).line == "2 in 1:35: 1 passed, 1 flaky"
    assert ending(flaky).exit_code == 0
    assert ending(flaky, PASSED).flaky == "  Checkout: run 214 failed, run 214 passed"
    assert not ending(flaky).failures(width=None)
    assert ending(PASSED, ran("failed", earlier=(FAILED.outcome,))).flaky == ""


def test_unknown_is_no_error() -> None:
    """What may have started is counted apart, its exit code is that of the error."""
    both = ending(item(error=lost()), item(error=unsent()))
    assert both.line == "2 in 1:35: 1 error, 1 unknown"
    assert both.exit_code == ending(item(error=lost())).exit_code == 5


def test_unknown_names_the_commands_that_show_it() -> None:
    """Each dispatch that may have taken effect comes with the command to check it, up to a few."""
    items = [item("a b", error=lost("a b")), item("c", error=lost("c", "generate"))]
    text = str(ending(*items, place=("--server", "http://s")).failures(width=None))
    assert text.splitlines() == [
        "a b, c",
        "  unknown: it may have started: the answer to its dispatch was lost",
        "Before you start it again, see whether it did with:",
        "  testvibe-async runs list --feature 'a b' --server http://s",
        "  testvibe-async generation status c --server http://s",
    ]
    many = ending(*(item(str(number), error=lost(str(number))) for number in range(7)))
    assert str(many.failures(width=None)).endswith("--feature 4\n  and 2 more")


def test_unknown_words_are_counted_last() -> None:
    """An unknown status is a word like any other."""
    odd = item(ref=RUN, outcome=Run(1, "flaky\x1b[2J"))
    assert ending(odd, FAILED).counts == "1 failed, 1 flaky\\x1b[2J"


def test_story_has_failed_tests_then_errors() -> None:
    """Failed tests come run by run, then each reason once with its features."""
    some = [item(f"Feature {number}", error=unsent()) for number in range(7)]
    text = str(ending(*some, PASSED, ran("failed", CASE, config="Mobile")).failures(width=None))
    assert text.splitlines() == [
        "Checkout [Mobile], run 214: Pays",
        "    Error: no button",
        "",
        "7 errors: the service was not reachable: refused",
        "  Feature 0, Feature 1, Feature 2, Feature 3, Feature 4 and 2 more",
    ]


def test_configuration_is_named_where_it_is_not_the_usual() -> None:
    """The default configuration is not named, also where it was asked for by name.

    The configuration of an attached run is that of its outcome.
    """
    for config, name in (("Mobile", "Checkout [Mobile]"), ("Default", "Checkout")):
        run = Run(214, RunStatus.FAILED, 12, "Checkout", config, tests=(CASE,))
        for asked in (None, config):
            text = str(ending(item(ref=RUN, outcome=run, config=asked)).failures(width=None))
            assert text.startswith(f"{name}, run 214: ")
        text = str(ending(item(error=refused(), config=config)).failures(width=None))
        assert text.endswith(f"\n  {name}")


def test_commands_run_again_what_failed() -> None:
    """What failed runs again with its configurations, quoted for a shell; nothing else does."""

    def failed(feature: str, config: str | None = None) -> Item:
        return item(feature, config=config, outcome=Run(1, RunStatus.FAILED, 12, feature, config))

    items = [failed("a b"), failed("c", "Mobile"), failed("a b", "Mobile"), failed("d"), PASSED]
    assert ending(*items, failed("7*"), place=("--server", "http://s")).rerun == [
        "testvibe-async run 'a b' --wait -c Default -c Mobile --server http://s",
        "testvibe-async run c --wait -c Mobile --server http://s",
        "testvibe-async run d 12 --wait --server http://s",
    ]
    assert ending(PASSED, timed_out(), generated("failed")).rerun == []


def test_story_without_trouble_is_empty() -> None:
    """Where all passed, or is in flight, there is nothing to print."""
    assert not ending(PASSED, timed_out(), item()).failures(width=80)


@pytest.mark.parametrize(
    ("kind", "hint"),
    [
        (FeatureNotGeneratedError, "--on-conflict generate"),
        (GenerationInProgressError, "--on-conflict attach"),
    ],
)
def test_conflict_comes_with_a_way_out(kind: type[ForbiddenError], hint: str) -> None:
    """A refusal because of a feature's state names the option that helps."""
    assert hint in str(ending(item(error=refused(kind))).failures(width=None))
    assert hint not in str(ending(item(error=refused())).failures(width=None))


def test_failed_generation_shows_the_end_of_its_log() -> None:
    """A generation that failed has no tests to name; its log says why, where it could be read."""
    section = SectionLog("a", "Pays", "completed", "failure", "No button", ("1", "2", "3", "4"))
    log = GenerationLog(12, "Checkout", "r", (section,))
    shown = ending(generated("failed"), logs={"r": log}).failures(width=None)
    assert str(shown).splitlines() == [
        "Checkout, generation: failed",
        "Pays: failure",
        "    No button",
        "    2",
        "    3",
        "    4",
    ]
    assert str(ending(generated("failed")).failures(width=None)) == "Checkout, generation: failed"


def test_document_has_all_of_it() -> None:
    """The document is what a program needs: the code, the counts, and each item with its ref."""
    document = serialize(ending(PASSED, timed_out(), item(), seconds=1.23456).document)
    assert document["exitCode"] == 4
    assert document["seconds"] == 1.235
    assert document["summary"]["succeeded"] == document["summary"]["inFlight"] == 1
    passed, left, skipped = document["items"]
    assert passed["feature"] == "Checkout"
    assert (passed["verdict"], passed["outcome"]["runId"]) == ("succeeded", 214)
    assert (left["verdict"], left["ref"]["run_id"]) == ("in flight", 214)
    assert left["error"]["type"] == "WaitTimeoutError"
    assert (skipped["verdict"], skipped["ref"]) == ("skipped", None)


def test_what_goes_on_is_named() -> None:
    """An ending has what a later command can wait for, and the ids of failed runs."""
    gone = item(ref=RUN, error=OperationNotFoundError("404", ref=RUN))
    unseen = item(ref=RUN, error=ObservationError("nothing but 503", ref=RUN))
    left = timed_out()
    assert ending(PASSED, left, item(), gone, unseen).unfinished == [left, unseen]
    assert ending(PASSED, FAILED, generated("failed")).failed_runs == [214]


def test_what_came_from_the_service_is_only_text() -> None:
    """Control characters in names and reasons are shown, never obeyed."""
    hostile = "[red]\x1b]0;owned\x07\x9b\u202e"
    items = [
        item(hostile, error=refused(message=hostile)),
        item(hostile, ref=GENERATION, outcome=Generation(1, hostile, "failed", "r")),
        ran("failed", CaseResult(hostile, "failed", error=hostile), config=hostile),
    ]
    text = str(ending(*items).failures(width=None))
    assert text.count("[red]\\x1b]0;owned\\x07\\x9b\\u202e") == 6
    assert not set(text) & set("\x1b\x07\x9b\u202e")
