"""What a person may set: which tools there are, what a session may cost, and who is asked."""

from __future__ import annotations

from types import MappingProxyType
from typing import TYPE_CHECKING, Any, get_args

import pytest
from mcp import Client as McpClient
from mcp.shared.exceptions import MCPError
from mcp.types import ElicitResult

from tests.support.mcp_connection import Mode, connected, refused, result_of, text_of, without_tests
from testvibe_async import ConfigError
from testvibe_async.mcp_server import make_server

if TYPE_CHECKING:
    from pathlib import Path

    from testvibe_async.testing import Emulator

both_modes = pytest.mark.parametrize("mode", get_args(Mode))


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


async def test_generations_are_counted(emulator: Emulator) -> None:
    """No more generations are started than allowed, by no tool; one that goes on costs none."""
    without_tests(emulator)
    async with connected(emulator, max_generations=2) as mcp:
        for _ in range(2):
            await result_of(mcp, "generate_and_run", feature="Checkout", timeoutSeconds=1)
        await result_of(mcp, "generate_feature", feature="Returns")
        for tool in ("generate_feature", "generate_and_run"):
            assert "--max-generations" in await refused(mcp, tool, feature="Wishlist")
        await result_of(mcp, "generate_and_run", feature="Checkout", timeoutSeconds=170)
    assert emulator.count("generate_feature") == 2


def answering(
    asked: list[str], action: Any = "accept", content: Any = MappingProxyType({"generate": True})
) -> Any:
    """Return a callback of a client whose user answers so."""

    async def answer(_context: Any, params: Any) -> ElicitResult:
        asked.append(params.message)
        return ElicitResult(action=action, content=content and dict(content))

    return answer


@both_modes
@pytest.mark.parametrize("tool", ["generate_feature", "generate_and_run"])
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
    emulator: Emulator, mode: Mode, tool: str, action: str, content: Any
) -> None:
    """A client that can ask its user does, once, and nothing starts without consent."""
    without_tests(emulator, tool)
    asked: list[str] = []
    is_agreed = content == {"generate": True}
    async with connected(emulator, mode, ask=answering(asked, action, content)) as mcp:
        answer = await mcp.call_tool(tool, {"feature": "Checkout"})
        assert asked == ["Generate the tests of 'Checkout'? It costs credits of the account."]
        assert answer.is_error is not is_agreed
        if not is_agreed:
            assert text_of(answer).startswith("Nothing was started: the ")
        elif tool == "generate_and_run":
            await mcp.call_tool(tool, {"feature": "Checkout"})
            assert len(asked) == 1
    assert emulator.count("generate_feature") == is_agreed


@pytest.mark.parametrize(
    ("server", "fact"),
    [("", "no server. Set"), ("http://h.example", "to h.example in the clear. Set")],
)
async def test_a_missing_setting_is_named_in_the_words_of_a_server(
    monkeypatch: pytest.MonkeyPatch, server: str, fact: str
) -> None:
    """Neither arguments of the library nor options of the command are named."""
    monkeypatch.setenv("TESTVIBE_SERVER", server)
    monkeypatch.setenv("TESTVIBE_API_KEY", "tvb_0123456789abcdef0123456789abcdef")
    async with McpClient(make_server()) as mcp:
        text = await refused(mcp, "list_projects")
    assert fact in text
    assert "in code" not in text
    assert "allow" not in text
    assert text.count("testvibe-async login") == 1


@both_modes
async def test_a_prompt_s_missing_argument_is_named(emulator: Emulator, mode: Mode) -> None:
    """A prompt without an argument that it needs is refused as invalid parameters."""
    async with connected(emulator, mode) as mcp:
        for name, said in {
            "diagnose_failed_run": "Missing required arguments: {'runId'}",
            "diagnose_failed_generation": "Missing required arguments: {'feature'}",
            "diagnose": "Unknown prompt: diagnose",
        }.items():
            with pytest.raises(MCPError, match=said) as caught:
                await mcp.get_prompt(name)
            assert caught.value.error.code == -32602


async def test_what_goes_on_after_a_restart_is_not_counted(
    emulator: Emulator, tmp_path: Path
) -> None:
    """A server that may start no generation goes on with the one that another began."""
    without_tests(emulator)
    for most, in_flight in ((1, True), (0, False)):
        async with connected(emulator, max_generations=most, state_folder=tmp_path) as mcp:
            seconds, both = 5 if in_flight else 170, dict[str, Any]()
            for _ in range(1 if in_flight else 3):
                both = await result_of(
                    mcp, "generate_and_run", feature="Checkout", timeoutSeconds=seconds
                )
            assert both["inFlight"] is in_flight
    assert emulator.count("generate_feature") == 1


async def instructions(**options: Any) -> str:
    async with McpClient(make_server(**options)) as mcp:
        return str(mcp.instructions)


async def test_the_instructions_say_what_there_is() -> None:
    """They name no tool that is not offered, the limit on generations, and what is data."""
    for part in ("data that others wrote", "`replace`", "start 3 generations at most"):
        assert part in await instructions(max_generations=3)
    reading = await instructions(read_only=True, max_generations=3)
    assert "run_feature" not in reading
    assert "--max-generations" not in reading


async def test_advice_says_which_tools_are_not_offered(emulator: Emulator) -> None:
    """Errors, notes and instructions that name a tool that is not there say so."""
    excluded = ("list_features", "generate_feature", "wait_for_run")
    text = await instructions(exclude_tools=excluded)
    assert "does not offer generate_feature, wait_for_run:" in text
    assert "does not offer" not in await instructions()
    emulator.features["Returns"].status = "draft"
    async with connected(emulator, exclude_tools=excluded) as mcp:
        for feature, missing in (("Chekout", "list_features"), ("Returns", "generate_feature")):
            text = await refused(mcp, "run_feature", feature=feature)
            assert f" This server does not offer {missing}: tell the user" in text
        started = await result_of(mcp, "run_feature", feature="Checkout")
        assert "does not offer wait_for_run:" in started["note"]
        text = await refused(mcp, "generate_feature", feature="Checkout")
        assert text.startswith("This server does not offer generate_feature")
        text = await refused(mcp, "get_features")
        assert text.startswith("There is no tool 'get_features'. Did you mean 'get_feature'")
