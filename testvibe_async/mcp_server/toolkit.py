"""The decorator that makes a tool of a function, and the arguments that tools share.

Decides how arguments are checked and how errors reach the model. It decides nothing about single
tools; those are in `tools`, `waits` and `dispatching_tools`.
"""

import inspect
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import Annotated, Any, TypeAlias, cast

from attrs import frozen
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import Field, ValidationError

from testvibe_async import ConfigError, InvalidRequestError, NotFoundError, Project, VibeError
from testvibe_async.mcp_server.advice import (
    DIGITS,
    explain,
    explain_arguments,
    nothing_done,
    suggestion,
)
from testvibe_async.mcp_server.answers import fitted_answer
from testvibe_async.mcp_server.budget import restored
from testvibe_async.mcp_server.session import Ctx, Session, session_of
from testvibe_async.runner.names import choose_project, is_project_id

MAX_OUTAGE = 30.0
"""Seconds for which a call asks for a list that it needs while the service is away."""

FeatureName: TypeAlias = Annotated[
    str,
    Field(
        min_length=1, coerce_numbers_to_str=True, description="Name in any case, or id (digits)."
    ),
]
ProjectId: TypeAlias = Annotated[str | None, Field(description="Another project, by id or name.")]
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


@frozen
class Call:
    """One call of a tool."""

    ctx: Ctx
    project: str | None = None
    """The id of the project that it names; None for the one that is set."""

    @property
    def session(self) -> Session:
        """The session that it belongs to."""
        return session_of(self.ctx)

    @property
    def home(self) -> Project:
        """The project that it is about; a `ToolError` where there is none."""
        return self.session.project(self.project)

    @property
    def room(self) -> int:
        """The characters that its answer may have."""
        return self.session.max_output


ToolFunction: TypeAlias = Callable[..., Awaitable[CallToolResult]]


def tool(hints: ToolAnnotations, *, has_project: bool = True) -> Callable[[ToolFunction], Tool]:
    """Make a tool of a function of a `Call`, under its name, described by its docstring.

    Unknown arguments are refused, not ignored: one that is misspelt could cost credits.

    Args:
        hints: What the tool does to the service.
        has_project: Whether it takes a `project`, besides the function's arguments.
    """

    def decorate(function: ToolFunction) -> Tool:
        made = _Tool.from_function(
            _of_context(function, has_project=has_project),
            title=function.__name__.replace("_", " ").capitalize(),
            description=inspect.cleandoc(function.__doc__ or ""),
            annotations=hints,
            structured_output=False,
        )
        arguments = made.fn_metadata.arg_model
        arguments.model_config["extra"] = "forbid"
        arguments.model_rebuild(force=True)
        made.parameters = _untitled(arguments.model_json_schema(by_alias=True))
        return made

    return decorate


def _of_context(function: ToolFunction, *, has_project: bool) -> ToolFunction:
    """Return a tool's function as the SDK calls it: with a context, and a project by its name.

    Its errors reach the model with what to do next, and its answers fit.
    """

    async def call(ctx: Ctx, **arguments: Any) -> CallToolResult:  # noqa: ANN401 - any tool's
        project = arguments.pop("project", None)
        try:
            result = await function(Call(ctx, project), **arguments)
        except VibeError as error:
            told = await explained(Call(ctx, project), error, function.__name__, arguments)
            raise ToolError(told) from error
        return fitted_answer(result, session_of(ctx).max_output)

    kind = inspect.Parameter
    _, *own = inspect.signature(function, eval_str=True).parameters.values()
    context = kind("ctx", kind.POSITIONAL_OR_KEYWORD, annotation=Ctx)
    project = kind("project", kind.KEYWORD_ONLY, default=None, annotation=ProjectId)
    parameters = [context, *own, *([project] if has_project else [])]
    call.__name__ = function.__name__
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call


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
            arguments["project"] = await _project_id(session_of(context), project)
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
        return await choose_project(session.client, project, max_outage=MAX_OUTAGE)
    except ConfigError as error:
        raise ToolError(f"{nothing_done(error)} list_projects shows the names and ids.") from error
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


async def explained(call: Call, error: VibeError, tool: str, arguments: dict[str, Any]) -> str:
    """Say what happened to a call, what to do next, and which feature was perhaps meant."""
    text, feature = explain(error, tool), arguments.get("feature")
    if isinstance(error, InvalidRequestError) and arguments.get("config"):
        return f"{text} list_configs shows the configurations."
    if not isinstance(error, NotFoundError) or feature is None:
        return text
    if feature.isdecimal():
        return text + DIGITS
    with suppress(VibeError):
        features = await call.home.list_features()
        return text + suggestion(feature, [each.name or "" for each in features])
    return text
