"""The decorator that makes a tool of a function, and the arguments that tools share.

Decides how arguments are checked and how errors reach the model. It decides nothing about single
tools; those are in `tools`, `dispatching_tools` and `waiting_tools`.
"""

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import wraps
from inspect import cleandoc
from typing import Annotated, Any, TypeAlias, cast

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import Field, ValidationError

from testvibe_async import ConfigError, InvalidRequestError, NotFoundError, Project, VibeError
from testvibe_async._names import choose_project, is_project_id
from testvibe_async.mcp_server.advice import (
    DIGITS,
    explain,
    explain_arguments,
    suggestion,
    wrong_project,
)
from testvibe_async.mcp_server.answers import fitted_answer
from testvibe_async.mcp_server.characters import restored
from testvibe_async.mcp_server.session import Ctx, Session, session_of

__all__ = [
    "ADDS",
    "READS",
    "REGENERATES",
    "REPLACES",
    "ConfigName",
    "Cursor",
    "FeatureName",
    "Lines",
    "NamePart",
    "Offset",
    "PageSize",
    "ProjectId",
    "RunId",
    "SiteUrl",
    "StatusName",
    "TimeoutSeconds",
    "check_config",
    "explained",
    "tool",
]

FeatureName: TypeAlias = Annotated[
    str,
    Field(
        min_length=1, coerce_numbers_to_str=True, description="Name in any case, or id (digits)."
    ),
]
ProjectId: TypeAlias = Annotated[
    str | None, Field(description="Another project, by id or name; usually left out.")
]
RunId: TypeAlias = Annotated[int, Field(ge=1, description="From run_feature or list_runs.")]
ConfigName: TypeAlias = Annotated[
    str | None, Field(description="Run configuration, from list_configs.")
]
SiteUrl: TypeAlias = Annotated[
    str | None,
    Field(pattern=r"^https?://\S+$", description="Site to test instead of the project's own."),
]
TimeoutSeconds: TypeAlias = Annotated[
    int, Field(ge=1, le=170, description="A timeout cancels nothing: call again.")
]
Cursor: TypeAlias = Annotated[
    str | None, Field(description="`nextCursor` of the answer before, for the next page.")
]
PageSize: TypeAlias = Annotated[int | None, Field(ge=1, description="Rows at most.")]
NamePart: TypeAlias = Annotated[
    str | None, Field(description="Only where the name has this in it, in any case.")
]
StatusName: TypeAlias = Annotated[
    str | None, Field(description="Only with this status, such as generated, draft, failed.")
]
Offset: TypeAlias = Annotated[int, Field(ge=0, description="Lines to skip.")]
Lines: TypeAlias = Annotated[int | None, Field(ge=1, description="Lines at most.")]

READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True, open_world_hint=True)
ADDS = ToolAnnotations(
    read_only_hint=False, destructive_hint=False, idempotent_hint=False, open_world_hint=True
)
"""Adds something, such as a run; a second call adds another, or is refused."""
REPLACES = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=True, open_world_hint=True
)
"""Overwrites or deletes something; a second call changes nothing more."""
REGENERATES = ToolAnnotations(
    read_only_hint=False, destructive_hint=True, idempotent_hint=False, open_world_hint=True
)
"""Starts or cancels a generation, which replaces the tests; a second call may hit another one."""

ToolFunction: TypeAlias = Callable[..., Awaitable[CallToolResult]]


def tool(hints: ToolAnnotations) -> Callable[[ToolFunction], Tool]:
    """Make a tool of a function, under its name and with its docstring as the description.

    Unknown arguments are refused, not ignored: one that is misspelt could cost credits.

    Args:
        hints: What the tool does to the service.
    """

    def decorate(function: ToolFunction) -> Tool:
        made = _Tool.from_function(
            _explaining(function),
            title=function.__name__.replace("_", " ").capitalize(),
            description=cleandoc(function.__doc__ or ""),
            annotations=hints,
            structured_output=False,
        )
        arguments = made.fn_metadata.arg_model
        arguments.model_config["extra"] = "forbid"
        arguments.model_rebuild(force=True)
        made.parameters = _untitled(arguments.model_json_schema(by_alias=True))
        return made

    return decorate


class _Tool(Tool):
    """A tool that explains wrong arguments in sentences."""

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],
        convert_result: bool = False,  # noqa: FBT001, FBT002 - the SDK's signature
    ) -> Any:  # noqa: ANN401 - likewise
        """Check the arguments before the SDK does, which would answer with pydantic's text."""
        try:
            self.fn_metadata.validate_arguments(arguments)
        except ValidationError as error:
            faults = error.errors(include_url=False)
            raise ToolError(
                explain_arguments(faults, self.name, list(self.parameters["properties"]))
            ) from error
        arguments = {name: _as_it_was(value) for name, value in arguments.items()}
        if isinstance(project := arguments.get("project"), str):
            arguments = {**arguments, "project": await _project_id(session_of(context), project)}
        return await super().run(arguments, context, convert_result)


def _as_it_was(value: object) -> object:
    """Return an argument with the characters that answers have shown as `<U+200D>`."""
    if isinstance(value, list):
        return [_as_it_was(each) for each in cast("list[object]", value)]
    return restored(value) if isinstance(value, str) else value


async def _project_id(session: Session, project: str) -> str:
    """Return the id of a project that is named, where the service lists its projects.

    Raises:
        ToolError: The list has no such project, or several of that name.
    """
    if is_project_id(project):
        return project
    try:
        return await choose_project(session.client, project)
    except ConfigError as error:
        raise ToolError(wrong_project(error)) from error
    except VibeError:
        return project  # The tool's own call says what is wrong.


def _untitled(parameters: dict[str, Any]) -> dict[str, Any]:
    """Remove what costs a model tokens for nothing: titles, defaults of None, and null beside."""
    del parameters["title"]
    for name, argument in parameters["properties"].items():
        del argument["title"]
        if argument.get("default", "") is None:
            del argument["default"]
        (kind,) = [each for each in argument.pop("anyOf", [{}]) if each.get("type") != "null"]
        parameters["properties"][name] = kind | argument
    return parameters


def _explaining(function: ToolFunction) -> ToolFunction:
    """Have a tool's errors reach the model, with what to do next, and its answers fit."""

    @wraps(function)
    async def call(ctx: Ctx, **arguments: Any) -> CallToolResult:  # noqa: ANN401 - any tool's
        try:
            result = await function(ctx, **arguments)
        except VibeError as error:
            raise ToolError(await explained(ctx, error, function.__name__, arguments)) from error
        return fitted_answer(result, session_of(ctx).limits.max_output)

    return call


async def check_config(ctx: Ctx, project: Project, config: str | None) -> None:
    """Check that there is a configuration, where a call has listed them.

    Raises:
        ToolError: There is none of that name.
    """
    session = session_of(ctx)
    known = session.configs.get(project.id)
    if config is None or known is None or config in known:
        return
    with suppress(VibeError):  # It may be new.
        known = session.configs[project.id] = [each.name for each in await project.list_configs()]
    if config not in known:
        raise ToolError(
            f"Nothing was started: there is no configuration {config[:100]!r}, list_configs shows "
            f"them.{suggestion(config, known)}"
        )


async def explained(ctx: Ctx, error: VibeError, tool: str, arguments: dict[str, Any]) -> str:
    """Say what happened to a tool's call, what to do next, and which name was perhaps meant."""
    return explain(error, tool) + await _meant(ctx, error, arguments)


async def _meant(ctx: Ctx, error: VibeError, arguments: dict[str, Any]) -> str:
    """Say which feature was perhaps meant, where there is none of that name: a list tells."""
    feature = arguments.get("feature")
    if isinstance(error, InvalidRequestError) and arguments.get("config"):
        return " list_configs shows the configurations."
    if not isinstance(error, NotFoundError) or feature is None:
        return ""
    if feature.isdecimal():
        return DIGITS
    with suppress(VibeError):
        features = await session_of(ctx).project(arguments.get("project")).list_features()
        return suggestion(feature, [each.name or "" for each in features])
    return ""
