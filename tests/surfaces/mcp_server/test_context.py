"""Resources and prompts, through the official client."""

import json
from urllib.parse import quote

import pytest
from mcp.shared.exceptions import MCPError
from mcp.types import INVALID_PARAMS, GetPromptResult, ReadResourceResult

from tests.support.mcp_connection import Connection, connected
from testvibe_async.mcp_server import make_server
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

UNUSUAL = "/login: who's ../there? 100 %"


def text_of(read: ReadResourceResult) -> str:
    (content,) = read.contents
    assert not hasattr(content, "blob")
    return str(getattr(content, "text", ""))


def words_of(prompt: GetPromptResult) -> str:
    (message,) = prompt.messages
    assert message.role == "user"
    assert message.content.type == "text"
    return message.content.text


async def test_resources_and_prompts_are_listed(emulator: Emulator) -> None:
    """Three templates and two prompts are listed, each with a description."""
    async with connected(emulator) as mcp:
        templates = (await mcp.list_resource_templates()).resource_templates
        prompts = (await mcp.list_prompts()).prompts
    assert {template.uri_template: template.mime_type for template in templates} == {
        "testvibe://runs/{runId}{?project}": "application/json",
        "testvibe://features/{feature}/gherkin{?project}": "text/plain",
        "testvibe://features/{feature}/generation/log{?project}": "application/json",
    }
    assert all(template.description for template in templates)
    for prompt, name in zip(prompts, ("runId", "feature"), strict=True):
        assert prompt.title
        assert prompt.description
        arguments = [(each.name, each.required) for each in prompt.arguments or ()]
        assert arguments == [(name, True), ("project", False)]


@pytest.mark.parametrize("name", ["checkout", "14", quote(UNUSUAL, safe="")])
async def test_a_feature_is_read_as_its_gherkin(emulator: Emulator, name: str) -> None:
    """A feature's resource is its Gherkin, by its id or its name, which may look like a path."""
    emulator.add_feature(UNUSUAL)
    gherkin = emulator.features[UNUSUAL if "%" in name else "Checkout"].gherkin
    async with connected(emulator) as mcp:
        assert text_of(await mcp.read_resource(f"testvibe://features/{name}/gherkin")) == gherkin
        emulator.fail("get_feature", Fault.edit(lambda row: {**row, "gherkin": None}))
        assert text_of(await mcp.read_resource(f"testvibe://features/{name}/gherkin")) == ""


async def test_a_resource_is_the_document_of_a_tool() -> None:
    """A log is the document that get_generation_log returns, and a run that of get_run."""
    scenario = Scenario(outcomes={"Checkout": Outcome(generation_status="failed")})
    async with Emulator(scenario=scenario) as emulator, connected(emulator) as mcp:
        latest = await mcp.latest("Checkout")
        started = await mcp.result("generate_feature", feature="Checkout", replace=latest)
        emulator.finish_generation(started["requestId"], "failed")
        log = await mcp.result("get_generation_log", feature="Checkout")
        read = text_of(await mcp.read_resource("testvibe://features/checkout/generation/log"))
        assert json.loads(read) == log
        assert any(part["statusReason"] for part in log["sections"])
        run = (await mcp.result("run_feature", feature="Wishlist"))["runId"]
        await mcp.result("wait_for_run", runId=run)
        read = text_of(await mcp.read_resource(f"testvibe://runs/{run}"))
        assert json.loads(read) == await mcp.result("get_run", runId=run)


async def test_another_project_is_named_in_the_uri(emulator: Emulator) -> None:
    """The query of a URI names a project; the log of what was never generated is empty."""
    other = emulator.add_project("Other")
    emulator.add_feature("Elsewhere", project=other, status="draft")
    uri = "testvibe://features/Elsewhere/{}?project=" + other.id
    async with connected(emulator) as mcp:
        assert "Elsewhere" in text_of(await mcp.read_resource(uri.format("gherkin")))
        log = text_of(await mcp.read_resource(uri.format("generation/log")))
    assert json.loads(log)["sections"] == []


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("runs/999", "list_runs shows"),
        ("features/None/gherkin", "list_features shows"),
        ("runs/last", "A run's id is a number, not 'last'"),
        ("runs/214", "TESTVIBE_API_KEY"),
    ],
)
async def test_what_can_t_be_read_is_explained(emulator: Emulator, path: str, said: str) -> None:
    """A missing resource is the protocol's error for that, and each error has the next step."""
    if path == "runs/214":
        for operation in ("get_run", "diagnose_run"):
            emulator.fail(operation, Fault.status(403))
    async with connected(emulator) as mcp:
        with pytest.raises(MCPError, match=said) as caught:
            await mcp.read_resource(f"testvibe://{path}")
        assert (caught.value.error.code == INVALID_PARAMS) is (" shows" in said)
        if path.startswith("runs"):
            with pytest.raises(MCPError, match=said):
                await mcp.get_prompt("diagnose_failed_run", {"runId": path.removeprefix("runs/")})


async def test_without_configuration_reading_says_what_to_set() -> None:
    """Resources and prompts of a server without settings name the settings."""
    async with Connection(make_server()) as mcp:
        with pytest.raises(MCPError, match="Set TESTVIBE_SERVER"):
            await mcp.read_resource("testvibe://runs/214")
        with pytest.raises(MCPError, match="Set TESTVIBE_SERVER"):
            await mcp.get_prompt("diagnose_failed_run", {"runId": "214"})


async def test_a_failed_run_is_handed_over_with_its_diagnosis() -> None:
    """The prompt holds the failures, the Gherkin and the log, and warns about credits."""
    scenario = Scenario(outcomes={"Checkout": Outcome(run_status="failed", error="No such thing")})
    async with Emulator(scenario=scenario) as emulator, connected(emulator) as mcp:
        run = await mcp.result("run_feature", feature="Checkout")
        await mcp.result("wait_for_run", runId=run["runId"])
        words = words_of(await mcp.get_prompt("diagnose_failed_run", {"runId": str(run["runId"])}))
    for part in ("No such thing", "Feature: Checkout", "costs credits", "get_run_artifacts"):
        assert part in words


async def test_a_failed_generation_is_handed_over_with_its_log(emulator: Emulator) -> None:
    """The prompt holds the log and the Gherkin, and asks for consent before credits are spent."""
    async with connected(emulator) as mcp:
        latest = await mcp.latest("Checkout")
        started = await mcp.result("generate_feature", feature="Checkout", replace=latest)
        emulator.finish_generation(started["requestId"], "failed")
        prompt = await mcp.get_prompt("diagnose_failed_generation", {"feature": "checkout"})
    words = words_of(prompt)
    for part in ("Feature: Checkout", "Don't call generate_feature before I agree", "failure"):
        assert part in words
