"""The client: the module to read first.

It holds the parts that all calls to one service share. A call goes straight down from here or from
`project`: `_core.wire` builds the request, `_core.http` decides when to send it and sends it, and
`_core.wire` turns the answer into a value or an error. A dispatch goes through `_core.dispatch`
first: its `conflicts` reacts to a 409, and its `machine` ensures that nothing is sent twice and no
id is lost. `ledger` keeps what was dispatched. `operations` has the handles on operations, and
`_core.polling` polls them while anything waits for them. `batch` is the interface to many
dispatches at once, which `_core.batch` carries, and `_core.artifacts` downloads the files of a run.

Four limits bound the traffic: `max_connections` requests are under way at once (all of them may be
polls), and `rate_limit` requests start in a second. A batch has at most `max_in_flight` operations
in flight, and 32 dispatches under way.
"""

from __future__ import annotations

import warnings
from copy import copy
from typing import TYPE_CHECKING, Any, Self, overload

from attrs import evolve

from testvibe_async._core.artifacts import Downloader
from testvibe_async._core.config import (
    load_settings,
    require_count,
    require_kind,
    require_rate,
    require_seconds,
    require_text,
    require_user_agent,
    server_name,
)
from testvibe_async._core.dispatch import Dispatcher
from testvibe_async._core.http import (
    RetryPolicy,
    Transport,
    call_through_outage,
    running_loop,
)
from testvibe_async._core.ledger import SqliteLedger, ledger_of
from testvibe_async._core.polling import Poller, PollPlan, checked_plan, standard_poll_plan
from testvibe_async._core.telemetry import telemetry
from testvibe_async._core.wire import Endpoints, custom_request
from testvibe_async.errors import ConfigError
from testvibe_async.events import Emitter, Hooks
from testvibe_async.gathering import Gathering
from testvibe_async.operations import (
    ClientParts,
    GenerationOperation,
    RunOperation,
    operation_of,
)
from testvibe_async.project import Project
from testvibe_async.refs import GenerationRef, Ref, RunRef

if TYPE_CHECKING:
    import os
    from collections.abc import Mapping

    from aiohttp import ClientSession

    from testvibe_async.ledger import Ledger
    from testvibe_async.models import Listing, ProjectInfo

__all__ = ["Client", "PollPlan"]


class Client(Gathering):
    """A client of one TestVibe service, with one API key, in one event loop.

    For example::

        async with Client() as client:  # TESTVIBE_SERVER, TESTVIBE_API_KEY, TESTVIBE_PROJECT
            operation = await client.project().run_feature("Checkout")
            run = await operation
            print(run.status, [test.name for test in run.failures])

    `project` returns a `Project`, which has the service's operations under the service's names, and
    `run_features` for many at once. `attach` returns a handle on an earlier operation. `finished`,
    `gather` and `changes`, which `testvibe_async.gathering.Gathering` describes, wait for many
    operations in one task. Every failure of the service or the network is a `VibeError`. A failed
    run is not an error but an outcome.

    Use it as an async context manager, or call `aclose`. Creating one sends nothing; it reads the
    settings files for values that arguments and environment variables do not set. It may be opened
    and closed in different tasks, but it is not thread-safe. Cancelling a wait, or closing the
    client, cancels nothing at the service.
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
        ledger: Ledger | str | os.PathLike[str] | None = None,
        session: ClientSession | None = None,
        user_agent: str | None = None,
        endpoints: Mapping[str, str] | None = None,
        allow_http: bool = False,
    ) -> None:
        """Create a client; does no network I/O.

        Args:
            server: The service's scheme and host, and its path prefix, if any; None for
                `TESTVIBE_SERVER`, or else the repository's or the user's settings file.
            api_key: A key, such as `tvb_…`; None for `TESTVIBE_API_KEY`, or else the user's
                settings file, which has a key for each server.
            project: The id of the default project, not its name; None for `TESTVIBE_PROJECT`, or
                else the repository's settings file.
            poll_interval: Seconds between two polls of a run. The interval of a generation grows
                with its age, up to 10/3 of this: from 3 s to 10 s by default.
            poll_plan: A function that takes an operation's kind, age and last snapshot, and returns
                the seconds to its next poll, at least a tenth of `poll_interval`; None for the plan
                that `poll_interval` describes.
            max_outage: Seconds of uninterrupted failures after which the waits for an operation
                raise `ObservationError`, and batches stop dispatching; at most 30 if nothing has
                ever answered.
            timeout: Maximum seconds that one request may take.
            retry: The policy for retrying failed calls; None for `RetryPolicy()`.
            max_connections: Maximum number of requests under way at once, 1 or more.
            rate_limit: Maximum number of requests started per second; None for no limit.
            hooks: Functions to call on events, one or several for each; None for none.
            ledger: Keeps what is dispatched: the path of a file, which is created if it is missing,
                or a `testvibe_async.ledger.Ledger`, which is not closed. None to keep it in memory,
                for as long as the client lives.
            session: An aiohttp session to use, which is not closed; None to create one.
            user_agent: The name and version of your program, such as `shop-ci/1.2`, which the
                header `User-Agent` has before this package's own; None for that alone.
            endpoints: Other routes for operations whose route is assumed, such as
                `{"list_runs": "GET /projects/{project}/history"}`; None for the routes in the
                settings files.
            allow_http: True to allow sending the key unencrypted to hosts other than this one.

        Raises:
            ConfigError: A value is missing or wrong.
        """
        settings = load_settings(
            server, api_key=api_key, project=project, endpoints=endpoints, allow_http=allow_http
        )
        hooks = require_kind("hooks", Hooks() if hooks is None else hooks, Hooks)
        self._subscriber = telemetry().subscriber()
        emitter = Emitter(hooks, self._subscriber.functions)
        retry = require_kind("retry", RetryPolicy() if retry is None else retry, RetryPolicy)
        self.server: str = settings.server
        """The service's scheme and host, and path prefix."""
        self._default_project = settings.project
        self._transport = Transport(
            settings,
            timeout=require_seconds("timeout", timeout),
            max_outage=require_seconds("max_outage", max_outage),
            retry=retry,
            max_connections=require_count("max_connections", max_connections),
            rate_limit=None if rate_limit is None else require_rate("rate_limit", rate_limit),
            session=session,
            user_agent=None if user_agent is None else require_user_agent(user_agent),
            routes=settings.endpoints,
            hooks=emitter,
        )
        poll_interval = require_seconds("poll_interval", poll_interval)
        self._poller = Poller(
            self._transport,
            interval=poll_interval,
            plan=standard_poll_plan(poll_interval)
            if poll_plan is None
            else checked_plan(poll_plan),
            max_concurrent_polls=max_connections,
            hooks=emitter,
        )
        self._subscriber.in_flight = self._poller.known.in_flight
        downloader = Downloader(
            self._transport,
            timeout=timeout,
            retry=retry,
            max_connections=max_connections,
            hooks=emitter,
        )
        self._parts = ClientParts(self._transport, self._poller, downloader)
        self.ledger: Ledger = ledger_of(ledger)
        """Keeps what this client dispatches."""
        self._owned_ledger = None if self.ledger is ledger else self.ledger
        self._is_entered = False
        self._is_derived = False
        self._dispatcher = Dispatcher(self._parts, emitter, self.ledger)

    def __repr__(self) -> str:
        """Return a text with the service's address."""
        return f"<Client of {self.server}>"

    async def __aenter__(self) -> Self:
        """Bind the client to the running event loop, and open the file of its ledger.

        Raises:
            ConfigError: The file is not a ledger, is damaged, or can't be written; or the client
                was opened before, and stays open.
        """
        if self._is_derived:
            raise ConfigError("open the client that `with_options` was called on, not its result")
        if self._is_entered and self._transport.is_open:
            raise ConfigError("this client is open already: use it without another 'async with'")
        running_loop()
        if isinstance(self._owned_ledger, SqliteLedger):
            await self._owned_ledger.open()
        self._transport.bind()
        self._is_entered = True
        return self

    async def __aexit__(self, *_exception: object) -> None:
        """Close the client; see `aclose`."""
        await self.aclose()

    def __del__(self) -> None:
        """Warn if the client was used and not closed."""
        transport = getattr(self, "_transport", None)
        if transport is not None and transport.is_open and not self._is_derived:
            message = f"{self!r} was not closed: use 'async with', or await its aclose()"
            warnings.warn(message, ResourceWarning, stacklevel=2, source=self)

    async def aclose(self) -> None:
        """Close the client. A second call does nothing.

        An unsent dispatch raises `ClientClosedError`. A dispatch whose POST is under way gets up to
        10 s for its answer, so that no id is lost; without an answer, it raises
        `DispatchUnknownError`. Waits raise `ClientClosedError` with the ref. At the service,
        nothing is cancelled. A client that `with_options` returned is closed with its original.
        """
        if self._is_derived:
            return
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
                    self._subscriber.close()
                    try:
                        await self._transport.aclose()
                    finally:
                        if isinstance(self._owned_ledger, SqliteLedger):
                            await self._owned_ledger.aclose()

    def with_options(
        self,
        *,
        timeout: float | None = None,
        retry: RetryPolicy | None = None,
        poll_interval: float | None = None,
    ) -> Client:
        """Return a client with other options that shares the session, the poller and the ledger.

        It is open as long as this client is, and is neither opened nor closed itself. Downloads
        keep the options of this client.

        Args:
            timeout: Maximum seconds that one request may take; None for this client's.
            retry: The policy for retrying failed calls; None for this client's.
            poll_interval: Seconds between two polls of a run, at least a tenth of this client's;
                None for this client's. An operation is polled as its last handle says.

        Raises:
            ConfigError: A value is wrong.
        """
        transport, plan = self._transport, self._parts.plan
        transport = transport.with_options(
            timeout=transport.timeout if timeout is None else require_seconds("timeout", timeout),
            retry=transport.retry if retry is None else require_kind("retry", retry, RetryPolicy),
        )
        if poll_interval is not None:
            plan = standard_poll_plan(require_seconds("poll_interval", poll_interval))
        parts = evolve(self._parts, transport=transport, plan=plan)
        derived = copy(self)
        vars(derived).update(_is_derived=True, _transport=transport, _parts=parts)
        return derived

    def project(self, project_id: str | None = None) -> Project:
        """Return a project by its id. Does no I/O, so the project need not exist.

        Args:
            project_id: The public id; None for the client's default project.

        Raises:
            ConfigError: No id is set, or it is blank, or not a string.
        """
        if project_id is None:
            project_id = self._default_project
        if project_id is None:
            raise ConfigError("no project: set TESTVIBE_PROJECT, or give its id")
        require_text("project_id", require_kind("project_id", project_id, str))
        return Project(
            project_id,
            parts=self._parts,
            dispatcher=self._dispatcher,
        )

    async def list_projects(self, *, max_outage: float | None = None) -> Listing[ProjectInfo]:
        """List the projects that the API key may read.

        Args:
            max_outage: See `Project.list_features`.
        """
        return await call_through_outage(
            self._transport, Endpoints.LIST_PROJECTS.request(), max_outage=max_outage
        )

    async def find_project(self, name: str) -> Project:
        """Return the project of a name, in any case, among those that the API key may read.

        Raises:
            ConfigError: No project, or more than one, has the name.
            IncompleteListError: The list lacks rows, and the name is not among the others.
        """
        wanted = require_text("name", name).strip().casefold()
        projects = await self.list_projects()
        found = [each for each in projects if (each.name or "").strip().casefold() == wanted]
        if not found and projects.incomplete is not None:
            raise projects.incomplete
        if len(found) != 1:
            ids = ", ".join(each.id for each in found[:3])
            what = f"projects {ids} are all named {name!r}" if ids else f"no project {name!r}"
            raise ConfigError(what, advice="name it by its id, which list_projects shows")
        return self.project(found[0].id)

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
    def attach(self, ref: Ref) -> RunOperation | GenerationOperation: ...
    def attach(self, ref: Ref) -> RunOperation | GenerationOperation:
        """Return a handle on an operation, also of another process or an earlier day.

        Does no I/O, but needs a running event loop.

        Args:
            ref: An operation's or an error's `ref`, or `Ref.from_json(text)`.

        Raises:
            ConfigError: The value is not a ref, or the ref has another server, or the client
                belongs to another event loop.
            ClientClosedError: The client is closed.
        """
        if not isinstance(ref, Ref):
            raise ConfigError(f"attach takes a ref of an operation, not {ref!r}")
        if ref.server != self.server:  # It may be the same server, spelled differently.
            if server_name(ref.server, f"the server of {ref}: ") != self.server:
                raise ConfigError(
                    f"{ref} is an operation of {ref.server}, and this client's is {self.server}"
                )
            ref = evolve(ref, server=self.server)
        self._transport.bind()
        return operation_of(ref, self._parts)

    async def request(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str | int | None] | None = None,
        body: Mapping[str, object] | None = None,
    ) -> Any:  # noqa: ANN401 - any JSON
        """Send a request for which this package has no method, and return the JSON.

        Args:
            method: The HTTP method, such as `GET`. Only a GET is retried.
            path: The path below `/api/v1/ops`, such as `/projects`, percent-encoded by the caller.
            query: Query parameters; values of None are omitted.
            body: A JSON object to send; None for no body.

        Raises:
            TransportError: No answer came.
            ResponseError: The service refused the request.
            ConfigError: The method is not a word such as `GET`, the path is not below
                `/api/v1/ops`, or the body can't be sent as JSON.
        """
        return await self._transport.call(custom_request(method, path, query=query, body=body))
