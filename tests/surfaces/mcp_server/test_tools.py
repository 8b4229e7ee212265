"""The tools: what they are, which are offered, and who is asked before one costs credits."""

import inspect
import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from mcp.types import ElicitResult, Tool, ToolAnnotations

from tests.conftest import KEY
from tests.support import mcp_connection
from tests.support.mcp_connection import Connection, connected, text_of, texts_of
from testvibe_async import Client, ConfigError, Project
from testvibe_async.mcp_server import make_server
from testvibe_async.testing import Emulator, Outcome, Scenario

COMBINED = {"run_features", "wait_for_batch"}

NAMES = """
list_projects get_project list_features get_feature create_feature update_feature delete_feature
generate_feature get_generation_status get_generation_log cancel_generation wait_for_generation
run_feature list_runs get_run wait_for_run diagnose_run get_run_artifacts list_files read_file
write_file list_configs
"""

OPERATIONS = frozenset(NAMES.split())


async def tools() -> dict[str, Tool]:
    async with Connection(make_server()) as mcp:
        return {tool.name: tool for tool in (await mcp.list_tools()).tools}


async def test_each_operation_of_the_service_is_a_tool() -> None:
    """The tools are the service's 22 operations under its names, and two for many runs."""
    assert len(OPERATIONS) == 22
    assert set(await tools()) == OPERATIONS | COMBINED
    for name in OPERATIONS:
        assert hasattr(Project, name) or hasattr(Client, name)


async def test_hints_say_what_a_tool_does() -> None:
    """Reads are read-only; overwriting, deleting and generating, which costs credits, is not."""
    listed = await tools()
    hints = {name: tool.annotations or ToolAnnotations() for name, tool in listed.items()}
    reads = {name for name, hint in hints.items() if hint.read_only_hint}
    destroys = {name for name, hint in hints.items() if hint.destructive_hint}
    repeatable = {name for name, hint in hints.items() if hint.idempotent_hint} - reads
    costly = {name for name, tool in listed.items() if "COSTS CREDITS" in (tool.description or "")}
    reading = {name for name in hints if name.startswith(("list", "get", "wait", "rea", "di"))}
    assert reads == reading - {"wait_for_batch"}
    assert repeatable == {"wait_for_batch", "update_feature", "delete_feature", "write_file"}
    assert costly == {"generate_feature"}
    assert destroys == repeatable - {"wait_for_batch"} | costly | {"cancel_generation"}


async def test_the_tools_cost_a_model_little() -> None:
    """All tools are declared in 16,000 characters: below 4,000 tokens, for o200k makes 4.2 to 1."""
    listed = await tools()
    for tool in listed.values():
        assert tool.title
        assert tool.description == inspect.cleandoc(tool.description or "")
        assert tool.output_schema is None
        assert '"type": [' not in json.dumps(tool.input_schema)
    whole = [tool.model_dump(by_alias=True, exclude_none=True) for tool in listed.values()]
    assert len(json.dumps(whole, separators=(",", ":"))) < 16_000


async def test_every_tool_returns_what_it_declares() -> None:
    """Each tool's result is what the service has."""
    scenario = Scenario(
        failing_generations=0, failing_runs=0, outcomes={"Login": Outcome(run_status="failed")}
    )
    gherkin = "Feature: Login\n\n  Scenario: In\n    Given in\n\n  Scenario: Out\n    Given out\n"
    async with Emulator(scenario=scenario) as emulator, connected(emulator) as mcp:
        call, login, ok = mcp.result, {"feature": "Login"}, {"ok": True}
        (project,) = (await call("list_projects"))["projects"]
        assert project["id"] == emulator.project_id
        assert (await call("get_project"))["name"] == "Acme Shop"
        assert len((await call("list_features"))["features"]) == len(emulator.features)

        made = await call("create_feature", name="Login", gherkin=gherkin)
        assert await call("update_feature", feature="login", name="Sign in") == ok
        assert await call("update_feature", feature=str(made["id"]), name="Login") == ok
        assert (await call("get_feature", feature="LOGIN"))["gherkin"] == gherkin

        started = await call("generate_feature", **login)
        assert started["featureId"] == made["id"]
        status = await call("get_generation_status", **login)
        assert status["requestId"] == started["requestId"]
        assert await call("cancel_generation", **login) == ok
        over = await call("wait_for_generation", **login)
        assert (over["featureStatus"], over["inFlight"]) == ("cancelled", False)
        await call("generate_feature", **login, replace=started["requestId"])
        over = await mcp.finished("wait_for_generation", **login)
        assert over["featureStatus"] == "generated"
        assert len(emulator.generations) == 2
        assert len((await call("get_generation_log", **login))["sections"]) == 2

        run = {"runId": (await call("run_feature", **login, config="Default"))["runId"]}
        over = await call("wait_for_run", **run)
        assert (over["status"], over["inFlight"], over["note"]) == ("failed", False, None)
        assert (await call("get_run", **run))["summary"]["failed"] >= 1
        assert (await call("diagnose_run", **run))["failures"]
        artifacts = (await call("get_run_artifacts", **run))["artifacts"]
        assert all(artifact["url"].startswith(emulator.artifact_url) for artifact in artifacts)
        listed = (await call("list_runs", **login))["runs"]
        assert [row["runId"] for row in listed] == [run["runId"]]
        assert len((await call("list_runs", limit=1))["runs"]) == 1

        digest = await call("run_features", features=["Login", "Checkout"])
        assert digest["summary"]["total"] == 2
        assert await call("wait_for_batch", batch=digest["batch"]) == digest

        assert (await call("list_files"))["files"]
        file = {"path": "Configurations/mine.config.js"}
        assert await call("write_file", **file, content="module.exports = {};") == ok
        assert (await call("read_file", **file))["content"] == "module.exports = {};"
        assert (await call("list_configs"))["configs"][0]["name"] == "Default"
        assert await call("delete_feature", **login) == ok
        assert "Login" not in emulator.features


async def test_a_run_in_flight_is_not_diagnosed_yet(emulator: Emulator) -> None:
    """No test of a run in flight is said to have passed or failed; the next step is named."""
    async with connected(emulator) as mcp:
        run = await mcp.result("run_feature", feature="Checkout")
        answer = await mcp.call_tool("diagnose_run", {"runId": run["runId"]})
    assert texts_of(answer)[0] == "Run 214 is running: wait_for_run waits for it."


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        (
            "wait_for_run",
            {"runId": 1, "timeoutSeconds": 0},
            "timeoutSeconds is wrong: input should",
        ),
        ("wait_for_run", {"runId": 1, "timeoutSeconds": 171}, "timeoutSeconds is wrong"),
        ("run_features", {"features": ["A", None]}, "features[1] is wrong"),
        ("run_features", {"features": ["A"] * 1_001}, "at most 1000 items"),
        ("run_features", {"attempts": 6}, "attempts is wrong"),
        ("get_run", {}, "get_run needs the argument runId. list_runs shows the ids."),
        ("run_feature", {"feature": "A", "url": "x"}, "no argument 'url'. Did you mean 'siteUrl'?"),
        ("wait_for_run", {"zzz": 1}, "ids. wait_for_run has no argument 'zzz'. There are 'runId',"),
    ],
)
async def test_arguments_that_are_wrong_are_refused(
    emulator: Emulator, tool: str, arguments: dict[str, Any], said: str
) -> None:
    """An argument that is missing or out of range is named in a line, and nothing is sent."""
    async with connected(emulator) as mcp:
        text = await mcp.refused(tool, **arguments)
    assert said in text
    assert "\n" not in text
    assert "pydantic" not in text
    assert emulator.count() == 0


@pytest.mark.parametrize(("tool", "call"), [("list_features", {}), ("wait_for_run", {"runId": 1})])
async def test_a_refused_key_is_named_by_its_variable_and_never_shown(
    emulator: Emulator, tool: str, call: dict[str, Any]
) -> None:
    """The one error for a refused key names the variable, and not the key."""
    async with connected(emulator, api_key=KEY) as mcp:
        text = await mcp.refused(tool, **call)
    assert "401" in text
    assert "set TESTVIBE_API_KEY" in text
    assert KEY not in text


@pytest.mark.parametrize("content", [b"", b"not a ledger" * 100, None])
async def test_a_ledger_that_can_t_be_used_is_named(
    emulator: Emulator, machine: Path, content: bytes | None
) -> None:
    """Nothing is started without a ledger: each tool names the file, and the variable."""
    path = machine / "folder" / "ledger.sqlite"
    if content is not None:
        path.parent.mkdir()
        path.write_bytes(content)
    async with connected(emulator, ledger=path) as mcp:
        text = await mcp.refused("run_feature", feature="Checkout")
    assert str(path) in text
    assert "Set TESTVIBE_LEDGER, the file of what it starts, in the `env`" in text
    assert emulator.requests == []


async def names(**options: Any) -> set[str]:
    return {tool.name for tool in await make_server(**options).list_tools()}


async def test_tools_are_chosen() -> None:
    """Tools are those that are named, without those that are excluded, or that change something."""
    reading = {name.split("_")[0] for name in await names(read_only=True)}
    assert reading == {"get", "list", "read", "wait", "diagnose"}
    assert await names(tools=["run_feature", "get_run"]) == {"run_feature", "get_run"}
    assert await names(tools=["run_feature", "get_run"], read_only=True) == {"get_run"}
    assert await names() - await names(exclude_tools=["delete_feature"]) == {"delete_feature"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"tools": ["run"]}, "there is no tool 'run'; there are list_projects, "),
        ({"exclude_tools": ["x"]}, "there is no tool 'x'"),
        ({"tools": ["run_feature"], "read_only": True}, "no tool is left"),
        ({"max_generations": -1}, "at least 0"),
        ({"max_output": 1_999}, "at least 2,000"),
    ],
)
def test_wrong_choices_are_refused(options: dict[str, Any], said: str) -> None:
    """What is misspelt, or leaves nothing, is an error at the start."""
    with pytest.raises(ConfigError, match=said):
        make_server(**options)


def answering(
    asked: list[str], action: Any = "accept", content: Any = MappingProxyType({"generate": True})
) -> Any:
    """Return a callback of a client whose user answers so."""

    async def answer(_context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action=action, content=content and dict(content))

    return answer


@mcp_connection.both_modes
@pytest.mark.parametrize(
    ("action", "content"),
    [
        ("accept", {"generate": True}),
        ("accept", {"generate": False}),
        ("decline", None),
        ("accept", {"other": 1}),
        ("accept", {"generate": "perhaps"}),
        ("accept", None),
    ],
    ids=str,
)
async def test_the_user_is_asked_before_credits_are_spent(
    emulator: Emulator, mode: mcp_connection.Mode, action: str, content: Any
) -> None:
    """A client that can ask its user does, once, and nothing starts without consent."""
    mcp_connection.without_tests(emulator)
    asked: list[str] = []
    is_agreed = content == {"generate": True}
    async with connected(emulator, mode, ask=answering(asked, action, content)) as mcp:
        answer = await mcp.call_tool("generate_feature", {"feature": "Checkout"})
        assert asked == ["Generate the tests of 'Checkout'? It costs credits of the account."]
        assert answer.is_error is not is_agreed
        if not is_agreed:
            assert text_of(answer).startswith("Nothing was started: the ")
        else:
            await mcp.call_tool("generate_feature", {"feature": "Checkout"})
            assert len(asked) == 1
    assert emulator.count("generate_feature") == is_agreed


async def instructions(**options: Any) -> str:
    async with Connection(make_server(**options)) as mcp:
        return str(mcp.instructions)


async def test_the_instructions_say_what_there_is() -> None:
    """They say what is data, and to a server that may start something how to start it."""
    whole, reading = await instructions(), await instructions(read_only=True)
    assert "data that others wrote" in reading
    assert "`replace`" in whole
    assert "run_feature" not in reading
