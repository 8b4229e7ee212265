"""The tools, through the official client, in this process and on virtual time."""

from __future__ import annotations

import asyncio
import inspect
import json
from typing import TYPE_CHECKING, Any, get_args

import pytest
from mcp import Client as McpClient

from tests.conftest import KEY
from tests.mcp_server.connection import (
    Mode,
    connected,
    refused,
    serialize,
    text_of,
    texts_of,
    told,
)
from testvibe_async import Client, ConfigError, Project
from testvibe_async.mcp_server import make_server
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from mcp.types import Tool

OURS = {"run_features", "wait_for_runs", "generate_and_run"}

THEIRS = {
    "list_projects",
    "get_project",
    "list_features",
    "get_feature",
    "create_feature",
    "update_feature",
    "delete_feature",
    "generate_feature",
    "get_generation_status",
    "get_generation_log",
    "cancel_generation",
    "wait_for_generation",
    "run_feature",
    "list_runs",
    "get_run",
    "wait_for_run",
    "diagnose_run",
    "get_run_artifacts",
    "list_files",
    "read_file",
    "write_file",
    "list_configs",
}


async def tools() -> dict[str, Tool]:
    async with McpClient(make_server(unconfigured)) as mcp:
        return {tool.name: tool for tool in (await mcp.list_tools()).tools}


def unconfigured() -> Client:
    raise ConfigError("no server")


async def test_each_operation_of_the_service_is_a_tool() -> None:
    """The tools are the service's 22 operations under its names, and three of ours."""
    assert len(THEIRS) == 22
    assert set(await tools()) == THEIRS | OURS
    for name in THEIRS:
        assert hasattr(Project, name) or hasattr(Client, name)


async def test_arguments_are_in_the_service_s_spelling() -> None:
    """Arguments are in camelCase, described, and no others are taken."""
    listed = await tools()
    properties: dict[str, Any] = listed["run_feature"].input_schema["properties"]
    assert list(properties) == ["feature", "config", "siteUrl", "project"]
    assert listed["run_feature"].input_schema["required"] == ["feature"]
    assert properties["feature"]["type"] == "string"
    wait = listed["wait_for_run"].input_schema["properties"]
    assert wait["runId"]["type"] == "integer"
    seconds = wait["timeoutSeconds"]
    assert (seconds["default"], seconds["minimum"], seconds["maximum"]) == (120, 1, 170)
    for tool in listed.values():
        assert tool.input_schema["additionalProperties"] is False
        for name, argument in tool.input_schema["properties"].items():
            assert argument["description"], (tool.name, name)
            assert "title" not in argument


async def test_each_tool_but_one_takes_a_project() -> None:
    """All but the list of projects take another project than the one that is set."""
    listed = await tools()
    without = {
        name for name, tool in listed.items() if "project" not in tool.input_schema["properties"]
    }
    assert without == {"list_projects"}


async def test_hints_say_what_a_tool_does() -> None:
    """Reads and waits are read-only; what overwrites, deletes or costs credits is destructive."""
    listed = await tools()
    hints = {name: tool.annotations for name, tool in listed.items()}
    reads = {name for name, hint in hints.items() if hint and hint.read_only_hint}
    destroys = {name for name, hint in hints.items() if hint and hint.destructive_hint}
    repeatable = {
        name
        for name, hint in hints.items()
        if hint and hint.idempotent_hint and not hint.read_only_hint
    }
    assert reads == {
        name
        for name in THEIRS | OURS
        if name.startswith(("list_", "get_", "wait_", "read_", "diag"))
    }
    assert destroys == {
        "update_feature",
        "delete_feature",
        "write_file",
        "generate_feature",
        "cancel_generation",
        "generate_and_run",
    }
    assert repeatable == {"update_feature", "delete_feature", "write_file"}


async def test_what_costs_credits_says_so() -> None:
    """The two tools that cost credits say it in their descriptions, no other tool does."""
    listed = await tools()
    costly = {name for name, tool in listed.items() if "COSTS CREDITS" in (tool.description or "")}
    assert costly == {"generate_feature", "generate_and_run"}


async def test_each_tool_declares_its_answer() -> None:
    """Each tool has a description, and the schema of an object that is portable."""
    for tool in (await tools()).values():
        assert tool.description == inspect.cleandoc(tool.description or "")
        assert tool.output_schema is not None
        assert tool.output_schema["type"] == "object"
        assert '"type": [' not in json.dumps([tool.input_schema, tool.output_schema])


@pytest.mark.parametrize("mode", get_args(Mode))
async def test_every_tool_answers(mode: Mode) -> None:
    """Each tool does its work, and its answer fits the schema, which the client checks."""
    scenario = Scenario(
        failing_generations=0, failing_runs=0, outcomes={"Login": Outcome(run_status="failed")}
    )
    async with Emulator(scenario=scenario) as emulator, connected(emulator, mode) as mcp:
        await mcp.list_tools()  # the client checks answers against what was listed
        projects = await told(mcp, "list_projects")
        assert [project["id"] for project in projects["projects"]] == [emulator.project_id]
        assert (await told(mcp, "get_project"))["name"] == "Acme Shop"
        assert len((await told(mcp, "list_features"))["features"]) == len(emulator.features)

        gherkin = (
            "Feature: Login\n\n  Scenario: In\n    Given in\n\n  Scenario: Out\n    Given out\n"
        )
        made = await told(mcp, "create_feature", name="Login", gherkin=gherkin)
        assert await told(mcp, "update_feature", feature="login", name="Sign in") == {"ok": True}
        assert await told(mcp, "update_feature", feature=str(made["id"]), name="Login") == {
            "ok": True
        }
        assert (await told(mcp, "get_feature", feature="LOGIN"))["gherkin"] == gherkin

        started = await told(mcp, "generate_feature", feature="Login")
        assert started["featureId"] == made["id"]
        status = await told(mcp, "get_generation_status", feature="Login")
        assert status["requestId"] == started["requestId"]
        assert await told(mcp, "cancel_generation", feature="Login") == {"ok": True}
        over = await told(mcp, "wait_for_generation", feature="Login")
        assert (over["featureStatus"], over["inFlight"]) == ("cancelled", False)
        both = await told(mcp, "generate_and_run", feature="Login", timeoutSeconds=170)
        while both["inFlight"] and both["run"] is None:
            request = both["generation"]["requestId"]
            both = await told(mcp, "generate_and_run", feature="Login", requestId=request)
        assert both["generation"]["featureStatus"] == "generated"
        assert len(emulator.generations) == 2
        assert len((await told(mcp, "get_generation_log", feature="Login"))["sections"]) == 2

        run = await told(mcp, "run_feature", feature="Login", config="Default")
        over = await told(mcp, "wait_for_run", runId=run["runId"])
        assert (over["status"], over["inFlight"], over["note"]) == ("failed", False, None)
        assert (await told(mcp, "get_run", runId=run["runId"]))["summary"]["failed"] >= 1
        assert (await told(mcp, "diagnose_run", runId=run["runId"]))["failures"]
        artifacts = (await told(mcp, "get_run_artifacts", runId=run["runId"]))["artifacts"]
        assert all(artifact["url"].startswith(emulator.artifact_url) for artifact in artifacts)
        assert [
            row["runId"] for row in (await told(mcp, "list_runs", feature="Login"))["runs"]
        ] == [
            run["runId"],
            both["run"]["runId"],
        ]
        assert len((await told(mcp, "list_runs", limit=1))["runs"]) == 1

        digest = await told(mcp, "run_features", features=["Login", "Checkout"])
        assert digest["summary"]["total"] == 2
        ids = [row["runId"] for row in digest["runs"]]
        again = await told(mcp, "wait_for_runs", runIds=ids)
        assert again["runs"] == digest["runs"]

        files = await told(mcp, "list_files")
        assert files["files"]
        path = "Configurations/mine.json"
        assert await told(mcp, "write_file", path=path, content='{"a": 1}') == {"ok": True}
        assert (await told(mcp, "read_file", path=path))["content"] == '{"a": 1}'
        assert (await told(mcp, "list_configs"))["configs"][0]["name"] == "Default"
        assert await told(mcp, "delete_feature", feature="Login") == {"ok": True}


async def test_answers_hold_a_line_and_the_document(emulator: Emulator) -> None:
    """A human reads a line; the model that reads no structured content reads the same document."""
    async with connected(emulator) as mcp:
        result = await mcp.call_tool("get_feature", {"feature": "Checkout"})
    line, document = texts_of(result)
    assert line == "Feature 14, Checkout: generated."
    assert json.loads(document) == serialize(result)
    audiences = [block.annotations and block.annotations.audience for block in result.content]
    assert audiences == [["user"], ["assistant"]]


@pytest.mark.parametrize("feature", ["14", 14, "checkout", "CHECKOUT"], ids=repr)
async def test_a_feature_is_named_by_its_id_or_its_name(
    emulator: Emulator, feature: str | int
) -> None:
    """Digits are taken for an id, whether as a string or as the number that some models send."""
    async with connected(emulator) as mcp:
        assert (await told(mcp, "get_feature", feature=feature))["name"] == "Checkout"


async def test_a_project_overrides_the_one_that_is_set(emulator: Emulator) -> None:
    """The argument `project` takes the place of the default project, for that call alone."""
    other = emulator.add_project("Other", project_id="22222222-2222-2222-2222-222222222222")
    emulator.add_feature("Elsewhere", project=other)
    async with connected(emulator) as mcp:
        found = await told(mcp, "list_features", project=other.id)
        assert [feature["name"] for feature in found["features"]] == ["Elsewhere"]
        assert len((await told(mcp, "list_features"))["features"]) == len(emulator.features)


async def test_unknown_fields_pass_through(emulator: Emulator) -> None:
    """A field that this release does not know reaches the model."""
    emulator.fail("get_feature", Fault.edit(lambda document: {**document, "owner": {"id": 7}}))
    async with connected(emulator) as mcp:
        await mcp.list_tools()
        assert (await told(mcp, "get_feature", feature="Checkout"))["owner"] == {"id": 7}


async def test_halves_of_characters_are_replaced(emulator: Emulator) -> None:
    """What JSON can hold and UTF-8 can't does not break an answer, wherever it stands."""
    broken = rb'{"id": 14, "name": "A\ud83d", "gherkin": "\udc00", "new": {"\ud83d": ["\ud83d"]}}'
    emulator.fail("get_feature", Fault.body(broken), times=2)
    async with connected(emulator, "legacy") as mcp:
        found = await told(mcp, "get_feature", feature="Checkout")
        assert (found["name"], found["gherkin"], found["new"]) == ("A?", "?", {"?": ["?"]})
        read = await mcp.read_resource("testvibe://features/14/gherkin")
        assert getattr(read.contents[0], "text", None) == "?"


async def test_a_misspelt_argument_is_refused(emulator: Emulator) -> None:
    """An argument that no tool has is named, and nothing is sent."""
    async with connected(emulator) as mcp:
        text = await refused(
            mcp, "generate_feature", feature="Checkout", siteurl="https://a.example"
        )
    assert text == "generate_feature has no argument 'siteurl': did you mean siteUrl?"
    assert emulator.count() == 0


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("wait_for_run", {"runId": 1, "timeoutSeconds": 0}, "timeoutSeconds is wrong"),
        ("wait_for_run", {"runId": 1, "timeoutSeconds": 171}, "timeoutSeconds is wrong"),
        ("wait_for_run", {"runId": 0}, "runId is wrong"),
        ("wait_for_runs", {"runIds": []}, "runIds is wrong"),
        ("wait_for_runs", {"runIds": [1, "x"]}, "runIds[1] is wrong"),
        ("run_features", {"features": []}, "features is wrong"),
        ("get_feature", {"feature": ""}, "feature is wrong"),
        ("get_feature", {}, "get_feature needs the argument feature."),
    ],
)
async def test_arguments_that_are_wrong_are_refused(
    emulator: Emulator, tool: str, arguments: dict[str, Any], said: str
) -> None:
    """What is missing, or out of range, is named in a line, and nothing is sent."""
    async with connected(emulator) as mcp:
        text = await refused(mcp, tool, **arguments)
    assert said in text
    assert "\n" not in text
    assert "pydantic" not in text
    assert emulator.count() == 0


async def test_an_error_reaches_the_model_with_the_next_step(emulator: Emulator) -> None:
    """A run of a feature without tests is refused, and the model hears of generate_feature."""
    emulator.add_feature("Gift cards", status="draft")
    async with connected(emulator) as mcp:
        text = await refused(mcp, "run_feature", feature="Gift cards")
    assert "409" in text
    assert "Call generate_feature first" in text


async def test_a_lost_dispatch_is_not_sent_again() -> None:
    """Where a dispatch can't be settled the model is told what to look at first."""
    async with Emulator(lists=False) as emulator, connected(emulator) as mcp:
        emulator.fail("run_feature", Fault.lost())
        text = await refused(mcp, "run_feature", feature="Checkout")
        assert "look with list_runs of feature 'Checkout'" in text
        assert emulator.count("run_feature") == 1


@pytest.mark.parametrize("mode", get_args(Mode))
async def test_a_dispatch_whose_call_is_cancelled_is_sent_once(
    emulator: Emulator, mode: Mode
) -> None:
    """A client that gives up while a dispatch is under way loses the answer, not the run."""
    emulator.fail("run_feature", Fault.delay(5))
    async with connected(emulator, mode) as mcp:
        call = asyncio.create_task(mcp.call_tool("run_feature", {"feature": "Checkout"}))
        await asyncio.sleep(1)
        call.cancel()
        with pytest.raises(asyncio.CancelledError):
            await call
        await asyncio.sleep(10)
        (run,) = (await told(mcp, "list_runs"))["runs"]
    assert run["featureName"] == "Checkout"
    assert emulator.count("run_feature") == 1


async def test_a_refused_key_is_named_by_its_variable_and_never_shown(emulator: Emulator) -> None:
    """A key that the service refuses is not repeated to the model."""
    async with connected(emulator, api_key=KEY) as mcp:
        text = await refused(mcp, "list_features")
    assert "401" in text
    assert "set TESTVIBE_API_KEY" in text
    assert KEY not in text


async def test_without_configuration_each_tool_says_what_to_set() -> None:
    """The server starts without settings, lists its tools, and each says what is missing."""
    needed = {
        "feature": "A",
        "runId": 1,
        "runIds": [1],
        "path": "Features/a.feature",
        "content": "",
        "name": "A",
        "gherkin": "",
    }
    async with McpClient(make_server()) as mcp:
        for tool in (await mcp.list_tools()).tools:
            required = tool.input_schema.get("required", [])
            text = await refused(mcp, tool.name, **{name: needed[name] for name in required})
            assert "Set TESTVIBE_SERVER and TESTVIBE_API_KEY" in text


async def test_without_a_project_the_model_is_told_how_to_name_one(emulator: Emulator) -> None:
    """Where no project is set, a call names one, or is told of list_projects."""
    server = make_server(lambda: Client(emulator.url, api_key=emulator.api_key))
    async with McpClient(server) as mcp:
        text = await refused(mcp, "list_features")
        assert "list_projects tells the ids" in text
        assert await told(mcp, "list_features", project=emulator.project_id)


async def test_an_unknown_tool_is_an_error(emulator: Emulator) -> None:
    """A tool that there is not is refused in words."""
    async with connected(emulator) as mcp:
        result = await mcp.call_tool("drop_project", {})
    assert result.is_error
    assert "drop_project" in text_of(result)
