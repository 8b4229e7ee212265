"""Sentences: each error says what to do next, and each operation how it stands."""

from datetime import UTC, datetime
from typing import Any

import pytest

from tests.support.mcp_connection import connected
from testvibe_async import CaseResult, FeatureStatus, Generation, Run, RunStatus, RunSummary, errors
from testvibe_async.errors import KindName
from testvibe_async.mcp_server.advice import explain
from testvibe_async.mcp_server.digests import say
from testvibe_async.models import Section
from testvibe_async.refs import GenerationRef, RunRef
from testvibe_async.reports.reasons import why
from testvibe_async.testing import Emulator, Fault

URL = "https://testvibe.example/api/v1/ops/projects/p"
REF = RunRef(server="https://testvibe.example", project="p", run_id=214)
GENERATION = GenerationRef(
    server="https://testvibe.example", project="p", request_id="a", feature_id=12
)


def answered(kind: type[errors.ResponseError], **more: Any) -> errors.ResponseError:
    return kind("no.", status=409, code="x", method="POST", url=URL, **more)


def lost(kind: KindName) -> errors.VibeError:
    url = f"{URL}/features/12/run"
    return errors.DispatchUnknownError(
        "reset", method="POST", url=url, project="p", feature="Login", key="a", kind=kind
    )


CASES: list[tuple[errors.VibeError, list[str], str]] = [
    (lost("run"), [], "check list_runs of the feature"),
    (lost("generation"), [], "Check get_generation_status of the feature"),
    (errors.OutcomeUnknownError("reset", method="GET", url=URL), [], "Nothing was changed"),
    (errors.OutcomeUnknownError("reset", method="PUT", url=URL), [], "read what is there before"),
    (errors.NotSentError("refused", method="GET", url=URL), [], "TESTVIBE_SERVER"),
    (answered(errors.GenerationInProgressError), [], "wait_for_generation"),
    (answered(errors.FeatureNotGeneratedError), [], "unless get_feature shows that it is generati"),
    (answered(errors.FeatureBusyError), [], "wait_for_generation"),
    (answered(errors.ConflictError), [], "If a generation is in flight"),
    (answered(errors.ResponseError), [], "The same call will bring the same"),
    (answered(errors.NotFoundError), ["feature"], "list_features shows"),
    (answered(errors.NotFoundError), ["runId", "cursor"], "list_runs shows"),
    (answered(errors.NotFoundError), ["path"], "list_files shows"),
    (answered(errors.NotFoundError), [], "list_projects shows which projects there are."),
    (answered(errors.UnauthorizedError), [], "set TESTVIBE_API_KEY"),
    (answered(errors.ForbiddenError), [], "credits"),
    (answered(errors.InvalidRequestError), ["config"], "list_configs shows the configurations"),
    (answered(errors.RateLimitedError, retry_after=7.0), [], "Try again in 7 s"),
    (answered(errors.RateLimitedError), [], "Try again in 60 s"),
    (answered(errors.ServerError), [], "try again later"),
    (
        errors.MalformedResponseError(("expected JSON",), status=200, method="GET", url=URL),
        [],
        "If the service answered before, try again later; else check TESTVIBE_SERVER",
    ),
    (errors.OperationNotFoundError("unknown", ref=REF), [], "list_runs shows"),
    (errors.OperationNotFoundError("unknown", ref=GENERATION), [], "list_features shows"),
    (errors.OperationSupersededError(ref=REF, newer_request_id="b"), [], "the newer one"),
    (errors.ObservationError("outage", ref=REF), [], "call the same tool again later"),
    (errors.ClientClosedError(ref=REF), [], "continues at the service"),
]


@pytest.mark.parametrize(("error", "arguments", "advice"), CASES, ids=str)
def test_each_error_says_what_happened_and_what_to_do(
    error: errors.VibeError, arguments: list[str], advice: str
) -> None:
    """The reason comes first, as reports word it, then the next step."""
    text = explain(error, arguments)
    assert why(error)[1:] in text.partition(advice)[0]
    assert text[0].isupper()
    assert advice in text
    assert "://" not in text


def test_what_happened_has_no_address_and_no_guid() -> None:
    """What a model can do nothing with is left out, and a wrong argument needs no advice."""
    guid = "7f3c9a4e-2b1d-4c6f-9e8a-5d0b7c1f2e3a"
    error = errors.ConfigError(
        f"GET https://h.example/api/{guid}: 500: no {guid}; see http://x/y, too"
    )
    assert explain(error) == "The service: 500: no …; see the service, too."
    assert explain(errors.ConfigError("not HTTP: Bad status line:")).endswith(" line.")
    assert len(explain(errors.ConfigError("x" * 5_000))) < 1_100
    assert explain(errors.ConfigError("a name is needed")) == "A name is needed."


async def test_a_wrong_name_leads_to_the_right_one(emulator: Emulator) -> None:
    """The error of a wrong name or argument says which call shows the right ones."""
    async with connected(emulator) as mcp:
        for tool in ("run_feature", "get_feature", "wait_for_generation", "generate_feature"):
            text = await mcp.refused(tool, feature="login")
            assert text.endswith(
                "list_features shows their names and ids. list_projects shows "
                "which projects there are."
            )
        text = await mcp.refused("run_features", features=["Chekout", "Returns"])
        assert "did you mean 'Checkout'?" in text
        assert "list_runs shows" in await mcp.refused("get_run", runId=999)
        assert "list_runs shows the ids" in await mcp.refused("get_run", runId="latest")
        assert "list_features shows" in await mcp.refused("get_feature")
        text = await mcp.refused("create_feature", name="Checkout", gherkin="Feature: Checkout")
        assert "get_feature shows what is there" in text


async def test_the_project_that_is_set_may_be_a_name(emulator: Emulator) -> None:
    """Tools find it in any case; a wrong one names the setting."""
    async with connected(emulator, project="Nope") as mcp:
        text = await mcp.refused("run_features", all=True)
        assert "there is no project 'Nope': there is only 'Acme Shop'." in text
        assert "TESTVIBE_PROJECT" in text
        assert (await mcp.result("list_features", project="Acme Shop"))["total"]
    async with connected(emulator, project="acme shop") as mcp:
        assert (await mcp.result("get_project"))["name"] == "Acme Shop"
        await mcp.result("run_feature", feature="Checkout")
        emulator.fail("list_projects", Fault.status(503))
        assert "try again later" in await mcp.refused("list_features")
    assert emulator.count("run_feature") == 1


@pytest.mark.parametrize("tool", ["run_feature", "run_features"])
async def test_a_configuration_that_is_not_there_is_refused(emulator: Emulator, tool: str) -> None:
    """Once a call has listed the configurations, a run with another one is not dispatched."""
    one: dict[str, Any] = {"feature": "Checkout"}
    call = {"features": ["Checkout"]} if tool == "run_features" else one
    async with connected(emulator) as mcp:
        await mcp.result("list_configs")
        text = await mcp.refused(tool, **call, config="Firefux")
        assert "Nothing was started: there is no configuration 'Firefux'" in text
        assert emulator.count("run_feature") == 0
        text = await mcp.refused(tool, **call, siteUrl="not a url")
        assert "siteUrl is wrong" in text
        path = "Configurations/Firefux.config.js"
        await mcp.result("write_file", path=path, content="module.exports = {};")
        await mcp.result(tool, **call, config="Firefux")


AT = datetime(2026, 6, 10, tzinfo=UTC)

FAILED = CaseResult("Out", "failed", error="\nTimeoutError: 30 s\n  at line 7")


LINES: list[tuple[Run | Generation, str]] = [
    (Run(7, RunStatus.RUNNING, 12), "Run 7 of feature 12 is running (queued)."),
    (
        Run(7, "running", feature_name="Login", started_at=AT),
        'Run 7 of "Login" is running (active).',
    ),
    (
        Run(7, RunStatus.PASSED, summary=RunSummary(total=1, passed=1)),
        "has finished: 1 test passed.",
    ),
    (Run(7, RunStatus.PASSED), "passed, the service reports no tests (diagnose_run says why)."),
    (Run(7, RunStatus.FAILED, tests=(FAILED,)), "failed, 1 of 1 test failed (diagnose_run says"),
    (Run(7, "aborted", finished_at=AT), "finished with an undocumented status, 'aborted'."),
    (Generation(), "Generation of a feature was never started (its status is unknown)."),
    (
        Generation(feature_name='A" has finished: "B'),
        "Generation of \"A' has finished: 'B\" was never",
    ),
    (
        Generation(
            feature_status=FeatureStatus.GENERATING,
            request_id="a",
            runner_started=True,
            sections=(Section("a", conclusion="success"), Section("b")),
        ),
        "is generating (active).",
    ),
    (Generation(feature_status=FeatureStatus.GENERATED), "has finished: tests generated."),
    (Generation(feature_status=FeatureStatus.FAILED), "failed (get_generation_log says why)."),
]


@pytest.mark.parametrize(("seen", "words"), LINES, ids=[words for _, words in LINES])
def test_an_operation_in_a_line(seen: Run | Generation, words: str) -> None:
    """The line shows a status, the reason, and the next step."""
    assert words in say(seen)
