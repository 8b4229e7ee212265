# ruff: noqa: N803 - the arguments have the service's own names, in its camelCase
"""Resources and prompts, which a user hands to the model without a tool call.

Decides their URIs, their arguments and the wording of the prompts. A resource is of the project
that the server is set to, unless its URI names another, and no longer than an answer may be. It
never changes anything at the service.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from typing import Any, TypeAlias

from mcp.server.mcpserver import Context, MCPServer, ResourceSecurity
from mcp.server.mcpserver.exceptions import ResourceError, ResourceNotFoundError, ToolError
from mcp.shared.exceptions import MCPError
from mcp.types import (
    INTERNAL_ERROR,
    INVALID_PARAMS,
    CallToolResult,
    GetPromptResult,
    InputRequiredResult,
)

from testvibe_async import GenerationLog, NotFoundError, VibeError
from testvibe_async._wire import serialize
from testvibe_async.mcp_server.advice import explain, suggestion
from testvibe_async.mcp_server.answers import document_of_run
from testvibe_async.mcp_server.budget import ROOM, fitted, lines_of, text_of
from testvibe_async.mcp_server.characters import visible
from testvibe_async.mcp_server.session import Ctx, Session, session_of

__all__ = ["ExplainingServer", "add_prompts", "add_resources"]

Reader: TypeAlias = Callable[..., Awaitable[str]]
ErrorFactory: TypeAlias = Callable[[str, Exception], Exception]

_NO_PATHS = ResourceSecurity(exempt_params={"feature", "project"})
"""A feature's name is not a path, so it may begin with a slash, or hold dots."""


def add_resources(server: MCPServer[Session]) -> None:
    """Add the resources to a server."""
    for uri, mime_type, read in (
        ("testvibe://runs/{runId}{?project}", "application/json", run_digest),
        ("testvibe://features/{feature}/gherkin{?project}", "text/plain", feature_gherkin),
        ("testvibe://features/{feature}/generation/log{?project}", "text/plain", generation_log),
    ):
        server.resource(uri, mime_type=mime_type, security=_NO_PATHS)(read)


def _explaining(tool: str, make_error: ErrorFactory) -> Callable[[Reader], Reader]:
    """Decorate a resource or a prompt: its errors reach the client, with what to do next.

    Args:
        tool: The tool that reads the same.
        make_error: Makes the error for the client, of its message and of its cause.
    """

    def decorate(read: Reader) -> Reader:
        @wraps(read)
        async def call(**arguments: object) -> str:
            try:
                return visible(await read(**arguments))
            except VibeError as error:
                raise make_error(visible(explain(error, tool)), error) from error
            except ToolError as error:
                raise make_error(visible(str(error)), error) from error

        return call

    return decorate


def _resource_error(message: str, cause: Exception) -> Exception:
    kind = ResourceNotFoundError if isinstance(cause, NotFoundError) else ResourceError
    return kind(message)


def _prompt_error(message: str, _cause: Exception) -> Exception:
    return MCPError(INTERNAL_ERROR, message)


@_explaining("get_run", _resource_error)
async def run_digest(ctx: Ctx, runId: str, project: str | None = None) -> str:
    """Read a run's digest, as JSON."""
    run = await session_of(ctx).project(project).get_run(_run_id(runId))
    return text_of(document_of_run(run, session_of(ctx).limits.max_output))


def _run_id(text: str) -> int:
    if not (text.isascii() and text.isdecimal()):
        raise ToolError(
            f"A run's id is a number, not {text!r}. list_runs shows which runs there are."
        )
    return int(text)


@_explaining("get_feature", _resource_error)
async def feature_gherkin(ctx: Ctx, feature: str, project: str | None = None) -> str:
    """Read a feature's Gherkin."""
    found = await session_of(ctx).project(project).get_feature(feature)
    room = session_of(ctx).limits.max_output
    part = lines_of(found.gherkin or "", offset=0, lines=None, max_output=room)
    text = part["content"][: room - ROOM]
    if (left := len(found.gherkin or "") - len(text)) == 0:
        return str(text)
    call = f"get_feature with feature {feature[:100]!r} and offset {part.get('nextOffset', 0)}"
    return f"{text}\n# {left:,} more characters: {call} reads on."


@_explaining("get_generation_log", _resource_error)
async def generation_log(ctx: Ctx, feature: str, project: str | None = None) -> str:
    """Read the log of a feature's latest generation, section by section."""
    log = await session_of(ctx).project(project).get_generation_log(feature)
    text, room = _lines_of(log), session_of(ctx).limits.max_output - ROOM
    if len(text) <= room:
        return text
    call = f"get_generation_log with feature {feature[:100]!r} and `offset`"
    return f"{len(text) - room:,} characters before this: {call} reads them.\n…{text[-room:]}"


def _lines_of(log: GenerationLog) -> str:
    lines: list[str] = []
    for part in log.sections:
        head = f"{part.title or part.section}: {part.conclusion or part.state}"
        lines.append(f"{head} ({part.status_reason})" if part.status_reason else head)
        lines.extend(f"  {line}" for line in part.log)
    return "\n".join(lines) or "There is no log: the feature was never generated."


class ExplainingServer(MCPServer[Session]):
    """A server that says why there is no such tool, and which arguments a prompt lacks."""

    missing: str = ""
    """Why a tool that exists may not be offered."""

    async def call_tool(
        self,
        name: str,
        arguments: dict[str, Any],
        context: Context[Session, Any] | None = None,
    ) -> CallToolResult | InputRequiredResult:
        """Check the tool's name, and call it.

        Raises:
            ToolError: There is no such tool, or it failed.
        """
        names = [tool.name for tool in await self.list_tools()]
        if name not in names:
            meant = suggestion(name, names)
            raise ToolError(f"There is no tool {name[:100]!r}.{meant}{self.missing}")
        try:
            return await super().call_tool(name, arguments, context)
        except ToolError as error:
            raise ToolError(visible(str(error))) from error

    async def get_prompt(
        self,
        name: str,
        arguments: dict[str, Any] | None = None,
        context: Context[Session, Any] | None = None,
    ) -> GetPromptResult | InputRequiredResult:
        """Check the prompt's name and its arguments, and get it.

        Raises:
            MCPError: The parameters are invalid (-32602); it says which.
        """
        prompts = {prompt.name: prompt for prompt in await self.list_prompts()}
        if name not in prompts:
            raise MCPError(
                INVALID_PARAMS, f"There is no prompt {name!r}; there are {', '.join(prompts)}."
            )
        needed = [each.name for each in prompts[name].arguments or () if each.required]
        if missing := [each for each in needed if each not in (arguments or {})]:
            raise MCPError(
                INVALID_PARAMS, f"The prompt {name} needs the argument {' and '.join(missing)}."
            )
        return await super().get_prompt(name, arguments, context)


def add_prompts(server: MCPServer[Session]) -> None:
    """Add the prompts to a server."""
    server.prompt(title="Why did a run fail?")(diagnose_failed_run)
    server.prompt(title="Why did a generation fail?")(diagnose_failed_generation)


@_explaining("diagnose_run", _prompt_error)
async def diagnose_failed_run(ctx: Ctx, runId: str, project: str | None = None) -> str:
    """Find out why a run failed, and whether the site, the feature or the test is to blame."""
    diagnosis = await session_of(ctx).project(project).diagnose_run(_run_id(runId))
    document = fitted(serialize(diagnosis), session_of(ctx).limits.max_output)
    return (
        f"Find out why run {runId} failed. For each failing test say whether the site is broken, "
        "the feature's Gherkin no longer says what the site does, or the generated test is brittle "
        "(a selector, a wait). Go by the error and the log first, then compare the executed spec "
        "with the Gherkin; get_run_artifacts has traces and screenshots. Propose one remedy: fix "
        "the site, update_feature and then generate_feature (which costs credits: ask first), or "
        "run_feature again where it looks like a coincidence.\n\nThe diagnosis:\n\n"
        f"{text_of(document)}"
    )


@_explaining("get_generation_log", _prompt_error)
async def diagnose_failed_generation(ctx: Ctx, feature: str, project: str | None = None) -> str:
    """Find out why a generation made no tests, and how the feature's Gherkin should change."""
    home = session_of(ctx).project(project)
    log = await home.get_generation_log(feature)
    gherkin = (await home.get_feature(feature)).gherkin or ""
    room = (session_of(ctx).limits.max_output - ROOM) // 2
    return (
        f"Find out why the generation of the feature {feature!r} failed. Read the reason and "
        "the last lines of each failing section first: what did it try, and what did it not find "
        "on the site? Then propose how the Gherkin should change, to be written with "
        "update_feature. Don't call generate_feature before I agree: it costs credits.\n\n"
        f"The log:\n\n{_end_of(_lines_of(log), room)}\n\nThe Gherkin:\n\n{gherkin[:room]}"
    )


def _end_of(text: str, characters: int) -> str:
    return text if len(text) <= characters else f"…{text[-characters:]}"
