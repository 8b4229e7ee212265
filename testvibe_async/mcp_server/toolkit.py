"""How a tool is made: its arguments, its hints, its declared answer, and its errors.

It decides nothing about single tools; those are in `tools` and `waiting_tools`.
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
    Field(description="The run configuration (list_configs tells which); `Default` if left out."),
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
        description="How many seconds to wait at most. A time-out cancels nothing: call again.",
    ),
]

READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True)
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=False)
"""Adds something, such as a run; a second call adds another, or is refused."""
REPLACES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=True)
"""Overwrites or takes away something; a second call changes nothing more."""
REGENERATES = ToolAnnotations(read_only_hint=False, destructive_hint=True, idempotent_hint=False)
"""Starts or ends a generation, on which the tests depend; a second call may hit another."""

Work: TypeAlias = Callable[..., Awaitable[CallToolResult]]


def tool(answers: Schema, hints: ToolAnnotations) -> Callable[[Work], Tool]:
    """Make a tool of a function, under its name and with its docstring as the description.

    Unknown arguments are refused, not ignored: one that is misspelt could cost credits.

    Args:
        answers: The schema of its structured content.
        hints: What it does to the service.
    """

    def make(work: Work) -> Tool:
        made = _Tool.from_function(
            _explaining(work),
            description=cleandoc(work.__doc__ or ""),
            annotations=hints,
            structured_output=False,
        )
        arguments = made.fn_metadata.arg_model
        arguments.model_config["extra"] = "forbid"
        arguments.model_rebuild(force=True)
        made.parameters = _untitled(arguments.model_json_schema(by_alias=True))
        # The models are no pydantic ones, so the SDK can't derive it.
        made.fn_metadata.output_schema = answers
        return made

    return make


class _Tool(Tool):
    """A tool that tells of wrong arguments in words of ours."""

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],
        convert_result: bool = False,  # noqa: FBT001, FBT002 - the SDK's signature
    ) -> Any:  # noqa: ANN401 - likewise
        """Check the arguments before the SDK does, whose refusal is pydantic's text as it is."""
        try:
            self.fn_metadata.validate_arguments(arguments)
        except ValidationError as error:
            faults = error.errors(include_url=False)
            raise ToolError(
                explain_arguments(faults, self.name, list(self.parameters["properties"]))
            ) from error
        return await super().run(arguments, context, convert_result)


def _untitled(parameters: Schema) -> Schema:
    """Leave out the titles that pydantic makes of the names: they tell a model nothing."""
    del parameters["title"]
    for argument in parameters["properties"].values():
        del argument["title"]
    return parameters


def _explaining(work: Work) -> Work:
    """Have the errors of a tool's work reach the model, with what to do next."""

    @wraps(work)
    async def call(**arguments: object) -> CallToolResult:
        try:
            return await work(**arguments)
        except VibeError as error:
            raise ToolError(explain(error, work.__name__)) from error

    return call
