"""The session that all calls of a server share: one client, and so one poller.

Decides how a call gets its client, its project and its operations. A server that is not configured
has no client; it starts all the same, so that its tools can say what to set.
"""

from __future__ import annotations

from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, TypeAlias

from attrs import frozen
from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from testvibe_async import Client, ConfigError, GenerationRef, RunRef
from testvibe_async.mcp_server.advice import NO_PROJECT, not_configured
from testvibe_async.mcp_server.budget import MAX_OUTPUT
from testvibe_async.mcp_server.memory import Memory
from testvibe_async.reports import counted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Generator
    from pathlib import Path

    from testvibe_async import Generation, GenerationOperation, Project, Run, RunOperation
    from testvibe_async.mcp_server.memory import Place
    from testvibe_async.mcp_server.runs import Runs

__all__ = [
    "Ctx",
    "Limits",
    "Session",
    "every_three_seconds",
    "open_session",
    "session_of",
]


REMEMBERED = 1_000
"""How many runs and generations that were dispatched here are remembered, each."""


def every_three_seconds(kind: str, age: float, seen: Run | Generation | None, /) -> float:  # noqa: ARG001
    """Return 3 s: the poll plan of the service's own waiting tools, for runs and generations."""
    return 3.0


@frozen(kw_only=True)
class Limits:
    """What a model may cost; a person sets it when the server is started."""

    max_output: int = MAX_OUTPUT
    """Length of an answer in characters."""

    max_generations: int | None = None
    """How many generations may be started while the server runs; None for any number."""

    state_folder: Path | None = None
    """Where it is kept what calls started; None for a temporary folder."""


class Session:
    """The client of a server, or the error that says why there is none."""

    def __init__(self, client: Client | ConfigError, limits: Limits) -> None:
        self._client = client
        self.limits: Limits = limits
        """What a call may cost."""
        self.memory: Memory = Memory(self.limits.state_folder)
        """What calls started."""
        self.runs: dict[Place, Runs] = {}
        """The batches of runs that are in flight."""
        self.configs: dict[str, list[str]] = {}
        """By project, the names of the run configurations that a call has listed."""
        self._generations_started: set[Place] = set()
        self._runs: dict[object, RunRef] = {}
        self._generations: dict[tuple[str, str], GenerationRef] = {}

    def remember_run(self, ref: RunRef) -> None:
        """Remember a run that was dispatched here: the service may not know it for some seconds."""
        self._runs[ref.key] = ref
        if len(self._runs) > REMEMBERED:
            del self._runs[next(iter(self._runs))]

    def remember_generation(self, feature: str, ref: GenerationRef) -> None:
        """Remember the last generation of a feature that was dispatched here, by what was asked."""
        self._generations[ref.project, feature.casefold()] = ref
        if len(self._generations) > REMEMBERED:
            del self._generations[next(iter(self._generations))]

    def started_generation(self, project: Project, feature: str) -> GenerationOperation | None:
        """Return the last generation of a feature that was dispatched here; None for none."""
        ref = self._generations.get((project.id, feature.casefold()))
        return None if ref is None else self.client.attach(ref)

    @contextmanager
    def generation_allowed(self, place: Place, has_begun: Callable[[], bool]) -> Generator[None]:
        """Take one of the generations that may be started, and give it back if none was.

        Args:
            place: Where it is kept; one that counts already costs no other.
            has_begun: Says at the end whether one was started, or may have been.

        Raises:
            ToolError: There is none left.
        """
        allowed = self.limits.max_generations
        if allowed is not None and len(self._generations_started - {place}) >= allowed:
            raise ToolError(
                f"Nothing was started: this server may start {counted(allowed, 'generation')} (its "
                "option --max-generations), and has. Tell the user; what was generated can be run."
            )
        self._generations_started.add(place)
        try:
            yield
        finally:
            if not has_begun():
                self._generations_started.discard(place)

    @property
    def client(self) -> Client:
        """The client.

        Raises:
            ToolError: The server is not configured.
        """
        if isinstance(self._client, ConfigError):
            raise ToolError(not_configured(self._client))
        return self._client

    def project(self, project_id: str | None) -> Project:
        """Return a project by its id; None for the one that is set.

        Raises:
            ToolError: None is set, or the server is not configured.
        """
        client = self.client
        try:
            return client.project(project_id)
        except ConfigError as error:
            raise ToolError(NO_PROJECT) from error

    def run(self, project: Project, run_id: int) -> RunOperation:
        """Return a handle on a run, also one that another program dispatched."""
        ref = RunRef(server=self.client.server, project=project.id, run_id=run_id)
        return self.client.attach(self._runs.get(ref.key, ref))

    def generation(self, project: Project, request_id: str, feature_id: int) -> GenerationOperation:
        """Return a handle on a generation, also one that another program dispatched."""
        return self.client.attach(
            GenerationRef(
                server=self.client.server,
                project=project.id,
                request_id=request_id,
                feature_id=feature_id,
            )
        )


if TYPE_CHECKING:
    Ctx: TypeAlias = Context[Session, Any]
else:
    # mcp before 2.3 rebuilds a context of declared parameters, and loses the request with it:
    # delete this with the support of 2.2.
    Ctx = Context
"""The context of a tool call, as the SDK hands it to the tool."""


def session_of(ctx: Ctx) -> Session:
    """Return the session that a call belongs to."""
    return ctx.request_context.lifespan_context


@asynccontextmanager
async def open_session(
    make_client: Callable[[], Client], limits: Limits
) -> AsyncGenerator[Session]:
    """Open the client for as long as the server runs. Closing it cancels nothing at the service."""
    try:
        client = make_client()
    except ConfigError as error:
        yield Session(error, limits)
        return
    async with client:
        session = Session(client, limits)
        await session.memory.delete_old()
        try:
            yield session
        finally:
            await session.memory.aclose()
