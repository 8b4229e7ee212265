"""Advice: each error says what to do next, by the names of the tools."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel, Field, ValidationError

from tests.support.mcp_connection import connected, refused, result_of, without_tests
from testvibe_async import (
    ClientClosedError,
    ConfigError,
    ConflictError,
    DispatchUnknownError,
    FeatureBusyError,
    FeatureNotGeneratedError,
    ForbiddenError,
    GenerationInProgressError,
    InvalidRequestError,
    MalformedResponseError,
    NotFoundError,
    NotSentError,
    ObservationError,
    OperationNotFoundError,
    OperationSupersededError,
    OutcomeUnknownError,
    RateLimitedError,
    ResponseError,
    RunRef,
    ServerError,
    UnauthorizedError,
    VibeError,
)
from testvibe_async.mcp_server.advice import NAME_PROJECT, explain, explain_arguments
from testvibe_async.testing import Fault

if TYPE_CHECKING:
    from testvibe_async.testing import Emulator

URL = "https://testvibe.example/api/v1/ops/projects/p"
REF = RunRef(server="https://testvibe.example", project="p", run_id=214)


def answered(kind: type[ResponseError], **more: Any) -> ResponseError:
    return kind("no.", status=409, code="x", method="POST", url=URL, **more)


def lost(kind: str) -> VibeError:
    return DispatchUnknownError(
        "reset", method="POST", url=f"{URL}/features/12/{kind}", project="p", feature="Login"
    )


CASES: list[tuple[VibeError, list[str], str]] = [
    (lost("run"), [], "check list_runs of the feature"),
    (lost("generate"), [], "Check get_generation_status of the feature"),
    (OutcomeUnknownError("reset", method="GET", url=URL), [], "Nothing was changed"),
    (OutcomeUnknownError("reset", method="PUT", url=URL), [], "read what is there before"),
    (NotSentError("refused", method="GET", url=URL), [], "TESTVIBE_SERVER"),
    (answered(GenerationInProgressError), [], "wait_for_generation"),
    (answered(FeatureNotGeneratedError), [], "Call generate_feature first"),
    (answered(FeatureBusyError), [], "wait_for_generation"),
    (answered(ConflictError), [], "get_feature shows what is there"),
    (answered(ResponseError), [], "The same call will bring the same"),
    (answered(NotFoundError), ["feature"], "list_features shows"),
    (answered(NotFoundError), ["runId", "cursor"], "list_runs shows"),
    (answered(NotFoundError), ["runIds"], "list_runs shows"),
    (answered(NotFoundError), ["path"], "list_files shows"),
    (answered(NotFoundError), [], "list_projects shows which projects there are."),
    (answered(UnauthorizedError), [], "set TESTVIBE_API_KEY"),
    (answered(ForbiddenError), [], "credits"),
    (answered(InvalidRequestError), ["config"], "list_configs shows the configurations"),
    (answered(RateLimitedError, retry_after=7.0), [], "Try again in 7 s"),
    (answered(RateLimitedError), [], "Try again in 60 s"),
    (answered(ServerError), [], "try again later"),
    (
        MalformedResponseError(("expected JSON",), status=200, method="GET", url=URL),
        [],
        "Check that TESTVIBE_SERVER is a TestVibe service",
    ),
    (OperationNotFoundError("unknown", ref=REF), [], "list_runs shows"),
    (OperationSupersededError(ref=REF, newer_request_id="b"), [], "the newer one"),
    (ObservationError("outage", ref=REF), [], "call the same tool again later"),
    (ClientClosedError(ref=REF), [], "continues at the service"),
]


@pytest.mark.parametrize(("error", "arguments", "advice"), CASES, ids=str)
def test_each_error_says_what_happened_and_what_to_do(
    error: VibeError, arguments: list[str], advice: str
) -> None:
    """The error's own words come first, then the next step."""
    text = explain(error, arguments)
    what = getattr(error, "what", None) or getattr(error, "message", None) or error.brief
    assert what.rstrip(".")[1:] in text.partition(advice)[0]
    assert text[0].isupper()
    assert advice in text
    assert "://" not in text


def test_an_error_holds_no_address_and_no_guid() -> None:
    """What a model can do nothing with is left out of what happened."""
    guid = "7f3c9a4e-2b1d-4c6f-9e8a-5d0b7c1f2e3a"
    error = ConfigError(f"GET https://h.example/api/{guid}: 500: no {guid}; see http://x/y, too")
    assert explain(error) == "The service: 500: no …; see the service, too."
    assert explain(ConfigError("not HTTP: Bad status line:")).endswith(" line.")
    assert len(explain(ConfigError("x" * 5_000))) < 1_100


def test_a_wrong_argument_needs_no_advice() -> None:
    """An argument that the client refuses is explained by the error's message alone."""
    assert explain(ConfigError("a name or a gherkin is needed")) == (
        "A name or a gherkin is needed."
    )


def test_each_fault_of_the_arguments_is_a_sentence() -> None:
    """Each sentence names the argument, what is wrong with it, and the arguments that exist."""

    class Arguments(BaseModel, extra="forbid"):
        feature: str
        config: str = ""
        run_id: int = Field(1, ge=1)
        names: list[str] = []

    with pytest.raises(ValidationError) as caught:
        Arguments.model_validate({"confg": "", "zzz": 1, "run_id": 0, "names": ["a", 2]})
    text = explain_arguments(caught.value.errors(), "run", ["feature", "config", "run_id", "names"])
    assert text == (
        "run needs the argument feature. list_features shows their names and ids. "
        "The argument run_id is wrong: input should be greater than or equal to 1. "
        "The argument names[1] is wrong: input should be a valid string. "
        "run has no argument 'confg'. Did you mean 'config'? "
        "run has no argument 'zzz'. There are 'feature', 'config', 'run_id', 'names'."
    )


async def test_a_feature_of_a_similar_name_is_proposed(emulator: Emulator) -> None:
    """A part of a name, or one that is misspelt, is answered with the names that may be meant."""
    emulator.add_feature("Login with SSO")
    async with connected(emulator) as mcp:
        for tool in ("run_feature", "get_feature", "wait_for_generation", "generate_and_run"):
            text = await refused(mcp, tool, feature="login")
            assert text.endswith("Did you mean 'Login Functionality' or 'Login with SSO'?")
        assert "Did you mean 'Checkout'?" in await refused(mcp, "get_feature", feature="Chekout")
        text = await refused(mcp, "get_feature", feature="Nothing like it")
        assert "There are 'Abandoned cart reminder', " in text
        assert text.endswith(" more.")
        emulator.fail("list_features", Fault.status(503))
        assert "list_features shows" in await refused(mcp, "get_feature", feature="login")


async def test_a_wrong_name_leads_to_the_list_that_has_the_right_one(emulator: Emulator) -> None:
    """Runs of an unknown feature, run ids and projects each name the list to look in."""
    async with connected(emulator) as mcp:
        text = await refused(mcp, "list_runs", feature="Chekout")
        assert "list_features shows" in text
        assert text.endswith("Did you mean 'Checkout'?")
        assert "list_runs shows the ids" in await refused(mcp, "get_run", runId="latest")
        assert "list_features shows" in await refused(mcp, "get_feature")
        text = await refused(mcp, "create_feature", name="Checkout", gherkin="Feature: Checkout")
        assert "get_feature shows what is there" in text


async def test_a_project_is_named_too(emulator: Emulator) -> None:
    """A project is found by its name in any case; another name leads to the list."""
    other = emulator.add_project("Other Shop")
    emulator.add_feature("Elsewhere", project=other)
    async with connected(emulator) as mcp:
        found = await result_of(mcp, "list_features", project="other shop")
        assert [each["name"] for each in found["features"]] == ["Elsewhere"]
        text = await refused(mcp, "generate_feature", feature="Elsewhere", project="Othr Shop")
        assert text == (
            "Nothing was done: there is no project 'Othr Shop': did you mean 'Other Shop'? "
            f"{NAME_PROJECT}"
        )
        emulator.fail("list_projects", Fault.status(404))
        assert "404" in await refused(mcp, "list_features", project="Other Shop")
    assert emulator.count("generate_feature") == 0


async def test_the_project_that_is_set_may_be_a_name(emulator: Emulator) -> None:
    """Tools, resources and prompts find it in any case; a wrong one names the setting."""
    uri = "testvibe://features/Checkout/gherkin"
    async with connected(emulator, project="Nope") as mcp:
        text = await refused(mcp, "run_features", all=True)
        assert text.startswith(
            "Nothing was done: there is no project 'Nope': there is only 'Acme Shop'."
        )
        assert "TESTVIBE_PROJECT" in text
        assert (await result_of(mcp, "list_features", project="Acme Shop"))["total"]
    async with connected(emulator, project="acme shop") as mcp:
        assert (await result_of(mcp, "list_features"))["total"]
        assert (await result_of(mcp, "get_project"))["name"] == "Acme Shop"
        await result_of(mcp, "run_feature", feature="Checkout")
        assert await mcp.read_resource(uri)
        emulator.fail("list_projects", Fault.status(503))
        assert "try again later" in await refused(mcp, "list_features")
    assert emulator.count("run_feature") == 1


async def test_of_two_projects_of_a_name_none_is_chosen(emulator: Emulator) -> None:
    """A name that two projects have is refused with their ids, and an id precedes any name."""
    twins = (
        emulator.add_project("Twin"),
        emulator.add_project("twin"),
        emulator.add_project("twin-3"),
    )
    by_id = emulator.add_project("Other", project_id="twin-3")
    for project in (*twins, by_id):
        emulator.add_feature("Elsewhere", project=project, status="draft")
    emulator.add_feature("Only here", project=by_id)
    async with connected(emulator) as mcp:
        text = await refused(mcp, "generate_feature", feature="Elsewhere", project="Twin")
        assert text.startswith("Nothing was done: 2 projects are called 'Twin', choose by id: ")
        assert [each.id in text for each in twins] == [True, True, False]
        assert emulator.count("generate_feature") == 0
        found = await result_of(mcp, "list_features", project="TWIN-3")
        assert [each["name"] for each in found["features"]] == ["Elsewhere", "Only here"]


@pytest.mark.parametrize("tool", ["run_feature", "run_features", "generate_and_run"])
async def test_a_configuration_that_is_not_there_is_refused(emulator: Emulator, tool: str) -> None:
    """Once a call has listed the configurations, a run with another one is not dispatched."""
    call: dict[str, Any] = {"features": ["Checkout"]}
    if tool != "run_features":
        call = {"feature": "Checkout"}
    without_tests(emulator, tool)
    async with connected(emulator) as mcp:
        await result_of(mcp, "list_configs")
        text = await refused(mcp, tool, **call, config="Firefux")
        assert "Nothing was started: there is no configuration 'Firefux'" in text
        assert emulator.count("run_feature") == emulator.count("generate_feature") == 0
        text = await refused(mcp, tool, **call, siteUrl="not a url")
        assert "siteUrl is wrong" in text
        path = "Configurations/Firefux.config.js"
        await result_of(mcp, "write_file", path=path, content="module.exports = {};")
        await result_of(mcp, tool, **call, config="Firefux")
