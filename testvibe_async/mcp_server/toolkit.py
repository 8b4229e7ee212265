"""The session that all calls share, and the decorator that makes a tool of a function.

Decides how a call gets its client, its project and its operations, how its arguments are checked,
and how its errors reach the model. A server that is not configured has no client; it starts all the
same, so that its tools can say what to set. Nothing is decided about single tools.
"""

import inspect
import json
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from functools import wraps
from pathlib import Path
from typing import Annotated, Any, TypeAlias

from attrs import define, evolve, field, frozen
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError, UnexpectedToolError
from mcp.server.mcpserver.tools import Tool
from mcp.types import ToolAnnotations
from pydantic import Field, ValidationError

from testvibe_async import Client, Hooks, Project, SqliteLedger, errors
from testvibe_async.events import OutageEnded, OutageStarted
from testvibe_async.mcp_server import advice
from testvibe_async.mcp_server.answers import Answer, restored
from testvibe_async.mcp_server.batches import ActiveBatches
from testvibe_async.runner.ledgers import LimitedLedger
from testvibe_async.runner.names import choose_project, default_ledger, is_project_id

MAX_OUTPUT = 20_000
"""Length of an answer in characters, by default."""

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

READS = ToolAnnotations(read_only_hint=True, idempotent_hint=True)
ADDS = ToolAnnotations(read_only_hint=False, destructive_hint=False)
"""Adds something, such as a run; a second call adds another, or is refused."""
RESUMES = ToolAnnotations(read_only_hint=False, destructive_hint=False, idempotent_hint=True)
"""Continues what another call has started."""
REPLACES = ToolAnnotations(destructive_hint=True, idempotent_hint=True)
"""Overwrites or deletes something; a second call changes nothing more."""
REGENERATES = ToolAnnotations(destructive_hint=True)
"""Starts or cancels a generation, which replaces the tests; a second call may hit another one."""


def _every_three_seconds(*_: object) -> float:
    """Return the interval of polls of the service's own waiting tools."""
    return 3.0


MakeClient: TypeAlias = Callable[..., Client]
"""Makes the client of a server, with `poll_plan`, `hooks` and `ledger`."""


@define(eq=False, kw_only=True)
class Session:
    """The client of a server, or the error that prevented it."""

    make_client: MakeClient
    path: str | Path | None
    """The file that keeps what is dispatched; None for that of the command line."""

    max_output: int
    """Maximum characters of an answer."""

    max_generations: int
    outage: str = field(default="", init=False)
    """Description of the outage; empty while the service answers."""

    problem: str = field(default="", init=False)
    """The setting that is missing, as long as there is no client; empty if there is one."""

    client: Client = field(init=False)

    batches: ActiveBatches = field(init=False)
    """The batches that tools start."""

    ledger: LimitedLedger = field(init=False)
    """The ledger, which stops what exceeds the limit of generations."""

    @asynccontextmanager
    async def opened(self) -> AsyncGenerator["Session"]:
        """Make the client, and open it while the server runs.

        Closing it cancels nothing at the service.
        """
        hooks = Hooks(on_outage_started=self._note_outage, on_outage_ended=self._note_outage)
        options = {"poll_plan": _every_three_seconds, "hooks": hooks}
        async with AsyncExitStack() as stack:
            try:
                file = SqliteLedger(self.path or default_ledger())
                self.ledger = LimitedLedger(file)
                self.ledger.allowed = self.max_generations
                self.client = self.make_client(ledger=self.ledger, **options)
                await stack.enter_async_context(file)
                await stack.enter_async_context(self.client)
                self.batches = ActiveBatches(self.client, file)
                await stack.enter_async_context(aclosing(self.batches))
            except (errors.ConfigError, OSError) as error:
                self.problem = advice.not_configured(error)
            yield self

    def _note_outage(self, event: OutageStarted | OutageEnded) -> None:
        self.outage = ""
        if isinstance(event, OutageStarted):
            self.outage = f"the service does not answer ({advice.reason_of(event.error)})"


Ctx: TypeAlias = Context[Session, Any]
"""The context of a tool call, as the SDK hands it to the tool."""


@frozen
class Call:
    """One call of a tool."""

    ctx: Ctx
    project: Project | None = None
    """The project that it is about; None for a tool that needs none."""

    @classmethod
    async def of(cls, ctx: Ctx, name: str | None) -> "Call":
        """Return a call about a project, by its id or name; None for the default project.

        Raises:
            ToolError: There is no such project, there are several of that name, none is named or
                set, or the server is not configured.
            VibeError: The projects could not be listed.
        """
        call = cls(ctx)
        client = call.session.client
        try:
            wanted = client.project(name).id
            found = await choose_project(client, wanted, max_outage=MAX_OUTAGE)
        except errors.ConfigError as error:
            raise ToolError(f"{advice.nothing_done(error)} {advice.NAME_PROJECT}") from None
        project = client.project(found.lower() if is_project_id(found) else found)
        return evolve(call, project=project)

    def __attrs_post_init__(self) -> None:
        """Refuse a call of a server that is not configured.

        Raises:
            ToolError: Its sentence says what to set.
        """
        if self.session.problem:
            raise ToolError(self.session.problem)

    @property
    def session(self) -> Session:
        """The session that it belongs to."""
        return self.ctx.request_context.lifespan_context

    @property
    def home(self) -> Project:
        """The project that it is about."""
        assert self.project is not None
        return self.project


ToolFunction: TypeAlias = Callable[..., Awaitable[Answer]]


def tool(hints: ToolAnnotations, *, has_project: bool = True) -> Callable[[ToolFunction], Tool]:
    """Make a tool of a function of a `Call`, under its name, described by its docstring.

    Unknown arguments are refused, not ignored: one that is misspelt could cost credits.

    Args:
        hints: The tool's effects on the service.
        has_project: True if it takes a `project`, besides the function's arguments.
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
    """Return a function of a `Call` as the SDK calls it: with a context, and with a project."""

    @wraps(function)
    async def call(ctx: Ctx, project: str | None = None, **arguments: Any) -> Answer:  # noqa: ANN401 - any tool's
        one = await Call.of(ctx, project) if has_project else Call(ctx)
        return await function(one, **arguments)

    _, *parameters = inspect.signature(function, eval_str=True).parameters.values()
    keyword = inspect.Parameter.KEYWORD_ONLY
    parameters.append(inspect.Parameter("ctx", keyword, annotation=Ctx))
    if has_project:
        parameters.append(inspect.Parameter("project", keyword, default=None, annotation=ProjectId))
    call.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    call.__annotations__ = {each.name: each.annotation for each in parameters}
    return call


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


class _Tool(Tool):
    """A tool whose answers are bounded, and whose errors are sentences for a model."""

    async def run(
        self,
        arguments: dict[str, Any],
        context: Context[Any, Any],
        convert_result: bool = False,  # noqa: ARG002, FBT001, FBT002 - the SDK's signature
    ) -> Any:  # noqa: ANN401 - likewise
        """Call the tool, and bound its answer."""
        shown = json.dumps(arguments, ensure_ascii=False)
        try:  # The text may have control characters.
            result = await super().run(json.loads(restored(shown), strict=False), context)
        except ToolError as error:  # The SDK puts words before what a tool has raised.
            result = self._failure(error, arguments)
        if isinstance(result, Answer):
            return result.result(context.request_context.lifespan_context.max_output)
        return result

    def _failure(self, error: ToolError, arguments: dict[str, Any]) -> Answer:
        cause = error.__cause__ or error
        if isinstance(cause, ValidationError) and not isinstance(error, UnexpectedToolError):
            faults, names = cause.errors(include_url=False), list(self.parameters["properties"])
            return Answer(advice.explain_arguments(faults, self.name, names))
        if isinstance(cause, errors.ConfigError):
            started = self.name.startswith(("run", "generate"))
            return Answer(advice.nothing_done(cause, started=started))
        if isinstance(cause, errors.VibeError):
            return Answer(advice.explain(cause, arguments))
        if str(cause).startswith("Resolver "):
            return Answer("Nothing was started: the client's answer about credits can't be read.")
        if isinstance(cause, ToolError):
            return Answer(str(cause))
        raise error
