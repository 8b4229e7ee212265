"""The extension for tasks: a client of ours makes them, polls them, and cancels them."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

import pytest
from mcp import Client as McpClient
from mcp.client import ClientExtension, ResultClaim, advertise
from mcp.shared.exceptions import MCPError
from mcp.types import CallToolResult, Request, RequestParams, Result
from pydantic import ConfigDict

from tests.conftest import client_of
from tests.support.mcp_connection import (
    connected_by_http,
    content_of,
    texts_of,
    without_tests,
)
from tests.surfaces.mcp_server.test_http import TOKEN, served
from testvibe_async.mcp_server import make_server
from testvibe_async.testing import Emulator, Fault, Outcome, Scenario

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence
    from pathlib import Path

    from mcp.client import ClaimContext

TASKS = "io.modelcontextprotocol/tasks"


class TaskResult(Result):
    """A task, and all that its status brings."""

    model_config = ConfigDict(extra="allow")

    result_type: Literal["task"] = "task"


class Anything(Result):
    """A result whose members are looked at as they came."""

    model_config = ConfigDict(extra="allow")


class TaskParams(RequestParams):
    """The parameters of the extension's methods."""

    model_config = ConfigDict(extra="allow")

    task_id: str


class TaskRequest(Request[TaskParams, str]):
    """One of the extension's requests, which carries the task's id in a header too."""

    params: TaskParams
    name_param = "taskId"


class TasksClient(ClientExtension):
    """A client of the extension that hands the task over, and polls it itself."""

    identifier = TASKS

    def claims(self) -> Sequence[ResultClaim[Any]]:
        async def resolve(_task: TaskResult, _ctx: ClaimContext) -> CallToolResult:
            raise NotImplementedError

        return [ResultClaim(result_type="task", model=TaskResult, resolve=resolve)]


async def create(mcp: McpClient, tool: str, **arguments: Any) -> dict[str, Any]:
    """Call a tool, and return the task that it answers with."""
    result = await mcp.session.call_tool(tool, arguments, allow_claimed=True)
    assert isinstance(result, TaskResult), result
    return result.model_dump(by_alias=True)


async def ask(mcp: McpClient, method: str, task_id: str, **params: Any) -> dict[str, Any]:
    """Send one of the extension's requests."""
    request = TaskRequest(method=method, params=TaskParams(task_id=task_id, **params))
    result = await mcp.session.send_request(request, Anything)
    return result.model_dump(by_alias=True)


def note_of(ack: dict[str, Any]) -> str | None:
    """Return what an acknowledgement says; it has nothing else."""
    assert ack.keys() == {"resultType", "_meta"}
    assert ack["resultType"] == "complete"
    note: str | None = ack["_meta"].get("testvibe-async/note")
    return note


async def ended(mcp: McpClient, task_id: str) -> dict[str, Any]:
    """Poll a task until it is over."""
    while (task := await ask(mcp, "tasks/get", task_id))["status"] == "working":  # noqa: ASYNC110
        await asyncio.sleep(task["pollIntervalMs"] / 1_000)
    return task


@asynccontextmanager
async def connected(
    emulator: Emulator, folder: Path | None = None, **options: Any
) -> AsyncGenerator[McpClient]:
    """Connect a client that knows tasks to a server that offers them."""
    server = make_server(lambda: client_of(emulator), tasks=True, state_folder=folder, **options)
    async with McpClient(server, extensions=[TasksClient()]) as mcp:
        yield mcp


@pytest.fixture
async def emulator() -> AsyncGenerator[Emulator]:
    """Serve runs of Checkout that take 60 s, and generations that take 300 s."""
    long = Outcome(run_queue=10, run_duration=50, run_status="passed", generation_duration=300)
    scenario = Scenario(failing_runs=0, failing_generations=0, outcomes={"Checkout": long})
    async with Emulator(scenario=scenario) as emulator:
        yield emulator


CALLS: dict[str, dict[str, Any]] = {
    "wait_for_run": {"runId": 214},
    "wait_for_runs": {"runIds": [214]},
    "run_features": {"features": ["Checkout"]},
    "wait_for_generation": {"feature": "Checkout"},
    "generate_and_run": {"feature": "Checkout"},
}


async def begin(mcp: McpClient, tool: str) -> None:
    """Start what a tool waits for."""
    if tool in {"wait_for_run", "wait_for_runs"}:
        content_of(await mcp.call_tool("run_feature", {"feature": "Checkout"}))
    if tool == "wait_for_generation":
        content_of(await mcp.call_tool("generate_feature", {"feature": "Checkout", "again": True}))


@pytest.mark.parametrize("tool", CALLS)
async def test_a_call_that_waits_is_a_task(emulator: Emulator, tool: str) -> None:
    """A call that has to wait is answered with a task, whose result is that of the call."""
    without_tests(emulator, tool)
    async with connected(emulator) as mcp:
        await begin(mcp, tool)
        before = asyncio.get_running_loop().time()
        made = await create(mcp, tool, **CALLS[tool], timeoutSeconds=120)
        assert asyncio.get_running_loop().time() - before < 3
        assert (made["resultType"], made["status"]) == ("task", "working")
        assert made["pollIntervalMs"] == 3_000
        assert made["ttlMs"] > 86_400_000
        assert "call" not in made["statusMessage"]
        assert datetime.fromisoformat(made["createdAt"]).tzinfo == UTC
        over = await ended(mcp, made["taskId"])
        assert (over["resultType"], over["status"]) == ("complete", "completed")
        assert over["createdAt"] == made["createdAt"]
        plain = await mcp.session.call_tool(tool, CALLS[tool], allow_claimed=True)
    assert isinstance(plain, CallToolResult)
    result = CallToolResult.model_validate(over["result"])
    assert content_of(result)["inFlight"] is False
    if not tool.startswith(("run", "generate")):  # Those two add that an earlier call began it.
        assert result.structured_content == plain.structured_content
    assert emulator.count("run_feature") <= 1
    assert emulator.count("generate_feature") <= 1


async def test_a_call_that_need_not_wait_is_answered(emulator: Emulator) -> None:
    """What is over at once is no task; nor is a call of a tool that does not wait, or an error."""
    async with connected(emulator) as mcp:
        run = content_of(await mcp.call_tool("run_feature", {"feature": "Checkout"}))
        emulator.finish_run(run["runId"], "passed")
        over = await mcp.call_tool("wait_for_run", {"runId": run["runId"]})
        assert content_of(over)["status"] == "passed"
        assert (await mcp.call_tool("wait_for_generation", {"feature": "No such"})).is_error


async def test_other_clients_see_no_change(emulator: Emulator) -> None:
    """A client without the extension waits as before; its requests about tasks are refused."""
    server = make_server(lambda: client_of(emulator), tasks=True)
    async with McpClient(server) as mcp:
        run = content_of(await mcp.call_tool("run_feature", {"feature": "Checkout"}))
        answer = await mcp.call_tool("wait_for_run", {"runId": run["runId"], "timeoutSeconds": 30})
        assert content_of(answer)["inFlight"] is True
        for method in ("tasks/get", "tasks/update", "tasks/cancel"):
            with pytest.raises(MCPError) as caught:
                await ask(mcp, method, "v1.x")
            assert caught.value.error.code == -32021
            assert caught.value.error.data == {"requiredCapabilities": {"extensions": {TASKS: {}}}}
    async with McpClient(server, mode="legacy", extensions=[advertise(TASKS)]) as mcp:
        answer = await mcp.call_tool("wait_for_run", {"runId": run["runId"], "timeoutSeconds": 2})
        assert content_of(answer)["inFlight"] is True


async def test_without_the_option_there_are_no_tasks(emulator: Emulator) -> None:
    """A server offers the extension only where it is told to."""
    for tasks in (True, False):
        server = make_server(lambda: client_of(emulator), tasks=tasks)
        async with McpClient(server, extensions=[TasksClient()]) as mcp:
            assert (TASKS in (mcp.server_capabilities.extensions or {})) is tasks
            if not tasks:
                await mcp.call_tool("run_feature", {"feature": "Checkout"})
                wait = {"runId": 214, "timeoutSeconds": 2}
                assert content_of(await mcp.call_tool("wait_for_run", wait))["inFlight"] is True


@pytest.mark.parametrize("tool", CALLS)
async def test_a_task_survives_a_restart(emulator: Emulator, tmp_path: Path, tool: str) -> None:
    """Another server with the same folder goes on with a task, and starts nothing."""
    without_tests(emulator, tool)
    async with connected(emulator, tmp_path) as mcp:
        await begin(mcp, tool)
        task = (await create(mcp, tool, **CALLS[tool]))["taskId"]
    async with connected(emulator, tmp_path) as mcp:
        assert (await ask(mcp, "tasks/get", task))["status"] == "working"
    async with connected(emulator, tmp_path) as mcp:
        assert (await ended(mcp, task))["status"] == "completed"
    async with connected(emulator, tmp_path) as mcp:
        assert (await ask(mcp, "tasks/get", task))["status"] == "completed"
    assert emulator.count("run_feature") <= 1
    assert emulator.count("generate_feature") <= 1


async def test_polls_of_tasks_share_the_poller(emulator: Emulator) -> None:
    """Twenty clients that poll one task cost the service as much as one."""
    async with connected(emulator) as mcp:
        await begin(mcp, "wait_for_run")
        tasks = [(await create(mcp, "wait_for_run", runId=214))["taskId"] for _ in range(3)]
        before = emulator.count()
        for _ in range(10):
            await asyncio.gather(*(ask(mcp, "tasks/get", each) for each in tasks * 7))
            await asyncio.sleep(2)
    assert emulator.count() - before <= 12


async def test_the_end_is_told_after_ten_minutes_too(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at a task begins nothing, also where the same call would begin anew."""
    async with connected(emulator, tmp_path) as mcp:
        task = (await create(mcp, "run_features", features=["Checkout"]))["taskId"]
        await ended(mcp, task)
        later = datetime.now(UTC).timestamp() + 3_600
        monkeypatch.setattr("testvibe_async.mcp_server.journals.time.time", lambda: later)
        assert (await ask(mcp, "tasks/get", task))["status"] == "completed"
        assert emulator.count("run_feature") == 1
        newer = (await create(mcp, "run_features", features=["Checkout"]))["taskId"]
        assert emulator.count("run_feature") == 2
        with pytest.raises(MCPError, match="the same was begun anew") as caught:
            await ask(mcp, "tasks/get", task)
        assert caught.value.error.code == -32602
        assert (await ask(mcp, "tasks/get", newer))["status"] == "working"
    assert emulator.count("run_feature") == 2


async def test_a_late_look_runs_nothing_again(
    emulator: Emulator, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A look at a generation and its run an hour later tells of that run."""
    without_tests(emulator)
    async with connected(emulator, tmp_path) as mcp:
        task = (await create(mcp, "generate_and_run", feature="Checkout"))["taskId"]
        await ended(mcp, task)
        later = datetime.now(UTC).timestamp() + 3_600
        monkeypatch.setattr("testvibe_async.mcp_server.journals.time.time", lambda: later)
        assert (await ask(mcp, "tasks/get", task))["status"] == "completed"
    assert emulator.count("run_feature") == 1


async def test_what_began_anew_is_a_task_of_its_own(emulator: Emulator) -> None:
    """`again` holds for the call that has it, and not for looks at its task."""
    async with connected(emulator) as mcp:
        for calls in (1, 2):
            task = await create(mcp, "run_features", features=["Checkout"], again=True)
            await ended(mcp, task["taskId"])
            await ask(mcp, "tasks/get", task["taskId"])
            assert emulator.count("run_feature") == calls


async def test_what_nobody_knows_is_not_sent_again_by_a_look(emulator: Emulator) -> None:
    """A dispatch that may have begun ends the task as an error, however often it is looked at."""
    emulator.fail("generate_feature", Fault.lost(), times=2)
    emulator.fail("get_generation_status", Fault.status(503, retry_after=2))
    async with connected(emulator) as mcp:
        task = (await create(mcp, "generate_and_run", feature="Checkout", again=True))["taskId"]
        for _ in range(2):
            over = CallToolResult.model_validate((await ended(mcp, task))["result"])
            assert "It may have started" in texts_of(over)[0]
    assert emulator.count("generate_feature") == 1


@pytest.mark.parametrize("tool", ["wait_for_generation", "generate_and_run"])
async def test_a_generation_can_be_cancelled(emulator: Emulator, tool: str) -> None:
    """To cancel the task is to cancel the generation; the task is cancelled then."""
    without_tests(emulator, tool)
    async with connected(emulator) as mcp:
        await begin(mcp, tool)
        task = (await create(mcp, tool, feature="Checkout"))["taskId"]
        assert note_of(await ask(mcp, "tasks/cancel", task)) is None
        over = await ended(mcp, task)
        assert over["status"] == "cancelled"
        assert "result" not in over
        await ask(mcp, "tasks/cancel", task)
    assert emulator.count("cancel_generation") == 1


async def test_a_newer_generation_is_left_alone(emulator: Emulator) -> None:
    """What somebody else started in its place is not cancelled with the task."""
    async with connected(emulator) as mcp:
        await begin(mcp, "wait_for_generation")
        made = await create(mcp, "wait_for_generation", feature="Checkout")
        first = next(iter(emulator.generations))
        emulator.finish_generation(first)
        content_of(await mcp.call_tool("generate_feature", {"feature": "Checkout", "again": True}))
        ack = await ask(mcp, "tasks/cancel", made["taskId"])
        assert note_of(ack) == "Nothing was cancelled: a newer generation took its place."
        assert (await ask(mcp, "tasks/get", made["taskId"]))["status"] == "working"
    assert emulator.count("cancel_generation") == 0


@pytest.mark.parametrize("tool", ["wait_for_run", "wait_for_runs", "run_features"])
async def test_a_run_can_t_be_cancelled(emulator: Emulator, tool: str) -> None:
    """The request is acknowledged, and says that the run goes on; so does the task."""
    async with connected(emulator) as mcp:
        await begin(mcp, tool)
        task = (await create(mcp, tool, **CALLS[tool]))["taskId"]
        ack = await ask(mcp, "tasks/cancel", task)
        note = "Nothing was cancelled: a run can't be, it goes on."
        assert note_of(ack) == note
        seen = await ask(mcp, "tasks/get", task)
        assert seen["status"] == "working"
        assert seen["statusMessage"].startswith(note)
        assert (await ended(mcp, task))["status"] == "completed"


async def test_a_server_that_may_only_read_cancels_nothing(emulator: Emulator) -> None:
    """A server without cancel_generation does not cancel through a task either."""
    async with connected(emulator) as mcp:
        await begin(mcp, "wait_for_generation")
    async with connected(emulator, read_only=True) as mcp:
        task = (await create(mcp, "wait_for_generation", feature="Checkout"))["taskId"]
        ack = await ask(mcp, "tasks/cancel", task)
    assert "does not offer cancel_generation" in str(note_of(ack))
    assert emulator.count("cancel_generation") == 0


async def test_a_strange_id_is_refused(emulator: Emulator, tmp_path: Path) -> None:
    """An id that is forged, cut, changed, or of a server with another secret is no task."""
    async with connected(emulator, tmp_path / "a") as mcp:
        own = (await create(mcp, "run_features", features=["Checkout"]))["taskId"]
    async with connected(emulator, tmp_path / "b") as mcp:
        other = (await create(mcp, "run_features", features=["Wishlist"]))["taskId"]
    plain = json.dumps({"tool": "run_features", "arguments": {"all": True}})
    changed = own[:-3] + ("AAA" if own[-3:] != "AAA" else "BBB")
    async with connected(emulator, tmp_path / "a") as mcp:
        for strange in (other, plain, changed, own[:-9], "", "v1."):
            for method in ("tasks/get", "tasks/update", "tasks/cancel"):
                with pytest.raises(MCPError, match="There is no such task") as caught:
                    await ask(mcp, method, strange)
                assert caught.value.error.code == -32602
    assert emulator.count("run_feature") == 2
    assert (tmp_path / "a" / "secret").stat().st_mode & 0o077 == 0


async def test_a_task_of_another_service_is_refused(emulator: Emulator, tmp_path: Path) -> None:
    """A server that is set to another service by now does not look for a task there."""
    async with connected(emulator, tmp_path) as mcp:
        task = (await create(mcp, "run_features", features=["Checkout"]))["taskId"]
    async with Emulator() as other, connected(other, tmp_path) as mcp:
        with pytest.raises(MCPError, match="it is of another service"):
            await ask(mcp, "tasks/get", task)


async def test_a_failure_to_look_does_not_end_a_task(emulator: Emulator) -> None:
    """An error that says nothing of the operation is one of the request, and not the result."""
    async with connected(emulator) as mcp:
        await begin(mcp, "wait_for_run")
        task = (await create(mcp, "wait_for_run", runId=214))["taskId"]
        rules = [emulator.fail(each, Fault.status(403)) for each in ("get_run", "list_runs")]
        await asyncio.sleep(5)
        with pytest.raises(MCPError, match="TESTVIBE_API_KEY") as caught:
            await ask(mcp, "tasks/get", task)
        assert caught.value.error.code == -32603
        for rule in rules:
            rule.remove()
        assert (await ended(mcp, task))["status"] == "completed"


async def test_what_does_not_exist_any_more_ends_a_task(emulator: Emulator) -> None:
    """A feature that was deleted meanwhile is the result, as of the call."""
    async with connected(emulator) as mcp:
        await begin(mcp, "wait_for_generation")
        task = (await create(mcp, "wait_for_generation", feature="Checkout"))["taskId"]
        await mcp.call_tool("cancel_generation", {"feature": "Checkout"})
        await mcp.call_tool("delete_feature", {"feature": "Checkout"})
        over = await ended(mcp, task)
    result = CallToolResult.model_validate(over["result"])
    assert result.is_error
    assert "list_features shows what there is" in texts_of(result)[0]


async def test_a_call_that_is_too_long_is_no_task(emulator: Emulator) -> None:
    """What does not fit into an id is answered as without the extension."""
    ids = [214, *range(10**9, 10**9 + 10**6, 997)]
    async with connected(emulator) as mcp:
        await begin(mcp, "wait_for_run")
        names = ["Checkout", *(f"{number * 7919:x}" for number in ids)]
        arguments = {"features": names, "timeoutSeconds": 5}
        assert content_of(await mcp.call_tool("run_features", arguments))["inFlight"] is True


async def test_without_a_place_for_the_secret_there_are_no_tasks(
    emulator: Emulator, tmp_path: Path
) -> None:
    """A server that can't keep its secret answers as without the extension."""
    (tmp_path / "file").touch()
    async with connected(emulator) as mcp:
        await begin(mcp, "wait_for_run")
    async with connected(emulator, tmp_path / "file") as mcp:
        assert content_of(await mcp.call_tool("wait_for_run", {"runId": 214}))["inFlight"] is True
        with pytest.raises(MCPError, match="the secret of task ids can't be kept") as caught:
            await ask(mcp, "tasks/get", "v1.x")
        assert caught.value.error.code == -32603


async def test_update_is_acknowledged(emulator: Emulator) -> None:
    """No task asks for input, and answers to what was not asked are ignored."""
    async with connected(emulator) as mcp:
        await begin(mcp, "wait_for_run")
        task = (await create(mcp, "wait_for_run", runId=214))["taskId"]
        ack = await ask(mcp, "tasks/update", task, inputResponses={"x": {"action": "accept"}})
    assert note_of(ack) is None


async def test_a_task_over_http_survives_a_restart(emulator: Emulator, tmp_path: Path) -> None:
    """Another server at another port goes on with a task, for a client with the token."""
    task = ""
    for _ in range(2):
        async with (
            served(emulator, tasks=True, state_folder=tmp_path) as url,
            connected_by_http(url, TOKEN, extensions=[TasksClient()]) as mcp,
        ):
            if not task:
                task = (await create(mcp, "run_features", features=["Checkout"]))["taskId"]
                assert (await ask(mcp, "tasks/get", task))["status"] == "working"
            else:
                assert (await ended(mcp, task))["status"] == "completed"
    assert emulator.count("run_feature") == 1
