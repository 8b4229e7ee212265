"""The counts, the document, the exit code and the next commands of a command that dispatched."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Any

import pytest
from attrs import evolve

from tests.surfaces.cli.test_refs import RUNS
from testvibe_async import (
    BatchItem,
    CaseResult,
    ConfigError,
    DispatchUnknownError,
    FeatureStatus,
    ForbiddenError,
    Generation,
    GenerationRef,
    NotSentError,
    ObservationError,
    OperationNotFoundError,
    Run,
    RunRef,
    RunStatus,
    ServerError,
    VibeError,
    WaitTimeoutError,
)
from testvibe_async._wire import serialize
from testvibe_async.cli.names import read_refs
from testvibe_async.cli.result import Result, rerun_commands
from testvibe_async.runner.waits import wait_command

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
    tests = tests or (CaseResult("Signs in", status),)
    run = Run(214, RunStatus(status), 12, "Checkout", tests=tests)
    return item(ref=RUN, outcome=run, **values)


def generated(status: str) -> Item:
    return item(ref=GENERATION, outcome=Generation(12, "Checkout", FeatureStatus(status), "r"))


def timed_out() -> Item:
    return item(ref=RUN, error=WaitTimeoutError(ref=RUN, status="running", elapsed=5))


def result(*items: Item, **values: Any) -> Result:
    return evolve(Result(items=items, seconds=95.0), **values)


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
        ([FAILED, item()], 4),
        ([PASSED, item()], 4),
        ([item(is_waiting=True)], 4),
        ([FAILED, item(is_waiting=True)], 4),
    ],
)
def test_exit_code_is_of_what_is_known_least(items: list[Item], code: ExitCode) -> None:
    """Unreachable takes precedence over refused, that over in flight, and that over failed."""
    assert result(*items).exit_code == code
    assert result(*reversed(items)).exit_code == code


@pytest.mark.parametrize(
    ("items", "code"),
    [
        ([item(ref=RUN)], 0),
        ([item(ref=RUN), item(error=refused())], 3),
        ([item(ref=RUN), item()], 4),
        ([item(ref=RUN), item(is_waiting=True)], 4),
    ],
)
def test_exit_code_without_waiting(items: list[Item], code: ExitCode) -> None:
    """A command that does not wait has done its part for what is dispatched, and for that alone."""
    assert result(*items, is_waited_for=False).exit_code == code
    assert result(*items).exit_code in {3, 4}


def test_failures_that_stopped_the_rest_are_counted() -> None:
    """The result says that failures are why the rest was not started, where they are."""
    assert result(FAILED, item(), max_failures=1).counts == (
        "1 failed, 1 skipped; stopped after 1 failure"
    )
    assert result(FAILED, item(), max_failures=1).document["stoppedAfterFailures"] == 1
    for other in (result(FAILED, item()), result(FAILED, item(), max_failures=2)):
        assert "stopped" not in other.counts
    assert "stopped" not in result(FAILED, PASSED, max_failures=1).counts


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
    assert result(*many).line == (
        "8 in 1:35: 2 passed, 1 generated, 1 failed, 2 errors, 1 in flight, 1 skipped"
    )
    assert result().counts == "nothing to do"


def lost(feature: str = "Checkout", what: str = "run", **fields: Any) -> DispatchUnknownError:
    url = f"http://s/api/v1/ops/projects/p/features/x/{what}"
    return DispatchUnknownError(
        "lost", method="POST", url=url, project="p", feature=feature, **fields
    )


def test_flaky_is_a_success_of_its_own() -> None:
    """What passed after a failure is counted apart from what passed, and the exit code is 0."""
    again = ran("passed", earlier=(FAILED.outcome,))
    assert result(again, PASSED).line == "2 in 1:35: 1 passed, 1 flaky"
    assert result(again).exit_code == 0


def test_flaky_may_fail() -> None:
    """Where that was asked for, what is flaky has the exit code of a failure."""
    again = ran("passed", earlier=(FAILED.outcome,))
    assert result(again, fails_on_flaky=True).exit_code == 1
    assert result(PASSED, fails_on_flaky=True).exit_code == 0


def test_time_that_is_not_known_is_not_told() -> None:
    """A batch of which no time is known took no 0 seconds."""
    assert Result(items=[PASSED], seconds=0.0).line == "1: 1 passed"


def test_unknown_is_no_error() -> None:
    """What may have started is counted apart, its exit code is that of the error."""
    both = result(item(error=lost()), item(error=unsent()))
    assert both.line == "2 in 1:35: 1 error, 1 unknown"
    assert both.exit_code == result(item(error=lost())).exit_code == 5


def test_unknown_words_are_counted_last() -> None:
    """An unknown status is a word like any other."""
    odd = item(ref=RUN, outcome=Run(1, "flaky\x1b[2J"))
    assert result(odd, FAILED).counts == "1 failed, 1 flaky\\x1b[2J"


def test_document_has_all_of_it() -> None:
    """The document is what a program needs: the code, the counts, and each item with its ref."""
    document = serialize(result(PASSED, timed_out(), item(), seconds=1.23456).document)
    assert document["exitCode"] == 4
    assert document["seconds"] == 1.235
    assert document["summary"]["succeeded"] == document["summary"]["inFlight"] == 1
    passed, left, skipped = document["items"]
    assert passed["feature"] == "Checkout"
    assert (passed["verdict"], passed["outcome"]["runId"]) == ("succeeded", 214)
    assert (left["verdict"], left["ref"]["runId"]) == ("in flight", 214)
    assert left["error"]["type"] == "WaitTimeoutError"
    assert (skipped["verdict"], skipped["ref"]) == ("skipped", None)


def test_what_goes_on_is_named() -> None:
    """A result has what a later command can wait for, and the ids of failed runs."""
    gone = item(ref=RUN, error=OperationNotFoundError("404", ref=RUN))
    unseen = item(ref=RUN, error=ObservationError("nothing but 503", ref=RUN))
    left = timed_out()
    assert result(PASSED, left, item(), gone, unseen).unfinished == [left, unseen]
    assert result(PASSED, FAILED, generated("failed")).failed_runs == [214]


OTHER = GenerationRef(server="http://s", project="it's", request_id="r 1", feature_id=15)


def words_of(command: str) -> list[str]:
    """Split a command as a shell does."""
    program, name, *words = shlex.split(command)
    assert (program, name) == ("testvibe-async", "wait")
    return words


def test_runs_are_named_by_their_ids() -> None:
    """The command has the ids of all, and the place, so that it works anywhere."""
    words = words_of(wait_command(RUNS))
    assert words[:200] == [str(number) for number in range(200)]
    assert words[200:] == ["--project", "p", "--server", "http://s"]
    assert words_of(wait_command(RUNS[:1], "--allow-http"))[-1] == "--allow-http"


def test_other_operations_are_named_by_their_refs() -> None:
    """Generations, and what is of several projects, are quoted for the shell and read back."""
    refs = [RUNS[0], OTHER]
    words = words_of(wait_command(refs))
    assert read_refs(words[:2]) == refs
    assert words[2:] == ["--server", "http://s"]


def test_commands_run_again_what_failed() -> None:
    """What failed runs again with its configurations, quoted for a shell; nothing else does."""

    def failed(feature: str, config: str | None = None) -> Item:
        return item(feature, config=config, outcome=Run(1, RunStatus.FAILED, 12, feature, config))

    items = [failed("a b"), failed("c", "Mobile"), failed("a b", "Mobile"), failed("d"), PASSED]
    assert rerun_commands([*items, failed("7*")], place=("--server", "http://s")) == [
        "testvibe-async run 'a b' d 12 --wait --server http://s",
        "testvibe-async run c 'a b' --wait -c Mobile --server http://s",
    ]
    assert rerun_commands([PASSED, timed_out(), generated("failed")]) == []
