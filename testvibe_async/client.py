"""The client: the page to read first.

It holds what all calls to one service share. A call goes straight down from here or from `project`:
`_wire` builds the request, `_http` decides when it goes out and sends it, and `_wire` turns the
answer into a value or an error. A dispatch goes through `_dispatch` first: its `starter` decides
what to do about a 409, its `dispatcher` makes sure that nothing is sent twice and no id is lost.
`operations` has the handles on what was started, and `_polling` polls it while somebody waits.
`batch` dispatches many at once, and `_artifacts` downloads what a run left.

Four limits bound the traffic: `max_connections` requests are under way at once, of which the polls
may be all, `rate_limit` start in a second, a batch has `max_in_flight` operations in flight, and 32
dispatches of it under way.
"""

from __future__ import annotations

import warnings
from typing import TYPE_CHECKING, Any, Self, overload

from attrs import evolve

from testvibe_async._artifacts import Downloader
from testvibe_async._config import (
    load_settings,
    require_count,
    require_kind,
    require_rate,
    require_seconds,
    server_name,
)
from testvibe_async._dispatch import Dispatcher, knowing
from testvibe_async._http import RetryPolicy, Transport
from testvibe_async._polling import Poller, PollPlan, RunIds, checked_plan, standard_poll_plan
from testvibe_async._wire import Endpoints, custom_request
from testvibe_async.errors import ConfigError
from testvibe_async.events import Emitter, Hooks
from testvibe_async.gathering import Gathering
from testvibe_async.intents import Intent, checked_recorder
from testvibe_async.operations import (
    ClientParts,
    GenerationOperation,
    RunOperation,
    operation_of,
)
from testvibe_async.project import Project
from testvibe_async.refs import GenerationRef, Ref, RunRef

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from aiohttp import ClientSession

    from testvibe_async.errors import OperationRef
    from testvibe_async.intents import Recorder
    from testvibe_async.models import Listing, ProjectInfo

__all__ = ["Client", "PollPlan"]


class Client(Gathering):
    """A client of one TestVibe service, with one API key, in one event loop.

    For example:

        async with Client() as client:  # TESTVIBE_SERVER, TESTVIBE_API_KEY, TESTVIBE_PROJECT
            operation = await client.project().run_feature("Checkout")
            run = await operation
            print(run.status, [test.name for test in run.failures])

    `project` returns a `Project`, which has the service's operations under its own names, and
    `run_features` for many at once. `attach` makes a handle on what was dispatched before.
    `finished`, `gather` and `changes` wait for many operations in one task. Whatever goes wrong at
    the service or on the way is a `VibeError`; a failed run is none, but an outcome.

    Use it as an async context manager, or call `aclose`. Making one sends nothing; it reads the
    settings files where arguments and variables leave something open. Opening and closing may
    happen in different tasks, but it is not thread-safe. Cancelling a wait, or closing the client,
    cancels nothing at the service.
    """

    def __init__(  # noqa: PLR0913 - each by name
        self,
        server: str | None = None,
        *,
        api_key: str | None = None,
        project: str | None = None,
        poll_interval: float = 3.0,
        poll_plan: PollPlan | None = None,
        max_outage: float = 300.0,
        timeout: float = 30.0,
        retry: RetryPolicy | None = None,
        max_connections: int = 32,
        rate_limit: float | None = None,
        hooks: Hooks | None = None,
        recorder: Recorder | None = None,
        session: ClientSession | None = None,
        endpoints: Mapping[str, str] | None = None,
        allow_http: bool = False,
    ) -> None:
        """Make a client.

        Args:
            server: The service's scheme and host, and the path that it is below if there is one;
                None for `TESTVIBE_SERVER`, else the repository's or the user's settings file.
            api_key: A key, such as `tvb_…`; None for `TESTVIBE_API_KEY`, else the user's settings
                file, which has one for each server.
            project: The id of the default project, not its name; None for `TESTVIBE_PROJECT`, else
                the repository's settings file.
            poll_interval: Seconds between two polls of a run. Those of a generation grow with its
                age, to 10/3 of this: from 3 s to 10 s by default.
            poll_plan: A function of an operation's kind, age and last snapshot that returns the
                seconds to its next poll, at least a tenth of `poll_interval`; None for the plan
                that `poll_interval` describes.
            max_outage: Seconds of nothing except failed polls after which the waits for an
                operation raise `ObservationError`.
            timeout: Seconds that one request may take.
            retry: How calls that failed on the way are retried; None for `RetryPolicy()`.
            max_connections: How many requests are under way at once, 1 or more.
            rate_limit: How many requests may start in a second; None for any number.
            hooks: Functions to call on events, one or several for each.
            recorder: Stores each dispatch before it is sent; None to store none. See `Recorder`.
            session: An aiohttp session to use; it is not closed. None for one of our own.
            endpoints: Other routes of operations whose route is assumed, such as
                `{"list_runs": "GET /projects/{project}/history"}`; None for those of the settings
                files.
            allow_http: Whether the key may be sent unencrypted to other hosts than this one.

        Raises:
            ConfigError: Something is missing or wrong.
        """
        settings = load_settings(
            server, api_key=api_key, project=project, endpoints=endpoints, allow_http=allow_http
        )
        emitter = Emitter(require_kind("hooks", Hooks() if hooks is None else hooks, Hooks))
        retry = require_kind("retry", RetryPolicy() if retry is None else retry, RetryPolicy)
        self.server: str = settings.server
        """The service's scheme and host, and path prefix."""
        self._default_project = settings.project
        self._transport = Transport(
            settings,
            timeout=require_seconds("timeout", timeout),
            retry=retry,
            max_connections=require_count("max_connections", max_connections),
            rate_limit=None if rate_limit is None else require_rate("rate_limit", rate_limit),
            session=session,
            routes=settings.endpoints,
            hooks=emitter,
        )
        poll_interval = require_seconds("poll_interval", poll_interval)
        run_ids = RunIds()
        self._poller = Poller(
            self._transport,
            interval=poll_interval,
            plan=standard_poll_plan(poll_interval)
            if poll_plan is None
            else checked_plan(poll_plan),
            max_outage=require_seconds("max_outage", max_outage),
            max_concurrent_polls=max_connections,
            run_ids=run_ids,
            hooks=emitter,
        )
        downloader = Downloader(
            self._transport,
            timeout=timeout,
            retry=retry,
            max_connections=max_connections,
            hooks=emitter,
        )
        self._parts = ClientParts(self._transport, self._poller, downloader, run_ids)
        self._dispatcher = Dispatcher(self._parts, emitter, checked_recorder(recorder))

    def __repr__(self) -> str:
        """Return the service."""
        return f"<Client of {self.server}>"

    async def __aenter__(self) -> Self:
        """Bind the client to the running event loop. Does no I/O."""
        self._transport.bind()
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Close the client; see `aclose`."""
        await self.aclose()

    def __del__(self) -> None:
        """Warn of a client that was used and never closed."""
        transport = getattr(self, "_transport", None)
        if transport is not None and transport.is_open:
            message = f"{self!r} was not closed: use 'async with', or await its aclose()"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    async def aclose(self) -> None:
        """Close the client. A second time does nothing.

        A dispatch that was not sent raises `ClientClosedError`. One whose POST is under way gets up
        to 10 s, so that no id is lost; without an answer it raises `DispatchUnknownError`. Waits
        raise `ClientClosedError` with the ref. Nothing is cancelled at the service.
        """
        try:
            await self._dispatcher.aclose()
        finally:
            self._transport.refuse_calls()
            try:
                await self._poller.aclose()
            finally:
                try:
                    await self._parts.downloader.aclose()
                finally:
                    await self._transport.aclose()

    def project(self, project_id: str | None = None) -> Project:
        """Return a project by its id. Does no I/O, so it does not check that there is one.

        Args:
            project_id: The public id; None for the client's default project.

        Raises:
            ConfigError: There is no id, or it is not a string.
        """
        project_id = project_id or self._default_project
        if project_id is None:
            raise ConfigError("no project: set TESTVIBE_PROJECT, or give its id")
        require_kind("project_id", project_id, str)
        return Project(
            project_id,
            parts=self._parts,
            dispatcher=self._dispatcher,
        )

    async def list_projects(self, *, max_outage: float | None = None) -> Listing[ProjectInfo]:
        """List the projects that the API key may see.

        Args:
            max_outage: As of `Project.list_features`.
        """
        return await self._transport.call_through_outage(
            Endpoints.LIST_PROJECTS.request(), max_outage=max_outage
        )

    async def get_project(self, project_id: str) -> ProjectInfo:
        """Read one project. The service does not document this call.

        Raises:
            EndpointNotFoundError: The service has no such call.
        """
        return await self._transport.call(Endpoints.GET_PROJECT.request(project=project_id))

    @overload
    def attach(self, ref: RunRef) -> RunOperation: ...
    @overload
    def attach(self, ref: GenerationRef) -> GenerationOperation: ...
    @overload
    def attach(self, ref: OperationRef) -> RunOperation | GenerationOperation: ...
    def attach(self, ref: OperationRef) -> RunOperation | GenerationOperation:
        """Return a handle on an operation that was dispatched by anyone, at any time.

        Does no I/O, but needs the event loop to run.

        Args:
            ref: An operation's or an error's `ref`, or `Ref.from_json(text)`.

        Raises:
            ConfigError: It is not a ref, or of another server, or the client belongs to another
                event loop.
            ClientClosedError: The client is closed.
        """
        if not isinstance(ref, Ref):
            raise ConfigError(f"attach takes a RunRef or a GenerationRef, not {ref!r}")
        if ref.server != self.server:  # It may be the same one, written in another way.
            if server_name(ref.server, f"the server of {ref}: ") != self.server:
                raise ConfigError(
                    f"{ref} is an operation of {ref.server}, and this client's is {self.server}"
                )
            ref = evolve(ref, server=self.server)
        self._transport.bind()
        return operation_of(ref, self._parts)

    async def reconcile(
        self, intent: Intent, *, known: Iterable[OperationRef | Intent] = ()
    ) -> RunOperation | GenerationOperation | None:
        """Find the operation that a dispatch with a lost answer started.

        It may be another process's, or another day's. Nothing is dispatched. While the answer may
        still come, which is 5 s and the time-out of the request, it waits for that.

        Args:
            intent: What a `Recorder` stored, or a `DispatchUnknownError` has.
            known: The refs of other dispatches, and the intents of those that are open too; what
                this client dispatched or attached to is known anyway.

        Returns:
            The one operation that the dispatch can have started; None where it is proved that
            nothing began: the service shows the feature's generation as it was before, or runs that
            were created later, and none of this dispatch.

        Raises:
            DispatchUnknownError: It can't be determined; `reason` says why.
            ConfigError: It is not an intent, or of another server.
            ClientClosedError: The client is closed.
        """
        require_kind("intent", intent, Intent)
        if intent.server != self.server:
            raise ConfigError(
                f"{intent} was for {intent.server}, and this client's server is {self.server}"
            )
        self._transport.bind()
        others = [*known]
        return await self._dispatcher.reconcile(intent, known=knowing(lambda: others))

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Any:  # noqa: ANN401 - JSON as it is
        """Send a request that this package has no method for, and return the JSON as it is.

        Args:
            method: Such as `GET`. Only a GET is retried where it failed on the way.
            path: Below `/api/v1/ops`, such as `/projects`, percent-encoded by the caller.
            query: Query parameters; those that are None are left out.
            body: A JSON object to send.

        Raises:
            TransportError: No answer came.
            ResponseError: The service refused.
            ConfigError: The method is not a word such as `GET`, the path is not below
                `/api/v1/ops`, or the body can't be sent as JSON.
        """
        return await self._transport.call(custom_request(method, path, query=query, body=body))
