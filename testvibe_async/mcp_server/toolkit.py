"""The decorator that makes a tool of a function, and the arguments that tools share.

Decides how arguments are checked and how errors reach the model. It decides nothing about single
tools; those are in `tools` and `waiting_tools`.
"""

from collections.abc import Awaitable, Callable
from functools import wraps
from inspect import cleandoc
from typing import Annotated, Any, TypeAlias

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import CallToolResult, ToolAnnotations
from pydantic import Field, ValidationError

from testvibe_async import VibeError
from testvibe_async._wire import Schema
from testvibe_async.mcp_server.advice import explain, explain_arguments

__all__ = [
    "ADDS",
    "READS",
    "REGENERATES",
    "REPLACES",
    "ConfigName",
    "FeatureName",
    "ProjectId",
    "RunId",
    "SiteUrl",
    "TimeoutSeconds",
    "tool",
]

FeatureName: TypeAlias = Annotated[
    str,
    Field(
        min_length=1,
        coerce_numbers_to_str=True,
        description=(
            "The feature's name, in any case, or its id as a string: digits alone, such as "
            '"12", are taken for an id.'
        ),
    ),
]
ProjectId: TypeAlias = Annotated[
    str | None,
    Field(description="The project's id, in place of the one that this server is set to."),
]
RunId: TypeAlias = Annotated[int, Field(ge=1, description="The run's id.")]
ConfigName: TypeAlias = Annotated[
    str | None,
    Field(description="The run configuration (list_configs shows them); `Default` if left out."),
]
SiteUrl: TypeAlias = Annotated[
    str | None,
    Field(description="The address of the site to test; the project's own if left out."),
]
TimeoutSeconds: TypeAlias = Annotated[
    int,
    Field(
        ge=1,
        le=170,
        description="How many seconds to wait at most. A timeout cancels nothing: call again.",
    ),
]

READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True)
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False)
"""Adds something, such as a run; a second call adds another, or is refused."""
REPLACES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True)
"""Overwrites or deletes something; a second call changes nothing more."""
REGENERATES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False)
"""Starts or cancels a generation, which replaces the tests; a second call may hit another one."""

ToolFunction: TypeAlias = Callable[..., Awaitable[CallToolResult]]


def tool(output_schema: Schema, hints: ToolAnnotations) -> Callable[[ToolFunction], Tool]:
    """Make a tool of a function, under its name and with its docstring as the description.

    Unknown arguments are refused, not ignored: one that is misspelt could cost credits.

    Args:
        output_schema: The schema of the tool's structured content.
        hints: What the tool does to the service.
    """

    def decorate(function: ToolFunction) -> Tool:
        made = _Tool.from_function(
            _explaining(function),
            description=cleandoc(function.__doc__ or ""),
            annotations=hints,
            structured_output=False,
        )
        arguments = made.fn_metadata.arg_model
        arguments.model_config["extra"] = "forbid"
        arguments.model_rebuild(force=True)
        made.parameters = _untitled(arguments.model_json_schema(by_alias=True))
        # The SDK derives an output schema from pydantic models alone, and these are attrs classes.
        made.fn_metadata.output_schema = output_schema
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
        return await super().run(arguments, context, convert_result)


def _untitled(parameters: Schema) -> Schema:
    """Remove the titles that pydantic makes of the names: they cost a model tokens for nothing."""
    del parameters["title"]
    for argument in parameters["properties"].values():
        del argument["title"]
    return parameters


def _explaining(function: ToolFunction) -> ToolFunction:
    """Have a tool's errors reach the model, with what to do next."""

    @wraps(function)
    async def call(**arguments: object) -> CallToolResult:
        try:
            return await function(**arguments)
        except VibeError as error:
            raise ToolError(explain(error, function.__name__)) from error

    return call
