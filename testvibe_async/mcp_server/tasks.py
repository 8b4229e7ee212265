"""Tasks: waits and batches that a client polls for, instead of calls that it keeps open.

The extension `io.modelcontextprotocol/tasks` (SEP-2663), until the SDK has a runtime of its own for
it: delete this then. Decides which calls become tasks, and how an operation's state reads as a
task's. A task is the call of a tool that waits, sealed into its id: to look at it is to make the
same call with a short wait and without beginning anything. So nothing of it is kept here. A client
that does not know the extension sees no change.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, cast

from mcp.server.extension import Extension, MethodBinding
from mcp.server.mcpserver import require_client_extension
from mcp.server.mcpserver.exceptions import ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolRequestParams,
    CallToolResult,
    RequestParams,
    TextContent,
)
from mcp.types.version import MODERN_PROTOCOL_VERSIONS
from pydantic import Field

from testvibe_async import (
    ConfigError,
    ConflictError,
    DispatchUnknownError,
    InvalidRequestError,
    NotFoundError,
    OperationNotFoundError,
    OperationSupersededError,
    VibeError,
)
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.advice import explain
from testvibe_async.mcp_server.answers import STILL_IN_FLIGHT
from testvibe_async.mcp_server.journals import MAX_SECONDS, ReplacedError
from testvibe_async.mcp_server.session import LookContext, Session
from testvibe_async.mcp_server.task_ids import (
    NoSuchTaskError,
    Task,
    fits_into_id,
    opened_task,
    sealed,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from mcp.server.context import CallNext, HandlerResult, ServerRequestContext
    from mcp.server.mcpserver.tools import Tool

    from testvibe_async.mcp_server.budget import Document

__all__ = ["Tasks"]

IDENTIFIER = "io.modelcontextprotocol/tasks"

LOOK_SECONDS = 1
"""How long a call waits before it becomes a task, and how long a look at the task may take."""

POLL_MILLISECONDS = 3_000

MAX_REMARKS = 1_000

SUPERSEDED = "Nothing was cancelled: a newer generation took its place."

FINAL = (
    ConflictError,
    DispatchUnknownError,
    InvalidRequestError,
    NotFoundError,
    OperationNotFoundError,
    OperationSupersededError,
)
"""Errors that end a task; after all others a later look may see more."""


class _TaskParams(RequestParams):
    task_id: str = Field(alias="taskId")


class _UpdateParams(_TaskParams):
    input_responses: dict[str, Any] = Field(default_factory=dict, alias="inputResponses")


class Tasks(Extension):
    """The extension, for the tools that wait."""

    identifier = IDENTIFIER

    def __init__(self, tools: Iterable[Tool]) -> None:
        """Make it.

        Args:
            tools: All tools that the server offers.
        """
        self._tools = {tool.name: tool for tool in tools}
        self._remarks: dict[str, str] = {}
        """By task, what to say to a client that wanted to cancel what can't be."""

    def methods(self) -> Sequence[MethodBinding]:
        """Return the extension's own methods."""
        versions = frozenset(MODERN_PROTOCOL_VERSIONS)
        return [
            MethodBinding("tasks/get", _TaskParams, self._get, versions),
            MethodBinding("tasks/update", _UpdateParams, self._update, versions),
            MethodBinding("tasks/cancel", _TaskParams, self._cancel, versions),
        ]

    async def intercept_tool_call(
        self,
        params: CallToolRequestParams,
        ctx: ServerRequestContext[Session, Any],
        call_next: CallNext,
    ) -> HandlerResult:
        """Make a task of a call that has to wait, for a client that knows tasks."""
        if not self._may_become_task(params, ctx):
            return await call_next(ctx)
        arguments = dict(params.arguments or {})
        session = ctx.lifespan_context
        created_at = datetime.now(UTC)
        params.arguments = {**arguments, "timeoutSeconds": LOOK_SECONDS}
        result = await call_next(ctx)
        if not isinstance(result, CallToolResult) or not _goes_on(result):
            return result
        task = Task(
            tool=params.name,
            arguments=_lasting(session, arguments),
            server=session.client.server,
            created_at=created_at,
            begun_at=_content_of(result).get("begunAt"),
            request_id=_generation_of(result).get("requestId"),
        )
        try:
            return {"resultType": "task", **_document_of(sealed(session, task), task, result)}
        except ConfigError:  # Without a secret there are no tasks.
            return result

    def _may_become_task(
        self, params: CallToolRequestParams, ctx: ServerRequestContext[Session, Any]
    ) -> bool:
        tool = self._tools.get(params.name)
        capabilities = ctx.session.client_capabilities
        declared = capabilities.extensions if capabilities else None
        return (
            tool is not None
            and "timeoutSeconds" in tool.parameters["properties"]
            and IDENTIFIER in (declared or {})
            and ctx.protocol_version in MODERN_PROTOCOL_VERSIONS
            and fits_into_id(params.arguments or {})
        )

    async def _get(
        self, ctx: ServerRequestContext[Session, Any], params: _TaskParams
    ) -> dict[str, Any]:
        task = self._opened(ctx, params.task_id)
        result = await self._look(ctx, task)
        document = _document_of(params.task_id, task, result)
        if (remark := self._remarks.get(params.task_id)) and document["status"] == "working":
            document["statusMessage"] = f"{remark} {document['statusMessage']}"
        return {"resultType": "complete", **document}

    async def _update(
        self, ctx: ServerRequestContext[Session, Any], params: _UpdateParams
    ) -> dict[str, Any]:
        """Take note of what nobody asked for: the user is asked before there is a task."""
        self._opened(ctx, params.task_id)
        return {"resultType": "complete"}

    async def _cancel(
        self, ctx: ServerRequestContext[Session, Any], params: _TaskParams
    ) -> dict[str, Any]:
        task = self._opened(ctx, params.task_id)
        result = await self._look(ctx, task)
        remark = await self._cancelled(ctx.lifespan_context, task, result)
        if remark is None:
            return {"resultType": "complete"}
        self._remarks[params.task_id] = remark
        if len(self._remarks) > MAX_REMARKS:
            del self._remarks[next(iter(self._remarks))]
        return {"resultType": "complete", "_meta": {"testvibe-async/note": remark}}

    async def _cancelled(self, session: Session, task: Task, result: CallToolResult) -> str | None:
        """Cancel the generation that a task waits for, or say why nothing is cancelled.

        Raises:
            MCPError: The service did not answer, or refused.
        """
        if not _goes_on(result):
            return None
        if (remark := self._why_not(task, result)) is not None:
            return remark
        generation = _generation_of(result)
        home = session.project(task.arguments["project"])
        operation = session.generation(home, generation["requestId"], generation["featureId"])
        try:
            await operation.cancel()
        except OperationSupersededError:
            return SUPERSEDED
        except ConflictError:
            return None  # It ended just now.
        except VibeError as error:
            raise MCPError(INTERNAL_ERROR, explain(error, "cancel_generation")) from error
        return None

    def _why_not(self, task: Task, result: CallToolResult) -> str | None:
        """Say why what a task waits for can't be cancelled; None where it can."""
        request_id = _generation_of(result).get("requestId")
        if request_id is None or _content_of(result).get("run"):
            return "Nothing was cancelled: a run can't be, it goes on."
        if task.request_id not in {None, request_id}:
            return SUPERSEDED
        if "cancel_generation" not in self._tools:
            return "Nothing was cancelled: this server does not offer cancel_generation."
        return None

    async def _look(self, ctx: ServerRequestContext[Session, Any], task: Task) -> CallToolResult:
        """Return what the call of a task would return now, without beginning anything.

        Raises:
            MCPError: There is nothing of it any more, or nothing could be seen.
        """
        tool = self._tools.get(task.tool)
        if tool is None:
            raise MCPError(INVALID_PARAMS, f"This server does not offer {task.tool}.")
        context = LookContext(ctx, task.begun_at)
        arguments = {**task.arguments, "timeoutSeconds": LOOK_SECONDS}
        try:
            result: CallToolResult = await tool.run(arguments, context, convert_result=True)
        except ToolError as error:
            cause = _cause_of(error)
            if isinstance(cause, ReplacedError):
                raise MCPError(
                    INVALID_PARAMS, f"There is no such task any more: {cause}."
                ) from error
            if isinstance(cause, FINAL):
                text = TextContent(type="text", text=str(error))
                return CallToolResult(content=[text], is_error=True)
            raise MCPError(INTERNAL_ERROR, str(error)) from error
        begun_at = _content_of(result).get("begunAt")
        if task.begun_at is not None and begun_at != serialize(task.begun_at):
            raise MCPError(INVALID_PARAMS, f"There is no such task: {ReplacedError()}.")
        return result

    def _opened(self, ctx: ServerRequestContext[Session, Any], task_id: str) -> Task:
        """Return the task of an id that this server, or one with the same secret, has made.

        Raises:
            MCPError: The client does not know tasks, or the id is not one of ours, or too old.
        """
        require_client_extension(ctx, IDENTIFIER)
        session = ctx.lifespan_context
        try:
            return opened_task(session, task_id)
        except NoSuchTaskError as error:
            raise MCPError(INVALID_PARAMS, f"There is no such task: {error}.") from error
        except (ConfigError, ToolError) as error:
            raise MCPError(INTERNAL_ERROR, str(error)) from error


def _lasting(session: Session, arguments: dict[str, Any]) -> dict[str, Any]:
    """Return the arguments that mean the same in every look: of this project, and not anew."""
    kept = {name: arguments[name] for name in arguments.keys() - {"timeoutSeconds", "again"}}
    return {**kept, "project": session.project(arguments.get("project")).id}


def _cause_of(error: BaseException) -> BaseException:
    """Return what an error of a tool came from, which the SDK and the tool each wrap."""
    while error.__cause__ is not None and not isinstance(error, VibeError | ReplacedError):
        error = error.__cause__
    return error


def _content_of(result: CallToolResult) -> Document:
    return cast("Document", result.structured_content or {})


def _goes_on(result: CallToolResult) -> bool:
    return bool(_content_of(result).get("inFlight"))


def _generation_of(result: CallToolResult) -> Document:
    """Return what a result has of a generation, if it has one."""
    content = _content_of(result)
    return cast("Document", content.get("generation") or content)


def _document_of(task_id: str, task: Task, result: CallToolResult) -> Document:
    """Return a task as the extension has it.

    A generation that was cancelled is a cancelled task, by anyone: nothing else is known
    after a restart.
    """
    line = cast("TextContent", result.content[0]).text
    document: Document = {
        "taskId": task_id,
        "status": "working",
        "statusMessage": line.partition(STILL_IN_FLIGHT)[0].strip(),
        "createdAt": serialize(task.created_at),
        "lastUpdatedAt": serialize(datetime.now(UTC)),
        "ttlMs": MAX_SECONDS * 1_000,
        "pollIntervalMs": POLL_MILLISECONDS,
    }
    if _goes_on(result):
        return document
    if _generation_of(result).get("featureStatus") == "cancelled":
        return document | {"status": "cancelled"}
    whole = result.model_dump(by_alias=True, mode="json", exclude_none=True)
    return document | {"status": "completed", "result": whole}
