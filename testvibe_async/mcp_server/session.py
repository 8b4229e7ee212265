"""The session that all calls of a server share: one client, and so one poller.

Decides how a call gets its client and its operations, and what the client reports of an outage. A
server that is not configured has no client; it starts all the same, so that its tools can say what
to set.
"""

from __future__ import annotations

import asyncio
import sys
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from mcp.server.mcpserver import Context
from mcp.server.mcpserver.exceptions import ToolError

from testvibe_async import Client, ConfigError, Hooks, RunRef
from testvibe_async.events import OutageStarted
from testvibe_async.mcp_server.advice import NO_PROJECT, not_configured, reason_of
from testvibe_async.mcp_server.memory import Memory
from testvibe_async.runner.generation_limit import GenerationLimit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from pathlib import Path

    from testvibe_async import (
        Generation,
        GenerationOperation,
        GenerationRef,
        Project,
        Run,
        RunOperation,
    )
    from testvibe_async._polling import PollPlan
    from testvibe_async.events import Dispatched, OutageEnded
    from testvibe_async.intents import Recorder

MAX_OUTPUT = 20_000
"""Length of an answer in characters, by default."""

REMEMBERED = 1_000
"""How many operations that were dispatched here are remembered."""


def every_three_seconds(kind: str, age: float, seen: Run | Generation | None, /) -> float:  # noqa: ARG001
    """Return 3 s: the poll plan of the service's own waiting tools, for runs and generations."""
    return 3.0


class MakeClient(Protocol):
    """Makes the client of a server: `Client` itself, a `partial` of it, or a function."""

    def __call__(self, *, poll_plan: PollPlan, hooks: Hooks, recorder: Recorder) -> Client:
        """Make a client with what the server needs of it."""
        ...


class Session:
    """The client of a server, or the error that says why there is none."""

    def __init__(
        self,
        make_client: MakeClient,
        *,
        max_output: int,
        max_generations: int | None,
        state_folder: Path | None,
    ) -> None:
        """Make the client; see `make_server` for the arguments."""
        self.max_output: int = max_output
        """How many characters an answer may have."""
        self.memory: Memory = Memory(state_folder)
        """What calls started."""
        self.generations: GenerationLimit = GenerationLimit()
        """Counts the generations that are started."""
        self.generations.allowed = sys.maxsize if max_generations is None else max_generations
        self.outage: str | None = None
        """What comes in place of answers, while the service does not answer."""
        self.outage_changed: asyncio.Event = asyncio.Event()
        """Set, and replaced, when an outage starts or ends."""
        self._dispatched: dict[tuple[object, ...], Any] = {}
        hooks = Hooks(
            on_dispatched=self._remember,
            on_outage_started=self._note_outage,
            on_outage_ended=self._note_outage,
        )
        self._client: Client | ConfigError
        try:
            self._client = make_client(
                poll_plan=every_three_seconds, hooks=hooks, recorder=self.generations
            )
        except ConfigError as error:
            self._client = error

    def _remember(self, event: Dispatched) -> None:
        """Remember what was dispatched here: the service may not know it for some seconds."""
        self._dispatched[event.ref.key[:3]] = event.ref  # Of a generation, that of its feature.
        if len(self._dispatched) > REMEMBERED:
            del self._dispatched[next(iter(self._dispatched))]

    def _note_outage(self, event: OutageStarted | OutageEnded) -> None:
        self.outage = reason_of(event.error) if isinstance(event, OutageStarted) else None
        changed, self.outage_changed = self.outage_changed, asyncio.Event()
        changed.set()

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
        bare = RunRef(server=self.client.server, project=project.id, run_id=run_id)
        ref: RunRef = self._dispatched.get(bare.key, bare)
        return self.client.attach(ref)

    def last_generation(self, project: Project, feature_id: int) -> GenerationOperation | None:
        """Return the last generation of a feature that was dispatched here; None for none."""
        ref: GenerationRef | None = self._dispatched.get(("generation", project.id, feature_id))
        return None if ref is None else self.client.attach(ref)


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
async def opened(session: Session) -> AsyncGenerator[Session]:
    """Open the client for as long as the server runs. Closing it cancels nothing at the service."""
    try:
        client = session.client
    except ToolError:
        yield session
        return
    async with client:
        await session.memory.delete_old()
        try:
            yield session
        finally:
            await session.memory.aclose()
